//! How workers are started: the only place that spawns processes. `local`, `fake` (no processes; reachable through the real CLI).
//!
//! A launcher starts, orders and kills workers; what they do is read from their journals, whatever the launcher. It never
//! decides anything and never touches the database.

mod devices;
mod fake;
mod local;
mod memory;

use std::io;
use std::path::PathBuf;

use tokio::sync::mpsc;

use protocol::Order;

pub use devices::{Slot, slots};
pub use fake::Fake;
pub use local::{Local, end_orphan};

/// One incarnation of a worker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// How a worker's process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, when it exited.
    pub code: Option<i32>,
    /// Signal, when it was killed.
    pub signal: Option<i32>,
    /// The kernel killed a process for lack of memory meanwhile.
    pub out_of_memory: bool,
}

/// What a launcher tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The worker's journal has grown.
    Wake(WorkerId),
    /// The worker is gone; its journal grows no more.
    Exited(WorkerId, Exit),
}

/// A worker to be started.
#[derive(Clone, Debug)]
pub struct Birth {
    pub id: WorkerId,
    /// Name of this incarnation, unlike any other's on this database.
    pub name: String,
    pub slot: Slot,
    /// The journal that it creates.
    pub journal: PathBuf,
    /// Where its stderr goes.
    pub log: PathBuf,
}

/// Starts, orders and kills workers.
pub trait Launcher {
    /// Starts a worker. Each success ends in one [`Signal::Exited`].
    ///
    /// # Errors
    /// The worker could not be started.
    fn start(&mut self, birth: Birth) -> io::Result<()>;

    /// Hands an order over. One that its worker no longer reads is lost: the exit of the worker tells.
    fn send(&mut self, worker: WorkerId, order: &Order);

    /// Ends a worker at once.
    fn kill(&mut self, worker: WorkerId);
}

/// The channel launchers tell through: bounded, so that a chatty worker waits instead of filling the memory.
#[must_use]
pub fn channel() -> (mpsc::Sender<Signal>, mpsc::Receiver<Signal>) {
    mpsc::channel(1024)
}
