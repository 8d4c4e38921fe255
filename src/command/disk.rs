//! What the runs of a plan will take of the disk, at most: from what a run keeps (the table in `archive::run`), each file in whole blocks.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::features::Features;
use super::output::bytes;
use archive::disk::{self, Size, taken};
use imbalance::threshold::Policy;
use plan::Plan;
use store::RowCounts;

/// The header of a `.npy` file.
const HEADER: u64 = 128;
/// Most bytes of an epoch in a log, and of a file among the seals.
const LOGGED: u64 = 120;
const SEALED: u64 = 132;
/// Most bytes of the rest of a log: its first line has the weight of each label.
const BEGUN: u64 = 1024;
/// A checkpoint has the parameters, the optimizer's two means of each and what the epochs so far came to.
const CHECKPOINT: u64 = 3;
/// Until the sweep ends, the rows of the database are in its log of writes and in the workers' journals, too: measured, each has their
/// size (80 runs of 60 epochs, 4 labels and 3 policies).
const WRITTEN: u64 = 3;

/// Bytes that the runs to train take, at most, and what there is for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Parameters of the best epochs.
    parameters: u64,
    /// Scores, logits of each epoch, truth, logs.
    scores: u64,
    /// Rows of the database.
    database: u64,
    /// Features of frozen backbones that are not in the cache yet.
    features: u64,
    /// All of these.
    total: u64,
    /// What is there beside them while they train: checkpoints, journals, pieces of features.
    meanwhile: u64,
    /// The prepared data, which the plan has put into the cache.
    prepared: u64,
    /// What is free on the file system of the database; `None` where the system does not say.
    free: Option<u64>,
    /// Whether there is room; `None` where that is not known.
    fits: Option<bool>,
}

impl Disk {
    /// What the runs `todo` of the plan take beside `db` with the `features` that they need, with so many workers at once.
    #[must_use]
    pub fn foreseen(plan: &Plan, todo: &[usize], features: &[Features], workers: usize, db: &Path) -> Self {
        let mut disk = Self::default();
        let mut bundles: Vec<u64> = vec![0; plan.bundles.len()];
        let fitted = plan.policies.iter().filter(|policy| matches!(policy, Policy::Fitted(_))).count();
        for run in todo.iter().filter_map(|&run| plan.runs.get(run)) {
            let facts = &plan.data[run.data].1;
            let (labels, epochs) = (facts.labels.len(), run.config.train.epochs);
            let model = run.config.model.file_bytes(facts.input, labels).unwrap_or(0);
            disk.parameters += taken(model);
            disk.scores += kept(epochs, labels, facts.val.rows, facts.test.rows);
            disk.database += RowCounts::of_run(epochs, labels, plan.policies.len(), fitted, facts.test.rows > 0).bytes();
            if let Some(bundle) = bundles.get_mut(run.bundle) {
                *bundle += taken(CHECKPOINT * model + LOGGED * epochs as u64);
            }
        }
        for missing in features.iter().filter(|features| features.missing()) {
            disk.features += taken(missing.bytes);
            disk.meanwhile += taken(missing.meanwhile);
        }
        bundles.sort_unstable_by(|a, b| b.cmp(a));
        disk.total = disk.parameters + disk.scores + disk.database + disk.features;
        disk.meanwhile += bundles.iter().take(workers).sum::<u64>() + (WRITTEN - 1) * disk.database;
        let folders: BTreeSet<&Path> = plan.data.iter().map(|(_, facts)| facts.folder.as_path()).collect();
        disk.prepared = folders.into_iter().filter_map(|folder| Size::of(folder).ok()).map(|size| size.bytes).sum();
        disk.free = disk::free(db).ok();
        disk.fits = disk.free.map(|free| disk.total + disk.meanwhile <= free);
        disk
    }

    /// The number, and the sentence beside it.
    #[must_use]
    pub fn words(&self) -> (String, String) {
        let free = self.free.map_or_else(String::new, |free| format!("; {} are free", bytes(free)));
        let prepared = format!("the prepared data is there already ({})", bytes(self.prepared));
        if self.total == 0 {
            return (String::new(), format!("nothing to train; {prepared}{free}"));
        }
        let part = |what: &str, size: u64| (size > 0).then(|| format!("{what} {}", bytes(size)));
        let parts = [
            part("parameters", self.parameters),
            part("scores and logits", self.scores),
            part("database", self.database),
            part("features", self.features),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let ends = self.lacks().map_or_else(String::new, |lacks| format!(". {lacks}"));
        let words =
            format!("at most: {}; and {} while it trains; {prepared}{free}{ends}", parts.join(", "), bytes(self.meanwhile));
        (bytes(self.total), words)
    }

    /// A sentence where there is not enough room.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        let needed = (self.total + self.meanwhile).checked_sub(self.free?).filter(|needed| *needed > 0)?;
        let ways = "`sweep gc` lists what can go, --db names a place elsewhere";
        Some(format!("IT DOES NOT FIT: {} more are needed; {ways}", bytes(needed)))
    }
}

/// What a run keeps beside its parameters.
fn kept(epochs: usize, labels: usize, val: usize, test: usize) -> u64 {
    let matrix = |rows: usize, bytes: usize| taken(HEADER + (rows * labels * bytes) as u64);
    let (epochs, ends) = (epochs as u64, epochs.min(2) as u64);
    // logits-val.npy is another name of the best epoch's; so is logits-test.npy.
    let val_files = matrix(val, 4) * (epochs + 1) + matrix(val, 1);
    let test_files = if test > 0 { matrix(test, 4) * (ends + 1) } else { 0 } + matrix(test, 1);
    let names = epochs + ends + 8;
    // A name takes some 40 bytes of a folder, which keeps its size.
    let folders = taken(1) + taken(1 + 40 * names);
    val_files + test_files + folders + taken(BEGUN + 24 * labels as u64 + LOGGED * epochs) + taken(SEALED * names)
}
