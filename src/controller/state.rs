//! What happens next: a pure machine, event → actions. No clock, no files, no processes, no database: `now` is handed in,
//! and the dispatcher carries the actions out in the order they are emitted (persist, act, tell).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::failure;
use crate::launcher::{Exit, WorkerId};
use plan::Fingerprint;
use protocol::{Event as Said, Outcome, VERSION};

/// Index into the runs that the machine was given.
pub type RunIndex = usize;

/// What bounds a sweep.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tries a run gets (at least 1).
    pub attempts: u32,
    /// A run's own time limit.
    pub timeout: Option<Duration>,
    /// A busy or starting worker that says nothing for so long is killed.
    pub hung_after: Duration,
    /// Stop once this many runs have failed for good.
    pub max_failures: Option<usize>,
}

/// A run to be trained.
#[derive(Clone, Debug)]
pub struct Queued {
    pub run: Fingerprint,
    /// Number of the next attempt.
    pub attempt: u32,
    /// Attempts that failed before.
    pub failures: u32,
    /// Runs with equal numbers read the same data: a worker keeps it open.
    pub data: usize,
    /// Runs with equal numbers may train together; `None`: alone.
    pub bundle: Option<usize>,
}

/// What has happened. Records have been stored before the machine hears of them.
#[derive(Clone, Debug)]
pub enum Event {
    /// The dispatcher is ready.
    Go,
    /// A worker has said something.
    Record(WorkerId, Said),
    /// Nothing more is read of a worker's journal, because of this attempt's record or (`None`) for all of them.
    Spoiled(WorkerId, Option<(Fingerprint, u32)>, String),
    /// A worker could not be started.
    SpawnFailed(WorkerId, String),
    /// A worker's process is gone and its journal is read to the end; with the last line of its log.
    Exited(WorkerId, Exit, String),
    /// [`State::deadline`] has passed.
    Tick,
    /// SIGINT or SIGTERM.
    Interrupt,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Persist: the attempt is running.
    Begin { run: RunIndex, attempt: u32, worker: WorkerId },
    /// Persist: the verdict on an attempt that did not succeed.
    End { run: RunIndex, attempt: u32, worker: WorkerId, outcome: Outcome, why: String, retry: bool },
    /// Act: start a worker on a slot.
    Start { worker: WorkerId, slot: usize },
    /// Act: order the worker to train these runs and attempts, together if they are several (always after their `Begin`).
    Train { worker: WorkerId, runs: Vec<(RunIndex, u32)> },
    /// Act: order the worker to stop after the current epoch.
    Stop { worker: WorkerId },
    /// Act: SIGKILL.
    Kill { worker: WorkerId },
    /// Tell the user.
    Tell(News),
}

/// What the user hears.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Began {
        worker: WorkerId,
        run: RunIndex,
        attempt: u32,
    },
    Beat {
        worker: WorkerId,
        epoch: usize,
        step: usize,
        steps: usize,
        loss: f64,
        images_per_s: f64,
    },
    Epoch {
        worker: WorkerId,
        run: RunIndex,
        epoch: usize,
        train_loss: f64,
        val_loss: f64,
    },
    Succeeded {
        worker: WorkerId,
        run: RunIndex,
    },
    Failed {
        worker: WorkerId,
        run: RunIndex,
        outcome: Outcome,
        why: String,
        retry: bool,
    },
    /// The run's worker has stopped it; it can be resumed.
    Stopped {
        worker: WorkerId,
        run: RunIndex,
    },
    /// A slot's worker did not come up; `again` is false when the slot is given up.
    NoStart {
        slot: usize,
        why: String,
        again: bool,
    },
    Stopping {
        why: Halt,
    },
}

/// Why no further run is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// First SIGINT or SIGTERM: after the current epoch.
    Interrupted,
    /// Second one: at once.
    Killed,
    /// `--max-failures`.
    Failures(usize),
    /// A file could not be written, or no worker comes up.
    Fatal(String),
}

/// How many runs are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub queued: usize,
    pub running: usize,
    pub succeeded: usize,
    pub failed: usize,
}

/// Immediate deaths of a slot's workers before the slot is given up.
const START_TRIES: u32 = 3;
/// How long a worker with nothing to do may take to leave.
const LEAVE: Duration = Duration::from_secs(10);
/// Runs of one bundle. More would cost memory and bring nothing: the pass over the inputs is shared well enough by then.
const TOGETHER: usize = 32;

