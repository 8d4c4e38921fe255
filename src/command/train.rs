//! The common part of `run` and `resume`: train what is missing, record how it ended, show the leaderboard.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::output::{self, counted};
use super::report;
use super::serve;
use crate::cli;
use crate::cluster::{self, End, Stay, Terms};
use crate::controller::keyboard;
use crate::controller::observer;
use crate::controller::progress::{Verbosity, say, span};
use crate::controller::{self, AtOnce, Halt, Interrupts, Limits, Settings, SweepSummary};
use crate::error::Error;
use crate::launcher::{self, Chosen, Place, Slurm};
use crate::shell;
use archive::Archive;
use plan::{Search, SearchBudget, WorkersConfig};
use store::{FailedRun, Reader, SweepId, SweepRow, Writer};

/// A worker that is silent for this long hangs: a step, evaluating an epoch and loading weights all take less.
const HUNG_AFTER: Duration = Duration::from_secs(600);
/// Environment variable with another such time, in seconds (for tests of hanging workers).
const HUNG_VARIABLE: &str = "SWEEP_HUNG_SECONDS";

/// Environment variable with the seconds of a made-up epoch; 0 by default.
const FAKE_EPOCH: &str = "SWEEP_FAKE_EPOCH_SECONDS";

/// Options of training, from the command line.
pub struct Orders<'a> {
    pub global: &'a cli::Global,
    pub workers: &'a cli::WorkersArgs,
    pub page: &'a cli::LivePageArgs,
    pub format: cli::Format,
    /// Also retry runs that failed for good.
    pub failed: bool,
    /// How long a sweep on a cluster is watched.
    pub stay: Stay,
}

/// Where runs are trained.
pub enum Means {
    /// By workers that this process starts.
    Here(Chosen),
    /// By tasks on a cluster.
    Slurm(Box<OnSlurm>),
}

/// A cluster, what its tasks are told, and how many runs each has.
pub struct OnSlurm {
    pub slurm: Slurm,
    pub terms: Terms,
    pub runs_per_task: Option<usize>,
}

impl Means {
    /// `2 x cpu (1 thread each)`, `Slurm (partition main)`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Here(launcher) => launcher.words(),
            Self::Slurm(on) => on.slurm.words(),
        }
    }
}

/// A recorded sweep, ready to be trained.
pub struct Ready {
    pub writer: Writer,
    pub archive: Archive,
    pub sweep: SweepId,
    pub means: Means,
    pub config: WorkersConfig,
    /// With the strategies of the whole grid, if these are known.
    pub search: Option<(Search, Option<usize>)>,
    /// Ends the process at an interrupt, as long as nothing trains.
    pub at_once: AtOnce,
}

/// The one JSON value of `run` and `resume`.
#[derive(Serialize)]
struct SweepView {
    sweep: SweepRow,
    runs: RunCounts,
    failures: Vec<FailedRun>,
    seconds: f64,
    /// What `sweep report --top 10 --format json` prints.
    leaderboard: Value,
}

#[derive(Serialize)]
struct RunCounts {
    total: i64,
    /// Recorded by earlier sweeps, or by an earlier start of this one.
    recorded: i64,
    trained: usize,
    failed: i64,
    stopped_early: i64,
    /// The search does not train them.
    left_out: i64,
    /// Neither trained nor failed: for `sweep resume`.
    left: i64,
}

/// Places for workers on this machine: the flags', else the file's.
///
/// # Errors
/// Not a device name, or not available on this machine.
pub fn places(flags: &cli::WorkersArgs, config: &WorkersConfig) -> Result<Vec<Place>, Error> {
    let devices = if flags.devices.is_empty() { &config.devices } else { &flags.devices };
    launcher::places(devices, flags.per_device.unwrap_or(config.per_device))
}

