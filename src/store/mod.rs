//! Every SQL statement of the program: one [`Writer`], read-only [`Reader`]s. SQLite, WAL, STRICT; the schema is in `migrations/`.

use std::path::{Path, PathBuf};

use crate::protocol::{Event, Job, Outcome, Record};
use crate::spec::{Fingerprint, Plan};

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's own word.
    #[error("{path}: {source}", path = .path.display())]
    Sqlite { path: PathBuf, source: sqlx::Error },
    /// Another program's file, a newer version, a corrupt file, a read-only folder, ...
    #[error("{path}: {message}", path = .path.display())]
    Unusable { path: PathBuf, message: String },
    /// Another `sweep` writes to it.
    #[error("{path}: in use by another sweep ({holder}); wait for it, or use another --db", path = .path.display())]
    Busy { path: PathBuf, holder: String },
}

/// Row id of a sweep.
pub type SweepId = i64;

/// A run that still needs a worker.
#[derive(Clone, Debug)]
pub struct Missing {
    /// `attempt` is the number the next try gets; `folder` is filled in by the controller.
    pub job: Job,
    /// Attempts that failed so far.
    pub failures: u32,
    /// Runs with equal numbers may train together.
    pub bundle: usize,
}

/// The one process that writes. Holds `<db>.lock` (flock) as long as it lives.
pub struct Writer {
    _private: (),
}

impl Writer {
    /// Opens or creates the database, migrates it and takes the lock.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let _ = path;
        todo!()
    }

    /// Records the sweep, its runs (those the database has already are only linked), labels and policies. One transaction.
    /// A sweep of the same name and equal content (same runs, same policies) is continued, not doubled.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_sweep(&mut self, plan: &Plan, file: &Path, text: &str) -> Result<SweepId, StoreError> {
        let _ = (plan, file, text);
        todo!()
    }

    /// Which of these runs are recorded with a complete result.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn recorded(&mut self, runs: &[Fingerprint]) -> Result<Vec<bool>, StoreError> {
        let _ = runs;
        todo!()
    }

    /// The runs of the sweep that have no result: queued ones, interrupted ones, and with `failed` those that failed for good.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn missing(&mut self, sweep: SweepId, failed: bool) -> Result<Vec<Missing>, StoreError> {
        let _ = (sweep, failed);
        todo!()
    }

    /// Commits the attempt as `running`, before its worker hears of it. Returns its number (1, 2, ...).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_attempt(&mut self, run: &Fingerprint, device: &str) -> Result<u32, StoreError> {
        let _ = (run, device);
        todo!()
    }

    /// Stores records of one journal and how far it is read, in one transaction; records seen before change nothing.
    /// `End` with `Ok` makes the run `succeeded` if its rows are complete (`n`).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ingest(&mut self, journal: &str, offset: u64, next: u64, records: &[Record]) -> Result<(), StoreError> {
        let _ = (journal, offset, next, records);
        todo!()
    }

    /// How far `journal` has been read: (byte offset, next sequence number).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn journal_position(&mut self, journal: &str) -> Result<(u64, u64), StoreError> {
        let _ = journal;
        todo!()
    }

    /// The controller's own verdict on an attempt whose worker can no longer speak, with the end of its log.
    /// `retry`: the run goes back to the queue; otherwise it has failed (or, for `Stopped` and `Lost`, is queued for a resume).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_attempt(
        &mut self,
        run: &Fingerprint,
        attempt: u32,
        outcome: Outcome,
        why: &str,
        log: &str,
        retry: bool,
    ) -> Result<(), StoreError> {
        let _ = (run, attempt, outcome, why, log, retry);
        todo!()
    }

    /// Marks every attempt still `running` as lost (their controller is gone) and queues their runs again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn reap(&mut self) -> Result<usize, StoreError> {
        todo!()
    }

    /// Succeeded runs of the sweep that lack evaluations under some of its policies.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unevaluated(
        &mut self,
        sweep: SweepId,
    ) -> Result<Vec<(Fingerprint, Vec<crate::strategy::threshold::Policy>)>, StoreError> {
        let _ = sweep;
        todo!()
    }

    /// Stores evaluations that the controller computed from kept scores.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let _ = events;
        todo!()
    }

    /// Sets the sweep's state: `running`, `done`, `failed`, `interrupted`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_sweep_state(&mut self, sweep: SweepId, state: &str) -> Result<(), StoreError> {
        let _ = (sweep, state);
        todo!()
    }

    /// Checkpoints the WAL and gives the lock back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn close(self) -> Result<(), StoreError> {
        todo!()
    }
}
