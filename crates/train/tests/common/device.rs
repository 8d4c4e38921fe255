//! What the tests of a device's ways share: the devices, and a prepared data set with the jobs of a sweep on it.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use data::{self, Dataset};
use protocol::{Job, VERSION};

#[path = "cuda.rs"]
mod cuda;

/// The CPU, and a CUDA device where this build knows of any.
pub fn devices() -> Vec<Device> {
    let device = if cfg!(feature = "cuda") { cuda::device() } else { None };
    [Device::Cpu].into_iter().chain(device).collect()
}

/// The first data set of a sweep file below `folder` with changes, prepared, and the jobs of all its runs, whose folders are in `folder`.
pub fn prepared(folder: &Path, file: &str, set: &[&str]) -> (Dataset, Vec<Job>) {
    let set: Vec<String> = set.iter().map(|&change| change.to_owned()).collect();
    let sweep = plan::parse("t.toml", file, &set).unwrap();
    let config = sweep.data_configs().remove(0);
    let facts = data::prepare(&config, folder, &folder.join("cache"), &|_, _| {}).unwrap().facts;
    let plan = sweep.plan(std::slice::from_ref(&facts), &BTreeMap::new()).unwrap();
    let job = |run: &plan::PlannedRun| Job {
        v: VERSION,
        run: run.fingerprint.clone(),
        attempt: 1,
        config: run.config.clone(),
        pos_weight: run.pos_weight.clone(),
        data: facts.folder.clone(),
        folder: folder.join(&run.fingerprint.0),
        policies: plan.policies.clone(),
    };
    let jobs = plan.runs.iter().map(job).collect();
    (Dataset::open(&facts.folder, &config).unwrap(), jobs)
}
