//! How long the runs of a plan will take: from what was recorded on the same data, else from the size of the network.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::launcher::Slot;
use crate::model::forward_macs;
use crate::spec::{Plan, PlannedRun};
use crate::store::Pace;

/// Multiply-adds a second that one CPU thread does in training. PLACEHOLDER
const MACS_A_SECOND: f64 = 12e9;
/// Forward passes that a training step costs: forward, gradient of the inputs, gradient of the weights.
const STEP: f64 = 3.0;

/// A guess and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub seconds: f64,
    pub basis: String,
}

/// Seconds until `runs` are trained on `slots`. The error says why nobody can tell.
///
/// # Errors
/// A device other than the CPU on which nothing like these runs was recorded.
pub fn estimate(plan: &Plan, runs: &[usize], slots: &[Slot], paces: &[Pace]) -> Result<Estimate, String> {
    let mut measured: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let mut computed: BTreeSet<&str> = BTreeSet::new();
    let (mut speed, mut longest) = (0.0, f64::INFINITY);
    for slot in slots {
        let (mut all, mut one) = (0.0, 0.0_f64);
        for run in runs.iter().filter_map(|&run| plan.runs.get(run)) {
            let (arch, content) = (run.config.model.arch.as_str(), plan.data[run.data].1.content.as_str());
            let pace = paces.iter().find(|pace| pace.arch == arch && pace.content == content && pace.device == slot.device);
            let epoch = match pace {
                Some(pace) => {
                    measured.insert((arch, &pace.device), pace.epochs);
                    pace.seconds_per_epoch
                }
                None if slot.device == "cpu" => {
                    computed.insert(arch);
                    epoch_macs(plan, run) / (MACS_A_SECOND * slot.threads as f64)
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
        let archs = computed.into_iter().collect::<Vec<_>>().join(", ");
        basis.push(format!(
            "the multiply-adds of {archs} at {:.0} thousand million a second a thread; recorded runs will tell better",
            MACS_A_SECOND / 1e9
        ));
    }
    Ok(Estimate { seconds: f64::max(1.0 / speed, longest), basis: basis.join(" and ") })
}

/// Multiply-adds of one epoch: training on train, scoring val.
fn epoch_macs(plan: &Plan, run: &PlannedRun) -> f64 {
    let facts = &plan.data[run.data].1;
    let forward = forward_macs(&run.config.model, facts.input, facts.labels.len()) as f64;
    forward * (STEP * facts.train.rows as f64 + facts.val.rows as f64)
}