/// Where runs are trained: the flags', else the file's.
///
/// # Errors
/// The errors of [`places`]; `--detach` where nothing would go on.
pub fn means(flags: &cli::WorkersArgs, config: &WorkersConfig) -> Result<Means, Error> {
    let of_file = if config.launcher == "slurm" { cli::LauncherName::Slurm } else { cli::LauncherName::Local };
    let on = flags.on.unwrap_or(of_file);
    if flags.detach && on != cli::LauncherName::Slurm {
        return Err(Error::Usage("--detach is for --on slurm: workers on this machine end with the command".to_owned()));
    }
    Ok(match on {
        cli::LauncherName::Local => Means::Here(Chosen::Local { places: places(flags, config)?, command: None }),
        cli::LauncherName::Fake => {
            Means::Here(Chosen::Fake { places: places(flags, config)?, epoch: seconds(FAKE_EPOCH).unwrap_or_default() })
        }
        cli::LauncherName::Slurm => {
            let devices = if flags.devices.is_empty() { &config.devices } else { &flags.devices };
            let per_device = flags.per_device.unwrap_or(config.per_device);
            if per_device == 0 {
                return Err(Error::Usage("workers.per_device must be at least 1".to_owned()));
            }
            Means::Slurm(Box::new(OnSlurm {
                slurm: Slurm::new(config.slurm.clone()),
                terms: Terms::new(devices.clone(), per_device, config.timeout),
                runs_per_task: config.slurm.runs_per_task,
            }))
        }
    })
}

