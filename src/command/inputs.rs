//! Checks before a sweep trains that the prepared data of its unfinished runs exists and is undamaged to the last bit. What is missing
//! or damaged is prepared again from the user's files, if these still give the same data.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::load;
use super::preparing::Preparing;
use crate::error::Error;
use data::{self, DataError, Unfit};
use imbalance::shown::shown;
use plan::{Fingerprint, Sweep};
use store::{FailedForData, SweepId, Writer};

/// The sources of prepared data.
pub struct Origin<'a> {
    /// The sweep file as it was read; an error where this version cannot parse it.
    pub sweep: Result<&'a Sweep, String>,
    /// The file's path, for messages.
    pub file: &'a str,
    /// The folder that the file's paths start from.
    pub base: &'a Path,
    pub db: &'a Path,
}

/// Checks the prepared `folders`, and prepares again what is missing or damaged. Only what lies in the cache beside the database is removed:
/// the database may be a copy, or somebody else's, and its folders may be anything here.
///
/// # Errors
/// Damaged data that cannot be prepared again, with what to do; a folder that cannot be read.
pub fn check(folders: &BTreeSet<PathBuf>, origin: &Origin<'_>, preparing: &Preparing) -> Result<(), Error> {
    let mut faults = Vec::new();
    for folder in folders {
        match data::check(folder, &|done, total| preparing.checking(done, total)) {
            Ok(_) => {}
            Err(Unfit { error, mendable: true }) => {
                tracing::warn!("{error}; preparing it again");
                if is_ours(folder, origin.db) {
                    data::discard(folder)?;
                }
                faults.push((folder, error));
            }
            Err(unfit) => return Err(DataError::from(unfit).into()),
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let again = match &origin.sweep {
        Ok(sweep) => load::prepare(sweep, origin.base, origin.db, preparing).map(drop).map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    };
    let file = shown(origin.file);
    for (folder, DataError { place, message }) in faults {
        let why = match (&again, data::check(folder, &|done, total| preparing.checking(done, total))) {
            (_, Ok(_)) => continue,
            (Err(why), _) => format!("it could not be prepared again ({why}). Mend that and try again"),
            (Ok(()), Err(_)) => format!(
                "its files have changed since: prepared again they give other data. Put them back, or `sweep run {file}` begins anew with them"
            ),
        };
        return Err(Error::Data(DataError { place, message: format!("{message}; {why}") }));
    }
    Ok(())
}

/// Whether `folder` is one of prepared data in the cache beside `db`, by its place and its name.
fn is_ours(folder: &Path, db: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let place = folder.parent().and_then(real);
    data::is_key(folder) && place.is_some() && place == real(&load::cache_folder(db))
}

/// Queues runs again that failed because of their data or weights, if these are newer than the failure.
///
/// # Errors
/// Database errors.
pub async fn try_again(writer: &mut Writer, sweep: SweepId) -> Result<(), Error> {
    let mended: Vec<Fingerprint> =
        writer.failed_for_data(sweep).await?.into_iter().filter(is_mended).map(|failed| failed.run).collect();
    if !mended.is_empty() {
        tracing::warn!("{} runs that failed for their data are tried again: it has been prepared since", mended.len());
        writer.queue_again(&mended).await?;
    }
    Ok(())
}

fn is_mended(failed: &FailedForData) -> bool {
    let since = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.ctime() as f64 + meta.ctime_nsec() as f64 / 1e9) > failed.at)
    };
    let data = since(&failed.data.join("meta.json"));
    let weights = failed.weights.as_deref().and_then(|source| since(&data::weights::find_here(source)?));
    data == Some(true) || weights == Some(true)
}
