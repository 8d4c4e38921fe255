//! What happens next: a pure machine, event → actions. No clock, no files, no processes, no database: `now` is handed in,
//! and the dispatcher carries the actions out in the order they are emitted (persist, act, tell). How ends are judged is in
//! [`verdict`].

mod verdict;

use std::time::Duration;

use super::failure;
use super::queue::Queues;
use super::vocabulary::{Action, Beat, Event, Halt, Limits, News, Queued, RunIndex, Tally};
use crate::launcher::WorkerId;
use plan::Fingerprint;
use protocol::{Event as Said, Outcome, VERSION};

/// How long an idle worker may take to leave.
const LEAVE: Duration = Duration::from_secs(10);
#[derive(Debug)]
enum Stage {
    /// Requested from the launcher. On a cluster it may wait there for days.
    Pending,
    Starting {
        since: Duration,
    },
    Idle,
    Busy(Busy),
    /// Told to stop, or closing by itself, with nothing to do.
    Leaving {
        since: Duration,
    },
    /// Killed by a third party: its runs are judged at `until`, unless the cause becomes known before.
    Gone {
        until: Duration,
        going: Vec<Going>,
        why: String,
    },
}

#[derive(Debug)]
struct Busy {
    /// Never empty.
    going: Vec<Going>,
    heard: Duration,
    /// When the time limit is over: the sum of its runs' limits, since they share the worker.
    over: Option<Duration>,
    /// A run of the bundle has crashed.
    broken: bool,
}

/// A run of a busy worker.
#[derive(Clone, Debug)]
struct Going {
    run: RunIndex,
    attempt: u32,
    /// Whether its `begin` has arrived.
    begun: bool,
    /// Whether the worker was told to stop it.
    stop: bool,
}

#[derive(Debug)]
struct WorkerState {
    id: WorkerId,
    stage: Stage,
    /// The data that it has open.
    data: Option<usize>,
    /// It was told to stop, or has closed its journal: it gets nothing more to do.
    told: bool,
    closed: bool,
    /// Killed by the controller, with the reason.
    killed: Option<(Outcome, String)>,
    /// The attempt that it was killed for; the others are not to blame.
    guilty: Option<(Fingerprint, u32)>,
    /// Runs that it stopped unasked: they are judged by how it leaves.
    dropped: Vec<Going>,
}

#[derive(Debug, Default)]
struct PlaceState {
    worker: Option<WorkerState>,
    /// Workers in a row that died before they were ready.
    misses: u32,
    /// Workers in a row that were ended from outside before an epoch was done.
    losses: u32,
    /// No worker is started here before.
    not_before: Duration,
    given_up: bool,
}

/// A run and its history.
#[derive(Debug)]
struct RunState {
    queued: Queued,
    /// Epochs that were done at least once.
    reached: usize,
    /// Times in a row that its own worker stopped it unasked, without a further epoch done.
    in_vain: u32,
    /// The search has stopped it.
    cut: bool,
}

/// The machine.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    runs: Vec<RunState>,
    queues: Queues,
    places: Vec<PlaceState>,
    workers: u32,
    tally: Tally,
    halt: Option<Halt>,
    /// The time of the last event.
    now: Duration,
}

impl State {
    /// A machine with this many `places` for workers.
    #[must_use]
    pub fn new(limits: Limits, runs: Vec<Queued>, places: usize) -> Self {
        let queues = Queues::new(&runs, places);
        let held = runs.iter().filter(|run| run.held).count();
        let tally = Tally { queued: runs.len() - held, held, ..Tally::default() };
        let runs = runs.into_iter().map(|queued| RunState { queued, reached: 0, in_vain: 0, cut: false }).collect();
        let places = (0..places).map(|_| PlaceState::default()).collect();
        Self { limits, runs, queues, places, workers: 0, tally, halt: None, now: Duration::ZERO }
    }