/// Trains what is missing and ends the sweep: its state in the database, its leaderboard on stdout, its outcome as the exit code.
///
/// # Errors
/// Failed runs, an interrupt, a database or a folder that cannot be used any more.
pub async fn finish(ready: Ready, orders: &Orders<'_>) -> Result<(), Error> {
    let Ready { mut writer, archive, sweep, means, config, search, at_once } = ready;
    let (db, start) = (&orders.global.db, Instant::now());
    let verbosity = Verbosity::of(orders.global.quiet);
    if let Err(error) = controller::refill(&mut writer, sweep, &archive, verbosity == Verbosity::Quiet).await {
        let _ = writer.set_sweep_state(sweep, "interrupted").await;
        return Err(error);
    }
    if matches!(means, Means::Here(_)) && cluster::is_there(&mut writer, sweep).await? {
        return Err(Error::Usage(
            "its runs are on Slurm: `sweep resume --on slurm` watches them, `sweep cancel` ends them".to_owned(),
        ));
    }
    if let (Means::Slurm(_), Some((wanted, _))) = (&means, &search)
        && (wanted.halving.is_some() || matches!(wanted.budget, Some(SearchBudget::Seconds(_))))
    {
        let words = "a search that decides while runs are trained (`kind = \"asha\"`, or a budget of time) needs workers of this \
                     machine (--on local); on Slurm a sweep trains a grid or a random sample of so many runs";
        return Err(Error::Usage(words.to_owned()));
    }
    let search = search.as_ref().map(|(search, strategies)| (search, *strategies));
    let search = controller::searching::prepare(&mut writer, sweep, search, orders.failed).await?;
    let before = Reader::open(db).await?.status(sweep).await?;
    let todo = before.queued + before.running + if orders.failed { before.failed } else { 0 };
    let row = Reader::open(db).await?.sweep(sweep).await?;
    let page = match orders.page.serve {
        // By its number: another sweep may take the name meanwhile.
        true => match serve::start(orders.global, &format!("{}#{sweep}", row.name), &orders.page.address()).await {
            Ok(page) => Some(page),
            Err(error) => {
                let _ = writer.set_sweep_state(sweep, "interrupted").await;
                return Err(error);
            }
        },
        false => None,
    };
    if verbosity != Verbosity::Quiet {
        let words = means.words();
        let keys = if matches!(means, Means::Here(_)) && keyboard::is_there() { "; Enter: status, ?: keys" } else { "" };
        let left = if todo > 0 { format!("{todo} to train on {words}{keys}") } else { "nothing to train".to_owned() };
        say(&format!("{}: {}, {} recorded, {left}", row.title, counted(before.total as usize, "run"), before.succeeded));
    }
    let mut interrupts = Interrupts::listen()?;
    drop(at_once);
    let trained = match means {
        Means::Here(launcher) => {
            let (sender, requests) = controller::requests();
            if verbosity != Verbosity::Quiet {
                keyboard::listen(sender);
            }
            let settings = Settings {
                launcher,
                limits: Limits {
                    attempts: config.attempts,
                    timeout: config.timeout,
                    hung_after: hung_after(),
                    max_failures: orders.workers.max_failures,
                },
                failed: orders.failed,
                search,
                verbosity,
                observers: observer::standard(verbosity, orders.global.verbose > 0),
                requests,
            };
            controller::train(&mut writer, sweep, &archive, settings, &mut interrupts).await
        }
        Means::Slurm(on) => {
            let OnSlurm { slurm, terms, runs_per_task } = *on;
            let settings = cluster::Settings {
                slurm,
                terms,
                runs_per_task,
                attempts: config.attempts,
                failed: orders.failed,
                max_failures: orders.workers.max_failures,
                verbosity,
            };
            match cluster::watch(&mut writer, sweep, &archive, &settings, orders.stay, &mut interrupts).await {
                Ok(End::Done(summary)) => {
                    controller::refill(&mut writer, sweep, &archive, verbosity == Verbosity::Quiet).await.map(|()| summary)
                }
                Ok(End::Detached { left, waiting, interrupted }) => {
                    writer.close().await?;
                    return detached(orders, sweep, (left, waiting, interrupted), &row.title, start).await;
                }
                Err(error) => Err(error),
            }
        }
    };
    let summary = match trained {
        Ok(summary) => summary,
        Err(error) => {
            // The first error counts; what was recorded stays. The sweep is marked as interrupted if that takes less than a second (the
            // error may be that the user has ended a wait for the database); otherwise the next start does it.
            let _ = timeout(Duration::from_secs(1), writer.set_sweep_state(sweep, "interrupted")).await;
            return Err(error);
        }
    };
    let after = Reader::open(db).await?.status(sweep).await?;
    let left = after.queued + after.running;
    let ending = ending(&summary, left, after.failed, after.total);
    let state = match &ending {
        Ok(()) => "done",
        Err(Error::RunsFailed { .. }) => "failed",
        Err(_) => "interrupted",
    };
    writer.set_sweep_state(sweep, state).await?;
    writer.close().await?;
    if verbosity != Verbosity::Quiet {
        let (trained, time) = (summary.tally.succeeded, span(summary.elapsed.as_secs_f64()));
        let failed = if after.failed > 0 { format!(", {} failed", after.failed) } else { String::new() };
        let rest = if left > 0 { format!(", {left} left") } else { String::new() };
        let early = if after.stopped_early > 0 { format!(", {} stopped early", after.stopped_early) } else { String::new() };
        let out = if after.left_out > 0 { format!(", {} left out by the search", after.left_out) } else { String::new() };
        say(&format!(
            "{} of {} runs recorded{failed}{early}{out}{rest}; {trained} trained in {time}",
            after.succeeded, after.total
        ));
    }
    match orders.format {
        cli::Format::Table if left == 0 || matches!(ending, Err(Error::RunsFailed { .. })) => {
            report::print_after_run(db, sweep, orders.format).await?
        }
        cli::Format::Table => {}
        cli::Format::Json => {
            let recorded = before.succeeded;
            let (failed, trained) = (after.failed, summary.tally.succeeded);
            let (stopped_early, left_out) = (after.stopped_early, after.left_out);
            let runs = RunCounts { total: after.total, recorded, trained, failed, stopped_early, left_out, left };
            output::print_json(&ended(db, sweep, runs, summary.elapsed).await?)?;
        }
    }
    if let Some(page) = page {
        page.close().await;
        if verbosity != Verbosity::Quiet {
            say(&format!("the page has ended with the sweep; `{}` shows it again", shell::sweep(&["serve", &row.title], db)));
        }
    }
    ending
}

