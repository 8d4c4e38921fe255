//! What each column is taken for, and the grid that fits the data.

use serde::Serialize;

use crate::command::output::counted;
use data::{Ids, Look, Profile, Survey, Table, flagged_split};
use imbalance::loss::IGNORED;
use imbalance::shown::shown;
use plan::{Columns, DataFacts, InputShape, UnknownAs};

/// Names of lists that say that a row has no label.
const NONE: [&str; 14] = [
    "no finding",
    "no findings",
    "none",
    "nothing",
    "normal",
    "healthy",
    "no label",
    "no_label",
    "nolabel",
    "negative",
    "background",
    "no_finding",
    "clean",
    "empty",
];
/// Columns that are named one by one; of more labels the number.
const LABELS: usize = 20;

/// What a column was taken for, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    pub column: String,
    /// `label`, `split`, `group`, `path`, `id`, `list`, `not used`.
    pub taken: &'static str,
    pub why: String,
}

impl Taken {
    /// The sentence of the table.
    pub fn sentence(&self) -> String {
        let name = if self.column.is_empty() { "(without a name)".to_owned() } else { format!("`{}`", shown(&self.column)) };
        format!("{name}: {}, {}", self.taken, self.why)
    }
}

/// The columns of the sweep file.
#[derive(Default)]
pub struct Chosen {
    pub columns: Columns,
    pub taken: Vec<Taken>,
}

impl Chosen {
    fn take(&mut self, column: &str, taken: &'static str, why: impl Into<String>) {
        self.taken.push(Taken { column: column.to_owned(), taken, why: why.into() });
    }

    fn ignore(&mut self, column: &str, why: impl Into<String>) {
        if !column.is_empty() {
            self.columns.ignore.push(column.to_owned());
        }
        self.take(column, "not used", why);
    }
}

/// What the columns of the survey are, as far as their names and cells tell.
pub fn columns(survey: &Survey, ids: Ids) -> Chosen {
    let mut chosen = Chosen::default();
    let looks: Vec<(&str, &Profile, Look)> = survey.looks().collect();
    let path = row_names(&looks, ids);
    let labels = looks
        .iter()
        .enumerate()
        .any(|(at, (_, _, look))| Some(at) != path && matches!(look, Look::Label | Look::Words { .. } | Look::Lists { .. }));
    let patient = |name: &str| ["patient", "subject"].iter().any(|word| name.to_lowercase().contains(word));
    let is_group = |look: &Look| matches!(look, Look::Group { .. });
    let group = looks.iter().position(|(name, _, look)| is_group(look) && patient(name));
    let group = group.or_else(|| looks.iter().enumerate().position(|(at, (_, _, look))| is_group(look) && Some(at) != path));
    let mut names_taken = labels;
    for (at, (name, profile, look)) in looks.iter().enumerate() {
        if Some(at) == path {
            let what = if ids == Ids::Pictures { "path" } else { "id" };
            chosen.columns.path = (at > 0 && !name.is_empty()).then(|| (*name).to_owned());
            let why =
                if profile.names_pictures() { "its cells name pictures".to_owned() } else { "it names the rows".to_owned() };
            chosen.take(name, what, why);
            continue;
        }
        match look {
            Look::Split => {
                if chosen.columns.split.is_none() && !chosen.taken.iter().any(|taken| taken.taken == "split") {
                    chosen.columns.split = (!name.eq_ignore_ascii_case("split")).then(|| (*name).to_owned());
                    chosen.take(name, "split", "its cells are train, val and test");
                } else {
                    chosen.ignore(name, "another split");
                }
            }
            Look::SplitFlag if flagged_split(name).is_some() && chosen.columns.split.is_none() => {
                chosen.columns.split = Some((*name).to_owned());
                chosen.take(name, "split", "0 and 1, and a name that says which 1 is; label_columns if it is a label");
            }
            Look::SplitFlag | Look::Fold => chosen.ignore(name, "numbers of folds"),
            Look::Group { groups } if Some(at) == group => {
                chosen.columns.group = Some((*name).to_owned());
                chosen.take(name, "group", format!("{groups} values: rows that share one stay in one split"));
            }
            Look::Group { groups } => {
                chosen.ignore(name, format!("{groups} values; group_column, if rows that share one belong together"))
            }
            Look::Lists { separator, names } => {
                chosen.columns.lists.insert((*name).to_owned(), separator.to_string());
                let none = lone(names);
                let why = format!(
                    "lists of {} names, separated by {separator:?}{}",
                    names.len(),
                    none.as_ref().map_or_else(String::new, |none| format!("; `{none}` is no label"))
                );
                chosen.columns.no_label.extend(none);
                chosen.columns.no_label.extend((profile.blanks > 0).then(String::new));
                chosen.take(name, "list", why);
            }
            Look::Names { names } if !names_taken => {
                names_taken = true;
                chosen.columns.lists.insert((*name).to_owned(), "|".to_owned());
                chosen.columns.no_label.extend(lone(names));
                chosen.take(name, "list", format!("one of {} names in each cell: a label for each", names.len()));
            }
            Look::Names { names } => {
                chosen.ignore(name, format!("one of {} names; label_lists makes a label of each", names.len()))
            }
            Look::Words { yes, no } => {
                let word = |words: &mut Vec<String>, word: &str| {
                    if !words.iter().any(|known| known == word) {
                        words.push(word.to_owned());
                    }
                };
                word(&mut chosen.columns.positive, yes);
                word(&mut chosen.columns.negative, no);
                chosen.take(
                    name,
                    "label",
                    format!("`{yes}` is 1 and {} 0", if no.is_empty() { "a blank".to_owned() } else { format!("`{no}`") }),
                );
            }
            Look::Label => label(&mut chosen, name, profile),
            Look::Path => chosen.ignore(name, "names of pictures"),
            Look::Index => chosen.ignore(name, "it counts the rows"),
            Look::Soft => chosen.ignore(name, "numbers between 0 and 1: write 0 and 1 if it is a label"),
            Look::Counts { most } => chosen.ignore(name, format!("whole numbers up to {most}: write 0 and 1 if it is a label")),
            Look::Numbers { low, high } => chosen.ignore(name, format!("numbers from {low} to {high}")),
            Look::Text => chosen.ignore(name, "text"),
            Look::Empty => chosen.ignore(name, "blank throughout"),
        }
    }
    unnamed(&mut chosen, survey);
    fold_labels(&mut chosen);
    chosen
}

