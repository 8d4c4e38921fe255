//! The folders of runs that are trained again: each is trained in `<fingerprint>-again/` beside the recorded one, which it replaces
//! once the database has recorded its success.

use crate::error::Error;
use archive::{Archive, RunFolder};
use plan::Fingerprint;
use store::Writer;

/// Puts the folders of runs that have replaced a recorded one in its place, and removes what they replaced. An interrupted
/// exchange is completed by the next call.
///
/// # Errors
/// Database errors; a folder that cannot be moved.
pub async fn settle(writer: &mut Writer, archive: &Archive) -> Result<(), Error> {
    let names = archive.names().map_err(|source| Error::Io { path: archive.runs().to_owned(), source })?;
    let trained: Vec<Fingerprint> = names.into_iter().filter_map(|name| Fingerprint(name).replaced()).collect();
    let unfinished = writer.retraining().await?;
    let recorded = writer.recorded(&trained).await?;
    for (run, _) in trained.iter().zip(recorded).filter(|(run, recorded)| *recorded && !unfinished.contains(run)) {
        let new = archive.run(&run.again().0);
        new.replace(&archive.run(&run.0)).map_err(|source| failed(&new, source))?;
    }
    Ok(())
}

/// Gives up training `run` again: the folder first, so that a folder without a run in the database always belongs to a success.
///
/// # Errors
/// Database errors; a folder that cannot be removed.
pub async fn forget(writer: &mut Writer, archive: &Archive, run: &Fingerprint) -> Result<(), Error> {
    let folder = archive.run(&run.again().0);
    folder.forget().map_err(|source| failed(&folder, source))?;
    Ok(writer.keep(run).await?)
}

fn failed(folder: &RunFolder, source: std::io::Error) -> Error {
    Error::Io { path: folder.path().to_owned(), source }
}
