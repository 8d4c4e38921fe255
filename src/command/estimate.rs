//! How long the runs of a plan will take: from what was recorded on the same data, else from the size of the network.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::features::{self, Features};
use crate::launcher::Place;
use plan::trained_macs;
use plan::{Plan, PlannedRun};
use store::Pace;

/// Multiply-adds per second of one CPU thread in training, everything included: 8.7 G (DenseNet-121 at 32 x 32) on a busy AMD EPYC
/// machine.
const MACS_A_SECOND: f64 = 10e9;
/// The same of the `cnn`, whose steps fill the cores better: 34 G (chest64 at 64 x 64 and multidigits at 48 x 48, two threads).
const OF_CNN: f64 = 30e9;
/// Seconds of an epoch besides the network: scores, checkpoint and records reach the disk (emotions, `linear`: 12 ms).
const EPOCH: f64 = 12e-3;
/// The same of a run that trains in one pass with others, whose epochs reach the disk together: 0.34 ms (emotions and scene, 83 runs
/// each), besides its share of [`EPOCH`].
const TOGETHER: f64 = 0.4e-3;
/// What a strength of a reference run costs, in epochs of a linear network at the speed above: 8 CPU seconds where 16,000 rows of 1,024
/// features have 14 labels, whose seven strengths need 1,055 passes.
const STRENGTH: f64 = 30.0;
/// Forward passes that a training step costs: forward, gradient of the inputs, gradient of the weights.
const STEP: f64 = 3.0;

/// An estimate and its basis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub seconds: f64,
    /// Of these for features of frozen backbones.
    pub features: f64,
    pub basis: String,
}

/// Seconds until the `needed` features are there and `runs` are trained on `slots`. The error says why no estimate is possible.
///
/// # Errors
/// A device other than the CPU on which no similar run was recorded, or such features were never computed.
pub fn estimate(plan: &Plan, runs: &[usize], needed: &[Features], slots: &[Place], paces: &[Pace]) -> Result<Estimate, String> {
    let mut measured: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let mut computed: BTreeSet<&str> = BTreeSet::new();
    let (mut speed, mut longest) = (0.0, f64::INFINITY);
    for slot in slots {
        let (mut all, mut one) = (0.0, 0.0_f64);
        for run in runs.iter().filter_map(|&run| plan.runs.get(run)) {
            let (arch, content) = (run.config.model.arch.as_str(), plan.data[run.data].1.content.as_str());
            let reference = run.config.reference().is_some();
            // A reference run is trained on the CPU, and takes its time another way than other runs on the same data.
            let pace = paces
                .iter()
                .filter(|_| !reference)
                .find(|pace| pace.arch == arch && pace.content == content && pace.device == slot.device);
            let epoch = match pace {
                Some(pace) => {
                    measured.insert((arch, &pace.device), pace.epochs);
                    pace.seconds_per_epoch
                }
                None if slot.device == "cpu" || reference => {
                    computed.insert(if reference { "logistic" } else { arch });
                    overhead(plan, run) + epoch_macs(plan, run) / (pace_of(run) * slot.threads as f64)
                }
                None => return Err(format!("nothing of {arch} on this data is recorded on {}", slot.device)),
            };
            let seconds = epoch * run.config.train.epochs as f64;
            (all, one) = (all + seconds, one.max(seconds));
        }
        speed += 1.0 / f64::max(all, 1e-9);
        longest = longest.min(one);
    }
    let mut basis: Vec<String> = measured
        .iter()
        .map(|((arch, device), epochs)| format!("{epochs} epochs of {arch} recorded on this data on {device}"))
        .collect();
    if !computed.is_empty() {
        let cnn = if computed.contains("cnn") { format!(", cnn {:.0} G", OF_CNN / 1e9) } else { String::new() };
        let archs = computed.into_iter().collect::<Vec<_>>().join(", ");
        basis.push(format!(
            "the size of {archs} at {:.0} G multiply-adds per second and thread{cnn} (an AMD EPYC core); the first recorded runs tell better",
            MACS_A_SECOND / 1e9
        ));
    }
    let features = features::seconds(needed, slots.len())?;
    Ok(Estimate { features, seconds: features + f64::max(1.0 / speed, longest), basis: basis.join(" and ") })
}

/// Multiply-adds per second and thread of a run.
fn pace_of(run: &PlannedRun) -> f64 {
    if run.config.model.arch == "cnn" && run.config.model.freeze.is_none() { OF_CNN } else { MACS_A_SECOND }
}

