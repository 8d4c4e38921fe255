//! Waiting runs, grouped by the data their worker has to open and by the runs they may train with. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::vocabulary::{Queued, RunIndex};

/// Runs on one data set.
#[derive(Clone, Debug, Default)]
struct Queue {
    data: usize,
    /// They may train together.
    bundle: bool,
    runs: VecDeque<RunIndex>,
}

/// All waiting runs.
#[derive(Debug)]
pub(super) struct Queues {
    /// First a queue per data set for the runs that train alone, then one per bundle.
    queues: Vec<Queue>,
    /// The first queue of each run.
    homes: Vec<usize>,
    /// Number of runs of a bundle for one worker.
    share: usize,
}

impl Queues {
    /// `runs` for `places` workers.
    pub(super) fn new(runs: &[Queued], places: usize) -> Self {
        let sets = runs.iter().map(|run| run.data + 1).max().unwrap_or(0);
        let mut queues: Vec<Queue> = (0..sets).map(|data| Queue { data, ..Queue::default() }).collect();
        let mut bundles: BTreeMap<(usize, usize), Vec<RunIndex>> = BTreeMap::new();
        for (index, run) in runs.iter().enumerate() {
            // A run that has failed before is tried alone, so that it does not end other runs.
            match run.bundle.filter(|_| run.failures == 0) {
                Some(bundle) => bundles.entry((run.data, bundle)).or_default().push(index),
                None => queues[run.data].runs.push_back(index),
            }
        }
        for ((data, _), runs) in bundles {
            match runs[..] {
                [alone] => queues[data].runs.push_back(alone),
                _ => queues.push(Queue { data, bundle: true, runs: runs.into() }),
            }
        }
        let mut homes = vec![0; runs.len()];
        for (home, queue) in queues.iter_mut().enumerate() {
            queue.runs.make_contiguous().sort_unstable();
            queue.runs.iter().for_each(|&run| homes[run] = home);
            queue.runs.retain(|&run| !runs[run].held);
        }
        let ready = runs.iter().filter(|run| !run.held).count();
        Self { queues, homes, share: ready.div_ceil(places.max(1)).max(1) }
    }

    /// Puts a run back that has failed: behind the others and alone, so that it does not end other runs again.
    pub(super) fn back_alone(&mut self, run: RunIndex, data: usize) {
        self.queues[data].runs.push_back(run);
    }

    /// Puts a run that did not fail back where it was.
    pub(super) fn back(&mut self, run: RunIndex) {
        let runs = &mut self.queues[self.homes[run]].runs;
        let at = runs.partition_point(|&other| other < run);
        runs.insert(at, run);
    }

    /// Takes a run out; `false`: it does not wait.
    pub(super) fn remove(&mut self, run: RunIndex) -> bool {
        let queue =
            self.queues.iter_mut().find_map(|queue| queue.runs.iter().position(|&other| other == run).map(|at| (queue, at)));
        queue.is_some_and(|(queue, at)| queue.runs.remove(at).is_some())
    }

    /// The runs that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = RunIndex> {
        self.queues.iter().flat_map(|queue| queue.runs.iter().copied())
    }

    /// What a worker that has `data` open trains next: of the same data, else of the data with the most runs left per worker
    /// (`readers` says how many train on a data set); there in the order of the plan. Runs of a bundle come together, as many as
    /// leave the other places their share. Empty: nothing waits.
    pub(super) fn pick(&mut self, data: Option<usize>, readers: impl Fn(usize) -> usize) -> Vec<RunIndex> {
        let mut left: BTreeMap<usize, usize> = BTreeMap::new();
        for queue in self.queues.iter().filter(|queue| !queue.runs.is_empty()) {
            *left.entry(queue.data).or_default() += queue.runs.len();
        }
        let of = data.filter(|data| left.contains_key(data)).or_else(|| {
            left.iter().max_by_key(|&(&data, &runs)| (runs / (1 + readers(data)), std::cmp::Reverse(data))).map(|(&data, _)| data)
        });
        let next = self.queues.iter_mut().filter(|queue| Some(queue.data) == of && !queue.runs.is_empty());
        let Some(queue) = next.min_by_key(|queue| queue.runs.front().copied()) else { return Vec::new() };
        let count = if queue.bundle { self.share.min(queue.runs.len()) } else { 1 };
        queue.runs.drain(..count).collect()
    }
}
