//! The vocabulary of machine, dispatcher and observers: events, actions and news.

use std::time::Duration;

use super::observer::KnownRuns;
use super::request::Key;
use crate::launcher::{Exit, WorkerId};
use plan::Fingerprint;
use protocol::{Event as Said, Outcome};

/// Index into the runs that the machine was given.
pub type RunIndex = usize;

/// The limits of a sweep.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Attempts per run (at least 1).
    pub attempts: u32,
    /// A run's own time limit.
    pub timeout: Option<Duration>,
    /// A busy or starting worker that is silent for this long is killed.
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
    /// It does not begin before [`Event::Release`].
    pub held: bool,
}

/// What has happened. Records are stored before the machine gets them.
#[derive(Clone, Debug)]
pub enum Event {
    /// The dispatcher is ready.
    Go,
    /// The launcher has a place for the worker: its process comes up. Until then it may be pending for as long as it likes.
    Started(WorkerId),
    /// A worker has written a record.
    Record(WorkerId, Said),
    /// A worker's journal cannot be read any further: the attempt concerned (`None`: all of the worker's), and the reason.
    Spoiled(WorkerId, Option<(Fingerprint, u32)>, String),
    /// A worker is gone and its journal is read to the end; with the last line of its log.
    Gone(WorkerId, Exit, String),
    /// [`super::state::State::deadline`] has passed.
    Tick,
    /// SIGINT or SIGTERM.
    Interrupt,
    /// A request to stop the sweep after the current epoch: as the first interrupt, and never as the second.
    Stop,
    /// A request to end this run after its current epoch, for good. Ignored for a run that is not under way.
    StopRun(RunIndex),
    /// These runs, which were held back, may begin.
    Release(Vec<RunIndex>),
    /// These runs do not begin any more. Ignored for runs that are under way or over.
    LeaveOut(Vec<RunIndex>),
    /// The search has decided, on record, to stop this run: it ends after its current epoch, and does not begin again.
    Cut(RunIndex),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Persist: these attempts are running.
    Begin { worker: WorkerId, runs: Vec<(RunIndex, u32)> },
    /// Persist: the verdict on an attempt that did not succeed.
    End { run: RunIndex, attempt: u32, worker: WorkerId, outcome: Outcome, why: String, retry: bool },
    /// Act: ask for a worker at a place.
    Start { worker: WorkerId, place: usize },
    /// Act: order the worker to train these runs and attempts, together if they are several (always after their `Begin`).
    Train { worker: WorkerId, runs: Vec<(RunIndex, u32)> },
    /// Act: order the worker to stop one of its runs after the current epoch.
    StopRun { worker: WorkerId, run: RunIndex, attempt: u32 },
    /// Act: order the worker to stop after the current epoch.
    Stop { worker: WorkerId },
    /// Act: end the worker at once.
    Kill { worker: WorkerId },
    /// Persist, then act: the worker is gone and judged; its files are not needed any more.
    Release { worker: WorkerId },
    /// Tell: news for the observers.
    Tell(News),
}

/// News for observers.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// First of all: the runs that are to be trained, by number.
    Sweep {
        runs: KnownRuns,
    },
    Began {
        worker: WorkerId,
        run: RunIndex,
        attempt: u32,
    },
    Beat {
        worker: WorkerId,
        run: RunIndex,
        beat: Beat,
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
    /// The run was stopped early on request: it is over.
    StoppedEarly {
        worker: WorkerId,
        run: RunIndex,
    },
    /// The run's worker was ended from outside; the run continues, and no attempt is counted.
    Lost {
        worker: WorkerId,
        run: RunIndex,
        why: String,
    },
    /// A place's worker did not come up; `again` is false when the place is given up.
    NoStart {
        place: usize,
        why: String,
        again: bool,
    },
    /// Another program holds the database, with the time waited so far.
    Locked {
        waited: Duration,
    },
    Stopping {
        why: Halt,
    },
    /// The time of the search is over: no further run begins, and so many are left out.
    TimeOver {
        left_out: usize,
    },
    /// The user has typed a line and waits for an answer.
    Key(Key),
    /// Nothing has happened, but time has passed.
    Pulse,
}

/// A worker's sign of life.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    pub epoch: usize,
    pub step: usize,
    pub steps: usize,
    pub loss: f64,
    pub images_per_s: f64,
    /// Work without steps that is under way: `downloading weights: 12 of 30 MB`.
    pub doing: Option<String>,
}

/// Why no further run is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// First SIGINT or SIGTERM, or a request: after the current epoch.
    Interrupted,
    /// Second one: at once.
    Killed,
    /// `--max-failures`.
    Failures(usize),
    /// A file could not be written, or no worker comes up.
    Fatal(String),
}

/// Number of runs by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub queued: usize,
    pub running: usize,
    pub succeeded: usize,
    pub failed: usize,
    /// Stopped early, on request.
    pub stopped: usize,
    /// They wait for what becomes of their strategies.
    pub held: usize,
    /// They are not trained.
    pub left_out: usize,
}

impl Tally {
    /// Runs that are over.
    #[must_use]
    pub fn over(&self) -> usize {
        self.succeeded + self.failed + self.stopped
    }

    /// Runs that wait for a worker or are under way.
    #[must_use]
    pub fn left(&self) -> usize {
        self.queued + self.running
    }
}
