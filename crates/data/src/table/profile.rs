//! What the cells of a column hold, and what the column looks like from that: a label, a split, groups, lists of names, ...

use std::collections::BTreeMap;

use super::cell::{Cell, Spelling};
use crate::decode;
use imbalance::stratification;

/// Distinct texts that are told apart; a column with more of them holds no classes.
const DISTINCT: usize = 2000;
/// Classes that a column of names may have.
const CLASSES: usize = 60;
/// What separates the names of a list, the surest first.
const LISTS: [char; 4] = ['|', ';', ',', ' '];
/// Endings of the names of pictures that are not read.
const FOREIGN: [&str; 6] = ["dcm", "jp2", "heic", "avif", "ppm", "npy"];
/// Names of columns that say who a row belongs to.
const OWNERS: [&str; 22] = [
    "patient", "patients", "subject", "study", "person", "user", "group", "groups", "donor", "site", "device", "animal", "slide",
    "series", "session", "video", "hospital", "mouse", "specimen", "sample", "case", "camera",
];
/// Names of columns that say which split a row is in.
const SPLITS: [&str; 13] = [
    "split",
    "splits",
    "subset",
    "fold",
    "folds",
    "partition",
    "train",
    "training",
    "val",
    "valid",
    "validation",
    "test",
    "holdout",
];
/// How a yes and a no are written.
const WORDS: [(&str, &str); 12] = [
    ("yes", "no"),
    ("y", "n"),
    ("t", "f"),
    ("positive", "negative"),
    ("pos", "neg"),
    ("present", "absent"),
    ("ja", "nein"),
    ("oui", "non"),
    ("si", "no"),
    ("+", "-"),
    ("abnormal", "normal"),
    ("on", "off"),
];

/// What the cells of one column hold.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    pub zeros: usize,
    pub ones: usize,
    pub blanks: usize,
    pub minus_ones: usize,
    /// Cells that are none of these.
    pub others: usize,
    /// Cells with any text at all, whatever it means.
    pub written: usize,
    /// The first of them: line and text.
    pub first_other: Option<(u64, String)>,
    /// The first blank or -1: line and text.
    pub first_unknown: Option<(u64, String)>,
    /// Distinct texts of the others, at most [`DISTINCT`], with their cells.
    texts: BTreeMap<String, usize>,
    /// Whether there are more.
    full: bool,
    /// Of the others: numbers, whole numbers, the smallest and the largest; names of splits; names of pictures.
    numbers: usize,
    whole: usize,
    low: f64,
    high: f64,
    splits: usize,
    pictures: usize,
    /// Cells that read 0, 1, 2, ... or 1, 2, 3, ... so far.
    counted: usize,
    first_number: f64,
    /// Cells that have the shape of the header's cell.
    alike: usize,
}

/// What a column looks like.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// 0 and 1, perhaps with blanks and -1.
    Label,
    /// 0 and 1, and a name as of a split.
    SplitFlag,
    /// train, val, test.
    Split,
    /// Numbers of folds.
    Fold,
    /// Who a row belongs to.
    Group {
        groups: usize,
    },
    /// Names of pictures.
    Path,
    /// 0, 1, 2, ...: an index that pandas or a spreadsheet wrote.
    Index,
    /// Several names in a cell.
    Lists {
        separator: char,
        names: Vec<String>,
    },
    /// One of a few names in each cell.
    Names {
        names: Vec<String>,
    },
    /// A yes and a no in other words.
    Words {
        yes: String,
        no: String,
    },
    /// Numbers between 0 and 1.
    Soft,
    /// Small whole numbers: counts, grades.
    Counts {
        most: f64,
    },
    Numbers {
        low: f64,
        high: f64,
    },
    Text,
    /// Blank throughout.
    Empty,
}

