//! `sweep run FILE`: train what the grid asks for and the database lacks, then show the leaderboard.

use super::preparing::Preparing;
use super::train::{self, Orders, Ready};
use super::{load, plan};
use crate::cli;
use crate::controller::progress::Voice;
use crate::controller::{self, Folders};
use crate::error::Error;
use store::Writer;

/// Runs a sweep file from its beginning to its end.
///
/// # Errors
/// See [`Error`]: nothing is trained unless file, devices, database and data are good.
pub async fn run(global: &cli::Global, args: &cli::Run) -> Result<(), Error> {
    if args.dry_run {
        return plan::show(global, &args.file, &args.workers, args.format).await;
    }
    let file = load::read(&args.file.file, &args.file.set)?;
    let config = file.sweep.workers.clone();
    let slots = train::slots(&args.workers, &config)?;
    // The database first: a folder that cannot be written, or another sweep, should not be found after an hour of decoding.
    let mut writer = Writer::open(&global.db).await?;
    let folders = Folders::beside(&global.db)?;
    controller::recover(&mut writer, &folders).await?;
    let loaded = {
        let preparing = Preparing::new(Voice::of(global.quiet));
        file.plan(&global.db, &|config, done, total| preparing.tell(config, done, total))?
    };
    let sweep = writer.begin_sweep(&loaded.plan, &loaded.path, &loaded.text).await?;
    let orders = Orders { global, workers: &args.workers, format: args.format, failed: false };
    train::finish(Ready { writer, folders, sweep, slots, config }, &orders).await
}
