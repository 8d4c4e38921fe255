//! The launchers that can be chosen, each with its own kind of places.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Fake, Launcher, Local, Place, Signal};

/// A launcher and its places, as `[workers]` and the command line choose them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Processes of this machine. `command` replaces the program's own worker.
    Local { places: Vec<Place>, command: Option<PathBuf> },
    /// No processes: made-up results, one per `epoch`.
    Fake { places: Vec<Place>, epoch: Duration },
}

impl Chosen {
    /// Creates the launcher, which sends to `signals`.
    ///
    /// # Errors
    /// The path of the program itself cannot be determined.
    pub fn launcher(self, signals: mpsc::Sender<Signal>) -> io::Result<Box<dyn Launcher>> {
        Ok(match self {
            Self::Local { places, command } => Box::new(Local::new(places, command, signals)?),
            Self::Fake { places, epoch } => Box::new(Fake::new(places, epoch, signals)),
        })
    }

    /// `2 x cpu (1 thread each)`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Local { places, .. } | Self::Fake { places, .. } => Place::words(places),
        }
    }
}
