//! The kept scores of runs at the best epoch, with the truth. Intervals, calibration and explanations are computed from these;
//! nothing trains.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::load::named;
use super::question::Split;
use archive::{Kept, Scores};
use data::Dataset;
use imbalance::LabelMatrix;
use imbalance::metric::merged;
use plan::{DataConfig, Source};
use store::{Reader, StoreError, SweepConfig, SweepId};

/// One split as one run sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRows {
    /// `[rows, labels]` row-major float32 probabilities: thresholds and calibration.
    pub scores: Vec<f32>,
    /// Their logits; `None` where none were kept.
    pub logits: Option<Vec<f32>>,
    pub truth: LabelMatrix,
}

/// Float32 probabilities above it are so far apart that those of different logits become equal.
const HIGH: f32 = 0.9999;

impl KeptRows {
    /// Rows of which the probabilities alone are known.
    #[cfg(test)]
    #[must_use]
    pub fn of(scores: Vec<f32>, truth: LabelMatrix) -> Self {
        Self { scores, logits: None, truth }
    }

    fn new(kept: Scores, truth: LabelMatrix) -> Self {
        Self { scores: kept.scores, logits: kept.logits, truth }
    }

    /// What ranks: AP, AUC and everything else that asks for the order of rows alone.
    #[must_use]
    pub fn ranked(&self) -> &[f32] {
        self.logits.as_ref().unwrap_or(&self.scores)
    }

    /// Whether an order that AP needs was lost with the logits: [`merged`].
    fn is_rounded(&self) -> bool {
        self.logits.is_none() && merged(&self.scores, &self.truth, HIGH) > 0
    }
}

/// Runs without kept logits whose probabilities have lost the order that AP and AUC need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rounded {
    runs: BTreeSet<String>,
}

impl Rounded {
    /// Of these runs, at their best epochs. Those with logits are not read, those that cannot be read are left to others.
    #[must_use]
    pub fn among(runs: &Path, best: &[(&str, usize)]) -> Self {
        let rounded = |&&(run, epoch): &&(&str, usize)| {
            let folder = runs.join(run);
            let read = || {
                let kept = Kept::open(&folder)?;
                Ok::<_, io::Error>(KeptRows::new(kept.val(epoch)?, kept.val_truth))
            };
            !folder.join("logits-val.npy").exists() && read().is_ok_and(|rows| rows.is_rounded())
        };
        Self { runs: best.par_iter().filter(rounded).map(|(run, _)| (*run).to_owned()).collect() }
    }

    /// Of runs of which it is known already.
    #[must_use]
    pub fn of(runs: impl IntoIterator<Item = String>) -> Self {
        Self { runs: runs.into_iter().collect() }
    }

    /// Whether this run is one.
    #[must_use]
    pub fn has(&self, run: &str) -> bool {
        self.runs.contains(run)
    }

    /// Adds a run, if it is one.
    pub fn add(&mut self, run: &str, evidence: &Evidence) {
        if evidence.val.is_rounded() {
            self.runs.insert(run.to_owned());
        }
    }

    /// What it means.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let first = self.runs.first()?;
        let first = first.get(..8).unwrap_or(first);
        let (which, of) = match self.runs.len() {
            1 => (format!("run {first} was"), "its"),
            n => (format!("{n} runs (the first is {first}) were"), "their"),
        };
        Some(format!(
            "{which} recorded without logits (by a version before 0.2, or by another trainer), and float32 has rounded some of {of} scores \
             above {HIGH} to the same number as those of the other class: AP, AUC and the best epoch are those of rounded scores there, \
             not comparable with runs that are ranked by logits. Trained or imported anew in another database (--db), they have logits"
        ))
    }
}

/// The splits that are judged: val, and test where there is one (imported scores may have none).
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    pub val: KeptRows,
    pub test: Option<KeptRows>,
}

impl Evidence {
    /// The rows of val alone, at any epoch.
    ///
    /// # Errors
    /// Missing or damaged files.
    pub fn read_val(folder: &Path, epoch: usize) -> io::Result<KeptRows> {
        let kept = Kept::open(folder)?;
        let val = kept.val(epoch)?;
        Ok(KeptRows::new(val, kept.val_truth))
    }

    /// Reads the scores that the run of `folder` kept at `epoch`, its best one.
    ///
    /// # Errors
    /// Missing or damaged files.
    pub fn read(folder: &Path, epoch: usize) -> io::Result<Self> {
        let kept = Kept::open(folder)?;
        let val = kept.val(epoch)?;
        let test = if kept.test_truth.rows() > 0 { Some(kept.test(epoch)?) } else { None };
        let test = test.map(|scores| KeptRows::new(scores, kept.test_truth));
        Ok(Self { val: KeptRows::new(val, kept.val_truth), test })
    }

    /// The rows of `split`; `None` without test.
    #[must_use]
    pub fn on(&self, split: Split) -> Option<&KeptRows> {
        match split {
            Split::Val => Some(&self.val),
            Split::Test => self.test.as_ref(),
        }
    }

    /// The rows that strategies are judged on: test, or val where there is no test.
    #[must_use]
    pub fn judged(&self) -> &KeptRows {
        self.test.as_ref().unwrap_or(&self.val)
    }

    /// Whether both have scores of the same rows, in the splits that both have, so that they can be paired row by row.
    #[must_use]
    pub fn same_rows(&self, other: &Self) -> bool {
        let same_test = self.test.iter().zip(&other.test).all(|(ours, theirs)| ours.truth == theirs.truth);
        self.val.truth == other.val.truth && same_test
    }
}

