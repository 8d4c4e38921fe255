//! A sweep on a cluster: its runs are cut into slices, which are submitted as arrays of tasks, and whatever the tasks write into a shared
//! folder is taken into the database, now or later. docs/slurm.md says how, and what follows when something goes wrong.
//!
//! `files` is the shared folder, `slice` a task on its node, `plan` (pure) what is submitted and how ends are judged, `watch` the controller
//! of the sweep: passes that each bring the database, the folder and the scheduler together and can be killed anywhere. Workers, records and
//! journals are those of this machine (docs/protocol.md).

pub mod files;
mod plan;
pub mod slice;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

pub use files::{Shared, Terms};
pub use watch::{End, Settings, Stay, cancel, is_there, watch};

/// The number of an attempt in the orders of slices; the database gives each attempt its own.
const ATTEMPT: u32 = 1;

/// How often things are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// A task at the files that tell it something.
    look: Duration,
    /// The controller at journals and queue, once it has been there for a while.
    poll: Duration,
    /// How long files may be on their way after a task has ended: two times what a network file system remembers of a folder.
    grace: Duration,
}

impl Pace {
    const USUAL: Self = Self { look: Duration::from_secs(10), poll: Duration::from_secs(60), grace: Duration::from_secs(120) };
    /// Other seconds for the three, with commas between them (for tests).
    const VARIABLE: &str = "SWEEP_CLUSTER_PACE";

    fn from_environment() -> Self {
        let text = std::env::var(Self::VARIABLE).unwrap_or_default();
        let mut seconds = text.split(',').map(|part| Duration::try_from_secs_f64(part.trim().parse().ok()?).ok());
        let mut next = || seconds.next().flatten();
        match (next(), next(), next()) {
            (Some(look), Some(poll), Some(grace)) if !look.is_zero() && !poll.is_zero() => Self { look, poll, grace },
            _ => Self::USUAL,
        }
    }
}

/// The error of a file in the shared folder.
fn path_error((path, source): (PathBuf, std::io::Error)) -> Error {
    if source.kind() == std::io::ErrorKind::InvalidData {
        return Error::Unexpected(format!("{}: {source}", path.display()));
    }
    Error::Io { path, source }
}
