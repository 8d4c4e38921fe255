//! Jobs (controller → worker, one JSON line on stdin) and records (worker → its own journal file, one JSON line each).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use imbalance::evaluation::HeldOut;
use imbalance::metric::{Counts, Ranking};
use imbalance::sampler::Realised;
use imbalance::threshold::Policy;
use plan::{Fingerprint, RunConfig};

use crate::wire;

/// Version of the protocol: a worker refuses jobs of another version, a controller journals of another version.
pub const VERSION: u32 = 2;

/// Longest job as JSON: as much as a line of a journal may have.
pub const MAX_JOB: usize = crate::journal::MAX_LINE;

/// Controller → worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Train this run.
    Train(Box<Job>),
    /// Train these runs in one pass. They share data, network, sampler, seed, batch size and epochs; each is recorded as if it had
    /// been ordered alone, and trains to the same last bit.
    Bundle { jobs: Vec<Job> },
    /// Finish the current epoch, write its checkpoint, record `end stopped`, then close.
    Stop,
    /// Finish the current epoch of this attempt, write its checkpoint, record `end stopped_early`; the other runs of the order go on.
    StopRun { run: Fingerprint, attempt: u32 },
    /// Train this run once more, on the rows of train and val together, for `epochs` epochs without an evaluation, and keep the model.
    Refit { job: Box<Job>, epochs: usize },
    /// Score inputs that have no labels with a trained model.
    Predict(Prediction),
}

impl Order {
    /// The order as a line, without its end.
    ///
    /// # Panics
    /// Never: orders are plain structs with text keys.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(&wire::Order::from(self)).expect("orders are plain structs with text keys")
    }
}

/// One attempt at one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub v: u32,
    pub run: Fingerprint,
    /// 1 for the first try.
    pub attempt: u32,
    pub config: RunConfig,
    /// Resolved positive weights, one per label.
    pub pos_weight: Vec<f64>,
    /// Prepared data set.
    pub data: PathBuf,
    /// The run's own folder: checkpoint, model, scores, log.
    pub folder: PathBuf,
    /// Policies to evaluate each epoch under.
    pub policies: Vec<Policy>,
}

impl Job {
    /// The job's length as JSON where that exceeds [`MAX_JOB`]; such a job is not sent.
    #[must_use]
    pub fn too_long(&self) -> Option<usize> {
        let bytes = serde_json::to_string(&wire::Job::from(self)).map_or(0, |text| text.len());
        (bytes > MAX_JOB).then_some(bytes)
    }
}

/// An order to score inputs. What is to be scored, and with what, is a file ([`crate::Request`]): it may be longer than an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    pub v: u32,
    /// The run that the model comes from.
    pub run: Fingerprint,
    pub attempt: u32,
    /// The file of the request.
    pub request: PathBuf,
    /// Inputs that an earlier worker has scored.
    pub from: usize,
}

/// One line of a journal. `s` counts from 0 without gaps; `c` is the CRC-32 of all bytes of the line before `,"c"`, as 8 hex digits.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub s: u64,
    /// Unix seconds, for display only.
    pub t: f64,
    pub event: Event,
}

/// Worker → controller.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// First record of a journal.
    Open { v: u32, worker: String, pid: u32, host: String, device: String, threads: usize, version: String },
    /// An attempt begins; `from` is the epoch of the checkpoint it continues (None: from scratch).
    Begin { r: Fingerprint, a: u32, from: Option<usize> },
    /// Sign of life, at most one per second: where the attempt is; `doing` names work without steps.
    /// Its two numbers are for display; a value that is not finite (a run that diverges) is `null` in JSON.
    Hb { r: Option<Fingerprint>, epoch: usize, step: usize, steps: usize, loss: f64, images_per_s: f64, doing: Option<String> },
    /// An epoch has ended.
    Epoch {
        r: Fingerprint,
        a: u32,
        epoch: usize,
        train_loss: f64,
        val_loss: f64,
        learning_rate: f64,
        seconds: f64,
        images_per_s: f64,
        /// Gradient steps so far; `None` where the worker does not say.
        steps: Option<u64>,
    },
    /// What the sampler showed in the first epoch; among that epoch's records, once per attempt. A worker may leave it out.
    Drawn { r: Fingerprint, a: u32, drawn: Realised },
    /// Ranking of one split at one epoch.
    Rank { r: Fingerprint, a: u32, epoch: usize, split: SplitName, ranking: Ranking },
    /// Decisions of one policy on one split at one epoch.
    Eval {
        r: Fingerprint,
        a: u32,
        epoch: usize,
        split: SplitName,
        policy: Policy,
        thresholds: Vec<f32>,
        counts: Vec<Counts>,
        samples_f1: f64,
        subset_accuracy: f64,
    },
    /// Decisions of one fitted policy on val at the best or the last epoch, each row under thresholds that it was not fitted on; after the
    /// `Eval` of the same. A worker may leave it out.
    HeldOut { r: Fingerprint, a: u32, epoch: usize, policy: Policy, held_out: HeldOut },
    /// Logits of the inputs from number `first` of the request on, `rows` of them: row-major `[rows, labels]` without those in `bad`, each
    /// of which has its number and why it cannot be used.
    Predicted { r: Fingerprint, a: u32, first: usize, rows: usize, logits: Vec<f32>, bad: Vec<(usize, String)> },
    /// The attempt is over. `n` counts its Epoch, Drawn, Rank, Eval, HeldOut and Predicted records in this journal.
    End { r: Fingerprint, a: u32, st: Outcome, n: u64, why: String },
    /// Last record of a journal.
    Close { why: String },
}