#[derive(Debug)]
enum Stage {
    Starting {
        since: Duration,
    },
    Idle,
    Busy(Busy),
    /// Told to stop with nothing to do.
    Leaving {
        since: Duration,
    },
}

#[derive(Debug)]
struct Busy {
    /// Never empty.
    going: Vec<Going>,
    heard: Duration,
    /// When the time limit of its runs is over: the sum of theirs, since they share the worker.
    over: Option<Duration>,
    /// A run of the bundle has crashed.
    broken: bool,
}

/// A run that a worker is on.
#[derive(Debug)]
struct Going {
    run: RunIndex,
    attempt: u32,
}

/// Runs that wait.
#[derive(Clone, Debug, Default)]
struct Queue {
    data: usize,
    /// They may train together.
    bundle: bool,
    runs: VecDeque<RunIndex>,
}

#[derive(Debug)]
struct Worker {
    id: WorkerId,
    stage: Stage,
    /// The data it has open.
    data: Option<usize>,
    /// Killed by us, and why.
    killed: Option<(Outcome, String)>,
    /// The attempt that it was killed for, at no cost of the others it is on.
    guilty: Option<(Fingerprint, u32)>,
}

#[derive(Debug, Default)]
struct Slot {
    worker: Option<Worker>,
    /// Workers in a row that died before they were ready.
    misses: u32,
    /// No worker is started here before.
    not_before: Duration,
    given_up: bool,
}

/// The machine.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    runs: Vec<Queued>,
    /// Queued runs: first a queue a data set for those that train alone, then one a bundle.
    queues: Vec<Queue>,
    /// Runs of a bundle that one worker gets.
    share: usize,
    slots: Vec<Slot>,
    workers: u32,
    tally: Tally,
    halt: Option<Halt>,
}

