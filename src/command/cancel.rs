//! `sweep cancel [SWEEP]`: ends the tasks of a sweep on a cluster.

use serde::Serialize;

use super::output::{self, counted};
use super::{resume, train};
use crate::cli::{ClusterArgs, Format, Global, LauncherName, WorkersArgs};
use crate::cluster;
use crate::controller::progress::{Verbosity, say};
use crate::controller::{self, Interrupts};
use crate::error::Error;
use crate::shell;
use archive::Archive;
use store::{Reader, Writer};

/// The one JSON value of `cancel`.
#[derive(Serialize)]
struct CancelView {
    sweep: String,
    recorded: i64,
    /// Runs without a result: for `sweep resume`.
    left: i64,
    /// Tasks that have not ended yet.
    ending: usize,
}

/// Ends the tasks, keeping what they have done.
///
/// # Errors
/// A sweep that has no tasks; Slurm that does not answer; the errors of [`cluster::cancel`].
pub async fn run(global: &Global, args: &ClusterArgs) -> Result<(), Error> {
    Reader::open(&global.db).await?;
    let mut writer = Writer::open(&global.db).await?;
    let archive = Archive::beside(&global.db).map_err(Error::file)?;
    controller::recover(&mut writer, &archive).await?;
    let row = Reader::open(&global.db).await?.find_sweep(&args.sweep).await?;
    if !cluster::is_there(&mut writer, row.id).await? {
        return Err(Error::Usage(format!("`{}` has no tasks on a cluster", row.title)));
    }
    let config = resume::workers(&row.recorded().recall(&row.file).map_err(|error| error.to_string()));
    let flags = WorkersArgs { on: Some(LauncherName::Slurm), ..WorkersArgs::default() };
    let train::Means::Slurm(on) = train::means(&flags, &config)? else {
        return Err(Error::Unexpected("`--on slurm` is Slurm".to_owned()));
    };
    let train::OnSlurm { slurm, terms, runs_per_task } = *on;
    let verbosity = Verbosity::of(global.quiet);
    let settings = cluster::Settings {
        slurm,
        terms,
        runs_per_task,
        attempts: config.attempts,
        failed: false,
        max_failures: None,
        verbosity,
    };
    let mut interrupts = Interrupts::listen()?;
    let ending = cluster::cancel(&mut writer, row.id, &archive, &settings, &mut interrupts).await?;
    let status = Reader::open(&global.db).await?.status(row.id).await?;
    let (recorded, left) = (status.succeeded, status.queued + status.running);
    writer.set_sweep_state(row.id, if left > 0 { "interrupted" } else { "done" }).await?;
    writer.close().await?;
    if verbosity != Verbosity::Quiet {
        let again = shell::sweep(&["resume", &row.title], &global.db);
        let rest = if left > 0 { format!(", {left} left; `{again}` goes on") } else { String::new() };
        say(&format!("{recorded} of {} runs recorded{rest}", status.total));
        if ending > 0 {
            let sync = shell::sweep(&["cancel", &row.title], &global.db);
            say(&format!("{} still ending; `{sync}` takes in what they write", counted(ending, "task")));
        }
    }
    if args.format == Format::Json {
        output::print_json(&CancelView { sweep: row.title, recorded, left, ending })?;
    }
    Ok(())
}