    /// Number of runs by state.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The reason why no further run is begun, if there is one.
    #[must_use]
    pub fn halt(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// Whether nothing runs and nothing will.
    #[must_use]
    pub fn finished(&self) -> bool {
        let over = self.halt.is_some() || self.tally.left() == 0;
        over && self.places.iter().all(|place| place.worker.is_none())
    }

    /// The runs that have not begun: they are queued or held back.
    pub fn waiting(&self) -> impl Iterator<Item = RunIndex> {
        let held = self.runs.iter().enumerate().filter(|(_, run)| run.queued.held).map(|(at, _)| at);
        held.chain(self.queues.waiting())
    }

    /// When the machine wants [`Event::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let wanted = self.halt.is_none() && self.wanted() > 0;
        let of_place = |place: &PlaceState| match &place.worker {
            // A place that is free already does not wait for the clock.
            None => (wanted && !place.given_up && place.not_before > self.now).then_some(place.not_before),
            Some(WorkerState { stage: Stage::Gone { until, .. }, .. }) => Some(*until),
            Some(worker) if worker.killed.is_some() => None,
            Some(worker) => match &worker.stage {
                Stage::Pending | Stage::Idle => None,
                Stage::Starting { since } => Some(*since + self.limits.hung_after),
                Stage::Leaving { since } => Some(*since + LEAVE),
                Stage::Busy(busy) => {
                    let hung = busy.heard + self.limits.hung_after;
                    Some(busy.over.map_or(hung, |over| hung.min(over)))
                }
                Stage::Gone { until, .. } => Some(*until),
            },
        };
        self.places.iter().filter_map(of_place).min()
    }

