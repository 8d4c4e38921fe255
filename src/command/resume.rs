//! `sweep resume [SWEEP]`: finish an interrupted sweep from the database alone.

use std::collections::BTreeSet;
use std::path::Path;

use super::import;
use super::load;
use super::train::{self, Orders, Ready};
use crate::cli;
use crate::controller::{self, Folders};
use crate::error::Error;
use data::DataError;
use plan::WorkersConfig;
use store::{Missing, Reader, SweepRow, Writer};

/// Trains what a recorded sweep still lacks.
///
/// # Errors
/// See [`Error`]; prepared data that is gone is named, with the way to get it back.
pub async fn run(global: &cli::Global, args: &cli::Resume) -> Result<(), Error> {
    if !global.db.exists() {
        // Its error says how to make one; the writer would simply do so.
        Reader::open(&global.db).await?;
    }
    let mut writer = Writer::open(&global.db).await?;
    let folders = Folders::beside(&global.db)?;
    controller::recover(&mut writer, &folders).await?;
    let row = Reader::open(&global.db).await?.find_sweep(&args.sweep).await?;
    if import::was_imported(&row) {
        let message = format!("`{}` was imported: it has nothing to train; `sweep report {0}` shows it", row.title);
        return Err(Error::Usage(message));
    }
    let config = workers(&row);
    let slots = train::slots(&args.workers, &config)?;
    let missing = writer.missing(row.id, args.failed).await?;
    prepared(&missing, &row)?;
    writer.continue_sweep(row.id).await?;
    let orders = Orders { global, workers: &args.workers, format: args.format, failed: args.failed };
    train::finish(Ready { writer, folders, sweep: row.id, slots, config }, &orders).await
}

/// The recorded sweep's own `[workers]`.
fn workers(sweep: &SweepRow) -> WorkersConfig {
    load::recall(&sweep.file, &sweep.text).map(|sweep| sweep.workers).unwrap_or_else(|error| {
        tracing::warn!("[workers] as recorded cannot be read, so their defaults are used ({error})");
        WorkersConfig::default()
    })
}

/// Workers read prepared data only: all of it must be there.
fn prepared(missing: &[Missing], sweep: &SweepRow) -> Result<(), Error> {
    let folders: BTreeSet<&Path> = missing.iter().map(|missing| missing.job.data.as_path()).collect();
    let Some(gone) = folders.into_iter().find(|folder| !folder.join("meta.json").is_file()) else { return Ok(()) };
    let runs = missing.iter().filter(|missing| missing.job.data == gone).count();
    Err(Error::Data(DataError {
        place: gone.display().to_string(),
        message: format!(
            "the prepared data of {runs} unfinished runs is gone; `sweep run {}` prepares it again and goes on where `{}` stopped",
            sweep.file, sweep.title
        ),
    }))
}
