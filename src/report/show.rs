//! One run: everything the database knows about it.

use std::collections::BTreeMap;

use serde::Serialize;

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
    /// Split → policy → labels, at the best epoch.
    pub labels: BTreeMap<String, BTreeMap<String, Vec<LabelRow>>>,
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
    let mut labels: BTreeMap<String, BTreeMap<String, Vec<LabelRow>>> = BTreeMap::new();
    for split in ["val", "test"] {
        for row in reader.run_labels(&run.fingerprint, split).await? {
            labels.entry(split.to_owned()).or_default().entry(row.policy.clone()).or_default().push(row);
        }
    }
    let drawn = reader.run_draws(&run.fingerprint).await?;
    let strength = run.best_epoch.and_then(|epoch| run.config.strength(usize::try_from(epoch).ok()?));
    Ok(Shown { run, attempts, epochs, strength, drawn, results, labels })
}