/// The group of each row, in the order of kept scores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowGroups {
    val: Vec<u32>,
    test: Vec<u32>,
}

impl RowGroups {
    /// The groups of prepared data; `None` where it has none. Without a group column nothing is opened. `content` is the hash of the
    /// rows and their division as recorded.
    ///
    /// # Errors
    /// The prepared data is missing, damaged, or divided otherwise than when it was recorded, as a message.
    pub fn read(folder: &Path, config: &DataConfig, content: &str) -> Result<Option<Self>, String> {
        let (Source::Images { columns, .. } | Source::Features { columns, .. }) = &config.source else { return Ok(None) };
        if columns.group.is_none() {
            return Ok(None);
        }
        let data = Dataset::open(folder, config).map_err(|error| error.to_string())?;
        if data.content() != content {
            return Err("this version of the program divides the rows otherwise than the one that recorded the runs".to_owned());
        }
        let pick = |groups: &[u32], rows: &[u32]| rows.iter().map(|&row| groups[row as usize]).collect();
        Ok(data.groups().map(|groups| Self { val: pick(groups, &data.split().val), test: pick(groups, &data.split().test) }))
    }

    /// The groups of a split with so many rows; `None` if they are not of these rows.
    #[must_use]
    pub fn of(&self, split: Split, rows: usize) -> Option<&[u32]> {
        let groups = match split {
            Split::Val => &self.val,
            Split::Test => &self.test,
        };
        (groups.len() == rows).then_some(groups)
    }
}

/// The groups of the rows of every run of a sweep.
#[derive(Clone, Debug, Default)]
pub struct SweepGroups {
    /// Run → index into `sets`.
    of_run: HashMap<String, usize>,
    /// By data set, as [`RowGroups::read`].
    sets: Vec<Result<Option<RowGroups>, String>>,
}

impl SweepGroups {
    /// Reads them from the prepared data, where the data has groups.
    ///
    /// # Errors
    /// The database.
    pub async fn read(reader: &mut Reader, sweep: SweepId) -> Result<Self, StoreError> {
        let runs = named(reader.sweep_runs(sweep).await?);
        let configs = reader.sweep_configs(sweep).await?;
        let facts = reader.data_facts(sweep).await?;
        let mut groups = Self::default();
        for (run, SweepConfig { config, folder, .. }) in runs.iter().zip(&configs) {
            if let Some((facts, _)) = facts.get(run.data).filter(|_| run.data == groups.sets.len()) {
                groups.sets.push(RowGroups::read(folder, &config.data, &facts.content));
            }
            groups.of_run.insert(run.row.run.clone(), run.data);
        }
        Ok(groups)
    }

    /// Those of one run; `None` where its data has none.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn of(&self, run: &str) -> Result<Option<&RowGroups>, &str> {
        match self.of_run.get(run).and_then(|&set| self.sets.get(set)) {
            Some(Ok(groups)) => Ok(groups.as_ref()),
            Some(Err(why)) => Err(why),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::testing::{fill, write};

    #[test]
    fn kept_scores_are_read_for_both_splits() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path());
        let evidence = Evidence::read(folder.path(), 1).unwrap();
        assert_eq!((evidence.val.scores.len(), evidence.judged().scores.as_slice()), (4, &[0.3f32, 0.7][..]));
        assert!(Evidence::read(folder.path(), 0).is_err(), "test is kept at the best and the last epoch only");
        let other = tempfile::tempdir().unwrap();
        fill(other.path());
        assert!(evidence.same_rows(&Evidence::read(other.path(), 1).unwrap()));
        write(&other.path().join("truth-test.npy"), 2, &[0u8, 1]);
        assert!(!evidence.same_rows(&Evidence::read(other.path(), 1).unwrap()));
    }

    /// Saturated scores are told of where no logits stand beside them, and nowhere else.
    #[test]
    fn rounded_scores_are_told_of() {
        let folder = tempfile::tempdir().unwrap();
        for (run, logits) in [("old", false), ("new", true)] {
            let path = folder.path().join(run);
            fill(&path);
            write(&path.join("epochs/val-1.npy"), 2, &[1f32, 0.2, 1.0, 0.1]);
            if logits {
                write(&path.join("epochs/logits-val-1.npy"), 2, &[20f32, -1.0, 19.0, -2.0]);
                write(&path.join("logits-val.npy"), 2, &[20f32, -1.0, 19.0, -2.0]);
            }
        }
        let among = |best: &[(&str, usize)]| Rounded::among(folder.path(), best);
        let found = among(&[("old", 1), ("new", 1), ("none", 1)]);
        assert_eq!(found.runs, BTreeSet::from(["old".to_owned()]));
        assert!(found.sentence().unwrap().starts_with("run old was recorded without logits"));
        assert_eq!((among(&[("old", 0), ("new", 1)]), Rounded::default().sentence()), (Rounded::default(), None));
        let (mut read, evidence) = (Rounded::default(), |run: &str| Evidence::read(&folder.path().join(run), 1).unwrap());
        read.add("new", &evidence("new"));
        assert_eq!((read.clone(), evidence("new").val.ranked()), (Rounded::default(), &[20.0, -1.0, 19.0, -2.0][..]));
        read.add("old", &evidence("old"));
        assert_eq!(read, found);
    }

    #[test]
    fn groups_belong_to_their_rows() {
        let groups = RowGroups { val: vec![1, 1, 2], test: vec![3] };
        assert_eq!(groups.of(Split::Val, 3), Some(&[1, 1, 2][..]));
        assert_eq!(groups.of(Split::Test, 2), None);
    }
}
