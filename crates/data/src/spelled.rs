//! Paths of the CSV as people have them: read with slashes of either kind; and where a file is missing, what it is called here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use imbalance::shown::shown;
use unicode_normalization::UnicodeNormalization;

/// Files below the root that are looked at for a hint.
const MOST: usize = 2_000_000;

/// The file of each row: `root/id`, with slashes for backslashes where there is no file with the backslashes.
pub fn files(root: &Path, ids: &[String]) -> Vec<PathBuf> {
    let file = |id: &String| {
        let plain = root.join(id);
        if id.contains('\\') && std::fs::symlink_metadata(&plain).is_err() { root.join(id.replace('\\', "/")) } else { plain }
    };
    ids.iter().map(file).collect()
}

/// How the names of files that are missing differ from those of files that are there; one rule a bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Differs {
    case: bool,
    extension: bool,
    escaped: bool,
    composed: bool,
    blanks: bool,
    folder: bool,
}

/// A sentence about the files that `missing` ids (of rows) mean, if files below `root` have their names but for the spelling.
pub fn hint(root: &Path, missing: &[&str]) -> Option<String> {
    let there = below(root);
    let mut by_name: HashMap<String, Vec<&str>> = HashMap::new();
    for path in &there {
        by_name.entry(stem(path)).or_default().push(path);
    }
    let mut rules: HashMap<Differs, (usize, &str, &str)> = HashMap::new();
    let mut found = 0;
    let mut roots: Vec<PathBuf> = Vec::new();
    for id in missing {
        let Some(path) = by_name.get(&stem(id)).and_then(|paths| closest(id, paths)) else { continue };
        found += 1;
        rules.entry(differs(id, path)).or_insert((0, id, path)).0 += 1;
        roots.extend(root_for(root, id, path).filter(|root| !roots.contains(root)));
    }
    let (rule, &(_, id, path)) = rules.iter().max_by_key(|(_, (count, ..))| *count)?;
    let Differs { case, extension, escaped, composed, blanks, folder } = *rule;
    let ways = [
        (case, "in another case"),
        (extension, "with another extension"),
        (escaped, "without the escapes (%20)"),
        (composed, "with accents of another Unicode form"),
        (blanks, "with other blanks around it"),
        (folder, "in another folder"),
    ];
    let ways: Vec<&str> = ways.into_iter().filter(|(is, _)| *is).map(|(_, way)| way).collect();
    let how = if ways.is_empty() { "under another spelling".to_owned() } else { ways.join(" and ") };
    let which = if found == missing.len() { "all of them are".to_owned() } else { format!("{found} of {} are", missing.len()) };
    let cure = match roots.as_slice() {
        [only] if *rule == (Differs { folder: true, ..Differs::default() }) && found == missing.len() => {
            format!("`data.root = {:?}` finds them", only.display().to_string())
        }
        _ => "correct the paths of the CSV".to_owned(),
    };
    Some(format!("{which} below {} {how}: `{}` is there for `{}`; {cure}", root.display(), shown(path), shown(id)))
}

/// The root with which `id` is `path`, if there is one.
fn root_for(root: &Path, id: &str, path: &str) -> Option<PathBuf> {
    let (id, full) = (Path::new(id), root.join(path));
    if id.is_absolute() {
        return None;
    }
    if full.ends_with(id) {
        return full.ancestors().nth(id.components().count()).map(Path::to_owned);
    }
    // The root's own name once more: `photos/a.png` below photos.
    let parent = root.parent()?;
    (parent.join(id) == full).then(|| if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

/// What distinguishes files: the last part without extension, case, escapes, blanks around it and Unicode form.
fn stem(path: &str) -> String {
    let name = unescaped(last(path));
    let name = name.trim();
    let stem = if super::table::is_picture(name) { name.rsplit_once('.').map_or(name, |(stem, _)| stem) } else { name };
    stem.trim().nfc().collect::<String>().to_lowercase()
}

fn last(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The path that ends most like `id`.
fn closest<'p>(id: &str, paths: &[&'p str]) -> Option<&'p str> {
    let folded = |path: &str| unescaped(path).replace('\\', "/").nfc().collect::<String>().to_lowercase();
    let id = folded(id);
    let alike = |path: &str| {
        let path = folded(path);
        path.split('/').rev().skip(1).zip(id.split('/').rev().skip(1)).take_while(|(a, b)| a == b).count()
    };
    paths.iter().copied().max_by_key(|path| (alike(path), std::cmp::Reverse(path.len())))
}

