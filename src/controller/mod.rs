//! The one linearising place: state (pure: event → actions), dispatcher (one select loop), ingest, refill, progress.
//! Never trains, never spawns (that is `launcher`), never speaks SQL (that is `store`).

mod dispatcher;
pub mod failure;
mod ingest;
mod interrupt;
pub mod progress;
mod refill;
pub mod state;

pub use dispatcher::Summary;
pub use interrupt::Interrupts;
use progress::{Progress, Voice};
pub use refill::evaluate;
pub use state::{Halt, Limits};

use crate::error::Error;
use crate::launcher::{self, Fake, Launcher, Local, Slot};
use archive::Archive;
use plan::Fingerprint;
use store::{SweepId, Writer};

/// How a sweep is to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub launcher: crate::cli::Launcher,
    pub slots: Vec<Slot>,
    pub limits: Limits,
    /// Also try runs again that failed for good.
    pub failed: bool,
    pub voice: Voice,
    pub verbose: bool,
}

/// Brings the database to where an earlier controller, killed or not, left its workers: what they had written is stored, what
/// they had not ended is queued again.
///
/// # Errors
/// The database or a journal cannot be used.
pub async fn recover(writer: &mut Writer, archive: &Archive) -> Result<(), Error> {
    let journals = ingest::leftovers(writer, archive).await?;
    let lost = writer.reap().await?;
    if journals + lost > 0 {
        tracing::info!("stored what {journals} journals of an interrupted sweep held; {lost} attempts were under way");
    }
    Ok(())
}

/// Gives recorded runs the rows of policies that are new to them, then trains what is missing.
///
/// # Errors
/// The database, a journal or a folder cannot be used. Whatever was recorded before stays.
pub async fn train(
    writer: &mut Writer,
    sweep: SweepId,
    archive: &Archive,
    settings: Settings,
    interrupts: &mut Interrupts,
) -> Result<Summary, Error> {
    refill(writer, sweep, archive, settings.voice).await?;
    let missing = writer.missing(sweep, settings.failed).await?;
    let (sender, signals) = launcher::channel();
    let launcher: Box<dyn Launcher> = match settings.launcher {
        crate::cli::Launcher::Local => Box::new(Local::new(sender).map_err(|source| Error::Io { path: "sweep".into(), source })?),
        crate::cli::Launcher::Fake => Box::new(Fake::new(sender)),
    };
    let progress = Progress::new(settings.voice, settings.verbose, missing.len());
    let dispatcher =
        dispatcher::Dispatcher::new(writer, (launcher, signals), archive, settings.slots, settings.limits, missing, progress);
    let summary = dispatcher.run(interrupts).await?;
    // A worker of a controller that was killed a moment ago may have begun its journal after we had looked for it.
    ingest::leftovers(writer, archive).await?;
    // Runs that went on from a checkpoint were not evaluated under policies that are newer than it.
    if summary.halt.is_none() {
        refill(writer, sweep, archive, settings.voice).await?;
    }
    Ok(summary)
}

/// Rows of new policies from kept scores; runs whose scores are gone or incomplete are queued again.
async fn refill(writer: &mut Writer, sweep: SweepId, archive: &Archive, voice: Voice) -> Result<(), Error> {
    let (mut refilled, mut again) = (0, Vec::new());
    for (run, policies) in writer.unevaluated(sweep).await? {
        match evaluate(&run, archive.run(&run.0).path(), &policies) {
            Ok(events) => {
                writer.record(&events).await?;
                refilled += 1;
            }
            Err(error) => again.push((run, error.to_string())),
        }
    }
    let known = |run: &Fingerprint| again.iter().any(|(other, _)| other == run);
    let unevaluated = if refilled > 0 { writer.unevaluated(sweep).await? } else { Vec::new() };
    let short: Vec<_> = unevaluated.into_iter().map(|(run, _)| run).filter(|run| !known(run)).collect();
    refilled -= short.len();
    again.extend(short.into_iter().map(|run| (run, "some epochs are missing".to_owned())));
    if refilled > 0 && voice != Voice::Quiet {
        progress::say(&format!("evaluated new threshold policies on {refilled} recorded runs, from their kept scores"));
    }
    for (run, why) in again {
        if voice != Voice::Quiet {
            progress::say(&format!("run {} is trained again: its kept scores cannot be used ({why})", run.short()));
        }
        let folder = archive.run(&run.0);
        folder.forget().map_err(|source| Error::Io { path: folder.path().to_owned(), source })?;
        writer.forget(&run).await?;
    }
    Ok(())
}
