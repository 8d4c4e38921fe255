//! The one linearising place: state (pure: event → actions), dispatcher (one select loop), ingest, refill, observers.
//! Never trains, never spawns (that is `launcher`), never speaks SQL (that is `store`).

mod again;
mod dispatcher;
pub mod doing;
pub mod failure;
mod ingest;
mod interrupt;
pub mod observer;
pub mod progress;
mod queue;
mod refill;
mod request;
mod state;
mod vocabulary;

pub use dispatcher::SweepSummary;
use dispatcher::{Dispatcher, Ears};
pub use interrupt::{AtOnce, Interrupts};
use observer::Observer;
use progress::Voice;
pub use refill::refill;
pub use request::{Request, requests};
use tokio::sync::mpsc;
pub use vocabulary::{Beat, Halt, Limits, News, Tally};

use crate::error::Error;
use crate::launcher::{self, Chosen};
use archive::Archive;
use imbalance::StrategyError;
use store::{Missing, SweepId, Writer};

/// How a sweep is to be run.
pub struct Settings {
    pub launcher: Chosen,
    pub limits: Limits,
    /// Also try runs again that failed for good.
    pub failed: bool,
    pub voice: Voice,
    /// Whoever listens: see [`observer::standard`].
    pub observers: Vec<Box<dyn Observer>>,
    /// Whoever may ask for something meanwhile: see [`requests`].
    pub requests: mpsc::UnboundedReceiver<Request>,
}

/// Brings the database to where an earlier controller, killed or not, left its workers: what they had written is stored, what
/// they had not ended is queued again.
///
/// # Errors
/// The database or a journal cannot be used.
pub async fn recover(writer: &mut Writer, archive: &Archive) -> Result<(), Error> {
    ingest::clear_refused(&archive.journals())?;
    let journals = ingest::leftovers(writer, archive).await?;
    let lost = writer.reap().await?;
    again::settle(writer, archive).await?;
    if journals + lost > 0 {
        tracing::info!("stored what {journals} journals of an interrupted sweep held; {lost} attempts were under way");
    }
    Ok(())
}

/// Trains what is missing; call [`refill`] first.
///
/// # Errors
/// The database, a journal or a folder cannot be used. Whatever was recorded before stays.
pub async fn train(
    writer: &mut Writer,
    sweep: SweepId,
    archive: &Archive,
    settings: Settings,
    interrupts: &mut Interrupts,
) -> Result<SweepSummary, Error> {
    let mut missing = writer.missing(sweep, settings.failed).await?;
    for Missing { job, format, .. } in &mut missing {
        if *format != plan::FORMAT {
            return Err(Error::OtherFormat { run: job.run.short().to_owned(), format: *format });
        }
        let recorded = |why: StrategyError| Error::Recorded { what: format!("run {}", job.run.short()), why: why.to_string() };
        job.config = job.config.clone().admitted().map_err(|why| recorded(why.into()))?;
        for policy in &job.policies {
            policy.admitted().map_err(recorded)?;
        }
    }
    let (sender, signals) = launcher::channel();
    let launcher = settings.launcher.launcher(sender).map_err(|source| Error::Io { path: "sweep".into(), source })?;
    let ears = Ears { signals, interrupts, requests: settings.requests };
    let dispatcher = Dispatcher::new(writer, launcher, ears, archive, settings.limits, missing, settings.observers);
    let summary = dispatcher.run().await?;
    // A worker of a controller that was killed a moment ago may have begun its journal after we had looked for it.
    ingest::leftovers(writer, archive).await?;
    again::settle(writer, archive).await?;
    // Runs that went on from a checkpoint were not evaluated under policies that are newer than it.
    if summary.halt.is_none() {
        refill(writer, sweep, archive, settings.voice == Voice::Quiet).await?;
    }
    Ok(summary)
}