/// What `read` leaves out unasked need not be named.
fn unnamed(chosen: &mut Chosen, survey: &Survey) {
    chosen.columns.ignore.retain(|name| !name.starts_with("Unnamed:") || survey.names.iter().all(|other| other != name));
    if survey.names.first().is_some_and(|name| name.starts_with("Unnamed:")) && chosen.columns.path.is_none() {
        // The path column follows the index.
        chosen.columns.path =
            chosen.taken.iter().find(|taken| ["path", "id"].contains(&taken.taken)).map(|taken| taken.column.clone());
    }
}

/// A label of 0 and 1, perhaps with cells that nothing is known about.
fn label(chosen: &mut Chosen, name: &str, profile: &Profile) {
    let Profile { zeros, ones, blanks, minus_ones, .. } = profile;
    if *minus_ones > 0 && *zeros == 0 && *blanks == 0 {
        chosen.columns.negative.push("-1".to_owned());
        chosen.take(name, "label", "-1 and 1: -1 is taken for 0");
    } else if *blanks > 0 && *zeros == 0 && *ones > 0 {
        // Without a single 0, a blank is one.
        if !chosen.columns.negative.iter().any(String::is_empty) {
            chosen.columns.negative.push(String::new());
        }
        if *minus_ones > 0 {
            chosen.columns.unknown.all = UnknownAs::Ignore;
        }
        chosen.take(
            name,
            "label",
            format!("1 and blanks, no 0: a blank is taken for 0{}", if *minus_ones > 0 { ", -1 for unknown" } else { "" }),
        );
    } else if profile.unknown() > 0 {
        chosen.columns.unknown.all = UnknownAs::Ignore;
        chosen.take(name, "label", format!("0 and 1; left out: {}", open_cells(*blanks, *minus_ones)));
    } else {
        chosen.take(name, "label", format!("{ones} of 1, {zeros} of 0"));
    }
}

