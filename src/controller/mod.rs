//! The place where events are put in order: state (pure: event → actions), dispatcher (one select loop), ingest, refill, observers.
//! Never trains, never spawns (see `launcher`), has no SQL (see `store`).

mod again;
pub mod control;
pub(crate) mod dispatcher;
pub mod errand;
pub mod failure;
pub(crate) mod ingest;
mod interrupt;
pub mod keyboard;
pub mod observer;
pub mod progress;
mod queue;
mod refill;
mod request;
mod search;
pub mod searching;
mod state;
mod vocabulary;

pub(crate) use again::settle as settle_again;
use control::Mailbox;
pub use dispatcher::SweepSummary;
use dispatcher::{Dispatcher, Ears};
pub use interrupt::{AtOnce, Interrupts};
use observer::Observer;
use progress::Verbosity;
pub use refill::refill;
pub use request::{Key, Request, requests};
use searching::Searching;
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
    /// Also retry runs that failed for good.
    pub failed: bool,
    /// What is trained instead of the whole grid: see [`searching::prepare`].
    pub search: Option<Searching>,
    pub verbosity: Verbosity,
    /// The listeners: see [`observer::standard`].
    pub observers: Vec<Box<dyn Observer>>,
    /// Requests during the sweep: see [`requests`].
    pub requests: mpsc::UnboundedReceiver<Request>,
}

/// Completes what an earlier controller, killed or not, left behind: records of its workers are stored, attempts without an end are
/// queued again.
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

/// Runs that are to be trained, each of which this version can train as it was planned.
///
/// # Errors
/// A run that was planned by another version, or says what this one does not know.
pub(crate) fn checked(mut missing: Vec<Missing>) -> Result<Vec<Missing>, Error> {
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
    Ok(missing)
}

/// Trains what is missing; call [`refill()`] first.
///
/// # Errors
/// The database, a journal or a folder cannot be used. What was recorded before stays.
pub async fn train(
    writer: &mut Writer,
    sweep: SweepId,
    archive: &Archive,
    settings: Settings,
    interrupts: &mut Interrupts,
) -> Result<SweepSummary, Error> {
    let missing = checked(writer.missing(sweep, settings.failed).await?)?;
    let (sender, signals) = launcher::channel();
    let launcher = settings.launcher.launcher(sender).map_err(|source| Error::Io { path: "sweep".into(), source })?;
    let mailbox = Mailbox::open(archive, sweep, writer.holder());
    let ears = Ears { signals, interrupts, requests: settings.requests, mailbox };
    let dispatcher =
        Dispatcher::new(writer, launcher, ears, archive, settings.limits, (missing, settings.search), settings.observers);
    let summary = dispatcher.run().await?;
    // A worker of a controller that was killed a moment ago may have created its journal after the first search.
    ingest::leftovers(writer, archive).await?;
    again::settle(writer, archive).await?;
    // Runs that continued from a checkpoint were not evaluated under policies that are newer than it.
    if summary.halt.is_none() {
        refill(writer, sweep, archive, settings.verbosity == Verbosity::Quiet).await?;
    }
    Ok(summary)
}
