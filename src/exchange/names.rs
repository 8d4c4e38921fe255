//! Names of sweeps, strategies and labels, which may be any text, as other programs take them. Pure.

use std::collections::HashSet;

use unicode_normalization::char::is_combining_mark;

/// What a name must not have is replaced by it.
const BLANK: char = '_';
/// Digits of the hash that tells names apart which were cut.
const DIGITS: usize = 8;
/// Bytes of the name of a folder; file systems allow 255.
const FOLDER: usize = 120;
/// Characters of a label or policy in the name of a metric; MLflow allows 250 for all of it.
const PART: usize = 90;

/// Whether every program takes it for a letter or a digit. Letters in circles and combining marks are none in Python.
fn is_word(letter: char) -> bool {
    let enclosed = matches!(letter, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}');
    letter == '_' || letter.is_alphanumeric() && !enclosed && !is_combining_mark(letter)
}

/// `text` with `BLANK` in place of what `allowed` does not allow; of a longer one the first `most`, as `length` counts them, and a hash.
fn mapped(text: &str, allowed: impl Fn(char) -> bool, most: usize, length: impl Fn(char) -> usize) -> String {
    let mapped: String = text.chars().map(|letter| if allowed(letter) { letter } else { BLANK }).collect();
    if mapped.chars().map(&length).sum::<usize>() <= most {
        return mapped;
    }
    let mut room = most - DIGITS - 1;
    let fits = |letter: &char| room.checked_sub(length(*letter)).map(|rest| room = rest).is_some();
    let kept: String = mapped.chars().take_while(fits).collect();
    format!("{kept}-{}", &blake3::hash(text.as_bytes()).to_hex()[..DIGITS])
}

/// The name of a folder: one that needs no quotes in most places, stays where it is put, and is not hidden.
#[must_use]
pub fn folder(text: &str) -> String {
    let text = text.replace(" + ", "+");
    let name = mapped(&text, |letter| is_word(letter) || "+-=.,()".contains(letter), FOLDER, char::len_utf8);
    match name.chars().next() {
        None => BLANK.to_string(),
        // `..`, hidden files, and what a command takes for a flag.
        Some('.' | '-') => format!("{BLANK}{}", &name[1..]),
        Some(_) => name,
    }
}

/// A part of the name of an MLflow metric, parameter or tag: letters, digits, `_`, `-`, `.`, `:` and blanks. MLflow groups metrics by the
/// slashes in their names, so that those of a label are replaced.
#[must_use]
pub fn part(text: &str) -> String {
    let name = mapped(text, |letter| is_word(letter) || "-.: ".contains(letter), PART, |_| 1);
    // MLflow takes a name for a path, and refuses one that has a shorter form.
    if name.chars().all(|letter| letter == '.') { name.replace('.', "_") + if name.is_empty() { "_" } else { "" } } else { name }
}

/// Gives out each name once.
#[derive(Debug, Default)]
pub struct Distinct {
    taken: HashSet<String>,
}

impl Distinct {
    /// Names that are taken already.
    pub fn beside(taken: impl IntoIterator<Item = String>) -> Self {
        Self { taken: taken.into_iter().collect() }
    }

    /// The name, or `name.2`, `name.3`, ... where it is taken.
    pub fn give(&mut self, name: String) -> String {
        let free = |name: &String| !self.taken.contains(name);
        let given = if free(&name) { name } else { (2_u64..).map(|n| format!("{name}.{n}")).find(free).unwrap_or(name) };
        self.taken.insert(given.clone());
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_component_that_stays_where_it_is() {
        for (text, wanted) in [
            ("letters", "letters"),
            ("bce + sqrt", "bce+sqrt"),
            ("focal(gamma=2) + class_aware", "focal(gamma=2)+class_aware"),
            ("..", "_."),
            (".hidden", "_hidden"),
            ("--flag", "_-flag"),
            ("a/b\\c", "a_b_c"),
            ("/etc/passwd", "_etc_passwd"),
            ("\u{202e}gnp\u{1b}[2J\0\n", "_gnp__2J__"),
            ("letters#2", "letters_2"),
            ("Grün 日本", "Grün_日本"),
            ("e\u{301}Ⓐ", "e__"),
            ("", "_"),
        ] {
            assert_eq!(folder(text), wanted, "{text:?}");
        }
        for long in ["x".repeat(300), "日".repeat(300), format!(".{}", "ö".repeat(200))] {
            let name = folder(&long);
            assert!(name.len() <= FOLDER && name.len() > FOLDER - 5, "{name}");
            assert_ne!(name, folder(&format!("{long}x")), "names that were cut differ");
        }
    }

    #[test]
    fn a_part_has_what_mlflow_takes() {
        for (text, wanted) in [
            ("0.5", "0.5"),
            ("N/A", "N_A"),
            ("B/b, \"b\"", "B_b_ _b_"),
            ("f_beta(beta=2)", "f_beta_beta_2_"),
            ("..", "__"),
            ("", "_"),
            ("=1+1", "_1_1"),
            ("a: b-c", "a: b-c"),
        ] {
            assert_eq!(part(text), wanted, "{text:?}");
        }
        assert_eq!(part(&"ä".repeat(500)).chars().count(), PART);
    }

    #[test]
    fn equal_names_are_told_apart() {
        let mut names = Distinct::beside(["taken".to_owned()]);
        let given: Vec<String> = ["a", "a", "a.2", "a", "taken"].map(|name| names.give(name.to_owned())).into();
        assert_eq!(given, ["a", "a.2", "a.2.2", "a.3", "taken.2"]);
    }
}
