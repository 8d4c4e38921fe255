//! `sweep resume [SWEEP]`: finish an interrupted sweep from the database alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::import;
use super::inputs::{self, Origin};
use super::preparing::Preparing;
use super::train::{self, Means, Orders, Ready};
use super::weights;
use crate::cli;
use crate::cluster::{self, Stay};
use crate::controller::progress::Verbosity;
use crate::controller::{self, Interrupts};
use crate::error::Error;
use archive::Archive;
use plan::{Sweep, WorkersConfig};
use store::{Reader, Writer};

/// Trains what a recorded sweep still lacks.
///
/// # Errors
/// See [`Error`]; prepared data that is missing or damaged and cannot be prepared again is named, with what to do.
pub async fn run(global: &cli::Global, args: &cli::ResumeArgs) -> Result<(), Error> {
    let stay = if args.workers.detach { Stay::UntilSubmitted } else { Stay::UntilTheEnd };
    run_for(global, args, stay).await
}

/// [`run()`], for as long as `stay` says where the sweep is on a cluster.
///
/// # Errors
/// The errors of [`run()`]; one pass of a sweep that has no tasks on a cluster.
pub(super) async fn run_for(global: &cli::Global, args: &cli::ResumeArgs, stay: Stay) -> Result<(), Error> {
    if !global.db.exists() {
        // The reader first: its error says how to make a database, whereas the writer would create an empty one.
        Reader::open(&global.db).await?;
    }
    let at_once = Interrupts::end_at_once()?;
    let mut writer = Writer::open(&global.db).await?;
    let archive = Archive::beside(&global.db).map_err(Error::file)?;
    controller::recover(&mut writer, &archive).await?;
    let row = Reader::open(&global.db).await?.find_sweep(&args.sweep).await?;
    if import::was_imported(&row) {
        let message = format!("`{}` was imported: it has nothing to train; `sweep report {0}` shows it", row.title);
        return Err(Error::Usage(message));
    }
    let recalled = row.recorded().recall(&row.file).map_err(|error| error.to_string());
    let mut config = workers(&recalled);
    let on_cluster = cluster::is_there(&mut writer, row.id).await?;
    if on_cluster && args.workers.on.is_none() {
        config.launcher = "slurm".to_owned();
    }
    let means = train::means(&args.workers, &config)?;
    if stay == Stay::OnePass && !matches!(means, Means::Slurm(_)) {
        let message = format!("`{}` has no tasks on a cluster; `sweep resume {0}` trains what is missing", row.title);
        return Err(Error::Usage(message));
    }
    let search = match &recalled {
        Ok(sweep) => sweep.search.clone().map(|search| (search, None)),
        Err(_) => Reader::open(&global.db).await?.search(row.id).await?,
    };
    let missing = writer.missing(row.id, args.failed).await?;
    let base = Path::new(&row.file).parent().unwrap_or(Path::new("."));
    let origin = Origin { sweep: recalled.as_ref().map_err(Clone::clone), file: &row.file, base, db: &global.db };
    let preparing = Preparing::new(Verbosity::of(global.quiet));
    let folders: BTreeSet<PathBuf> = missing.iter().map(|missing| missing.job.data.clone()).collect();
    inputs::check(&folders, &origin, &preparing)?;
    weights::recorded(missing.iter().map(|missing| &missing.job), &preparing)?;
    // Runs that failed for their data hold nobody up.
    let failed = writer.failed_for_data(row.id).await?.into_iter().map(|failed| failed.data);
    let failed: BTreeSet<PathBuf> = failed.filter(|folder| !folders.contains(folder)).collect();
    if let Err(error) = inputs::check(&failed, &origin, &preparing) {
        tracing::warn!("{error}");
    }
    drop(preparing);
    inputs::try_again(&mut writer, row.id).await?;
    writer.continue_sweep(row.id).await?;
    let orders = Orders { global, workers: &args.workers, page: &args.page, format: args.format, failed: args.failed, stay };
    train::finish(Ready { writer, archive, sweep: row.id, means, config, search, at_once }, &orders).await
}

/// The recorded sweep's own `[workers]`.
pub(super) fn workers(recalled: &Result<Sweep, String>) -> WorkersConfig {
    recalled.as_ref().map(|sweep| sweep.workers.clone()).unwrap_or_else(|error| {
        tracing::warn!("[workers] as recorded cannot be read, so their defaults are used ({error})");
        WorkersConfig::default()
    })
}
