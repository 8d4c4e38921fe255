//! The kept scores of runs at the best epoch, with the truth. Intervals, calibration and explanations are computed from these;
//! nothing trains.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::load::named;
use super::question::Split;
use archive::Kept;
use data::Dataset;
use imbalance::LabelMatrix;
use plan::{DataConfig, Source};
use store::{Reader, StoreError, SweepConfig, SweepId};

/// One split as one run sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRows {
    /// `[rows, labels]` row-major float32 probabilities.
    pub scores: Vec<f32>,
    pub truth: LabelMatrix,
}

/// The splits that are judged: val, and test where there is one (imported scores may have none).
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    pub val: KeptRows,
    pub test: Option<KeptRows>,
}

impl Evidence {
    /// Reads the scores that the run of `folder` kept at `epoch`, its best one.
    ///
    /// # Errors
    /// Missing or damaged files.
    pub fn read(folder: &Path, epoch: usize) -> io::Result<Self> {
        let kept = Kept::open(folder)?;
        let val = kept.val(epoch)?;
        let test = if kept.test_truth.rows() > 0 { Some(kept.test(epoch)?) } else { None };
        let test = test.map(|scores| KeptRows { scores, truth: kept.test_truth });
        Ok(Self { val: KeptRows { scores: val, truth: kept.val_truth }, test })
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

    #[test]
    fn groups_belong_to_their_rows() {
        let groups = RowGroups { val: vec![1, 1, 2], test: vec![3] };
        assert_eq!(groups.of(Split::Val, 3), Some(&[1, 1, 2][..]));
        assert_eq!(groups.of(Split::Test, 2), None);
    }
}
