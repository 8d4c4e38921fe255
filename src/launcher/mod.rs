//! How workers are started: the only place that spawns processes. `local`, `fake` (no processes; reachable through the real CLI).
//!
//! A launcher starts, orders and ends workers; what they do is read from their journals, whatever the launcher. It never
//! decides anything and never touches the database.

mod chosen;
mod devices;
mod fake;
mod leftover;
mod local;
mod memory;

use std::path::PathBuf;

use tokio::sync::mpsc;

use protocol::Order;

pub use chosen::Chosen;
pub use devices::{Place, places};
pub use fake::Fake;
pub use leftover::{Leftover, end_leftover};
pub use local::Local;

/// One incarnation of a worker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It never ran.
    NotStarted {
        why: String,
        /// A file could not be written: no other worker will fare better.
        no_room: bool,
    },
    /// Its process ended.
    Process {
        /// Exit code, when it exited.
        code: Option<i32>,
        /// Signal, when it was killed.
        signal: Option<i32>,
        /// The kernel killed a process for lack of memory meanwhile.
        out_of_memory: bool,
    },
    /// Whoever ran it has taken it away, for reasons of his own: a node that failed, a job that was preempted.
    Lost(String),
}

/// How far a launcher has got with a worker. Each worker comes to `Gone` once, whatever it passes on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a place, perhaps for days.
    Queued,
    /// It has a place and is being started.
    Starting,
    /// Its process runs.
    Running,
    /// It is over; its journal grows no more.
    Gone(Exit),
}

/// What a launcher tells.
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
    /// Name of this incarnation, unlike any other's on this database.
    pub name: String,
    /// Number of its place.
    pub place: usize,
    /// The journal that it creates.
    pub journal: PathBuf,
    /// Where its stderr goes.
    pub log: PathBuf,
}

/// Starts, orders and ends workers. No method waits: what becomes of a wish is told by a [`Signal`]. What a place is, only the launcher
/// knows.
pub trait Launcher {
    /// Places for workers: so many may be there at once.
    fn places(&self) -> usize;

    /// What a place is called where results are recorded: `cpu`, `cuda:1`.
    fn device(&self, place: usize) -> &str;

    /// Asks for a worker.
    fn start(&mut self, worker: WorkerSpec);

    /// Hands an order over. One that its worker no longer reads is lost: the end of the worker tells.
    fn send(&mut self, worker: WorkerId, order: &Order);

    /// Ends a worker at once, or takes the wish for one back.
    fn kill(&mut self, worker: WorkerId);

    /// The worker is gone and nobody will speak of it again: what was kept for it may go.
    fn released(&mut self, worker: WorkerId);
}

/// The channel launchers tell through: bounded, so that a chatty worker waits instead of filling the memory.
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
