//! One training, from a job to its records and files: optimizer, schedule, loop, evaluation, checkpoint. Knows no process and no
//! journal: what it has to say goes to a [`Monitor`].
//!
//! A run depends on its job alone. Each epoch's randomness is named by (seed, epoch), sums run in an order that no number of threads
//! changes, and the checkpoint holds all the rest; so an interrupted run goes on to the same last bit.

mod bundle;
mod checkpoint;
mod evaluate;
pub mod features;
pub mod feed;
mod heads;
mod keep;
pub mod meter;
pub mod optimizer;
mod record;
mod session;
mod step;

pub use bundle::together;
pub use feed::Feed;
pub use keep::finished;
pub use session::{run, run_fed};
pub use step::Trainer;

use crate::data::{DataError, Unprepared};
use crate::model::ModelError;
use crate::protocol::journal::JournalError;
use crate::protocol::{Event, Job, Outcome};
use crate::strategy::StrategyError;

/// Whoever listens to the training of one or more jobs and may stop it.
pub trait Monitor {
    /// The training begins; `from` is the number of epochs that a checkpoint spared it.
    ///
    /// # Errors
    /// What the training has to say cannot be kept: it ends.
    fn begin(&mut self, job: &Job, from: Option<usize>) -> Result<(), JournalError>;

    /// A sign of life, as often as the training likes.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn beat(&mut self, job: &Job, beat: Beat) -> Result<(), JournalError>;

    /// Results: they are safe when this returns.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn record(&mut self, job: &Job, events: Vec<Event>) -> Result<(), JournalError>;

    /// Whether to stop after the current epoch.
    fn stopping(&self) -> bool;
}

/// Where a training is.
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

/// How a training ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Done,
    /// Asked to stop; the checkpoint is good.
    Stopped,
}

/// What ends a training badly.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Loss, gradient or scores are no numbers any more.
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
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The device has no room for the run.
    #[error(
        "the device has no memory left for a step of {batch} rows{}: a smaller `train.batch_size`, smaller pictures or fewer workers on the \
         device may fit ({source})",
        of_runs(*.runs)
    )]
    Memory { batch: usize, runs: usize, source: Box<TrainError> },
}

fn of_runs(runs: usize) -> String {
    if runs > 1 { format!(" of {runs} runs at once (each is tried alone)") } else { String::new() }
}

impl From<Unprepared> for TrainError {
    /// A full disk is nobody's data: the sweep stops and can be resumed.
    fn from(error: Unprepared) -> Self {
        match error {
            Unprepared::Data(error) => Self::Data(error),
            Unprepared::Disk { path, what, source } => {
                Self::Io { path, source: std::io::Error::new(source.kind(), format!("{what}: {source}")) }
            }
        }
    }
}

/// Whether the device had no room: CUDA's `CUDA_ERROR_OUT_OF_MEMORY`, cuBLAS's and cuDNN's `ALLOC_FAILED`.
fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let words = error.to_string().to_lowercase();
    ["out of memory", "out_of_memory", "alloc_failed"].iter().any(|word| words.contains(word))
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

    /// What the controller is told.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Diverged(_) => Outcome::Diverged,
            Self::Data(_) | Self::Strategy(_) | Self::Model(ModelError::Weights(_) | ModelError::Input(_)) => Outcome::Data,
            Self::Io { .. } | Self::Journal(_) | Self::Model(ModelError::Write { .. }) => Outcome::Io,
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
