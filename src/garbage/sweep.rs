//! What goes with a sweep.

use std::path::PathBuf;

use super::io;
use crate::error::Error;
use crate::report::page::verdict_path;
use archive::disk::{Size, there};
use archive::{RunFolder, runs_folder, spare};
use plan::Fingerprint;
use store::{Reader, Removal, SweepId, Writer};

/// What goes with a sweep, in the database and beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Doomed {
    pub removal: Removal,
    /// The folders of the runs that go and are there.
    folders: Vec<(String, PathBuf)>,
    verdict: PathBuf,
    /// All files.
    pub size: Size,
}

/// Looks at what goes with a sweep. Writes nothing.
///
/// # Errors
/// A database or a folder that cannot be read; a link in the place of a run's folder.
pub async fn doomed(reader: &mut Reader, sweep: SweepId) -> Result<Doomed, Error> {
    let removal = reader.removal(sweep).await?;
    let (runs, verdict) = (runs_folder(reader.path()), verdict_path(reader.path(), sweep));
    let (mut folders, mut size) = (Vec::new(), Size::default());
    let link = |path: &PathBuf| {
        let why = "is not a folder of sweep's own (but a symbolic link or a file): move it away first";
        io(path)(std::io::Error::new(std::io::ErrorKind::InvalidInput, why))
    };
    if there(&runs).map_err(io(&runs))?.is_some_and(|meta| !meta.is_dir()) {
        return Err(link(&runs));
    }
    for run in &removal.runs {
        let path = runs.join(run);
        match there(&path).map_err(io(&path))? {
            Some(meta) if meta.is_dir() => {
                size += Size::of(&path).map_err(io(&path))?;
                folders.push((run.clone(), path));
            }
            Some(_) => return Err(link(&path)),
            None => {}
        }
    }
    size += Size::of(&verdict).map_err(io(&verdict))?;
    Ok(Doomed { removal, folders, verdict, size })
}

/// Removes the sweep of `doomed` and its runs. An interruption leaves the sweep as it was, or folders of runs that the database does not
/// have, which [`super::find()`] lists.
///
/// # Errors
/// Database errors; a folder that cannot be removed.
pub async fn remove_sweep(writer: &mut Writer, sweep: SweepId, doomed: &Doomed) -> Result<(), Error> {
    // First the folders of recorded runs that are being trained anew: without its row, such a folder would be taken for a success and put
    // into the place of the recorded one.
    let (anew, others): (Vec<_>, Vec<_>) =
        doomed.folders.iter().partition(|(run, _)| Fingerprint(run.clone()).replaced().is_some());
    let forget = |path: &PathBuf| RunFolder::at(path).forget().map_err(io(path));
    anew.iter().try_for_each(|(_, path)| forget(path))?;
    writer.remove_sweep(sweep).await?;
    // What is gone from the database stays gone, before its files are.
    writer.checkpoint().await?;
    others.iter().try_for_each(|(_, path)| forget(path))?;
    spare::remove(&doomed.verdict).map_err(io(&doomed.verdict))
}
