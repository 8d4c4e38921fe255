//! Scores of a model that was trained elsewhere, beside the CSV of its labels: read, checked, and divided into val and test.

use std::path::Path;

use super::matrix::{Matrix, load};
use super::table::{self, Called, Table};
use super::{DataError, Ids, settle};
use imbalance::LabelCounts;
use imbalance::evaluation::probabilities;
use imbalance::loss::IGNORED;
use imbalance::metric::calibration::{logit, logit_f64};
use imbalance::metric::{Curve, in_order, merged, rank, rank_logits};
use imbalance::shown::shown;
use imbalance::{LabelMatrix, stratification};
use plan::InputShape;
use plan::{Columns, DataFacts, FORMAT, Fingerprint};

/// The files of an import. Which rows belong to which split:
///
/// - without a split column, the rows of `labels` are validation and the rows of `test_labels` are test;
/// - with one, a file of scores has a row for every row of the CSV (those of its split are taken) or for those of its split only.
///   Scores of every row serve validation and test alike, unless `test_scores` are given.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// `.npy` or `.safetensors`, `[rows, labels]`.
    pub scores: &'a Path,
    pub labels: &'a Path,
    pub test_scores: Option<&'a Path>,
    /// The CSV of `test_scores`; `labels` by default.
    pub test_labels: Option<&'a Path>,
    /// The columns of the CSVs that are not labels.
    pub columns: &'a Columns,
    /// Whether the scores are logits; else they are probabilities.
    pub logits: bool,
}

/// One split.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Row-major probabilities.
    pub scores: Vec<f32>,
    /// Their logits, in the order that the values of the file have: what float32 probabilities round to one number stays apart.
    pub logits: Vec<f32>,
    pub truth: LabelMatrix,
}

impl Scored {
    /// Whether its logits rank otherwise than its probabilities do.
    fn is_finer(&self) -> bool {
        let (by_logits, by_scores) = (rank_logits(&self.logits, &self.scores, &self.truth), rank(&self.scores, &self.truth));
        (by_logits.ap, by_logits.auc) != (by_scores.ap, by_scores.auc)
    }
}

/// What the files hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    pub val: Scored,
    pub test: Option<Scored>,
    /// Of the rows that the CSV calls `train`; no rows where it does not say.
    pub train: LabelCounts,
    /// Warnings about what looks like a mistake, one sentence each.
    pub doubts: Vec<String>,
}

impl Imported {
    /// Reads and checks `files`.
    ///
    /// # Errors
    /// The first fault, with its file, row and column.
    pub fn read(files: &Files<'_>) -> Result<Self, DataError> {
        let table = Labels::read(files.labels, files.columns)?;
        let mut doubts = Vec::new();
        let file = Scores::read(files.scores, files.logits)?;
        let val = file.part(&table, stratification::VAL, &mut doubts)?;
        let test = match (files.test_scores, files.test_labels) {
            (None, _) if file.matrix.rows == table.rows() && table.has(stratification::TEST) => {
                Some(file.part(&table, stratification::TEST, &mut Vec::new())?)
            }
            (None, _) => None,
            (Some(scores), None) if table.has(stratification::TEST) => {
                Some(Scores::read(scores, files.logits)?.part(&table, stratification::TEST, &mut doubts)?)
            }
            (Some(_), None) => {
                let message = "no row of it is of split `test`: give --test-labels, or a column `split` that says which rows are";
                return Err(DataError { place: files.labels.display().to_string(), message: message.to_owned() });
            }
            (Some(scores), Some(labels)) => {
                let other = Labels::read(labels, files.columns)?;
                table.same_labels(&other)?;
                Some(Scores::read(scores, files.logits)?.part(&other, stratification::TEST, &mut doubts)?)
            }
        };
        Ok(Self { val, test, train: table.train(), doubts })
    }

