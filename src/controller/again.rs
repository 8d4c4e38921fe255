//! The folders of runs that are trained again: each is trained in `<fingerprint>-again/` beside the recorded one, which it replaces
//! once the database has recorded its success.

use std::fs;
use std::io;
use std::path::Path;

use super::Folders;
use crate::error::Error;
use plan::Fingerprint;
use store::Writer;

/// A replaced folder on its way out: `<fingerprint>-replaced`.
const REPLACED: &str = "-replaced";

/// Puts the folders of runs that have replaced a recorded one in its place, and removes what they replaced. Whatever was interrupted
/// is done again by the next call.
///
/// # Errors
/// The database, or a folder that cannot be moved.
pub async fn settle(writer: &mut Writer, folders: &Folders) -> Result<(), Error> {
    let failed = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    let mut trained = Vec::new();
    for entry in fs::read_dir(folders.runs()).map_err(|source| failed(folders.runs(), source))? {
        let path = entry.map_err(|source| failed(folders.runs(), source))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.ends_with(REPLACED) {
            remove(&path)?;
        } else if let Some(run) = Fingerprint(name.to_owned()).replaced() {
            trained.push(run);
        }
    }
    let unfinished = writer.retraining().await?;
    let recorded = writer.recorded(&trained).await?;
    for (run, _) in trained.iter().zip(recorded).filter(|(run, recorded)| *recorded && !unfinished.contains(run)) {
        let (place, new) = (folders.run(run), folders.run(&run.again()));
        let old = folders.runs().join(format!("{run}{REPLACED}"));
        match fs::rename(&place, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&place, error)),
            _ => {}
        }
        fs::rename(&new, &place).map_err(|source| failed(&new, source))?;
        remove(&old)?;
    }
    Ok(())
}

/// Gives up training `run` again: the folder first, so that one without a run in the database is always one that has succeeded.
///
/// # Errors
/// The database, or a folder that cannot be removed.
pub async fn forget(writer: &mut Writer, folders: &Folders, run: &Fingerprint) -> Result<(), Error> {
    remove(&folders.run(&run.again()))?;
    Ok(writer.keep(run).await?)
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path: folder.to_owned(), source }),
        _ => Ok(()),
    }
}