fn differs(id: &str, path: &str) -> Differs {
    let escaped = unescaped(id) != id;
    let id = unescaped(id).replace('\\', "/");
    let (name, other) = (last(&id).to_owned(), last(path).to_owned());
    let trimmed = (name.trim().to_owned(), other.trim().to_owned());
    let composed = |text: &str| text.nfc().collect::<String>();
    let (a, b) = (composed(&trimmed.0), composed(&trimmed.1));
    let bare = |text: &str| {
        if super::table::is_picture(text) {
            text.rsplit_once('.').map_or(text, |(stem, _)| stem).to_owned()
        } else {
            text.to_owned()
        }
    };
    let ending = |text: &str| text.strip_prefix(bare(text).as_str()).unwrap_or_default().to_lowercase();
    let folder =
        |path: &str| composed(path).to_lowercase().rsplit_once('/').map(|(folder, _)| folder.trim_start_matches("./").to_owned());
    Differs {
        case: bare(&a) != bare(&b)
            || (ending(&a) == ending(&b) && a != b)
            || (folder(&id) == folder(path) && cased(&id) != cased(path)),
        extension: ending(&a) != ending(&b),
        escaped,
        composed: a != trimmed.0 || b != trimmed.1,
        blanks: name != trimmed.0 || other != trimmed.1,
        folder: folder(&id) != folder(path),
    }
}

/// The folder as it is written.
fn cased(path: &str) -> String {
    path.nfc()
        .collect::<String>()
        .rsplit_once('/')
        .map_or_else(String::new, |(folder, _)| folder.trim_start_matches("./").to_owned())
}

/// `%20` → a blank; text that is no escape stays.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// Paths of the files below `root`, relative to it.
fn below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if let Some(path) = entry.path().strip_prefix(root).ok().and_then(Path::to_str) {
                found.push(path.to_owned());
            }
            if found.len() >= MOST {
                return found;
            }
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join("photos").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    fn said(files: &[&str], missing: &[&str]) -> String {
        let folder = folder(files);
        hint(&folder.path().join("photos"), missing).unwrap_or_default().replace(&folder.path().display().to_string(), "")
    }

    #[test]
    fn the_file_that_is_meant_is_named_with_the_rule() {
        assert_eq!(
            said(&["train/Img 1.JPG"], &["train/img 1.jpg"]),
            "all of them are below /photos in another case: `train/Img 1.JPG` is there for `train/img 1.jpg`; correct the paths of the CSV"
        );
        assert!(said(&["a.png", "b.png"], &["a.jpg", "b.jpg"]).contains("with another extension: `a.png`"));
        assert!(said(&["a.png"], &["a"]).contains("with another extension: `a.png` is there for `a`"));
        assert!(said(&["x y.png"], &["x%20y.png"]).contains("without the escapes (%20): `x y.png`"));
        assert!(said(&["caf\u{e9}.png"], &["cafe\u{301}.png"]).contains("Unicode form"));
        assert!(said(&["sub/a.png", "sub/b.png"], &["a.png", "b.png"]).contains("in another folder"));
        assert!(said(&["sub/a.png", "sub/b.png"], &["a.png", "b.png"]).ends_with("`data.root = \"/photos/sub\"` finds them"));
        assert!(said(&["a.png"], &["photos/a.png"]).ends_with("`data.root = \"\"` finds them"));
        assert!(
            said(&["a.png", "b.png"], &["/content/drive/a.png", "nothing.png"])
                .starts_with("1 of 2 are below /photos in another folder")
        );
        assert!(said(&["TRAIN/a.png"], &["train/a.png"]).contains("in another case: `TRAIN/a.png`"));
        assert_eq!(said(&["a.png"], &["z.png"]), "");
    }

    #[test]
    fn backslashes_are_slashes_unless_a_file_has_them() {
        let folder = folder(&["a/b.png", "c\\d.png"]);
        let root = folder.path().join("photos");
        let files = files(&root, &["a\\b.png".to_owned(), "c\\d.png".to_owned(), "a/b.png".to_owned()]);
        assert!(files.iter().all(|file| file.is_file()), "{files:?}");
    }

    proptest! {
        /// Whatever is done to the case, the extension, the escapes and the folder of a name: the file that is meant is found.
        #[test]
        fn any_spelling_finds_its_file(name in "[a-z]{1,6}[0-9]{1,3}( [a-z]{1,3})?", other in "[A-Z]{4,8}", upper in any::<bool>(), extension in 0..3usize, escape in any::<bool>(), moved in any::<bool>()) {
            let folder = folder(&[&format!("sub/{name}.png"), &format!("{other}.png")]);
            let mut id = if upper { name.to_uppercase() } else { name.clone() };
            if escape {
                id = id.replace(' ', "%20");
            }
            id += [".png", ".jpeg", ""][extension];
            if !moved {
                id = format!("sub/{id}");
            }
            let said = hint(&folder.path().join("photos"), &[&id]).unwrap();
            let named = format!("`sub/{name}.png` is there for `{id}`");
            prop_assert!(said.contains(&named), "{}", said);
            prop_assert_eq!(said.contains("another case"), upper, "{}", said);
            prop_assert_eq!(said.contains("another extension"), extension > 0, "{}", said);
            prop_assert_eq!(said.contains("escapes"), escape && name.contains(' '), "{}", said);
            prop_assert_eq!(said.contains("another folder"), moved, "{}", said);
        }
    }
}
