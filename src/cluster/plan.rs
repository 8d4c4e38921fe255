//! What is submitted, and how the ends of tasks are judged. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::slice::order_of;
use ::plan::Fingerprint;
use protocol::{Job, Order, Outcome};
use store::{Missing, NOT_COUNTED};

/// A task should take about this long: long beside its start, short beside its time limit. Seconds.
const TASK: f64 = 20.0 * 60.0;
/// A run whose length is unknown: a network that is trained as a whole, and heads that train together.
const LONG: f64 = 20.0 * 60.0;
const SHORT: f64 = 20.0;
/// The most runs of a task.
const MOST: usize = 100;
/// Attempts in a row that may be lost without a further checkpoint.
const IN_VAIN: u32 = 3;

/// Runs of one task: its orders, in their order.
pub(super) type Slice = Vec<Order>;

/// Cuts what is missing into slices. Runs that may train together and have not failed before do so; a run that has failed is alone in its
/// order, so that it does not end others again. `seconds` is how long a run takes, where that is known.
pub(super) fn slices(
    missing: Vec<Missing>,
    runs_per_task: Option<usize>,
    most: usize,
    seconds: impl Fn(&Job) -> Option<f64>,
) -> Vec<Slice> {
    let mut groups: BTreeMap<(PathBuf, String, Option<usize>), Vec<(Job, bool)>> = BTreeMap::new();
    for Missing { job, failures, bundle, .. } in missing {
        let bundle = (job.config.in_one_pass() && failures == 0).then_some(bundle);
        let job = Job { attempt: super::ATTEMPT, ..job };
        groups.entry((job.data.clone(), job.config.model.arch.clone(), bundle)).or_default().push((job, bundle.is_some()));
    }
    let mut slices: Vec<Slice> = Vec::new();
    let mut open: Option<(PathBuf, usize, Slice)> = None;
    for ((data, ..), jobs) in groups {
        let Some((first, together)) = jobs.first() else { continue };
        let one = seconds(first).unwrap_or(if *together { SHORT } else { LONG });
        let share = runs_per_task.unwrap_or(((TASK / one.max(1e-3)) as usize).clamp(1, MOST)).max(1);
        let together = *together;
        let jobs: Vec<Job> = jobs.into_iter().map(|(job, _)| job).collect();
        for chunk in jobs.chunks(share) {
            // Tasks read one data set each; what is left of a group shares a task with the next group on the same data.
            let fits = open.as_ref().is_some_and(|(other, runs, _)| *other == data && runs + chunk.len() <= share);
            if !fits && let Some((.., slice)) = open.take() {
                slices.push(slice);
            }
            let (_, runs, slice) = open.get_or_insert_with(|| (data.clone(), 0, Vec::new()));
            *runs += chunk.len();
            match together {
                true => slice.extend(order_of(chunk.to_vec())),
                false => slice.extend(chunk.iter().map(|job| Order::Train(Box::new(job.clone())))),
            }
        }
    }
    slices.extend(open.map(|(.., slice)| slice));
    slices.truncate(most);
    slices
}

/// The runs of a slice.
pub(super) fn runs(slice: &Slice) -> Vec<Fingerprint> {
    let mut runs = Vec::new();
    for order in slice {
        match order {
            Order::Train(job) => runs.push(job.run.clone()),
            Order::Bundle { jobs } => runs.extend(jobs.iter().map(|job| job.run.clone())),
            _ => {}
        }
    }
    runs
}

/// An attempt that ended without saying so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub outcome: Outcome,
    pub why: String,
    /// Whether the run is queued again.
    pub retry: bool,
}

/// What is known of such an attempt's end.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// Its worker's process has ended while the task went on.
    Worker(Outcome, String),
    /// Its task has ended: the scheduler's state and exit code, as far as known.
    Task { state: String, code: String },
}

/// The verdict on an attempt, of a run with `failures` failed attempts before, that is the `in_vain`th in a row to be lost without a further
/// checkpoint (itself included). `attempts` are the attempts that a run has.
pub(super) fn verdict(ending: &Ending, failures: u32, in_vain: u32, attempts: u32) -> Verdict {
    let counted = |outcome: Outcome, why: String| Verdict { outcome, retry: outcome.may_retry() && failures + 1 < attempts, why };
    let lost = |why: String| {
        if in_vain < IN_VAIN {
            return Verdict { outcome: Outcome::Lost, why, retry: true };
        }
        let why = format!("lost {in_vain} times in a row without a further checkpoint, the last time: {why}");
        Verdict { outcome: Outcome::Killed, why, retry: false }
    };
    match ending {
        Ending::Worker(Outcome::Lost | Outcome::Stopped | Outcome::Io, why) => lost(why.clone()),
        Ending::Worker(outcome, why) => counted(*outcome, why.clone()),
        Ending::Task { state, code } => {
            let code = if code.is_empty() || code == "0:0" { String::new() } else { format!(", exit code {code}") };
            match state.as_str() {
                state if NOT_COUNTED.contains(&state) => {
                    let why = if state == "PREEMPTED" { "another job took the task's place" } else { "the task's node failed" };
                    Verdict { outcome: Outcome::Lost, why: format!("{state}: {why}"), retry: true }
                }
                "OUT_OF_MEMORY" => {
                    counted(Outcome::OutOfMemory, "OUT_OF_MEMORY: the task used more than `workers.slurm.memory`".to_owned())
                }
                // From the checkpoint, if that has come further than the last time.
                "TIMEOUT" if in_vain >= 2 => Verdict {
                    outcome: Outcome::Timeout,
                    why: "TIMEOUT twice without a further checkpoint: `workers.slurm.time` is shorter than an epoch".to_owned(),
                    retry: false,
                },
                "TIMEOUT" => lost("TIMEOUT: the task's time was over".to_owned()),
                "" => lost("its task is gone, and the scheduler does not say why".to_owned()),
                state => lost(format!("{state}: its task has ended{code}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: &str, failures: u32, in_vain: u32) -> Verdict {
        verdict(&Ending::Task { state: state.to_owned(), code: "0:9".to_owned() }, failures, in_vain, 2)
    }

    #[test]
    fn what_says_nothing_about_a_run_ends_it_only_when_nothing_moves() {
        for state in ["NODE_FAIL", "PREEMPTED"] {
            assert!(task(state, 5, 50).retry, "{state}");
            assert_eq!(task(state, 0, 1).outcome, Outcome::Lost);
        }
        for state in ["CANCELLED", "FAILED", "COMPLETED", "", "TIMEOUT"] {
            let verdict = task(state, 1, 1);
            assert!(verdict.retry && verdict.outcome == Outcome::Lost, "{state}");
            assert!(!task(state, 0, 3).retry, "{state}");
        }
        assert!(!task("TIMEOUT", 0, 2).retry && task("TIMEOUT", 0, 2).outcome == Outcome::Timeout);
        assert!(task("FAILED", 0, 1).why.contains("exit code 0:9"));
    }

    #[test]
    fn what_is_the_runs_own_fault_counts() {
        assert!(task("OUT_OF_MEMORY", 0, 1).retry);
        assert!(!task("OUT_OF_MEMORY", 1, 1).retry);
        let died = |outcome, failures| verdict(&Ending::Worker(outcome, String::new()), failures, 1, 2);
        assert!(died(Outcome::Crashed, 0).retry && !died(Outcome::Crashed, 1).retry);
        assert!(!died(Outcome::Timeout, 0).retry);
        assert!(died(Outcome::Lost, 7).retry && died(Outcome::Io, 7).outcome == Outcome::Lost);
    }
}