/// The end of a watch whose tasks go on: what is left to them, and how one comes back to them.
async fn detached(
    orders: &Orders<'_>,
    sweep: SweepId,
    (left, waiting, interrupted): (usize, usize, bool),
    title: &str,
    start: Instant,
) -> Result<(), Error> {
    let db = &orders.global.db;
    if !orders.global.quiet {
        let command = |word: &str| format!("`{}`", shell::sweep(&[word, title], db));
        let (resume, cancel) = (command("resume"), command("cancel"));
        say(&format!("{} left to the cluster; {resume} watches them, {cancel} ends them", counted(left, "run")));
        if waiting > 0 {
            let more = counted(waiting, "run");
            say(&format!("{more} of these are not submitted yet: {} now and then, or {resume}, submits them", command("sync")));
        }
    }
    if orders.format == cli::Format::Json {
        let status = Reader::open(db).await?.status(sweep).await?;
        let (total, recorded, failed) = (status.total, status.succeeded, status.failed);
        let (stopped_early, left_out) = (status.stopped_early, status.left_out);
        let runs = RunCounts { total, recorded, trained: 0, failed, stopped_early, left_out, left: left as i64 };
        output::print_json(&ended(db, sweep, runs, start.elapsed()).await?)?;
    }
    if interrupted { Err(Error::Halted("the tasks go on")) } else { Ok(()) }
}

/// The error that decides the exit code, if there is one.
fn ending(summary: &SweepSummary, left: i64, failed: i64, total: i64) -> Result<(), Error> {
    let failures = || Error::RunsFailed { failed: failed as usize, total: total as usize };
    match &summary.halt {
        Some(Halt::Fatal(why)) => Err(Error::Unexpected(format!("{why}; `sweep resume` continues where it stopped"))),
        Some(Halt::Interrupted | Halt::Killed) if left > 0 => Err(Error::Interrupted),
        _ if failed > 0 => Err(failures()),
        _ if left > 0 => Err(Error::Unexpected(format!(
            "{} neither recorded nor failed; `sweep resume` continues where it stopped",
            if left == 1 { "1 run is".to_owned() } else { format!("{left} runs are") }
        ))),
        _ => Ok(()),
    }
}

async fn ended(db: &Path, sweep: SweepId, runs: RunCounts, elapsed: Duration) -> Result<SweepView, Error> {
    let mut reader = Reader::open(db).await?;
    Ok(SweepView {
        sweep: reader.sweep(sweep).await?,
        failures: reader.failures(sweep).await?,
        runs,
        seconds: elapsed.as_secs_f64(),
        leaderboard: report::leaderboard_json(db, sweep).await?,
    })
}

/// How long a worker may be silent.
#[must_use]
pub fn hung_after() -> Duration {
    seconds(HUNG_VARIABLE).unwrap_or(HUNG_AFTER)
}

/// A time in seconds from an environment variable.
fn seconds(variable: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(std::env::var(variable).ok()?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::Tally;

    fn code(halt: Option<Halt>, left: i64, failed: i64) -> u8 {
        let summary = SweepSummary { tally: Tally::default(), halt, failures: Vec::new(), elapsed: Duration::ZERO };
        ending(&summary, left, failed, 9).map_or_else(|error| error.exit_code(), |()| 0)
    }

    #[test]
    fn each_end_has_its_exit_code() {
        assert_eq!(code(None, 0, 0), 0);
        assert_eq!(code(None, 0, 2), 3);
        assert_eq!(code(Some(Halt::Failures(2)), 5, 2), 3);
        assert_eq!(code(None, 4, 0), 1, "whatever the machine believes: not all is recorded");
        assert_eq!(code(Some(Halt::Interrupted), 5, 2), 130);
        assert_eq!(code(Some(Halt::Killed), 5, 0), 130);
        assert_eq!(code(Some(Halt::Interrupted), 0, 0), 0, "the signal came after the last run");
        assert_eq!(code(Some(Halt::Fatal("disk full".to_owned())), 5, 0), 1);
    }
}