impl Profile {
    /// Counts one cell; `row` from 0, `shape` of the header's cell.
    pub fn add(&mut self, row: usize, line: u64, text: &str, spelling: &Spelling<'_>, header: &str) {
        let cell = spelling.read(text);
        self.written += usize::from(!text.is_empty());
        match cell {
            Cell::Zero => self.zeros += 1,
            Cell::One => self.ones += 1,
            Cell::Blank => self.blanks += 1,
            Cell::MinusOne => self.minus_ones += 1,
            Cell::Other => self.others += 1,
        }
        if matches!(cell, Cell::Blank | Cell::MinusOne) && self.first_unknown.is_none() {
            self.first_unknown = Some((line, text.to_owned()));
        }
        let number = match cell {
            Cell::Zero => Some(0.0),
            Cell::One => Some(1.0),
            Cell::Other => spelling.number(text),
            Cell::Blank | Cell::MinusOne => None,
        };
        if row == 0 {
            self.first_number = number.unwrap_or(f64::NAN);
        }
        let counts = number == Some(self.first_number + row as f64) && (0.0..=1.0).contains(&self.first_number);
        self.counted += usize::from(counts && self.counted == row);
        if cell != Cell::Other {
            return;
        }
        if self.first_other.is_none() {
            self.first_other = Some((line, text.to_owned()));
            (self.low, self.high) = (f64::INFINITY, f64::NEG_INFINITY);
        }
        if let Some(number) = number {
            self.numbers += 1;
            self.whole += usize::from(number.fract() == 0.0);
            (self.low, self.high) = (self.low.min(number), self.high.max(number));
        }
        self.splits += usize::from(stratification::parse(text).is_some());
        self.pictures += usize::from(is_picture(text));
        self.alike += usize::from(!header.is_empty() && shape(text) == header);
        if let Some(cells) = self.texts.get_mut(text) {
            *cells += 1;
        } else if self.texts.len() < DISTINCT {
            self.texts.insert(text.to_owned(), 1);
        } else {
            self.full = true;
        }
    }

    /// Cells that are not blank.
    pub fn filled(&self) -> usize {
        self.zeros + self.ones + self.minus_ones + self.others
    }

    /// Blanks and -1.
    pub fn unknown(&self) -> usize {
        self.blanks + self.minus_ones
    }

    /// Whether it holds nothing but 0, 1, 2, ... or 1, 2, 3, ...; of two rows nobody can tell.
    pub fn counts_up(&self) -> bool {
        self.filled() > 2 && self.counted == self.filled() + self.blanks
    }

    /// Whether most cells are names of pictures.
    pub fn names_pictures(&self) -> bool {
        self.pictures > 0 && 10 * self.pictures >= 9 * self.filled()
    }

    /// Whether all cells are names of splits.
    pub fn names_splits(&self) -> bool {
        self.splits > 0 && self.splits == self.filled() + self.blanks
    }

    /// Whether most cells look like the header's own: it may be a row.
    pub fn is_like_header(&self) -> bool {
        self.alike > 0 && 10 * self.alike >= 9 * self.filled()
    }

    /// What a column called `name` looks like.
    pub fn look(&self, name: &str) -> Look {
        let words = words(name);
        let named = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
        if self.filled() == 0 {
            return Look::Empty;
        }
        if self.counts_up() {
            return Look::Index;
        }
        if self.others == 0 {
            // `is_valid`, `test`; not `test result` or `valve`.
            let flag = words.iter().all(|word| word == "is" || SPLITS.contains(&word.as_str()));
            if words.len() > 1 && words.last().is_some_and(|word| word == "id")
                || words.iter().any(|word| word != "id" && is_id(word))
            {
                return Look::Group { groups: usize::from(self.zeros > 0) + usize::from(self.ones > 0) };
            }
            return if flag && !words.is_empty() && self.unknown() == 0 { Look::SplitFlag } else { Look::Label };
        }
        let groups = self.texts.len() + usize::from(self.zeros > 0) + usize::from(self.ones > 0);
        let owner = named(&OWNERS) || words.iter().any(|word| is_id(word));
        if self.splits == self.others && self.others == self.filled() {
            return Look::Split;
        }
        if self.names_pictures() {
            return Look::Path;
        }
        if self.numbers == self.others {
            let small = self.whole == self.numbers && self.low >= 0.0 && self.high <= 20.0;
            return match () {
                () if named(&["fold", "folds", "cv", "kfold"]) && small => Look::Fold,
                () if owner && self.whole == self.numbers => Look::Group { groups },
                () if self.low >= 0.0 && self.high <= 1.0 => Look::Soft,
                () if small => Look::Counts { most: self.high },
                () => Look::Numbers { low: self.low.min(if self.zeros > 0 { 0.0 } else { self.low }), high: self.high },
            };
        }
        if let Some((yes, no)) = self.yes_and_no() {
            return Look::Words { yes, no };
        }
        if owner {
            return Look::Group { groups };
        }
        if let Some(lists) = self.lists() {
            return lists;
        }
        if !self.full && self.texts.len() <= CLASSES && 2 * self.texts.len() <= self.others {
            return Look::Names { names: self.texts.keys().cloned().collect() };
        }
        let repeats = if self.full { false } else { 2 * self.texts.len() <= self.others };
        let coded = self.texts.keys().all(|text| text.len() <= 40 && text.bytes().any(|byte| byte.is_ascii_digit()));
        if repeats && coded { Look::Group { groups } } else { Look::Text }
    }

