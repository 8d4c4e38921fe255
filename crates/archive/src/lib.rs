//! What runs keep beside the database `X.db`: `X.runs/<fingerprint>/` for each run, `X.runs/journals/` for the current workers,
//! `X.runs/control/` for requests to the controller, `X.runs/cluster/` for tasks on a cluster.
//! Owns the names, and how a file is written whole, read, checked and removed. Knows no training and no database.

pub mod disk;
pub mod file;
mod kept;
mod matrix;
mod run;
pub mod seal;
pub mod spare;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use kept::{Kept, Part, Scores, keep, logits_name};
pub use matrix::{NPY_START, check_npy, parse as parse_matrix, write_matrix};
pub use run::{EPOCHS, MODEL, RunFolder};
pub use seal::{Seal, Seals};
pub use spare::{Part as SparePart, REFIT, REFITTING};

#[cfg(any(test, feature = "testing"))]
pub use kept::testing;

const JOURNALS: &str = "journals";
const CONTROL: &str = "control";
/// The folder that sweeps share with their tasks on a cluster, in `X.runs`.
pub const CLUSTER: &str = "cluster";

/// The folder of all runs' folders beside a database: `X.runs` for `X.db`.
#[must_use]
pub fn runs_folder(db: &Path) -> PathBuf {
    db.with_extension("runs")
}

/// The folder of requests to the controller of a database.
#[must_use]
pub fn control_folder(db: &Path) -> PathBuf {
    runs_folder(db).join(CONTROL)
}

/// The runs' folders of one database, for writing.
#[derive(Clone, Debug)]
pub struct Archive {
    runs: PathBuf,
}

impl Archive {
    /// `X.runs/` beside `X.db`, made if it is not there; the caller holds the lock of `X.db`.
    ///
    /// # Errors
    /// A folder that cannot be made or written, or is a link, with its path: found before the first epoch.
    pub fn beside(db: &Path) -> Result<Self, (PathBuf, io::Error)> {
        // Workers may run in another current folder: they get absolute paths.
        let runs = std::path::absolute(runs_folder(db)).map_err(|error| (db.to_owned(), error))?;
        let archive = Self { runs };
        let journals = archive.journals();
        file::own_folder(&archive.runs).map_err(|error| (archive.runs.clone(), error))?;
        file::own_folder(&journals)
            .and_then(|()| tempfile::tempfile_in(&journals).map(drop))
            .map_err(|error| (journals, error))?;
        // The caller's lock keeps other writers away.
        file::remove_litter(&archive.runs, Duration::ZERO);
        Ok(archive)
    }

    /// The folder of the run with this fingerprint.
    #[must_use]
    pub fn run(&self, fingerprint: &str) -> RunFolder {
        RunFolder::at(self.runs.join(fingerprint))
    }

    /// The folder of all runs' folders.
    #[must_use]
    pub fn runs(&self) -> &Path {
        &self.runs
    }

    /// The names of the folders there, without those of the journals and of requests.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.runs)? {
            let entry = entry?;
            if let Some(name) =
                entry.file_name().to_str().filter(|name| !name.starts_with('.') && ![JOURNALS, CONTROL, CLUSTER].contains(name))
                && entry.file_type()?.is_dir()
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The folder of requests to the controller.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.runs.join(CONTROL)
    }

    /// The folder that is shared with tasks on a cluster.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.runs.join(CLUSTER)
    }

    /// The folder of the workers' journals.
    #[must_use]
    pub fn journals(&self) -> PathBuf {
        self.runs.join(JOURNALS)
    }
}
