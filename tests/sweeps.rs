//! The sweep files that come with the program: they plan, and `strategies.toml` has every strategy.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::path::Path;

use imbalance::PosWeight;
use imbalance::{loss, pos_weight, sampler};
use plan::Plan;
use sweep::command::load;
use sweep::command::preparing::Preparing;
use sweep::controller::progress::Verbosity;

/// Plans a file of `sweeps/`, with changes.
fn plan(name: &str, set: &[&str]) -> Plan {
    let folder = tempfile::tempdir().unwrap();
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    let file = load::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps").join(name), &set).unwrap();
    file.plan(&folder.path().join("sweep.db"), &Preparing::new(Verbosity::Quiet)).unwrap().plan
}

#[test]
fn strategies_has_every_strategy() {
    let plan = plan("strategies.toml", &[]);
    let strategies: BTreeSet<_> = plan
        .runs
        .iter()
        .map(|run| (run.config.loss.to_string(), run.name.pos_weight.clone(), run.config.sampler.to_string()))
        .collect();
    assert_eq!(plan.runs.len(), 3 * strategies.len(), "three seeds each");
    // bce with 15 weights and 12 more samplers; 13 losses with 4 weights, of which three read none
    assert_eq!(strategies.len(), 15 + 12 + 13 * 4 - 3 * 3);
    let missing =
        |all: Vec<&'static str>, seen: &dyn Fn(&str) -> bool| all.into_iter().filter(|kind| !seen(kind)).collect::<Vec<_>>();
    let losses = loss::REGISTRY.iter().map(|entry| entry.kind).collect();
    assert_eq!(missing(losses, &|kind| plan.runs.iter().any(|run| run.config.loss.kind == kind)), [""; 0]);
    let weighs = |kind: &str| {
        plan.runs.iter().any(|run| matches!(&run.config.pos_weight, PosWeight::Formula(choice) if choice.kind == kind))
    };
    assert_eq!(missing(pos_weight::REGISTRY.iter().map(|entry| entry.kind).collect(), &weighs), [""; 0]);
    let of_images = sampler::REGISTRY.iter().filter(|entry| !entry.build.needs_features).map(|entry| entry.kind).collect();
    assert_eq!(missing(of_images, &|kind| plan.runs.iter().any(|run| run.config.sampler.kind == kind)), [""; 0]);
    // Weights and samplers never meet: that would correct the same imbalance twice.
    let twice = |run: &&plan::PlannedRun| run.name.pos_weight != "none" && run.config.sampler.kind != "shuffle";
    assert_eq!(plan.runs.iter().filter(twice).count(), 0);
}

#[test]
fn every_file_plans() {
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    files.sort_unstable();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        // Fewer images: their number does not matter for the grammar of the file.
        assert!(!plan(&file, &["data.samples=500"]).runs.is_empty(), "{file}");
    }
}