    /// The words for yes and no, if the others hold nothing else.
    fn yes_and_no(&self) -> Option<(String, String)> {
        let texts: Vec<&String> = self.texts.keys().collect();
        let lower = |text: &String| text.to_lowercase();
        if self.full || texts.is_empty() || texts.len() > 2 {
            return None;
        }
        let found = |yes: &str, no: &str| texts.iter().all(|text| lower(text) == yes || lower(text) == no);
        if let Some((yes, no)) = WORDS.into_iter().find(|(yes, no)| found(yes, no)) {
            let own = |word: &str| {
                texts.iter().find(|text| lower(text) == word).map_or_else(|| word.to_owned(), |text| (*text).clone())
            };
            return Some((own(yes), own(no)));
        }
        // A cross or a tick and blanks.
        let mark = texts.len() == 1 && texts[0].chars().count() == 1 && self.blanks > 0 && self.zeros + self.ones == 0;
        mark.then(|| (texts[0].clone(), String::new()))
    }

    /// The separator and the names, if cells are lists of names that come again.
    fn lists(&self) -> Option<Look> {
        if self.full {
            return None;
        }
        let of = |separator: char| {
            let mut names: BTreeMap<String, usize> = BTreeMap::new();
            let mut several = false;
            let between = separator.to_string();
            for (text, cells) in &self.texts {
                let entries: Vec<&str> = entries(text, &between).collect();
                several |= entries.len() > 1;
                for entry in entries {
                    *names.entry(entry.to_owned()).or_default() += cells;
                }
            }
            let cells: usize = names.values().sum();
            let short = names.keys().all(|name| name.chars().count() <= 60);
            let come_again = names.len() >= 2 && cells >= 3 * names.len() && names.len() < self.others;
            (several && short && come_again && names.len() <= DISTINCT / 4)
                .then(|| Look::Lists { separator, names: names.into_keys().collect() })
        };
        LISTS.into_iter().find_map(of)
    }
}

/// The split of a 1 in a column of 0 and 1 with this name: `is_valid`, `test`; a 0 is train. `is_train` does not say what a 0 is.
#[must_use]
pub fn flagged_split(name: &str) -> Option<u8> {
    let name = name.to_lowercase();
    match () {
        () if name.contains("train") => None,
        () if name.contains("val") => Some(stratification::VAL),
        () if name.contains("test") || name.contains("holdout") => Some(stratification::TEST),
        () => None,
    }
}

/// `id`, or whose: `patientid`.
fn is_id(word: &str) -> bool {
    word == "id" || word.strip_suffix("id").is_some_and(|whose| OWNERS.contains(&whose))
}

/// The entries of a list: `A|B`, `['A', 'B']`.
pub fn entries<'t>(cell: &'t str, separator: &'t str) -> impl Iterator<Item = &'t str> {
    let bare = cell.trim().trim_matches(['[', ']', '(', ')', '{', '}']);
    bare.split(separator).map(|entry| entry.trim().trim_matches(['\'', '"']).trim()).filter(|entry| !entry.is_empty())
}

/// Whether a text ends like the name of a picture.
pub fn is_picture(text: &str) -> bool {
    let ending = text.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| FOREIGN.contains(&ending.as_str()) || decode::reads(&ending))
}