    /// The facts that the database keeps: counts where they are known, 0 rows elsewhere.
    #[must_use]
    pub fn facts(&self) -> DataFacts {
        let names = &self.val.truth.names;
        let none = || LabelCounts::new(0, vec![0; names.len()]);
        let test = self.test.as_ref().map(|test| &test.truth);
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        names.iter().for_each(|name| add(name.as_bytes()));
        add(&self.val.truth.values);
        add(test.map_or(&[], |truth| &truth.values));
        let LabelCounts { rows, positives, unknown } = &self.train;
        std::iter::once(rows).chain(positives).chain(unknown).for_each(|count| add(&(*count as u64).to_le_bytes()));
        DataFacts {
            content: hasher.finalize().to_hex()[..32].to_owned(),
            labels: names.to_vec(),
            input: InputShape::Features { width: 0 },
            train: self.train.clone(),
            val: self.val.truth.counts(),
            test: test.map_or_else(none, LabelMatrix::counts),
            folder: std::path::PathBuf::new(),
        }
    }

    /// The fingerprint of the run: the hash of its scores and of their data, independent of file names. Logits count where they rank
    /// otherwise than the probabilities, by which older versions ranked: other results have another name.
    #[must_use]
    pub fn fingerprint(&self, facts: &DataFacts) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("imported {FORMAT} {}", facts.content).as_bytes());
        for part in std::iter::once(&self.val).chain(&self.test) {
            hasher.update(&(part.scores.len() as u64).to_le_bytes());
            for score in &part.scores {
                hasher.update(&score.to_le_bytes());
            }
            if part.is_finer() {
                hasher.update(b"logits");
                for logit in &part.logits {
                    hasher.update(&logit.to_le_bytes());
                }
            }
        }
        Fingerprint(hasher.finalize().to_hex()[..32].to_owned())
    }
}

/// The names of the rows of a split that was imported with the labels of `csv`, read again: those of its first column. `truth` is what
/// was imported of the split, `labels` its columns.
///
/// # Errors
/// A CSV that cannot be read or that is not what it was: other labels, rows or values.
pub fn imported_ids(csv: &Path, columns: &Columns, labels: &[String], split: u8, truth: &[u8]) -> Result<Vec<String>, DataError> {
    let fault = |message: String| DataError { place: csv.display().to_string(), message };
    // Imports of versions that did not keep `columns`: the labels are known, and everything else but the first column is none.
    let columns = Columns { labels: labels.to_vec(), ignore: Vec::new(), ..columns.clone() };
    let read = Labels::read(csv, &columns)?;
    let rows = read.of(split);
    if *read.table.labels.names != *labels || read.table.labels.select(&rows).values != truth {
        return Err(fault("is not what was imported".to_owned()));
    }
    Ok(rows.iter().map(|&row| read.table.ids[row as usize].clone()).collect())
}

/// A CSV of labels.
struct Labels<'a> {
    file: &'a Path,
    table: Table,
}

impl<'a> Labels<'a> {
    fn read(file: &'a Path, columns: &Columns) -> Result<Self, DataError> {
        let mut table = table::read(file, columns, Called::Flags, Ids::Rows)?;
        settle(&mut table.labels, &columns.unknown, None);
        Ok(Self { file, table })
    }

    fn rows(&self) -> usize {
        self.table.labels.rows()
    }

    /// Rows of `split`; of a CSV that has no such column: all.
    fn of(&self, split: u8) -> Vec<u32> {
        let splits = self.table.splits.as_deref();
        (0..self.rows()).filter(|&row| splits.is_none_or(|splits| splits[row] == split)).map(|row| row as u32).collect()
    }

    /// Whether the CSV has a split column with rows of `split`.
    fn has(&self, split: u8) -> bool {
        self.table.splits.as_ref().is_some_and(|splits| splits.contains(&split))
    }

    fn train(&self) -> LabelCounts {
        let rows = if self.table.splits.is_some() { self.of(stratification::TRAIN) } else { Vec::new() };
        self.table.labels.select(&rows).counts()
    }

    fn same_labels(&self, other: &Self) -> Result<(), DataError> {
        let (ours, theirs) = (&self.table.labels.names, &other.table.labels.names);
        if ours == theirs {
            return Ok(());
        }
        let at = ours.iter().zip(theirs.iter()).position(|(a, b)| a != b).unwrap_or_else(|| ours.len().min(theirs.len()));
        let named = |names: &[String]| names.get(at).map_or_else(|| "missing".to_owned(), |name| format!("`{}`", shown(name)));
        let (number, first) = (at + 1, self.file.display());
        let message = format!(
            "label {number} is {}, but {} in {first}: both must have the same labels in the same order",
            named(theirs),
            named(ours)
        );
        Err(DataError { place: other.file.display().to_string(), message })
    }
}

