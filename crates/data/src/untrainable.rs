//! Data that can be read and described, but that nothing can be trained on: a split without rows, a label of which the train rows have
//! one class only. `sweep data` and `sweep plan` show it with what can be done; `sweep run` refuses it before anything trains.

use imbalance::LabelCounts;
use imbalance::shown::{json, shown};
use imbalance::stratification::NAMES;
use plan::{DataConfig, Source};
use serde::Serialize;

use crate::{DataError, place_of};

/// Labels that are named in a sentence; [`Untrainable::ignore_columns`] has all.
const NAMED: usize = 12;
/// Characters of a line of TOML.
const LINE: usize = 100;

/// Why nothing can be trained on the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Untrainable {
    /// The file that the sentences are about.
    pub place: String,
    /// A sentence for each reason.
    pub reasons: Vec<String>,
    /// What to do about labels; empty where only splits are to blame.
    pub remedy: String,
    /// The value of `data.ignore_columns` with which the rest can be trained on: columns that are ignored already, then labels.
    /// Empty where that would not help.
    pub ignore_columns: Vec<String>,
}

impl Untrainable {
    /// `ignore_columns = [...]`, ready to be pasted below `[data]`: on one line if it fits, empty where it would not help.
    #[must_use]
    pub fn toml(&self) -> String {
        let quoted: Vec<String> = self.ignore_columns.iter().map(|name| quoted(name)).collect();
        let line = format!("ignore_columns = [{}]", quoted.join(", "));
        if quoted.is_empty() || line.chars().count() <= LINE {
            return if quoted.is_empty() { String::new() } else { line };
        }
        let mut lines = vec!["ignore_columns = [".to_owned(), String::new()];
        for name in quoted {
            let last = lines.last_mut().expect("there are two lines or more");
            if !last.is_empty() && last.chars().count() + name.chars().count() + 2 > LINE {
                lines.push(format!("    {name},"));
            } else {
                let gap = if last.is_empty() { "    " } else { " " };
                last.push_str(&format!("{gap}{name},"));
            }
        }
        lines.join("\n") + "\n]"
    }
}

impl std::fmt::Display for Untrainable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reasons, remedy, .. } = self;
        write!(f, "{}{}{remedy}", reasons.join("; "), if remedy.is_empty() { "" } else { ". " })?;
        let toml = self.toml();
        if toml.is_empty() { Ok(()) } else { write!(f, ":\n{toml}") }
    }
}

impl From<Untrainable> for DataError {
    fn from(found: Untrainable) -> Self {
        Self { place: found.place.clone(), message: found.to_string() }
    }
}

/// A basic string of TOML: escaped as in JSON.
pub fn quoted(name: &str) -> String {
    json(&serde_json::Value::from(name).to_string()).replace('\u{7f}', "\\u007f")
}