    /// The only entry: the actions that follow from `event`.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        self.now = now;
        let mut out = Vec::new();
        match event {
            Event::Go | Event::Tick => {}
            Event::Started(worker) => {
                let known = self.place_of(worker).and_then(|place| self.places[place].worker.as_mut());
                if let Some(worker) = known.filter(|worker| matches!(worker.stage, Stage::Pending | Stage::Starting { .. })) {
                    worker.stage = Stage::Starting { since: now };
                }
            }
            Event::Record(worker, said) => self.heard(worker, said, now, &mut out),
            Event::Spoiled(worker, guilty, why) => self.spoiled(worker, guilty, why, &mut out),
            Event::Gone(worker, exit, last_words) => self.gone(worker, &exit, &last_words, now, &mut out),
            Event::Interrupt => {
                let why = if self.interrupted() { Halt::Killed } else { Halt::Interrupted };
                self.stop(why, now, &mut out);
            }
            Event::Stop if !self.interrupted() => self.stop(Halt::Interrupted, now, &mut out),
            Event::Stop => {}
            Event::StopRun(run) => self.stop_run(run, &mut out),
            Event::Release(runs) => self.release_held(runs),
            Event::LeaveOut(runs) => self.leave_out(runs),
            Event::Cut(run) => {
                self.runs[run].cut = true;
                if std::mem::take(&mut self.runs[run].queued.held) {
                    self.tally.held -= 1;
                    self.tally.stopped += 1;
                } else if self.queues.remove(run) {
                    self.tally.queued -= 1;
                    self.tally.stopped += 1;
                } else {
                    self.stop_run(run, &mut out);
                }
            }
        }
        self.expire(now, &mut out);
        self.assign(now, &mut out);
        out
    }

    fn place_of(&self, worker: WorkerId) -> Option<usize> {
        self.places.iter().position(|place| place.worker.as_ref().is_some_and(|here| here.id == worker))
    }

    /// Whether an interrupt has arrived.
    fn interrupted(&self) -> bool {
        matches!(self.halt, Some(Halt::Interrupted | Halt::Killed))
    }

    /// A record of a living worker. Records of other attempts (superseded ones) only count as a sign of life.
    fn heard(&mut self, id: WorkerId, said: Said, now: Duration, out: &mut Vec<Action>) {
        let Some(place) = self.place_of(id) else { return };
        let Some(worker) = self.places[place].worker.as_mut() else { return };
        if let (Stage::Pending | Stage::Starting { .. }, &Said::Open { v, .. }) = (&worker.stage, &said) {
            if v == VERSION {
                worker.stage = Stage::Idle;
                self.places[place].misses = 0;
            } else {
                let why = format!("the worker speaks version {v} of the protocol, this program version {VERSION}");
                worker.killed = Some((Outcome::Crashed, why));
                out.push(Action::Kill { worker: id });
            }
            return;
        }
        if matches!(said, Said::Close { .. }) {
            worker.closed = true;
            self.leave(place, now);
            return;
        }
        let Stage::Busy(busy) = &mut worker.stage else { return };
        busy.heard = now;
        let at = |r: &Fingerprint, a: u32, going: &[Going]| {
            going.iter().position(|going| going.attempt == a && self.runs[going.run].queued.run == *r)
        };
        match said {
            Said::Begin { r, a, .. } => {
                if let Some(at) = at(&r, a, &busy.going) {
                    busy.going[at].begun = true;
                }
            }
            Said::Hb { r: Some(r), epoch, step, steps, loss, images_per_s, doing } => {
                if let Some(going) = busy.going.iter().find(|going| self.runs[going.run].queued.run == r) {
                    let beat = Beat { epoch, step, steps, loss, images_per_s, doing };
                    out.push(Action::Tell(News::Beat { worker: id, run: going.run, beat }));
                }
            }
            Said::Epoch { r, a, epoch, train_loss, val_loss, .. } => {
                if let Some(at) = at(&r, a, &busy.going) {
                    let run = busy.going[at].run;
                    // Epochs before a checkpoint are recorded again, which is not progress.
                    let known = &mut self.runs[run];
                    if epoch >= known.reached {
                        (known.reached, known.in_vain) = (epoch.saturating_add(1), 0);
                        self.places[place].losses = 0;
                    }
                    out.push(Action::Tell(News::Epoch { worker: id, run, epoch, train_loss, val_loss }));
                }
            }
            Said::End { r, a, st, why, .. } => {
                if let Some(at) = at(&r, a, &busy.going) {
                    self.run_ended(place, at, (st, why), now, out);
                }
            }
            Said::Open { .. }
            | Said::Hb { .. }
            | Said::Drawn { .. }
            | Said::Rank { .. }
            | Said::Eval { .. }
            | Said::Predicted { .. }
            | Said::HeldOut { .. }
            | Said::Close { .. } => {}
        }
    }

    /// Kills a worker whose journal cannot be used.
    fn spoiled(&mut self, id: WorkerId, guilty: Option<(Fingerprint, u32)>, why: String, out: &mut Vec<Action>) {
        let Some(place) = self.place_of(id) else { return };
        let Some(worker) = self.places[place].worker.as_mut().filter(|worker| worker.killed.is_none()) else { return };
        worker.killed = Some((Outcome::Crashed, why));
        worker.guilty = guilty;
        out.push(Action::Kill { worker: id });
    }

    /// Tells the worker of a run to stop it.
    fn stop_run(&mut self, run: RunIndex, out: &mut Vec<Action>) {
        for worker in self.places.iter_mut().filter_map(|place| place.worker.as_mut()) {
            let Stage::Busy(busy) = &mut worker.stage else { continue };
            if let Some(going) = busy.going.iter_mut().find(|going| going.run == run && !going.stop) {
                going.stop = true;
                out.push(Action::StopRun { worker: worker.id, run, attempt: going.attempt });
            }
        }
    }

    /// Queues runs that were held back.
    fn release_held(&mut self, runs: Vec<RunIndex>) {
        for run in runs {
            if std::mem::take(&mut self.runs[run].queued.held) {
                self.queues.back(run);
                self.tally.held -= 1;
                self.tally.queued += 1;
            }
        }
    }

    /// Takes runs that have not begun out of the sweep.
    fn leave_out(&mut self, runs: Vec<RunIndex>) {
        for run in runs {
            if std::mem::take(&mut self.runs[run].queued.held) {
                self.tally.held -= 1;
            } else if self.queues.remove(run) {
                self.tally.queued -= 1;
            } else {
                continue;
            }
            self.tally.left_out += 1;
        }
    }

    /// Begins nothing more; what runs ends after its epoch, or at once.
    fn stop(&mut self, why: Halt, now: Duration, out: &mut Vec<Action>) {
        let at_once = why == Halt::Killed;
        self.halt = Some(why.clone());
        out.push(Action::Tell(News::Stopping { why }));
        for worker in self.places.iter_mut().filter_map(|place| place.worker.as_mut()) {
            // A worker that has not started yet reads no order.
            let pending = matches!(worker.stage, Stage::Pending);
            if at_once || pending {
                if worker.killed.is_none() && !matches!(worker.stage, Stage::Gone { .. }) {
                    worker.killed = Some((Outcome::Stopped, "interrupted".to_owned()));
                    out.push(Action::Kill { worker: worker.id });
                }
            } else if !matches!(worker.stage, Stage::Gone { .. }) {
                if !matches!(worker.stage, Stage::Busy(_) | Stage::Leaving { .. }) {
                    worker.stage = Stage::Leaving { since: now };
                }
                worker.told = true;
                out.push(Action::Stop { worker: worker.id });
            }
        }
        if self.interrupted() {
            self.judge(now, true, out);
        }
    }

    /// An idle worker that was told to stop, or leaves by itself.
    fn leave(&mut self, place: usize, now: Duration) {
        if let Some(worker) = self.places[place].worker.as_mut().filter(|worker| matches!(worker.stage, Stage::Idle)) {
            worker.stage = Stage::Leaving { since: now };
        }
    }

    /// Kills what has been silent or has run for too long.
    fn expire(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.judge(now, false, out);
        let hung_after = self.limits.hung_after;
        for worker in self.places.iter_mut().filter_map(|place| place.worker.as_mut()).filter(|worker| worker.killed.is_none()) {
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

    /// Workers that the queue could still use, beside those that are coming up.
    fn wanted(&self) -> usize {
        let coming = |place: &&PlaceState| {
            place.worker.as_ref().is_some_and(|worker| matches!(worker.stage, Stage::Pending | Stage::Starting { .. }))
        };
        self.tally.queued.saturating_sub(self.places.iter().filter(coming).count())
    }

    /// Gives runs to idle workers, starts workers for more runs, and stops idle workers when none is left.
    fn assign(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.halt.is_some() {
            return;
        }
        for place in 0..self.places.len() {
            let Some(worker) = self.places[place].worker.as_mut().filter(|worker| worker.killed.is_none()) else { continue };
            let (id, data) = (worker.id, worker.data);
            if matches!(worker.stage, Stage::Pending) && self.tally.left() == 0 {
                worker.killed = Some((Outcome::Stopped, "nothing is left to do".to_owned()));
                out.push(Action::Kill { worker: id });
            }
            if !matches!(worker.stage, Stage::Idle) {
                continue;
            }
            let runs = self.pick(data);
            if let Some(&first) = runs.first() {
                self.tally.queued -= runs.len();
                self.tally.running += runs.len();
                let runs: Vec<(RunIndex, u32)> = runs.into_iter().map(|run| (run, self.runs[run].queued.attempt)).collect();
                if let Some(worker) = &mut self.places[place].worker {
                    worker.data = Some(self.runs[first].queued.data);
                    let going = |&(run, attempt)| Going { run, attempt, begun: false, stop: false };
                    let going = runs.iter().map(going).collect();
                    let over = self.limits.timeout.map(|timeout| now + timeout * u32::try_from(runs.len()).unwrap_or(u32::MAX));
                    worker.stage = Stage::Busy(Busy { going, heard: now, over, broken: false });
                }
                out.push(Action::Begin { worker: id, runs: runs.clone() });
                out.push(Action::Train { worker: id, runs: runs.clone() });
                out.extend(runs.iter().map(|&(run, attempt)| Action::Tell(News::Began { worker: id, run, attempt })));
            } else if self.tally.running == 0 {
                if let Some(worker) = &mut self.places[place].worker {
                    worker.told = true;
                }
                self.leave(place, now);
                out.push(Action::Stop { worker: id });
            }
        }
        let mut wanted = self.wanted();
        for (index, place) in self.places.iter_mut().enumerate() {
            if wanted > 0 && place.worker.is_none() && !place.given_up && now >= place.not_before {
                wanted -= 1;
                let id = WorkerId(self.workers);
                self.workers += 1;
                let (stage, dropped) = (Stage::Pending, Vec::new());
                let (told, closed) = (false, false);
                place.worker = Some(WorkerState { id, stage, data: None, told, closed, killed: None, guilty: None, dropped });
                out.push(Action::Start { worker: id, place: index });
            }
        }
    }

    fn pick(&mut self, data: Option<usize>) -> Vec<RunIndex> {
        let (queues, places) = (&mut self.queues, &self.places);
        queues.pick(data, |data| {
            let busy = |worker: &WorkerState| matches!(worker.stage, Stage::Busy(_)) && worker.data == Some(data);
            places.iter().filter(|place| place.worker.as_ref().is_some_and(busy)).count()
        })
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "state_properties.rs"]
mod properties;