/// Scores of which fewer say nothing about what they are.
const FEW: usize = 40;
/// Labels up to which every column is compared with every label.
const MIXED: usize = 60;

/// Area under the ROC curve of one column's scores for a label, and its standard error where nothing is learnt
/// (of the rank sum: Mann and Whitney 1947).
fn area_and_spread(logits: &[f32], truth: &LabelMatrix, scores: usize, label: usize) -> Option<(f64, f64)> {
    let width = truth.names.len();
    let known = || {
        (0..truth.rows())
            .map(|row| (logits[row * width + scores], truth.values[row * width + label]))
            .filter(|(_, y)| *y != IGNORED)
    };
    let (column, values): (Vec<f32>, Vec<u8>) = known().unzip();
    let one = LabelMatrix { names: vec![String::new()].into(), values };
    let area = Curve::of(&column, &one, 0).roc_auc()?;
    let positives = one.values.iter().filter(|value| **value == 1).count() as f64;
    let negatives = one.values.len() as f64 - positives;
    Some((area, ((positives + negatives + 1.0) / (12.0 * positives * negatives)).sqrt()))
}

/// A file of scores.
struct Scores<'a> {
    file: &'a Path,
    matrix: Matrix<f64>,
    logits: bool,
}

impl<'a> Scores<'a> {
    fn read(file: &'a Path, logits: bool) -> Result<Self, DataError> {
        let matrix = load(file, "scores").map_err(|message| DataError { place: file.display().to_string(), message })?;
        Ok(Self { file, matrix, logits })
    }

    fn wrong(&self, message: String) -> DataError {
        DataError { place: self.file.display().to_string(), message }
    }

    /// The scores of the rows of `split` as probabilities, and their truth.
    fn part(&self, labels: &Labels<'_>, split: u8, doubts: &mut Vec<String>) -> Result<Scored, DataError> {
        let (name, csv) = (stratification::NAMES[usize::from(split)], labels.file.display());
        let names = &labels.table.labels.names;
        if self.matrix.width != names.len() {
            let listed: Vec<String> = names.iter().take(12).map(|name| format!("`{}`", shown(name))).collect();
            let more = if names.len() > 12 { ", ..." } else { "" };
            return Err(self.wrong(format!(
                "{} columns of scores, but {csv} has {} labels ({}{more}): they must agree; columns that are not labels belong in --ignore-columns",
                self.matrix.width,
                names.len(),
                listed.join(", ")
            )));
        }
        let rows = labels.of(split);
        if rows.is_empty() {
            let message = format!("no row of it is of split `{name}`");
            return Err(DataError { place: csv.to_string(), message });
        }
        let all = labels.rows();
        // Where row i of the truth has its scores.
        let places: Vec<usize> = match self.matrix.rows {
            found if found == all => rows.iter().map(|&row| row as usize).collect(),
            found if found == rows.len() => (0..found).collect(),
            found => {
                let part = if rows.len() < all { format!(", {} of them of split `{name}`", rows.len()) } else { String::new() };
                let right = if rows.len() < all { "one row for each of all, or for each of these" } else { "one row for each" };
                return Err(self.wrong(format!("{found} rows of scores, but {csv} has {all} rows{part}: there must be {right}")));
            }
        };
        let mut values = Vec::with_capacity(places.len() * names.len());
        for (&row, &place) in rows.iter().zip(&places) {
            for (column, &value) in self.matrix.values[place * names.len()..][..names.len()].iter().enumerate() {
                let fault = if !value.is_finite() {
                    "every score must be a finite number"
                } else if !self.logits && !(0.0..=1.0).contains(&(value as f32)) {
                    "a probability lies between 0 and 1. Are these logits? Then use --logits"
                } else {
                    values.push(value);
                    continue;
                };
                let value = if self.matrix.double { value.to_string() } else { (value as f32).to_string() };
                let (line, id) = (labels.table.lines[row as usize], shown(&labels.table.ids[row as usize]));
                return Err(self.wrong(format!(
                    "row {place}, column {column} (both from 0; label `{}`, line {line} of {csv}, `{id}`) is {value}: {fault}",
                    shown(&names[column])
                )));
            }
        }
        let (scores, logits) = self.both(&values);
        let truth = labels.table.labels.select(&rows);
        let doubted: Vec<String> = self.doubt(&values, &scores).into_iter().chain(self.merged(&logits, &truth)).collect();
        // What is doubted already has a cause of its own.
        doubts.extend(if doubted.is_empty() { self.mixed_up(&logits, &truth, labels).into_iter().collect() } else { doubted });
        Ok(Scored { scores, logits, truth })
    }