impl Event {
    /// The attempt that the record belongs to; `None` for a record about the worker itself.
    #[must_use]
    pub fn attempt(&self) -> Option<(&Fingerprint, u32)> {
        match self {
            Self::Begin { r, a, .. }
            | Self::Epoch { r, a, .. }
            | Self::Drawn { r, a, .. }
            | Self::Rank { r, a, .. }
            | Self::Eval { r, a, .. }
            | Self::HeldOut { r, a, .. }
            | Self::Predicted { r, a, .. }
            | Self::End { r, a, .. } => Some((r, *a)),
            Self::Open { .. } | Self::Hb { .. } | Self::Close { .. } => None,
        }
    }

    /// Gives the attempt that the record belongs to another number.
    pub fn renumber(&mut self, number: u32) {
        match self {
            Self::Begin { a, .. }
            | Self::Epoch { a, .. }
            | Self::Drawn { a, .. }
            | Self::Rank { a, .. }
            | Self::Eval { a, .. }
            | Self::HeldOut { a, .. }
            | Self::Predicted { a, .. }
            | Self::End { a, .. } => *a = number,
            Self::Open { .. } | Self::Hb { .. } | Self::Close { .. } => {}
        }
    }

    /// The record's name, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Begin { .. } => "begin",
            Self::Hb { .. } => "hb",
            Self::Epoch { .. } => "epoch",
            Self::Drawn { .. } => "drawn",
            Self::Rank { .. } => "rank",
            Self::Eval { .. } => "eval",
            Self::HeldOut { .. } => "held_out",
            Self::Predicted { .. } => "predicted",
            Self::End { .. } => "end",
            Self::Close { .. } => "close",
        }
    }
}

/// val or test (train is not evaluated).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitName {
    Train,
    Val,
    Test,
}

/// How an attempt ended, as the worker or the controller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// Asked to stop; the checkpoint is good.
    Stopped,
    /// Told to stop this run for good, because it is not worth continuing.
    StoppedEarly,
    /// Loss or gradient became NaN or infinite.
    Diverged,
    /// The device or the machine had no memory left.
    OutOfMemory,
    /// The prepared data could not be read.
    Data,
    /// A file could not be written (disk full, read-only).
    Io,
    /// The worker panicked or hit a bug.
    Crashed,
    /// Killed by a signal (seen by the controller).
    Killed,
    /// No message within the deadline (seen by the controller).
    Hung,
    /// The run's own time limit passed (seen by the controller).
    Timeout,
    /// The controller vanished while it ran (seen at the next start).
    Lost,
}

impl Outcome {
    /// Whether the outcome says nothing about the run, which continues where it was: no attempt is counted.
    #[must_use]
    pub fn goes_on(self) -> bool {
        matches!(self, Self::Stopped | Self::Io | Self::Lost)
    }

    /// Whether another attempt may succeed. Only this method decides that.
    #[must_use]
    pub fn may_retry(self) -> bool {
        match self {
            Self::OutOfMemory | Self::Crashed | Self::Killed | Self::Hung => true,
            Self::Ok
            | Self::Stopped
            | Self::StoppedEarly
            | Self::Diverged
            | Self::Data
            | Self::Io
            | Self::Timeout
            | Self::Lost => false,
        }
    }
}
