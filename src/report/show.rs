//! One run: everything the database knows about it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::kept_scores::{Evidence, KeptRows};
use super::probabilities::SplitProbabilities;
use super::question::Split;
use super::show_rows::{RowMetrics, row_metrics};
use super::splits::without_positives;
use super::summary::WithoutPositives;
use archive::runs_folder;
use imbalance::metric::{Counts, Rate};
use imbalance::sampler::Realised;
use store::{AttemptRow, EpochRow, LabelRow, Reader, ResultRow, RunRow, StoreError};

/// A run with its attempts, epochs and results; what `sweep show --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    pub run: RunRow,
    pub attempts: Vec<AttemptRow>,
    pub epochs: Vec<EpochLine>,
    /// The C that val has chosen, of a reference run.
    pub strength: Option<f64>,
    /// What the sampler showed in the first epoch; `None` where it was not recorded.
    pub drawn: Option<Realised>,
    /// Every evaluation: split, epoch, policy.
    pub results: Vec<ResultRow>,
    /// Labels that the means of a split count as 0 (macro F1, precision, recall) or leave out (macro AP, AUC).
    pub without_positives: WithoutPositives,
    /// Split → policy → labels, at the best epoch.
    pub labels: BTreeMap<String, BTreeMap<String, Vec<LabelLine>>>,
    /// Split → means over its rows at the best epoch; empty where the kept scores cannot be read.
    pub rows: BTreeMap<String, RowMetrics>,
    /// The scores as probabilities at the best epoch, from the kept ones: val, and test where there is one.
    pub probabilities: Vec<SplitProbabilities>,
    /// Why these are missing, although there is a result.
    pub scores_lost: Option<String>,
}

/// A label's counts with the rates that need its true negatives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelLine {
    #[serde(flatten)]
    pub row: LabelRow,
    /// `None` without negatives.
    pub specificity: Option<f64>,
    /// (recall + specificity) / 2; `None` with one class only.
    pub balanced_accuracy: Option<f64>,
    /// Matthews' correlation coefficient; 0 where nothing or everything is predicted.
    pub mcc: Option<f64>,
}

impl From<LabelRow> for LabelLine {
    fn from(row: LabelRow) -> Self {
        let [tp, fp, fn_, tn] = [row.tp, row.fp, row.fn_, row.tn].map(i64::unsigned_abs);
        let [specificity, balanced_accuracy, mcc] =
            [Rate::Specificity, Rate::BalancedAccuracy, Rate::Mcc].map(|rate| rate.of(&Counts { tp, fp, fn_, tn }));
        Self { row, specificity, balanced_accuracy, mcc }
    }
}

/// An epoch and how well it ranked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpochLine {
    #[serde(flatten)]
    pub epoch: EpochRow,
    /// On val, which chooses the best epoch.
    pub macro_ap: Option<f64>,
    pub best: bool,
}

/// The run that `prefix` names.
///
/// # Errors
/// [`StoreError::NotFound`] where no run or more than one matches; database errors.
pub async fn show(reader: &mut Reader, prefix: &str) -> Result<Shown, StoreError> {
    let run = reader.find_run(prefix).await?;
    let attempts = reader.attempts(&run.fingerprint).await?;
    let results = reader.run_results(&run.fingerprint).await?;
    let line = |epoch: EpochRow| {
        let here = results.iter().find(|row| row.split == "val" && row.epoch == epoch.epoch);
        let (macro_ap, best) = (here.and_then(|row| row.metrics.get("macro_ap")), run.best_epoch == Some(epoch.epoch));
        EpochLine { epoch, macro_ap, best }
    };
    let epochs = reader.epochs(&run.fingerprint).await?.into_iter().map(line).collect();
    let mut labels: BTreeMap<String, BTreeMap<String, Vec<LabelLine>>> = BTreeMap::new();
    for split in ["val", "test"] {
        for row in reader.run_labels(&run.fingerprint, split).await? {
            labels.entry(split.to_owned()).or_default().entry(row.policy.clone()).or_default().push(row.into());
        }
    }
    let drawn = reader.run_draws(&run.fingerprint).await?;
    let strength = run.best_epoch.and_then(|epoch| run.config.strength(usize::try_from(epoch).ok()?));
    let evidence = run.best_epoch.and_then(|epoch| usize::try_from(epoch).ok()).map(|epoch| {
        let evidence = Evidence::read(&runs_folder(reader.path()).join(&run.fingerprint.0), epoch);
        evidence.map_err(|error| error.to_string()).and_then(|evidence| {
            match evidence.val.truth.names.len() == run.facts.labels.len() {
                true => Ok((SplitProbabilities::of_run(&evidence, &run.facts), rows(&evidence, &run, &labels))),
                false => Err("they are of other labels".to_owned()),
            }
        })
    });
    let ((probabilities, rows), scores_lost) = match evidence {
        None => Default::default(),
        Some(Ok(found)) => (found, None),
        Some(Err(why)) => (Default::default(), Some(why)),
    };
    let without_positives = without_positives(&run.facts);
    Ok(Shown { run, attempts, epochs, strength, drawn, results, without_positives, labels, rows, probabilities, scores_lost })
}

/// The means over rows of each split.
fn rows(
    kept: &Evidence,
    run: &RunRow,
    labels: &BTreeMap<String, BTreeMap<String, Vec<LabelLine>>>,
) -> BTreeMap<String, RowMetrics> {
    let names = &run.facts.labels;
    let fits = |rows: &&KeptRows| rows.truth.names.len() == names.len();
    let of_split = |split: Split| {
        let (on, judged) = (kept.on(split).filter(fits)?, labels.get(split.name())?);
        Some((split.name().to_owned(), row_metrics(on, &kept.val, names, judged)))
    };
    [Split::Val, Split::Test].into_iter().filter_map(of_split).collect()
}