    /// Probabilities and logits of values of the file, each from the value itself.
    fn both(&self, values: &[f64]) -> (Vec<f32>, Vec<f32>) {
        if self.logits {
            // A logit beyond float32 is its largest.
            let rounded: Vec<f32> = values.iter().map(|&value| (value as f32).clamp(f32::MIN, f32::MAX)).collect();
            return (probabilities(&rounded), in_order(values, |logit| logit));
        }
        let logits = in_order(values, |p| if self.matrix.double { logit_f64(p) } else { logit(p as f32) });
        (values.iter().map(|&p| p as f32).collect(), logits)
    }

    /// A warning about probabilities that were logits too large for them.
    fn merged(&self, logits: &[f32], truth: &LabelMatrix) -> Option<String> {
        let merged = if self.logits { 0 } else { merged(logits, truth, logit(0.9999) as f32) };
        let (file, width) = (self.file.display(), if self.matrix.double { "float64" } else { "float32" });
        (merged > 0).then(|| {
            format!(
                "{file}: {merged} of {} scores lie above 0.9999 and are equal to one of the other class: probabilities in {width} have lost \
                 the order of their logits there, which AP and AUC need. With the logits (--logits) nothing is lost",
                logits.len()
            )
        })
    }

    /// A warning about scores that rank no label better than chance, or rank another label than theirs.
    fn mixed_up(&self, logits: &[f32], truth: &LabelMatrix, labels: &Labels<'_>) -> Option<String> {
        let (file, csv, names) = (self.file.display(), labels.file.display(), &truth.names);
        let area = |scores: usize, label: usize| area_and_spread(logits, truth, scores, label);
        // Few rows tell nothing.
        let told = |label: usize| area(label, label).filter(|(_, spread)| *spread < 0.1);
        let own: Vec<(usize, f64, f64)> =
            (0..names.len()).filter_map(|label| told(label).map(|(area, spread)| (label, area, spread))).collect();
        if !own.is_empty() && own.iter().all(|(_, area, spread)| *area < 0.5 - 2.0 * spread) {
            return Some(format!("{file}: the scores rank every label the wrong way round: are they 1 - p?"));
        }
        let best = |label: usize| {
            let areas = (0..names.len().min(MIXED)).filter_map(|scores| Some((scores, area(scores, label)?.0)));
            areas.max_by(|a, b| a.1.total_cmp(&b.1))
        };
        let others: Vec<(usize, usize)> = own
            .iter()
            .filter_map(|&(label, area, spread)| {
                best(label)
                    .filter(|(scores, found)| *scores != label && *found > area + 4.0 * spread && *found > 0.7)
                    .map(|(scores, _)| (label, scores))
            })
            .collect();
        let each_other = others.len() > 1 && others.iter().all(|(_, scores)| others.iter().any(|(label, _)| label == scores));
        if each_other {
            let (label, scores) = others[0];
            return Some(format!(
                "{file}: column {scores} (from 0) ranks `{}` better than column {label} does, and {} more are so: are its columns in the order of {csv}?",
                shown(&names[label]),
                others.len() - 1
            ));
        }
        if !own.is_empty() && own.iter().all(|(_, area, spread)| *area < 0.5 + 2.0 * spread) {
            return Some(format!(
                "{file}: the scores rank no label better than chance: are its rows in the order of {csv}, and its columns?"
            ));
        }
        None
    }

