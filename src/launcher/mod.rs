//! How workers are started: the only place that spawns processes. `local`, `fake` (no processes; reachable through the real CLI).
//!
//! A launcher starts, orders and ends workers; their results are read from their journals, whatever the launcher. It decides
//! nothing and never opens the database.

mod chosen;
mod devices;
mod fake;
mod leftover;
mod local;
mod memory;
pub mod slurm;

use std::path::PathBuf;

use tokio::sync::mpsc;

use protocol::Order;

pub use chosen::Chosen;
pub use devices::{Place, places, places_of};
pub use fake::Fake;
#[cfg(test)]
pub(crate) use fake::made_up;
pub use leftover::{Leftover, end_leftover};
pub use local::Local;
pub use slurm::Slurm;

/// One incarnation of a worker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It never ran.
    NotStarted {
        why: String,
        /// A file could not be written, which would happen to any other worker, too.
        no_room: bool,
    },
    /// Its process ended.
    Process {
        /// Exit code, when it exited.
        code: Option<i32>,
        /// Signal, when it was killed.
        signal: Option<i32>,
        /// Whether the kernel killed a process for lack of memory meanwhile.
        out_of_memory: bool,
    },
    /// The launcher's system took the worker away: a node that failed, a job that was preempted.
    Lost(String),
}

/// The state of a worker at its launcher. Each worker reaches `Gone` exactly once; the other states may be skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a place, perhaps for days.
    Queued,
    /// It has a place and is being started.
    Starting,
    /// Its process runs.
    Running,
    /// It has ended; its journal does not grow any more.
    Gone(Exit),
}

/// What a launcher reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The worker's journal has grown.
    Wake(WorkerId),
    Stands(WorkerId, Standing),
}

/// A worker to be started.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    pub id: WorkerId,
    /// Name of this incarnation, unique in this database.
    pub name: String,
    /// Number of its place.
    pub place: usize,
    /// The journal that it creates.
    pub journal: PathBuf,
    /// The file for its stderr.
    pub log: PathBuf,
}

/// Starts, orders and ends workers. No method waits: results arrive as [`Signal`]s. Places are numbers to the caller; what they stand
/// for is up to the launcher.
pub trait Launcher {
    /// Number of places: the most workers at a time.
    fn places(&self) -> usize;

    /// The name of a place in recorded results: `cpu`, `cuda:1`.
    fn device(&self, place: usize) -> &str;

    /// Requests a worker.
    fn start(&mut self, worker: WorkerSpec);

    /// Sends an order. An order that its worker no longer reads is lost; the worker's end is signalled.
    fn send(&mut self, worker: WorkerId, order: &Order);

    /// Ends a worker at once, or cancels its request.
    fn kill(&mut self, worker: WorkerId);

    /// The worker is gone and will not be mentioned again: releases what was kept for it.
    fn released(&mut self, worker: WorkerId);
}

/// The channel of signals: bounded, so that a worker that writes a lot waits instead of filling the memory.
#[must_use]
pub fn channel() -> (mpsc::Sender<Signal>, mpsc::Receiver<Signal>) {
    mpsc::channel(1024)
}

/// Whether a write failed because there is no room, or because the file may not grow.
#[must_use]
pub fn no_room(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem)
}