impl State {
    /// A machine with `slots` places for workers.
    #[must_use]
    pub fn new(limits: Limits, runs: Vec<Queued>, slots: usize) -> Self {
        let sets = runs.iter().map(|run| run.data + 1).max().unwrap_or(0);
        let mut queues: Vec<Queue> = (0..sets).map(|data| Queue { data, ..Queue::default() }).collect();
        let mut bundles: BTreeMap<(usize, usize), Vec<RunIndex>> = BTreeMap::new();
        for (index, run) in runs.iter().enumerate() {
            // What has failed before is tried by itself, so that it takes no other run along.
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
        queues.iter_mut().for_each(|queue| queue.runs.make_contiguous().sort_unstable());
        let tally = Tally { queued: runs.len(), ..Tally::default() };
        let share = runs.len().div_ceil(slots.max(1)).clamp(1, TOGETHER);
        let slots = (0..slots).map(|_| Slot::default()).collect();
        Self { limits, runs, queues, share, slots, workers: 0, tally, halt: None }
    }

    /// How many runs are where.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Why no further run is begun, if so.
    #[must_use]
    pub fn halt(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// Nothing runs and nothing will.
    #[must_use]
    pub fn finished(&self) -> bool {
        let over = self.halt.is_some() || self.tally.queued + self.tally.running == 0;
        over && self.slots.iter().all(|slot| slot.worker.is_none())
    }

    /// When the machine wants [`Event::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let backoff = self.halt.is_none() && self.tally.queued > 0;
        let of_slot = |slot: &Slot| match &slot.worker {
            None => (backoff && !slot.given_up && slot.misses > 0).then_some(slot.not_before),
            Some(worker) if worker.killed.is_some() => None,
            Some(worker) => match &worker.stage {
                Stage::Idle => None,
                Stage::Starting { since } => Some(*since + self.limits.hung_after),
                Stage::Leaving { since } => Some(*since + LEAVE),
                Stage::Busy(busy) => {
                    let hung = busy.heard + self.limits.hung_after;
                    Some(busy.over.map_or(hung, |over| hung.min(over)))
                }
            },
        };
        self.slots.iter().filter_map(of_slot).min()
    }

    /// The one entry: what to do now that `event` has happened.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Go | Event::Tick => {}
            Event::Record(worker, said) => self.heard(worker, said, now, &mut out),
            Event::Spoiled(worker, guilty, why) => self.spoiled(worker, guilty, why, &mut out),
            Event::SpawnFailed(worker, why) => {
                if let Some(slot) = self.slot_of(worker) {
                    self.slots[slot].worker = None;
                    self.missed(slot, why, now, &mut out);
                }
            }
            Event::Exited(worker, exit, last_words) => self.exited(worker, &exit, &last_words, now, &mut out),
            Event::Interrupt => {
                let why = if matches!(self.halt, None | Some(Halt::Failures(_) | Halt::Fatal(_))) {
                    Halt::Interrupted
                } else {
                    Halt::Killed
                };
                self.stop(why, now, &mut out);
            }
        }
        self.expire(now, &mut out);
        self.assign(now, &mut out);
        out
    }

    fn slot_of(&self, worker: WorkerId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.worker.as_ref().is_some_and(|here| here.id == worker))
    }

    /// A record of a living worker. Records of attempts it is not on (superseded ones) count as a sign of life only.
    fn heard(&mut self, id: WorkerId, said: Said, now: Duration, out: &mut Vec<Action>) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(worker) = self.slots[slot].worker.as_mut() else { return };
        if let (Stage::Starting { .. }, &Said::Open { v, .. }) = (&worker.stage, &said) {
            if v == VERSION {
                worker.stage = Stage::Idle;
                self.slots[slot].misses = 0;
            } else {
                let why = format!("the worker speaks version {v} of the protocol, this program version {VERSION}");
                worker.killed = Some((Outcome::Crashed, why));
                out.push(Action::Kill { worker: id });
            }
            return;
        }
        let Stage::Busy(busy) = &mut worker.stage else { return };
        busy.heard = now;
        let place = |r: &Fingerprint, a: u32, going: &[Going]| {
            going.iter().position(|going| going.attempt == a && self.runs[going.run].run == *r)
        };
        match said {
            Said::Hb { r: Some(r), epoch, step, steps, loss, images_per_s } => {
                if busy.going.iter().any(|going| self.runs[going.run].run == r) {
                    out.push(Action::Tell(News::Beat { worker: id, epoch, step, steps, loss, images_per_s }));
                }
            }
            Said::Epoch { r, a, epoch, train_loss, val_loss, .. } => {
                if let Some(at) = place(&r, a, &busy.going) {
                    out.push(Action::Tell(News::Epoch { worker: id, run: busy.going[at].run, epoch, train_loss, val_loss }));
                }
            }
            // The outcome is what the store made of the worker's word.
            Said::End { r, a, st: outcome, why, .. } => {
                let Some(at) = place(&r, a, &busy.going) else { return };
                let Going { run, attempt } = busy.going.remove(at);
                busy.broken |= outcome == Outcome::Crashed;
                let (over, broken) = (busy.going.is_empty(), busy.broken);
                if over {
                    worker.stage = Stage::Idle;
                }
                self.ended(id, run, attempt, outcome, why, now, out);
                if !over {
                    return;
                }
                if self.halt.is_some() {
                    self.leave(slot, now);
                } else if broken {
                    // Nobody knows what state it is in; it may have left already. Another one takes its place.
                    self.leave(slot, now);
                    out.push(Action::Stop { worker: id });
                }
            }
            Said::Open { .. }
            | Said::Begin { .. }
            | Said::Hb { .. }
            | Said::Drawn { .. }
            | Said::Rank { .. }
            | Said::Eval { .. }
            | Said::Close { .. } => {}
        }
    }

    /// A worker whose journal cannot be used has nothing more to say.
    fn spoiled(&mut self, id: WorkerId, guilty: Option<(Fingerprint, u32)>, why: String, out: &mut Vec<Action>) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(worker) = self.slots[slot].worker.as_mut().filter(|worker| worker.killed.is_none()) else { return };
        worker.killed = Some((Outcome::Crashed, why));
        worker.guilty = guilty;
        out.push(Action::Kill { worker: id });
    }

    /// A process is gone: the runs that it had did not end by themselves.
    fn exited(&mut self, id: WorkerId, exit: &Exit, last_words: &str, now: Duration, out: &mut Vec<Action>) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(worker) = self.slots[slot].worker.take() else { return };
        let killed = worker.killed.is_some();
        let (outcome, why) = worker.killed.unwrap_or_else(|| failure::verdict(exit));
        match worker.stage {
            Stage::Busy(busy) => {
                for Going { run, attempt } in busy.going {
                    let innocent = worker.guilty.as_ref().is_some_and(|(r, a)| *r != self.runs[run].run || *a != attempt);
                    let (outcome, why) = if innocent {
                        (Outcome::Lost, "its worker was ended because of another run's records".to_owned())
                    } else {
                        (outcome, why.clone())
                    };
                    self.ended(id, run, attempt, outcome, why, now, out);
                }
            }
            Stage::Starting { .. } if self.halt.is_none() || !killed => {
                let why = if last_words.is_empty() { why } else { format!("{why}: {last_words}") };
                self.missed(slot, why, now, out);
            }
            Stage::Starting { .. } | Stage::Idle | Stage::Leaving { .. } => {}
        }
    }

    /// The end of an attempt, from whoever tells.
    #[expect(clippy::too_many_arguments, reason = "an attempt's end has this many facts")]
    fn ended(
        &mut self,
        worker: WorkerId,
        run: RunIndex,
        attempt: u32,
        outcome: Outcome,
        why: String,
        now: Duration,
        out: &mut Vec<Action>,
    ) {
        self.tally.running -= 1;
        if outcome == Outcome::Ok {
            self.tally.succeeded += 1;
            out.push(Action::Tell(News::Succeeded { worker, run }));
            return;
        }
        let entry = &mut self.runs[run];
        entry.attempt = attempt + 1;
        // A full disk, a request to stop or another run's fault says nothing about the run: it stays in the queue.
        let innocent = matches!(outcome, Outcome::Stopped | Outcome::Io | Outcome::Lost);
        entry.failures += u32::from(!innocent);
        let retry = innocent || (outcome.may_retry() && entry.failures < self.limits.attempts);
        if retry {
            // By itself: whatever it was, it shall take no other run along again.
            self.queues[entry.data].runs.push_back(run);
            self.tally.queued += 1;
        } else {
            self.tally.failed += 1;
        }
        out.push(Action::End { run, attempt, worker, outcome, why: why.clone(), retry });
        out.push(Action::Tell(if outcome == Outcome::Stopped {
            News::Stopped { worker, run }
        } else {
            News::Failed { worker, run, outcome, why: why.clone(), retry }
        }));
        if self.halt.is_none() {
            if outcome == Outcome::Io {
                self.stop(Halt::Fatal(why), now, out);
            } else if self.limits.max_failures.is_some_and(|most| self.tally.failed >= most) {
                self.stop(Halt::Failures(self.tally.failed), now, out);
            }
        }
    }

    /// A worker died before it was ready.
    fn missed(&mut self, slot: usize, why: String, now: Duration, out: &mut Vec<Action>) {
        let place = &mut self.slots[slot];
        place.misses += 1;
        place.not_before = now + Duration::from_millis(100) * 2u32.pow(place.misses.min(8));
        place.given_up = place.misses >= START_TRIES;
        let again = !place.given_up;
        out.push(Action::Tell(News::NoStart { slot, why: why.clone(), again }));
        if self.halt.is_none() && self.slots.iter().all(|slot| slot.given_up) {
            self.stop(Halt::Fatal(format!("no worker can be started: {why}")), now, out);
        }
    }

    /// Begins nothing more; what runs ends after its epoch, or at once.
    fn stop(&mut self, why: Halt, now: Duration, out: &mut Vec<Action>) {
        let at_once = why == Halt::Killed;
        self.halt = Some(why.clone());
        out.push(Action::Tell(News::Stopping { why }));
        for slot in &mut self.slots {
            let Some(worker) = &mut slot.worker else { continue };
            if at_once {
                if worker.killed.is_none() {
                    worker.killed = Some((Outcome::Stopped, "interrupted".to_owned()));
                    out.push(Action::Kill { worker: worker.id });
                }
            } else {
                if !matches!(worker.stage, Stage::Busy(_) | Stage::Leaving { .. }) {
                    worker.stage = Stage::Leaving { since: now };
                }
                out.push(Action::Stop { worker: worker.id });
            }
        }
    }

    /// An idle worker that was told to stop.
    fn leave(&mut self, slot: usize, now: Duration) {
        if let Some(worker) = self.slots[slot].worker.as_mut().filter(|worker| matches!(worker.stage, Stage::Idle)) {
            worker.stage = Stage::Leaving { since: now };
        }
    }

    /// Kills what has been silent or has run for too long.
    fn expire(&mut self, now: Duration, out: &mut Vec<Action>) {
        let hung_after = self.limits.hung_after;
        for worker in self.slots.iter_mut().filter_map(|slot| slot.worker.as_mut()).filter(|worker| worker.killed.is_none()) {
            let silent = |since: Duration| now >= since + hung_after;
            let words = || format!("no message for {}", failure::seconds(hung_after));
            let verdict = match &worker.stage {
                Stage::Starting { since } if silent(*since) => (Outcome::Hung, words()),
                Stage::Leaving { since } if now >= *since + LEAVE => (Outcome::Hung, "did not leave when told".to_owned()),
                Stage::Busy(busy) if busy.over.is_some_and(|over| now >= over) => {
                    let timeout = failure::seconds(self.limits.timeout.unwrap_or_default());
                    (Outcome::Timeout, format!("ran longer than workers.timeout ({timeout})"))
                }
                Stage::Busy(busy) if silent(busy.heard) => (Outcome::Hung, words()),
                _ => continue,
            };
            worker.killed = Some(verdict);
            out.push(Action::Kill { worker: worker.id });
        }
    }

    /// Gives work to idle workers, starts workers where there is more, lets them go when there is none.
    fn assign(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.halt.is_some() {
            return;
        }
        for slot in 0..self.slots.len() {
            let Some(worker) = self.slots[slot].worker.as_ref().filter(|worker| matches!(worker.stage, Stage::Idle)) else {
                continue;
            };
            let (id, data) = (worker.id, worker.data);
            if worker.killed.is_some() {
                continue;
            }
            let runs = self.pick(data);
            if let Some(&first) = runs.first() {
                self.tally.queued -= runs.len();
                self.tally.running += runs.len();
                let runs: Vec<(RunIndex, u32)> = runs.into_iter().map(|run| (run, self.runs[run].attempt)).collect();
                if let Some(worker) = &mut self.slots[slot].worker {
                    worker.data = Some(self.runs[first].data);
                    let going = runs.iter().map(|&(run, attempt)| Going { run, attempt }).collect();
                    let over = self.limits.timeout.map(|timeout| now + timeout * u32::try_from(runs.len()).unwrap_or(u32::MAX));
                    worker.stage = Stage::Busy(Busy { going, heard: now, over, broken: false });
                }
                out.extend(runs.iter().map(|&(run, attempt)| Action::Begin { run, attempt, worker: id }));
                out.push(Action::Train { worker: id, runs: runs.clone() });
                out.extend(runs.iter().map(|&(run, attempt)| Action::Tell(News::Began { worker: id, run, attempt })));
            } else if self.tally.running == 0 {
                self.leave(slot, now);
                out.push(Action::Stop { worker: id });
            }
        }
        let starting = |slot: &Slot| slot.worker.as_ref().is_some_and(|worker| matches!(worker.stage, Stage::Starting { .. }));
        let mut wanted = self.tally.queued.saturating_sub(self.slots.iter().filter(|slot| starting(slot)).count());
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if wanted > 0 && slot.worker.is_none() && !slot.given_up && now >= slot.not_before {
                wanted -= 1;
                let id = WorkerId(self.workers);
                self.workers += 1;
                slot.worker = Some(Worker { id, stage: Stage::Starting { since: now }, data: None, killed: None, guilty: None });
                out.push(Action::Start { worker: id, slot: index });
            }
        }
    }

    /// What a worker that has `data` open trains next: of the same data, else of the data with the most runs left per worker; there
    /// in the order of the plan. Runs of a bundle come together, as many as leave the other slots their share. Empty: nothing waits.
    fn pick(&mut self, data: Option<usize>) -> Vec<RunIndex> {
        let mut left: BTreeMap<usize, usize> = BTreeMap::new();
        for queue in self.queues.iter().filter(|queue| !queue.runs.is_empty()) {
            *left.entry(queue.data).or_default() += queue.runs.len();
        }
        let readers = |data: usize| {
            let reads = |slot: &&Slot| {
                let busy = |worker: &Worker| matches!(worker.stage, Stage::Busy(_)) && worker.data == Some(data);
                slot.worker.as_ref().is_some_and(busy)
            };
            self.slots.iter().filter(reads).count()
        };
        let of = data.filter(|data| left.contains_key(data)).or_else(|| {
            left.iter().max_by_key(|&(&data, &runs)| (runs / (1 + readers(data)), std::cmp::Reverse(data))).map(|(&data, _)| data)
        });
        let next = self.queues.iter_mut().filter(|queue| Some(queue.data) == of && !queue.runs.is_empty());
        let Some(queue) = next.min_by_key(|queue| queue.runs.front().copied()) else { return Vec::new() };
        let count = if queue.bundle { self.share.min(queue.runs.len()) } else { 1 };
        queue.runs.drain(..count).collect()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