/// `img000.png` → `a0.a`: letters and digits by kind, runs of them as one.
pub fn shape(text: &str) -> String {
    let mut shape = String::new();
    for letter in text.chars() {
        let kind = if letter.is_alphabetic() {
            'a'
        } else if letter.is_numeric() {
            '0'
        } else {
            letter
        };
        if !(matches!(kind, 'a' | '0') && shape.ends_with(kind)) {
            shape.push(kind);
        }
    }
    shape
}

/// `isValid_set` → `is`, `valid`, `set`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (letter.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words.last_mut().expect("there is one").extend(letter.to_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str, cells: &[&str]) -> Look {
        let mut profile = Profile::default();
        for (row, cell) in cells.iter().enumerate() {
            profile.add(row, row as u64 + 2, cell, &Spelling::default(), &shape(name));
        }
        profile.look(name)
    }

    fn again(cells: &[&str], times: usize) -> Vec<String> {
        (0..times).flat_map(|_| cells.iter().map(|cell| (*cell).to_owned())).collect()
    }

    #[test]
    fn a_column_looks_like_what_it_holds() {
        let of = |name: &str, cells: &[&str]| {
            let cells = again(cells, 6);
            look(name, &cells.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(of("A", &["0", "1"]), Look::Label);
        assert_eq!(of("A", &["0", "1", "", "-1"]), Look::Label);
        assert_eq!(of("valve", &["0", "1"]), Look::Label);
        assert_eq!(of("test result", &["0", "1"]), Look::Label);
        for name in ["is_valid", "isTest", "fold", "Validation", "is train", "subset"] {
            assert_eq!(of(name, &["0", "1"]), Look::SplitFlag, "{name}");
        }
        for name in ["subset", "anything"] {
            assert_eq!(of(name, &["train", "Test", "valid"]), Look::Split, "{name}");
        }
        assert_eq!(of("fold", &["0", "1", "2"]), Look::Fold);
        assert_eq!(of("x", &["a/1.png", "b.JPG"]), Look::Path);
        assert_eq!(look("", &["0", "1", "2", "3"]), Look::Index);
        assert_eq!(look("Unnamed: 0", &["1", "2", "3"]), Look::Index);
        assert_eq!(of("patient", &["p1", "p2"]), Look::Group { groups: 2 });
        assert_eq!(of("PatientID", &["7", "1000"]), Look::Group { groups: 2 });
        assert_eq!(of("patient_id", &["0", "1"]), Look::Group { groups: 2 });
        for name in ["covid", "Thyroid", "idea", "id"] {
            assert_eq!(of(name, &["0", "1"]), Look::Label, "{name}");
        }
        assert_eq!(of("Sex", &["Female", "Male"]), Look::Names { names: vec!["Female".into(), "Male".into()] });
        assert_eq!(of("A", &["yes", "no"]), Look::Words { yes: "yes".into(), no: "no".into() });
        assert_eq!(of("A", &["Y", "N"]), Look::Words { yes: "Y".into(), no: "N".into() });
        assert_eq!(of("A", &["x", ""]), Look::Words { yes: "x".into(), no: String::new() });
        assert_eq!(of("A", &["0.1", "1", "0"]), Look::Soft);
        assert_eq!(of("A", &["0", "3", "1"]), Look::Counts { most: 3.0 });
        assert_eq!(of("Age", &["18", "93.5"]), Look::Numbers { low: 18.0, high: 93.5 });
        assert_eq!(of("A", &["", "nan"]), Look::Empty);
        let names = || vec!["Edema".to_owned(), "Mass".to_owned(), "No Finding".to_owned()];
        assert_eq!(of("F", &["Edema|Mass", "No Finding", "Mass"]), Look::Lists { separator: '|', names: names() });
        assert_eq!(of("F", &["['Edema', 'Mass']", "['No Finding']", "['Mass']"]), Look::Lists { separator: ',', names: names() });
        let free: Vec<String> = (0..50).map(|row| format!("a note of its own, number {}", "x".repeat(row))).collect();
        assert_eq!(look("note", &free.iter().map(String::as_str).collect::<Vec<_>>()), Look::Text);
    }

    #[test]
    fn shapes_tell_a_row_from_a_header() {
        assert_eq!(shape("img000.png"), shape("img59.png"));
        assert_eq!([shape("r0"), shape("id"), shape("a b-1")], ["a0", "a", "a a-0"]);
    }
}
