//! `sweep run FILE`: train what the grid asks for and the database lacks, then show the leaderboard.

use super::disk::Disk;
use super::features::Features;
use super::inputs::{self, Origin};
use super::preparing::Preparing;
use super::train::{self, Means, Orders, Ready};
use super::{load, plan};
use crate::cli;
use crate::cluster::Stay;
use crate::controller::progress::{Verbosity, say};
use crate::controller::{self, Interrupts};
use crate::error::Error;
use crate::launcher::Chosen;
use archive::Archive;
use store::Writer;

/// Runs a sweep file from its beginning to its end.
///
/// # Errors
/// See [`Error`]: nothing is trained unless file, devices, database and data are good.
pub async fn run(global: &cli::Global, args: &cli::RunArgs) -> Result<(), Error> {
    if args.dry_run {
        return plan::show(global, &args.file, &args.workers, args.format).await;
    }
    let file = load::read(&args.file.file, &args.file.set)?;
    let config = file.sweep.workers.clone();
    let means = train::means(&args.workers, &config)?;
    // The database first: a folder that cannot be written, or another sweep, is reported before an hour of decoding.
    let at_once = Interrupts::end_at_once()?;
    let mut writer = Writer::open(&global.db).await?;
    let archive = Archive::beside(&global.db).map_err(Error::file)?;
    controller::recover(&mut writer, &archive).await?;
    let preparing = Preparing::new(Verbosity::of(global.quiet));
    let loaded = file.plan(&global.db, &preparing)?;
    let speaks = Verbosity::of(global.quiet) != Verbosity::Quiet;
    if speaks {
        loaded.read.iter().for_each(|read| say(read));
    }
    let plan = &loaded.plan;
    let names: Vec<_> = plan.runs.iter().map(|run| run.fingerprint.clone()).collect();
    let recorded = writer.recorded(&names).await?;
    let todo: Vec<usize> = (0..recorded.len()).filter(|&run| !recorded[run]).collect();
    if let (true, Means::Here(Chosen::Local { places, .. })) = (speaks, &means) {
        let features = Features::needed(plan, &todo, places);
        features
            .iter()
            .filter(|features| features.missing())
            .for_each(|features| say(&format!("features of {}", features.words())));
        Disk::foreseen(plan, &todo, &features, places.len(), &global.db)
            .lacks()
            .iter()
            .for_each(|lacks| say(&format!("disk: {lacks}")));
    }
    let folders = todo.iter().map(|&run| plan.data[plan.runs[run].data].1.folder.clone()).collect();
    let typed = loaded.path.to_string_lossy();
    let origin = Origin { sweep: Ok(&loaded.sweep), file: &typed, base: &loaded.base, db: &global.db };
    inputs::check(&folders, &origin, &preparing)?;
    drop(preparing);
    let search = plan.search.as_ref().map(|searched| (searched.search.clone(), Some(searched.strategies)));
    let sweep = writer.begin_sweep(plan, &loaded.path, loaded.text.clone()).await?;
    inputs::try_again(&mut writer, sweep).await?;
    let stay = if args.workers.detach { Stay::UntilSubmitted } else { Stay::UntilTheEnd };
    let orders = Orders { global, workers: &args.workers, page: &args.page, format: args.format, failed: false, stay };
    train::finish(Ready { writer, archive, sweep, means, config, search, at_once }, &orders).await
}