/// Whether something can be trained: each split has rows, and the train rows have both known classes of every label (weights, starts
/// and losses are undefined without). `counts` are those of train, val and test; `labels` their names; `groups` how many groups the rows
/// have, if they have any.
///
/// # Errors
/// What is missing, and what to do.
pub fn trainable(
    config: &DataConfig,
    labels: &[String],
    counts: [&LabelCounts; 3],
    groups: Option<usize>,
) -> Result<(), Untrainable> {
    let rows: usize = counts.iter().map(|counts| counts.rows).sum();
    let empty = NAMES.iter().zip(counts).filter(|(_, counts)| counts.rows == 0);
    let mut reasons: Vec<String> = empty
        .map(|(split, _)| {
            let plural = if rows == 1 { "" } else { "s" };
            match groups.filter(|groups| *groups < counts.len()) {
                Some(groups) => {
                    let groups = if groups == 1 { "1 group".to_owned() } else { format!("{groups} groups") };
                    format!(
                        "no row is in the {split} split: {groups} cannot fill {} splits, and rows of one group stay together",
                        counts.len()
                    )
                }
                None => {
                    format!("no row is in the {split} split: {rows} row{plural} in all; see `data.split` and the split column")
                }
            }
        })
        .collect();
    let train = counts[0];
    let with = |lacks: &dyn Fn(usize) -> bool| -> Vec<usize> {
        (0..labels.len()).filter(|&label| train.rows > 0 && lacks(label)).collect()
    };
    let never = with(&|label| train.positives[label] == 0);
    let always = with(&|label| train.positives[label] > 0 && train.negatives(label) == 0);
    for (who, bad) in [("no row", &never), ("every row", &always)] {
        if !bad.is_empty() {
            let aside = if bad.iter().any(|&label| train.known(label) < train.rows) { ", unknown values aside" } else { "" };
            reasons.push(format!(
                "{who} of the train split ({} rows{aside}) carries {}: nothing can be learnt about that",
                train.rows,
                named(&bad.iter().map(|&label| &labels[label]).collect::<Vec<_>>())
            ));
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let bad = labels.iter().enumerate().filter(|(label, _)| never.contains(label) || always.contains(label));
    let bad: Vec<&String> = bad.map(|(_, name)| name).collect();
    let (remedy, ignore_columns) = remedy(config, &bad, labels.len());
    Err(Untrainable { place: place_of(config), reasons, remedy, ignore_columns })
}

/// What to do about labels of one class.
fn remedy(config: &DataConfig, bad: &[&String], all: usize) -> (String, Vec<String>) {
    let left = all - bad.len();
    let (Source::Images { columns, .. } | Source::Features { columns, .. }) = &config.source else {
        return if bad.is_empty() {
            Default::default()
        } else {
            ("Take more `data.samples`, or another rate in `data.label_rates`".to_owned(), Vec::new())
        };
    };
    if bad.is_empty() {
        return Default::default();
    }
    let (it, labels) = if bad.len() == 1 { ("it", "label") } else { ("them", "labels") };
    if left == 0 {
        return (format!("Give {it} other rows: no label is left without {it}"), Vec::new());
    }
    let place = if columns.ignore.is_empty() { "below [data]" } else { "in place of the present `ignore_columns`" };
    let remedy = format!(
        "Give {it} other rows, or leave the {labels} out, with this {place} (macro F1 is then a mean over {left} labels instead of {all})"
    );
    (remedy, columns.ignore.iter().chain(bad.iter().copied()).cloned().collect())
}

/// `the label `a``, `the labels `a`, `b` and 3 more`.
fn named(labels: &[&String]) -> String {
    let names: Vec<String> = labels.iter().take(NAMED).map(|name| format!("`{}`", shown(name))).collect();
    let more = if labels.len() > NAMED { format!(" and {} more", labels.len() - NAMED) } else { String::new() };
    format!("the {} {}{more}", if labels.len() == 1 { "label" } else { "labels" }, names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::stratification::SplitConfig;
    use plan::Columns;

    fn config(ignore: &[&str]) -> DataConfig {
        let columns = Columns { ignore: ignore.iter().map(|&name| name.to_owned()).collect(), ..Columns::default() };
        DataConfig {
            source: Source::Features { features: "x.npy".into(), labels: "labels.csv".into(), columns, standardize: true },
            split: SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "iterative".to_owned(), seed: 0 },
        }
    }

    fn counts(rows: usize, positives: &[usize]) -> LabelCounts {
        LabelCounts::new(rows, positives.to_vec())
    }

    fn found(ignore: &[&str], labels: &[&str], train: &LabelCounts) -> Result<(), Untrainable> {
        let labels: Vec<String> = labels.iter().map(|&name| name.to_owned()).collect();
        let other = counts(3, &vec![1; labels.len()]);
        trainable(&config(ignore), &labels, [train, &other, &other], None)
    }

    #[test]
    fn labels_of_one_class_are_named_with_the_line_that_leaves_them_out() {
        assert_eq!(found(&[], &["a", "b"], &counts(9, &[1, 8])), Ok(()));
        let error =
            DataError::from(found(&["age"], &["a", "b \"c\"", "d", "e"], &counts(9, &[1, 0, 9, 4])).unwrap_err()).to_string();
        assert!(error.starts_with("labels.csv: no row of the train split (9 rows) carries the label `b \"c\"`"), "{error}");
        assert!(error.contains("every row of the train split (9 rows) carries the label `d`"), "{error}");
        assert!(error.contains("over 2 labels instead of 4"), "{error}");
        assert!(error.ends_with(":\nignore_columns = [\"age\", \"b \\\"c\\\"\", \"d\"]"), "{error}");
    }

    /// A label must have both classes among the rows that know it; one that nobody knows has no positive.
    #[test]
    fn unknown_cells_are_no_class() {
        let counts = |unknown| counts(9, &[1, 3, 0]).with_unknown(unknown);
        assert_eq!(found(&[], &["a", "b"], &counts(vec![7, 5, 0]).of_labels(&[0, 1])), Ok(()));
        let error = found(&[], &["a", "b", "c"], &counts(vec![7, 6, 9])).unwrap_err();
        assert!(error.reasons[0].starts_with("no row of the train split (9 rows, unknown values aside) carries the label `c`"));
        assert!(
            error.reasons[1].starts_with("every row of the train split (9 rows, unknown values aside) carries the label `b`")
        );
        assert_eq!((error.reasons.len(), error.ignore_columns), (2, vec!["b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn a_long_line_is_broken_and_stays_toml() {
        let names: Vec<String> = (0..60).map(|at| format!("a label called {at}")).collect();
        let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
        all.push("kept");
        let mut positives = vec![0; 60];
        positives.push(4);
        let error = found(&[], &all, &counts(9, &positives)).unwrap_err();
        let toml = error.toml();
        assert!(toml.lines().all(|line| line.chars().count() <= LINE + 2), "{toml}");
        assert!(toml.starts_with("ignore_columns = [\n    \"a label called 0\", "), "{toml}");
        assert_eq!(toml.matches("\"a label called").count(), 60);
        assert!(error.reasons[0].contains("and 48 more"), "{}", error.reasons[0]);
    }

    #[test]
    fn what_leaving_out_does_not_help_has_no_line() {
        let all = found(&[], &["a"], &counts(9, &[0])).unwrap_err();
        assert!(all.toml().is_empty() && all.remedy.contains("no label is left"), "{all}");
        let labels = ["a".to_owned()];
        let (some, none) = (counts(2, &[1]), counts(0, &[0]));
        let empty = trainable(&config(&[]), &labels, [&some, &some, &none], None).unwrap_err();
        assert_eq!((empty.reasons.len(), empty.remedy.as_str(), empty.toml().as_str()), (1, "", ""));
        assert!(empty.to_string().contains("no row is in the test split: 4 rows in all"), "{empty}");
        let no_train = trainable(&config(&[]), &labels, [&none, &some, &some], None).unwrap_err();
        assert_eq!(no_train.reasons.len(), 1, "{no_train}");
        let few = trainable(&config(&[]), &labels, [&some, &none, &some], Some(2)).unwrap_err();
        assert!(few.to_string().contains("no row is in the val split: 2 groups cannot fill 3 splits"), "{few}");
    }
}
