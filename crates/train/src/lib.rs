//! One training, from a job to its records and files: optimizer, schedule, loop, evaluation, checkpoint. It has no process and no
//! journal: its messages go to a [`Monitor`].
//!
//! A run depends on its job alone. Each epoch's randomness is named by (seed, epoch), sums run in an order that no number of
//! threads changes, and the checkpoint holds the rest: an interrupted run resumes to the same last bit.

#[cfg(not(target_os = "linux"))]
compile_error!("sweep runs on Linux only: it watches its workers through /proc and locks its files with flock");

mod bundle;
mod checkpoint;
pub mod criterion;
mod evaluate;
pub mod features;
mod heads;
mod keep;
pub mod loader;
mod logistic;
pub mod model;
pub mod optimizer;
pub mod predict;
mod record;
mod session;
pub mod stage;
mod step;
pub mod worker;

pub use bundle::together;
pub use keep::finished;
pub use loader::Loader;
pub use session::{run, run_with};
pub use step::Trainer;

use crate::model::ModelError;
use data::{DataError, Unprepared};
use imbalance::StrategyError;
use protocol::journal::JournalError;
use protocol::{Event, Job, Outcome};
use stage::{Stage, Unit};

/// Listens to the training of one or more jobs, and may stop it.
pub trait Monitor {
    /// The training begins; `from` is the number of epochs that a checkpoint spared it.
    ///
    /// # Errors
    /// The message cannot be stored: the training ends.
    fn begin(&mut self, job: &Job, from: Option<usize>) -> Result<(), JournalError>;

    /// A sign of life, as often as the training calls it.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn beat(&mut self, job: &Job, beat: Beat) -> Result<(), JournalError>;

    /// Results; they are stored when this returns.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn record(&mut self, job: &Job, events: Vec<Event>) -> Result<(), JournalError>;

    /// Whether to stop after the current epoch.
    fn stopping(&self) -> bool;

    /// Whether this run alone is to stop after the current epoch, for good.
    fn stopping_early(&self, _job: &Job) -> bool {
        false
    }

    /// A sentence for the log of the run.
    fn note(&mut self, _job: &Job, _words: &str) {}

    /// Work without steps begins; it is over when the stage is dropped. What is counted in a unit has to move on.
    fn stage(&mut self, _job: &Job, _doing: &str, _unit: Option<Unit>) -> Stage {
        Stage::default()
    }
}

/// How far a training is.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// From 0.
    pub epoch: usize,
    /// Steps done of the epoch, and all it has.
    pub step: usize,
    pub steps: usize,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    pub images_per_s: f64,
}

/// How a training ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Done,
    /// Asked to stop; the checkpoint is good.
    Stopped,
    /// Asked to stop this run for good; the checkpoint is good all the same.
    StoppedEarly,
}

/// Errors that end a training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Loss, gradient or scores are NaN or infinite.
    #[error("{0}")]
    Diverged(String),
    /// Prepared data that cannot be read, or that the strategy cannot be built for.
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file of the run's folder.
    #[error("{path}: {source}", path = .path.display())]
    Io { path: std::path::PathBuf, source: std::io::Error },
    /// The journal takes nothing more: the worker has to end.
    #[error(transparent)]
    Journal(JournalError),
    /// What a run has to say does not fit a record; nobody else's records are the worse for it.
    #[error(transparent)]
    Unrecordable(JournalError),
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The device has no room for the run.
    #[error(
        "the device has no memory left for a step of {batch} rows{}: a smaller `train.batch_size`, smaller images or fewer workers on the \
         device may fit ({source})",
        of_runs(*.runs)
    )]
    Memory { batch: usize, runs: usize, source: Box<TrainError> },
}

impl From<JournalError> for TrainError {
    fn from(error: JournalError) -> Self {
        if error.is_final() { Self::Journal(error) } else { Self::Unrecordable(error) }
    }
}

fn of_runs(runs: usize) -> String {
    if runs > 1 { format!(" of {runs} runs at once (each is tried alone)") } else { String::new() }
}

impl From<Unprepared> for TrainError {
    /// A full disk says nothing about the data: the sweep stops and can be resumed.
    fn from(error: Unprepared) -> Self {
        match error {
            Unprepared::Data(error) => Self::Data(error),
            Unprepared::Disk { path, what, source } => {
                Self::Io { path, source: std::io::Error::new(source.kind(), format!("{what}: {source}")) }
            }
        }
    }
}

/// Whether the device had no room: CUDA's `CUDA_ERROR_OUT_OF_MEMORY`, cuBLAS's `ALLOC_FAILED`, cuDNN's and cuRAND's
/// `ALLOCATION_FAILED`.
fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let words = error.to_string().to_lowercase();
    ["out of memory", "out_of_memory", "alloc_failed", "allocation_failed"].iter().any(|word| words.contains(word))
}

impl TrainError {
    /// The same, with what can be done about it where the device had no room for batches of `batch` rows of `runs` runs.
    #[must_use]
    fn in_batches_of(self, batch: usize, runs: usize) -> Self {
        match self.outcome() {
            Outcome::OutOfMemory => Self::Memory { batch, runs, source: Box::new(self) },
            _ => self,
        }
    }

    /// Whether cuBLAS, cuDNN or cuRAND has failed for a reason that it does not name.
    #[must_use]
    fn is_a_librarys(&self) -> bool {
        let (Self::Candle(error) | Self::Model(ModelError::Candle(error))) = self else { return false };
        let words = error.to_string();
        self.outcome() == Outcome::Crashed
            && ["CUBLAS_STATUS", "CUDNN_STATUS", "CURAND_STATUS"].iter().any(|status| words.contains(status))
    }

    /// The outcome that the controller is told.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Diverged(_) | Self::Unrecordable(JournalError::NotFinite(_)) => Outcome::Diverged,
            Self::Data(_)
            | Self::Unrecordable(_)
            | Self::Strategy(_)
            | Self::Model(ModelError::Weights(_) | ModelError::Input(_)) => Outcome::Data,
            Self::Io { .. } | Self::Journal(_) | Self::Model(ModelError::Write { .. } | ModelError::Gone(_)) => Outcome::Io,
            Self::Candle(error) | Self::Model(ModelError::Candle(error)) => {
                if is_out_of_memory(error) {
                    Outcome::OutOfMemory
                } else {
                    Outcome::Crashed
                }
            }
            Self::Memory { .. } => Outcome::OutOfMemory,
        }
    }
}

#[cfg(test)]
mod bundle_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