/// `18 blanks and 3 of -1`.
fn open_cells(blanks: usize, minus_ones: usize) -> String {
    let blank = (blanks > 0).then(|| counted(blanks, "blank"));
    let minus = (minus_ones > 0).then(|| format!("{minus_ones} of -1"));
    blank.into_iter().chain(minus).collect::<Vec<_>>().join(" and ")
}

/// Many labels of 0 and 1 are one line.
fn fold_labels(chosen: &mut Chosen) {
    let labels = chosen.taken.iter().filter(|taken| taken.taken == "label").count();
    if labels > LABELS {
        let first =
            chosen.taken.iter().find(|taken| taken.taken == "label").map(|taken| taken.column.clone()).unwrap_or_default();
        chosen.taken.retain(|taken| taken.taken != "label");
        chosen.take(&first, "label", format!("and {} more: 0 and 1", labels - 1));
    }
}

/// The column of paths or ids.
fn row_names(looks: &[(&str, &Profile, Look)], ids: Ids) -> Option<usize> {
    if ids == Ids::Pictures {
        let named = looks.iter().position(|(_, profile, _)| profile.names_pictures());
        return named.or_else(|| looks.iter().position(|(_, _, look)| *look == Look::Text)).or(Some(0));
    }
    let first = looks.first()?;
    match first.2 {
        Look::Index if looks.get(1).is_some_and(|(_, _, look)| matches!(look, Look::Text | Look::Path)) => Some(1),
        Look::Label | Look::SplitFlag | Look::Words { .. } => None,
        _ => Some(0),
    }
}

/// The name among `names` that says that there is no label.
fn lone(names: &[String]) -> Option<String> {
    names.iter().find(|name| NONE.contains(&name.to_lowercase().trim())).cloned()
}

/// Leaves out labels that have one class only. Returns whether there were any.
pub fn without_one_class(chosen: &mut Chosen, table: &Table, survey: &Survey) -> bool {
    if chosen.columns.path.is_none() && chosen.taken.iter().all(|taken| !["path", "id"].contains(&taken.taken)) {
        chosen.columns.path = Some(plan::NO_COLUMN.to_owned());
    }
    let labels = &table.labels;
    let width = labels.names.len();
    let mut found = false;
    for (label, name) in labels.names.iter().enumerate() {
        let cells = labels.values.iter().skip(label).step_by(width.max(1)).filter(|value| **value != IGNORED);
        let (positives, known) =
            cells.fold((0, 0), |(positives, known), value| (positives + usize::from(*value == 1), known + 1));
        if (positives == 0 || positives == known) && survey.names.contains(name) {
            found = true;
            chosen.taken.retain(|taken| taken.column != *name);
            chosen.ignore(name, format!("{positives} of {known} rows have it: nothing can be learnt about that"));
        }
    }
    found
}

/// One grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    pub losses: Vec<&'static str>,
    pub weights: Vec<&'static str>,
    pub samplers: Vec<&'static str>,
    pub seeds: usize,
    /// `linear` or `mlp` of features; `cnn` of images.
    pub arch: &'static str,
    /// Why these, a sentence each.
    pub why: Vec<String>,
}