    /// Warnings about values that contradict the flags.
    fn doubt(&self, values: &[f64], scores: &[f32]) -> Option<String> {
        let file = self.file.display();
        let mut distinct = values.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        if distinct.len() < 3 && values.len() >= FEW {
            let held = distinct.iter().map(f64::to_string).collect::<Vec<_>>().join(" and ");
            return Some(format!(
                "{file}: the scores are {held} and nothing between: decisions, which thresholds and AP cannot make scores of"
            ));
        }
        let width = self.matrix.width;
        if !self.logits
            && width > 1
            && values.len() >= FEW
            && values.chunks_exact(width).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-3)
        {
            return Some(format!(
                "{file}: every row sums to 1, as after a softmax: with several labels a row each needs a probability of its own (a sigmoid)"
            ));
        }
        if self.logits && values.iter().all(|value| (0.0..=1.0).contains(value)) {
            return Some(format!("{file}: every value lies between 0 and 1: if these are probabilities, leave --logits out"));
        }
        (!self.logits && scores.iter().all(|score| *score >= 0.5)).then(|| {
            format!("{file}: no score is below 0.5: was a sigmoid applied twice? At the threshold 0.5 every label is then predicted everywhere")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::tests::{f4, npy_bytes};
    use imbalance::loss::sigmoid;

    /// Files in a folder; the names of `scores` and `labels` and of their twins for test.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new(labels: &str, scores: &[f32]) -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            place.csv("labels.csv", labels);
            place.npy("val.npy", scores);
            place
        }

        fn csv(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        /// Two columns.
        fn npy(&self, name: &str, values: &[f32]) {
            let bytes = npy_bytes("<f4", false, &format!("{}, 2", values.len() / 2), &f4(values));
            std::fs::write(self.0.path().join(name), bytes).unwrap();
        }

        fn doubles(&self, name: &str, values: &[f64]) {
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let bytes = npy_bytes("<f8", false, &format!("{}, 2", values.len() / 2), &data);
            std::fs::write(self.0.path().join(name), bytes).unwrap();
        }

        fn read(&self, test: (Option<&str>, Option<&str>), logits: bool) -> Result<Imported, String> {
            let path = |name: &str| self.0.path().join(name);
            let (test_scores, test_labels) = (test.0.map(path), test.1.map(path));
            let columns = Columns::default();
            let files = Files {
                scores: &path("val.npy"),
                labels: &path("labels.csv"),
                test_scores: test_scores.as_deref(),
                test_labels: test_labels.as_deref(),
                columns: &columns,
                logits,
            };
            let folder = format!("{}/", self.0.path().display());
            Imported::read(&files).map_err(|error| error.to_string().replace(&folder, ""))
        }

        fn fails(&self, test: (Option<&str>, Option<&str>), message: &str) {
            let error = self.read(test, false).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    const PLAIN: &str = "id,A,B\na,1,0\nb,0,1\nc,0,0\n";
    const SPLIT: &str = "id,split,A,B\na,val,1,0\nb,train,0,1\nc,test,0,1\nd,val,0,0\ne,train,1,1\n";

    #[test]
    fn without_a_split_column_all_rows_are_validation() {
        let place = Place::new(PLAIN, &[0.9, 0.1, 0.2, 0.8, 0.3, 0.4]);
        let imported = place.read((None, None), false).unwrap();
        assert_eq!(imported.val.scores, [0.9, 0.1, 0.2, 0.8, 0.3, 0.4]);
        assert_eq!(imported.val.truth.values, [1, 0, 0, 1, 0, 0]);
        let facts = imported.facts();
        assert_eq!((imported.test, facts.train.rows, facts.val.rows, facts.test.rows), (None, 0, 3, 0));
        assert_eq!((facts.val.positives, facts.test.positives), (vec![1, 1], vec![0, 0]));
        place.csv("test.csv", "id,A,B\nx,1,1\n");
        place.npy("test.npy", &[0.5, 0.6]);
        let test = place.read((Some("test.npy"), Some("test.csv")), false).unwrap().test.unwrap();
        assert_eq!((test.scores, test.truth.values), (vec![0.5, 0.6], vec![1, 1]));
    }

    #[test]
    fn a_split_column_picks_the_rows() {
        let all = [0.9, 0.1, 0.0, 0.0, 0.3, 0.7, 0.2, 0.4, 1.0, 1.0];
        let place = Place::new(SPLIT, &all);
        let both = place.read((None, None), false).unwrap();
        assert_eq!(both.val.scores, [0.9, 0.1, 0.2, 0.4]);
        assert_eq!(both.val.truth.values, [1, 0, 0, 0]);
        assert_eq!(both.test.as_ref().unwrap().scores, [0.3, 0.7]);
        assert_eq!((both.train.rows, both.train.positives.as_slice()), (2, &[1, 2][..]));
        // The same, each file with the rows of its split only.
        place.npy("val.npy", &[0.9, 0.1, 0.2, 0.4]);
        place.npy("test.npy", &[0.3, 0.7]);
        let apart = place.read((Some("test.npy"), None), false).unwrap();
        assert_eq!(apart, both);
        assert_eq!(apart.fingerprint(&apart.facts()), both.fingerprint(&both.facts()));
        // Scores of validation alone say nothing about test.
        let val = place.read((None, None), false).unwrap();
        assert_eq!((&val.val, &val.test), (&both.val, &None));
        assert_ne!(val.fingerprint(&val.facts()), both.fingerprint(&both.facts()));
    }

    #[test]
    fn logits_become_probabilities_and_doubts_are_told() {
        let place = Place::new(PLAIN, &[0.0, -2.0, 3.0, 40.0, -200.0, 1.0]);
        let scores = place.read((None, None), true).unwrap().val.scores;
        assert_eq!(scores, [0.0, -2.0, 3.0, 40.0, -200.0f32, 1.0].map(|z| (1.0 / (1.0 + (-f64::from(z)).exp())) as f32));
        let doubts = |values: &[f32], logits| Place::new(PLAIN, values).read((None, None), logits).unwrap().doubts;
        assert!(doubts(&[0.5, 0.6, 0.7, 0.8, 0.9, 0.5], false)[0].contains("was a sigmoid applied twice?"));
        assert!(doubts(&[0.5, 0.6, 0.1, 0.8, 0.9, 0.5], true)[0].contains("leave --logits out"));
        assert_eq!(doubts(&[0.5, 0.6, 0.1, 0.8, 0.9, 0.5], false), [""; 0]);
    }

    #[derive(serde::Deserialize)]
    struct Oracle {
        mu: f64,
        logits: Vec<f64>,
        truth: Vec<u8>,
        ap_logits: Vec<f64>,
        auc_logits: Vec<f64>,
        ap_double: Vec<f64>,
        auc_double: Vec<f64>,
        ap_single: Vec<f64>,
        auc_single: Vec<f64>,
    }

    /// Float64 logits, float64 probabilities and float32 ones of the same rows, each with scikit-learn's AP and AUC of what the file has.
    #[test]
    fn what_is_imported_ranks_as_it_was_given() {
        let cases: Vec<Oracle> = serde_json::from_str(include_str!("../../../tests/oracle/import_logits.json")).unwrap();
        for case in cases {
            let rows: Vec<String> = case.truth.chunks(2).enumerate().map(|(row, y)| format!("{row},{},{}", y[0], y[1])).collect();
            let place = Place::new(&format!("id,A,B\n{}\n", rows.join("\n")), &[]);
            let probability = |z: f64| if z < 0.0 { z.exp() / (1.0 + z.exp()) } else { 1.0 / (1.0 + (-z).exp()) };
            let probabilities: Vec<f64> = case.logits.iter().map(|&z| probability(z)).collect();
            let judged = |name: &str, logits: bool, ap: &[f64], auc: &[f64]| {
                let imported = place.read((None, None), logits).unwrap();
                let Scored { scores, logits, truth } = &imported.val;
                let found = rank_logits(logits, scores, truth);
                for (ours, theirs) in found.ap.iter().zip(ap).chain(found.auc.iter().zip(auc)) {
                    assert!((ours.unwrap() - theirs).abs() < 1e-12, "mu {}, {name}: {found:?} {ap:?} {auc:?}", case.mu);
                }
                imported
            };
            place.doubles("val.npy", &case.logits);
            let logits = judged("logits", true, &case.ap_logits, &case.auc_logits);
            assert_eq!(logits.doubts, [""; 0]);
            place.doubles("val.npy", &probabilities);
            judged("double", false, &case.ap_double, &case.auc_double);
            let single: Vec<f32> = probabilities.iter().map(|&p| p as f32).collect();
            place.npy("val.npy", &single);
            let single = judged("single", false, &case.ap_single, &case.auc_single);
            let told = single.doubts.iter().any(|doubt| doubt.contains("have lost the order of their logits"));
            assert_eq!(told, case.mu > 0.0, "mu {}: {:?}", case.mu, single.doubts);
            // Another ranking is another run, which its name tells.
            assert_eq!(logits.val.is_finer(), case.mu > 0.0, "mu {}", case.mu);
            let mut other = logits.clone();
            other.val.logits.swap(0, 1);
            let name = |imported: &Imported| imported.fingerprint(&imported.facts());
            assert!(name(&logits) != name(&other) || case.mu <= 0.0, "mu {}", case.mu);
        }
    }

    /// Imports whose probabilities and logits rank alike have the names that older versions gave: a hash without logits.
    #[test]
    fn names_of_imports_stay() {
        let place = Place::new(PLAIN, &[0.9, 0.1, 0.2, 0.8, 0.3, 0.4]);
        for logits in [false, true] {
            let imported = place.read((None, None), logits).unwrap();
            let facts = imported.facts();
            let mut old = blake3::Hasher::new();
            old.update(format!("imported {FORMAT} {}", facts.content).as_bytes()).update(&6u64.to_le_bytes());
            imported.val.scores.iter().for_each(|score| {
                old.update(&score.to_le_bytes());
            });
            assert_eq!(imported.fingerprint(&facts).0, old.finalize().to_hex()[..32]);
        }
    }

    #[test]
    fn logits_beyond_float32_are_its_largest() {
        let place = Place::new(PLAIN, &[]);
        place.doubles("val.npy", &[1e300, -1e300, 4e38, 0.0, -1e39, 2.0]);
        let Scored { scores, logits, .. } = place.read((None, None), true).unwrap().val;
        assert_eq!(scores, [1.0, 0.0, 1.0, 0.5, 0.0, sigmoid(2.0) as f32]);
        let most = f32::MAX;
        assert_eq!(logits, [most, -most, most.next_down(), 0.0, -most.next_down(), 2.0]);
        place.doubles("val.npy", &[f64::INFINITY, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let error = place.read((None, None), true).unwrap_err();
        assert!(error.contains("is inf: every score must be a finite number"), "{error}");
        // What rounds to a probability is one, and values are shown as the file has them.
        place.doubles("val.npy", &[1.0 + 1e-9, 0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(place.read((None, None), false).unwrap().val.scores[0], 1.0);
        place.doubles("val.npy", &[1.1, 0.1, 0.2, 0.3, 0.4, 0.5]);
        place.fails((None, None), "is 1.1: a probability");
        place.npy("val.npy", &[1.1, 0.1, 0.2, 0.3, 0.4, 0.5]);
        place.fails((None, None), "is 1.1: a probability");
    }

    #[test]
    fn every_value_has_a_place() {
        let place = Place::new(PLAIN, &[0.9, 0.1, 0.2, f32::NAN, 0.3, 0.4]);
        let at = "val.npy: row 1, column 1 (both from 0; label `B`, line 3 of labels.csv, `b`) is ";
        place.fails((None, None), &format!("{at}NaN: every score must be a finite number"));
        place.npy("val.npy", &[0.9, 0.1, 0.2, 1.5, 0.3, 0.4]);
        place.fails((None, None), &format!("{at}1.5: a probability lies between 0 and 1. Are these logits? Then use --logits"));
        place.npy("val.npy", &[0.9, 0.1, 0.2, 0.5]);
        place.fails((None, None), "val.npy: 2 rows of scores, but labels.csv has 3 rows: there must be one row for each");
        place.csv("labels.csv", "id,A\na,1\nb,0\n");
        place.fails((None, None), "val.npy: 2 columns of scores, but labels.csv has 1 labels (`A`)");
        place.csv("labels.csv", "id,A,age\na,1,7\nb,0,70\n");
        place.fails(
            (None, None),
            "labels.csv:2: column `age`: `7` must be 0 or 1; numbers from 7 to 70: --ignore-columns \"age\"",
        );
        let split = Place::new(SPLIT, &[0.5; 6]);
        split.fails(
            (None, None),
            "3 rows of scores, but labels.csv has 5 rows, 2 of them of split `val`: there must be one row for each of all",
        );
        let none = Place::new("id,split,A,B\na,train,1,0\n", &[0.5; 2]);
        none.fails((None, None), "labels.csv: no row of it is of split `val`");
    }

    /// Scores of 300 rows and three labels that rank each label well, changed by `change`; what is doubted about them.
    fn doubted(change: impl Fn(usize, [f32; 3]) -> [f32; 3]) -> Vec<String> {
        let mut rng = imbalance::rng::Rng::new(3, "doubts", &[]);
        let (mut scores, mut csv) = (Vec::new(), "id,a,b,c\n".to_owned());
        for row in 0..300 {
            let truth = [3, 4, 2].map(|of| rng.below(of) == 0);
            let found = truth.map(|is| ((if is { 1.2 } else { -1.2 }) + rng.normal()) as f32).map(|z| 1.0 / (1.0 + (-z).exp()));
            scores.extend(change(row, found));
            csv += &format!("r{row},{},{},{}\n", u8::from(truth[0]), u8::from(truth[1]), u8::from(truth[2]));
        }
        let folder = tempfile::tempdir().unwrap();
        let (file, labels) = (folder.path().join("p.npy"), folder.path().join("y.csv"));
        std::fs::write(&file, npy_bytes("<f4", false, "300, 3", &f4(&scores))).unwrap();
        std::fs::write(&labels, csv).unwrap();
        let columns = Columns::default();
        let files =
            Files { scores: &file, labels: &labels, test_scores: None, test_labels: None, columns: &columns, logits: false };
        Imported::read(&files).unwrap().doubts
    }

    #[test]
    fn scores_that_are_mixed_up_are_doubted() {
        assert!(doubted(|_, scores| scores).is_empty());
        let one =
            |doubts: Vec<String>, part: &str| assert!(doubts.iter().any(|doubt| doubt.contains(part)), "{part}: {doubts:?}");
        one(doubted(|_, scores| scores.map(|p| 1.0 - p)), "are they 1 - p?");
        one(doubted(|_, [a, b, c]| [b, a, c]), "are its columns in the order of");
        one(doubted(|_, [a, b, c]| [b, c, a]), "and 2 more are so");
        one(doubted(|row, _| [1, 2, 3].map(|k| ((row * 7919 * k) % 1009) as f32 / 1009.0)), "no label better than chance");
        one(doubted(|_, scores| scores.map(|p| f32::from(u8::from(p > 0.5)))), "0 and 1 and nothing between");
        one(doubted(|_, scores| scores.map(|p| p / scores.iter().sum::<f32>())), "as after a softmax");
        one(doubted(|_, scores| scores.map(|_| 0.25)), "0.25 and nothing between");
    }

    #[test]
    fn test_needs_labels_of_its_own() {
        let place = Place::new(PLAIN, &[0.5; 6]);
        place.npy("test.npy", &[0.5; 2]);
        place.fails((Some("test.npy"), None), "labels.csv: no row of it is of split `test`: give --test-labels");
        place.csv("test.csv", "id,B,A\nx,1,1\n");
        place.fails((Some("test.npy"), Some("test.csv")), "test.csv: label 1 is `B`, but `A` in labels.csv");
        place.csv("test.csv", "id,A\nx,1\n");
        place.fails((Some("test.npy"), Some("test.csv")), "test.csv: label 2 is missing, but `B` in labels.csv");
        place.fails((Some("nothing.npy"), Some("labels.csv")), "nothing.npy: No such file");
    }
}
