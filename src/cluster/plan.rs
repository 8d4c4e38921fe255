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
/// Attempts in a row that may be lost without a further checkpoint, where a run has not more attempts than that.
const IN_VAIN: u32 = 3;

/// Runs of one task: its orders, in their order.
pub(super) type Slice = Vec<Order>;

/// A run that waits, as far as slices depend on it.
#[derive(Clone, Debug)]
struct Waiting {
    data: PathBuf,
    arch: String,
    /// Runs of equal numbers on the same data may train together; `None`: alone.
    bundle: Option<usize>,
    /// How long it takes, where that is known.
    seconds: Option<f64>,
}

/// Cuts what is missing into slices, `most` of them. Runs that may train together and have not failed before do so; a run that has failed is
/// alone in its order, so that it does not end others again. `seconds` is how long a run takes, where that is known.
pub(super) fn slices(
    missing: Vec<Missing>,
    runs_per_task: Option<usize>,
    most: usize,
    seconds: impl Fn(&Job) -> Option<f64>,
) -> Vec<Slice> {
    let waiting = |Missing { job, failures, bundle, .. }: &Missing| Waiting {
        data: job.data.clone(),
        arch: job.config.model.arch.clone(),
        bundle: (job.config.in_one_pass() && *failures == 0).then_some(*bundle),
        seconds: seconds(job),
    };
    let waiting: Vec<Waiting> = missing.iter().map(waiting).collect();
    let mut jobs: Vec<Option<Job>> =
        missing.into_iter().map(|missing| Some(Job { attempt: super::ATTEMPT, ..missing.job })).collect();
    let mut order = |runs: Vec<usize>| order_of(runs.into_iter().filter_map(|run| jobs[run].take()).collect());
    cut(&waiting, runs_per_task, most).into_iter().map(|slice| slice.into_iter().filter_map(&mut order).collect()).collect()
}

/// Slices of orders of runs, by their indices.
fn cut(waiting: &[Waiting], runs_per_task: Option<usize>, most: usize) -> Vec<Vec<Vec<usize>>> {
    let mut groups: BTreeMap<(&PathBuf, &str, Option<usize>), Vec<usize>> = BTreeMap::new();
    for (run, Waiting { data, arch, bundle, .. }) in waiting.iter().enumerate() {
        groups.entry((data, arch, *bundle)).or_default().push(run);
    }
    let mut slices = Vec::new();
    let mut open: Option<(&PathBuf, usize, Vec<Vec<usize>>)> = None;
    for ((data, _, bundle), runs) in groups {
        let together = bundle.is_some();
        let known = runs
            .iter()
            .filter_map(|&run| waiting[run].seconds)
            .fold(None, |longest: Option<f64>, one| Some(longest.map_or(one, |longest| longest.max(one))));
        let one = known.unwrap_or(if together { SHORT } else { LONG });
        let share = runs_per_task.unwrap_or(((TASK / one.max(1e-3)) as usize).clamp(1, MOST)).max(1);
        for chunk in runs.chunks(share) {
            // A task reads one data set; what is left of a group shares a task with the next group on the same data.
            let fits = open.as_ref().is_some_and(|(other, runs, _)| *other == data && runs + chunk.len() <= share);
            if !fits {
                slices.extend(open.take().map(|(.., slice)| slice));
            }
            let (_, runs, slice) = open.get_or_insert((data, 0, Vec::new()));
            *runs += chunk.len();
            match together {
                true => slice.push(chunk.to_vec()),
                false => slice.extend(chunk.iter().map(|&run| vec![run])),
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
        if in_vain < IN_VAIN.max(attempts) {
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_run_is_in_one_slice_and_no_slice_is_too_long(
            runs in prop::collection::vec((0..3usize, prop::option::of(0..3usize), any::<bool>()), 0..60),
            runs_per_task in prop::option::of(1..9usize),
            one in prop::option::of(0.0..5000.0f64),
        ) {
            let waiting = |&(data, bundle, linear): &(usize, Option<usize>, bool)| Waiting {
                data: PathBuf::from(format!("/{data}")),
                arch: if linear { "linear" } else { "cnn" }.to_owned(),
                bundle,
                seconds: one,
            };
            let waiting: Vec<Waiting> = runs.iter().map(waiting).collect();
            let slices = cut(&waiting, runs_per_task, usize::MAX);
            let all: Vec<usize> = slices.iter().flatten().flatten().copied().collect();
            prop_assert_eq!(all.len(), runs.len());
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), runs.len());
            for slice in &slices {
                let inside: Vec<&Waiting> = slice.iter().flatten().map(|&run| &waiting[run]).collect();
                prop_assert!(!inside.is_empty() && inside.len() <= runs_per_task.unwrap_or(MOST));
                prop_assert!(inside.iter().all(|run| run.data == inside[0].data), "a task reads one data set");
                for order in slice.iter().filter(|order| order.len() > 1) {
                    let first = &waiting[order[0]];
                    prop_assert!(first.bundle.is_some(), "a run that trains alone is alone");
                    prop_assert!(order.iter().all(|&run| waiting[run].bundle == first.bundle && waiting[run].arch == first.arch));
                }
            }
            prop_assert!(cut(&waiting, runs_per_task, 2).len() <= 2);
        }
    }

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
        let patient = verdict(&Ending::Task { state: String::new(), code: String::new() }, 0, 9, 10);
        assert!(patient.retry, "`workers.attempts` allows more");
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