/// Grids that fit the imbalance, the largest first.
pub fn grids(facts: &DataFacts) -> Vec<Grid> {
    let prevalences: Vec<f64> = facts.train.prevalences().unwrap_or_default();
    let rarest = prevalences.iter().copied().fold(f64::INFINITY, f64::min);
    let commonest = prevalences.iter().copied().fold(0.0, f64::max);
    let skewed = rarest < 0.35 || commonest > 0.65;
    let uneven = commonest > 2.0 * rarest && prevalences.len() > 1;
    let arch = match facts.input {
        InputShape::Image { .. } => "cnn",
        InputShape::Features { width } if facts.train.rows < 20 * width => "linear",
        InputShape::Features { .. } => "mlp",
    };
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mut why = Vec::new();
    if skewed {
        why.push(format!("labels lie on {} to {} of the rows: weights are worth a try", percent(rarest), percent(commonest)));
    } else {
        why.push("labels are near one half of the rows: weights would change little".to_owned());
    }
    if uneven {
        why.push("the commonest label is more than twice as frequent as the rarest: so is a sampler".to_owned());
    }
    let weights: &[&'static str] = if skewed { &["none", "sqrt", "neg_over_pos"] } else { &["none"] };
    let samplers: &[&'static str] = if uneven { &["shuffle", "class_aware"] } else { &["shuffle"] };
    let grid = |losses: &[&'static str], weights: &[&'static str], samplers: &[&'static str], seeds| Grid {
        losses: losses.to_vec(),
        weights: weights.to_vec(),
        samplers: samplers.to_vec(),
        seeds,
        arch,
        why: why.clone(),
    };
    let fewer: &[&'static str] = if skewed { &["none", "neg_over_pos"] } else { weights };
    vec![
        grid(&["bce", "focal", "asl"], weights, samplers, 9),
        grid(&["bce", "focal", "asl"], weights, samplers, 5),
        grid(&["bce", "focal", "asl"], fewer, samplers, 5),
        grid(&["bce", "focal"], fewer, samplers, 5),
        grid(&["bce", "focal"], fewer, &["shuffle"], 5),
        grid(&["bce", "focal"], fewer, &["shuffle"], 3),
        grid(&["bce"], fewer, &["shuffle"], 3),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(csv: &str, ids: Ids) -> (Chosen, Table) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.csv");
        std::fs::write(&file, csv).unwrap();
        let survey = data::survey(&file, &Columns::default()).unwrap();
        let mut chosen = columns(&survey, ids);
        let table = data::read_labels(&file, &chosen.columns, ids).unwrap();
        without_one_class(&mut chosen, &table, &survey);
        let table = data::read_labels(&file, &chosen.columns, ids).unwrap();
        (chosen, table)
    }

    fn rows(header: &str, row: impl Fn(usize) -> String) -> String {
        (0..40).fold(format!("{header}\n"), |csv, at| csv + &row(at) + "\n")
    }

    #[test]
    fn a_messy_file_is_read_as_it_is_meant() {
        let csv = rows("patient,Path,Sex,Age,is_test,A,B,note", |at| {
            let b = ["0", "1", "", "-1"][at % 4];
            format!(
                "p{},x/{at}.jpg,{},{},{},{},{b},free text {at}",
                at / 3,
                ["F", "M"][at % 2],
                20 + at,
                usize::from(at % 5 == 0),
                at % 2
            )
        });
        let (chosen, table) = chosen(&csv, Ids::Pictures);
        let Columns { path, split, group, ignore, unknown, .. } = &chosen.columns;
        assert_eq!((path.as_deref(), split.as_deref(), group.as_deref()), (Some("Path"), Some("is_test"), Some("patient")));
        assert_eq!(ignore, &["Sex", "Age", "note"]);
        assert_eq!(unknown.all, UnknownAs::Ignore);
        assert_eq!(&*table.labels.names, ["A", "B"]);
        assert_eq!(chosen.taken.len(), 8, "every column is accounted for");
    }

    #[test]
    fn lists_classes_words_and_constants_become_labels_or_are_left_out() {
        let csv = rows("Image Index,Finding Labels,Follow-up #", |at| {
            format!("{at}.png,{},{at}", ["Mass|Edema", "No Finding", "Edema"][at % 3])
        });
        let (lists, table) = chosen(&csv, Ids::Pictures);
        assert_eq!(
            (lists.columns.no_label.as_slice(), &*table.labels.names),
            (&["No Finding".to_owned()][..], &["Edema".to_owned(), "Mass".to_owned()][..])
        );
        let csv = rows("id,class", |at| format!("r{at},{}", ["cat", "dog", "bird"][at % 3]));
        assert_eq!(&*chosen(&csv, Ids::Rows).1.labels.names, ["bird", "cat", "dog"]);
        let csv = rows("id,A,B,never", |at| format!("r{at},{},{},0", ["yes", "no"][at % 2], at / 2 % 2));
        let (words, table) = chosen(&csv, Ids::Rows);
        assert_eq!(
            (&*table.labels.names, words.columns.ignore.as_slice()),
            (&["A".to_owned(), "B".to_owned()][..], &["never".to_owned()][..])
        );
    }
}