/// Seconds of an epoch besides the network.
fn overhead(plan: &Plan, run: &PlannedRun) -> f64 {
    match plan.bundles.get(run.bundle).map_or(1, |bundle| bundle.runs.len()) {
        together if together > 1 && run.config.in_one_pass() => EPOCH / together as f64 + TOGETHER,
        _ => EPOCH,
    }
}

/// Multiply-adds of one epoch: training on train, scoring val. A strength of a reference run costs [`STRENGTH`] of them.
fn epoch_macs(plan: &Plan, run: &PlannedRun) -> f64 {
    let facts = &plan.data[run.data].1;
    let forward = trained_macs(&run.config.model, facts.input, facts.labels.len()) as f64;
    let passes = if run.config.reference().is_some() { STRENGTH } else { 1.0 };
    forward * (passes * STEP * facts.train.rows as f64 + facts.val.rows as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::LabelCounts;
    use plan::{self, DataFacts, InputShape};

    /// Two runs (seeds 0 and 1) of 10 epochs of `linear` on 1,000 train and 200 val rows of 100,000 features: 10^5 x 3 labels per row.
    fn plan() -> Plan {
        let text = "model.arch = \"linear\"\ntrain.epochs = 10\ngrid.seed = [0, 1]\n\
                    [data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"y.csv\"\n";
        let counts = |rows| LabelCounts::new(rows, vec![rows / 2; 3]);
        let facts = DataFacts {
            content: "c".to_owned(),
            labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
            input: InputShape::Features { width: 100_000 },
            train: counts(1000),
            val: counts(200),
            test: counts(200),
            folder: "x".into(),
        };
        plan::parse("x.toml", text, &[]).unwrap().plan(&[facts], &BTreeMap::new()).unwrap()
    }

    fn slot(device: &str, threads: usize) -> Place {
        Place { device: device.to_owned(), threads }
    }

    fn pace(device: &str, seconds_per_epoch: f64) -> Pace {
        Pace { arch: "linear".to_owned(), content: "c".to_owned(), device: device.to_owned(), seconds_per_epoch, epochs: 30 }
    }

    #[test]
    fn what_was_recorded_is_believed_first() {
        let slots = [slot("cpu", 1), slot("cuda:0", 1)];
        let paces = [pace("cpu", 4.0), pace("cuda:0", 1.0)];
        let found = estimate(&plan(), &[0, 1], &[], &slots, &paces).unwrap();
        // 20 epochs: the CPU does 1/4 and the GPU 1 per second.
        assert!((found.seconds - 20.0 / 1.25).abs() < 1e-9, "{found:?}");
        assert!(found.basis.contains("30 epochs of linear recorded on this data on cpu"), "{found:?}");
        // One run is no faster for a second worker.
        let one = estimate(&plan(), &[0], &[], &[slot("cpu", 1), slot("cpu", 1)], &paces).unwrap();
        assert!((one.seconds - 40.0).abs() < 1e-9, "{one:?}");
    }

    #[test]
    fn else_the_size_of_the_network_tells_on_the_cpu_only() {
        let found = estimate(&plan(), &[0, 1], &[], &[slot("cpu", 2)], &[]).unwrap();
        let macs = 3e5 * (3.0 * 1000.0 + 200.0);
        assert!((found.seconds - 20.0 * (EPOCH + macs / (2.0 * MACS_A_SECOND))).abs() < 1e-9, "{found:?}");
        assert!(found.basis.contains("the size of linear"), "{found:?}");
        let unknown = estimate(&plan(), &[0], &[], &[slot("cuda:0", 1)], &[pace("cpu", 1.0)]).unwrap_err();
        assert!(unknown.contains("linear") && unknown.contains("cuda:0"), "{unknown}");
    }

    #[test]
    fn a_reference_run_is_estimated_by_its_size_on_any_device() {
        let plan = plan();
        assert!(plan.runs[2].config.reference().is_some());
        // 15 strengths, each as 30 epochs of 3.2e8 x 3 / 10^10 seconds and more for val.
        let found = estimate(&plan, &[2], &[], &[slot("cuda:0", 1)], &[pace("cuda:0", 1.0)]).unwrap();
        let wanted = 15.0 * (EPOCH + 3e5 * (30.0 * 3.0 * 1000.0 + 200.0) / 1e10);
        assert!((found.seconds - wanted).abs() < 1e-6 && found.basis.contains("the size of logistic"), "{found:?}");
    }
}
