//! What the tests of single runs and of bundles share.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use data::{self, Dataset};
use protocol::{Event, Job, VERSION};

/// The first data set of a sweep file with changes, prepared, and the jobs of all its runs; run folders lie below the temporary one.
pub fn prepared(file: &str, set: &[&str]) -> (TempDir, Dataset, Vec<Job>) {
    let folder = tempfile::tempdir().unwrap();
    let set: Vec<String> = set.iter().map(|&change| change.to_owned()).collect();
    let sweep = plan::parse("t.toml", file, &set).unwrap();
    let config = sweep.data_configs().remove(0);
    let facts = data::prepare(&config, Path::new("."), &folder.path().join("cache"), &|_, _| {}).unwrap().facts;
    let plan = sweep.plan(std::slice::from_ref(&facts), &BTreeMap::new()).unwrap();
    let job = |run: &plan::PlannedRun| Job {
        v: VERSION,
        run: run.fingerprint.clone(),
        attempt: 1,
        config: run.config.clone(),
        pos_weight: run.pos_weight.clone(),
        data: facts.folder.clone(),
        folder: folder.path().join(&run.fingerprint.0),
        policies: plan.policies.clone(),
    };
    let jobs = plan.runs.iter().map(job).collect();
    (folder, Dataset::open(&facts.folder, &config).unwrap(), jobs)
}

/// An event without what depends on the clock.
pub fn timeless(event: Event) -> Event {
    match event {
        Event::Epoch { r, a, epoch, train_loss, val_loss, learning_rate, steps, .. } => {
            Event::Epoch { r, a, epoch, train_loss, val_loss, learning_rate, seconds: 0.0, images_per_s: 0.0, steps }
        }
        other => other,
    }
}
