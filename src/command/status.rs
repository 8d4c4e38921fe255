//! `sweep status [SWEEP]`: the progress of a sweep. Read-only.

use serde::Serialize;

use super::output::{self, Facts, TextTable, counted, fit};
use crate::cli;
use crate::controller::progress::span;
use crate::doing;
use crate::error::Error;
use imbalance::shown::cut;
use store::{self, FailedRun, Reader, RunningAttempt, Status, SweepRow, Tasks, time_in_words};

/// Most failed runs in the table.
const SHOWN: usize = 20;
/// Most characters of the reason for a failure.
const WHY: usize = 400;

/// The one JSON value of `status`.
#[derive(Serialize)]
struct StatusView {
    sweep: SweepRow,
    runs: Status,
    /// Runs that ended per second since the sweep was last begun; `None` before the first.
    runs_per_second: Option<f64>,
    /// Seconds until nothing is left, at that pace; `None` while that is unknown.
    seconds_left: Option<f64>,
    /// The process that holds the lock of the database; `None` if there is none on this machine.
    holder: Option<String>,
    running: Vec<BusyAttempt>,
    /// On a cluster: tasks that are not over, as the scheduler last said.
    tasks: Vec<Tasks>,
    failures: Vec<FailedRun>,
}

/// An attempt under way, with its worker's current work without steps.
#[derive(Serialize)]
struct BusyAttempt {
    #[serde(flatten)]
    attempt: RunningAttempt,
    doing: Option<String>,
}

/// Shows the progress of a sweep.
///
/// # Errors
/// A database that cannot be read; a sweep that does not exist.
pub async fn run(global: &cli::Global, args: &cli::StatusArgs) -> Result<(), Error> {
    let mut reader = Reader::open(&global.db).await?;
    // Of one state, which also keeps SQLite from reading its pages again for each question while a sweep writes.
    reader.hold().await?;
    let sweep = reader.find_sweep(&args.sweep).await?;
    let runs = reader.status(sweep.id).await?;
    let mut doing = doing::of_all(&global.db);
    let busy = |attempt: RunningAttempt| BusyAttempt { doing: doing.remove(attempt.run.as_str()), attempt };
    let running = reader.running(sweep.id).await?.into_iter().map(busy).collect();
    let tasks = reader.cluster_tasks(sweep.id).await?;
    let failures = reader.failures(sweep.id).await?;
    let holder = store::holder(&global.db);
    let ended = (runs.succeeded_now + runs.failed_now) as f64;
    let until = sweep.finished_at.unwrap_or_else(store::now);
    let runs_per_second = (ended > 0.0).then(|| ended / (until - sweep.begun_at).max(1e-3));
    let left = (runs.queued + runs.running) as f64;
    let seconds_left = runs_per_second.filter(|_| sweep.state == "running").map(|pace| left / pace);
    let seen = StatusView { sweep, runs, runs_per_second, seconds_left, holder, running, tasks, failures };
    match args.format {
        cli::Format::Table => output::print(&seen.text()),
        cli::Format::Json => output::print_json(&seen),
    }
}

impl StatusView {
    fn text(&self) -> String {
        let Self { sweep, runs, .. } = self;
        let mut facts = Facts::default();
        let times = match (sweep.state.as_str(), sweep.finished_at, &self.holder) {
            ("running", _, Some(holder)) => format!("by {holder}"),
            ("running", ..) if !self.tasks.is_empty() => {
                "on the cluster; nobody on this machine watches: `sweep resume` does, `sweep sync` takes in what is there"
                    .to_owned()
            }
            ("running", ..) => "but nobody on this machine works on it: if it was killed, `sweep resume` goes on".to_owned(),
            (_, Some(end), _) => format!("at {}, after {}", time_in_words(end), span(end - sweep.begun_at)),
            _ => String::new(),
        };
        facts.add(&sweep.state, "", times);
        for (name, count) in
            [("succeeded", runs.succeeded), ("failed", runs.failed), ("running", runs.running), ("queued", runs.queued)]
        {
            facts.add(&format!("  {name}"), count.to_string(), "");
        }
        if runs.stopped_early > 0 {
            facts.add("  stopped early", runs.stopped_early.to_string(), "");
        }
        if runs.left_out > 0 {
            facts.add("  left out", runs.left_out.to_string(), "by the search");
        }
        facts.add("  runs", runs.total.to_string(), self.pace());
        for Tasks { job, state, reason, tasks } in &self.tasks {
            let state = if state.is_empty() { "submitted".to_owned() } else { state.to_lowercase() };
            let reason = if matches!(reason.as_str(), "" | "None") { String::new() } else { format!(" ({})", cut(reason, WHY)) };
            let job = job.as_ref().map_or_else(String::new, |job| format!("of job {job}: "));
            facts.add("  tasks", tasks.to_string(), format!("{job}{state}{reason}"));
        }
        let mut text = format!("{}: {}\n\n{facts}", sweep.title, sweep.file);
        if !self.running.is_empty() {
            text.push_str(&format!("\n{}", self.busy()));
            for BusyAttempt { attempt, doing } in &self.running {
                if let Some(doing) = doing {
                    text.push_str(&format!("{}: {doing}\n", short(&attempt.run)));
                }
            }
        }
        if !self.failures.is_empty() {
            text.push_str(&format!("\n{}", self.failed()));
        }
        text
    }

    /// `3.2 runs/min, about 4m 10s to go`.
    fn pace(&self) -> String {
        let Some(pace) = self.runs_per_second else { return String::new() };
        let pace = if pace >= 1.0 { format!("{pace:.1} runs/s") } else { format!("{:.1} runs/min", pace * 60.0) };
        match self.seconds_left {
            Some(seconds) => format!("{pace}, about {} to go", span(seconds)),
            None => pace,
        }
    }

    fn busy(&self) -> TextTable {
        let mut grid = TextTable::new(2, ["running", "device", "attempt", "epochs", "rows/s", "since"]);
        for BusyAttempt { attempt: busy, .. } in &self.running {
            let RunningAttempt { run, attempt, device, started_at, epochs_done, epochs, images_per_s } = busy;
            let speed = images_per_s.map_or_else(String::new, |speed| format!("{speed:.0}"));
            let (epochs, since) = (format!("{epochs_done} of {epochs}"), span(store::now() - started_at));
            grid.row([short(run), device, &attempt.to_string(), &epochs, &speed, &since]);
        }
        grid
    }

    fn failed(&self) -> String {
        let mut grid = TextTable::new(5, ["failed", "strategy", "seed", "outcome", "why"]);
        for FailedRun { run, loss, pos_weight, sampler, seed, outcome, why, attempts, .. } in self.failures.iter().take(SHOWN) {
            let why = cut(why.lines().next().unwrap_or_default(), WHY);
            let tries = if *attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
            let strategy = fit(&format!("{loss} {pos_weight} {sampler}"));
            grid.row([short(run), &strategy, &seed.to_string(), outcome, &format!("{why}{tries}")]);
        }
        let more = self.failures.len().saturating_sub(SHOWN);
        let more =
            if more > 0 { format!("and {}; --format json lists all\n", counted(more, "more failed run")) } else { String::new() };
        format!("{grid}{more}")
    }
}

fn short(run: &str) -> &str {
    run.get(..8).unwrap_or(run)
}
