//! What the user hears while a sweep runs: a live bar on a terminal, plain lines elsewhere. stderr only, and never an error:
//! a closed stderr must not end a sweep.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::state::{Halt, News, Tally};
use crate::launcher::WorkerId;
use imbalance::shown;
use protocol::{Job, Outcome};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Only errors.
    Quiet,
    /// Lines without escape codes.
    Lines,
    /// A live bar and a line a busy worker.
    Live,
}

impl Voice {
    /// What suits `--quiet` and the stderr at hand.
    #[must_use]
    pub fn of(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match quiet {
            true => Self::Quiet,
            false if std::io::stderr().is_terminal() && !dumb => Self::Live,
            false => Self::Lines,
        }
    }
}

/// Plain lines: one a finished run while that is readable, then one in this time.
const PACE: Duration = Duration::from_secs(5);
/// Runs a minute up to which every one gets its line.
const READABLE: f64 = 60.0;
/// Characters of the reason for a failure.
const WHY: usize = 400;
/// Failures that get a line of their own.
const FAILURES: usize = 50;

/// The teller.
pub struct Progress {
    voice: Voice,
    verbose: bool,
    total: usize,
    start: Instant,
    last: Option<Instant>,
    failures: usize,
    /// What each busy worker is on.
    workers: BTreeMap<WorkerId, Work>,
    live: Option<Live>,
}

struct Work {
    /// The first of its runs.
    run: String,
    /// Runs that it is on.
    runs: usize,
    epochs: usize,
    line: Option<ProgressBar>,
}

impl Work {
    fn name(&self) -> String {
        if self.runs > 1 { format!("{} runs at once", self.runs) } else { self.run.clone() }
    }
}

struct Live {
    all: MultiProgress,
    bar: ProgressBar,
}

/// Words to stderr; what cannot be written is lost.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", shown::message(text));
}

impl Progress {
    /// A teller of `total` runs.
    #[must_use]
    pub fn new(voice: Voice, verbose: bool, total: usize) -> Self {
        let live = (voice == Voice::Live && total > 0).then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let bar = all.add(ProgressBar::new(total as u64).with_style(style("{bar:24.cyan/dim} {pos}/{len} runs  {msg}")));
            bar.enable_steady_tick(Duration::from_millis(500));
            Live { all, bar }
        });
        let (start, workers) = (Instant::now(), BTreeMap::new());
        Self { voice, verbose, total, start, last: None, failures: 0, workers, live }
    }

    /// Tells `news`; `job` is that of its run.
    pub fn tell(&mut self, news: &News, job: Option<&Job>, tally: Tally) {
        if self.voice == Voice::Quiet {
            return;
        }
        match news {
            News::Began { worker, attempt, .. } => {
                let Some(job) = job else { return };
                let run = describe(job);
                if self.verbose {
                    self.line(&format!("begin {run}{}", nth(*attempt)));
                }
                if let Some(work) = self.workers.get_mut(worker) {
                    work.runs += 1;
                    return;
                }
                let line = self.live.as_ref().map(|live| live.all.add(ProgressBar::new_spinner().with_style(style("  {msg}"))));
                if let Some(line) = &line {
                    line.set_message(run.clone());
                }
                self.workers.insert(*worker, Work { run, runs: 1, epochs: job.config.train.epochs, line });
            }
            News::Beat { worker, epoch, step, steps, loss, images_per_s } => {
                if let Some(work @ Work { epochs, line: Some(line), .. }) = self.workers.get(worker) {
                    let (run, epoch, speed) = (work.name(), epoch + 1, rate(*images_per_s));
                    line.set_message(format!(
                        "{run}  epoch {epoch}/{epochs}  step {step}/{steps}  loss {loss:.4}  {speed} images/s"
                    ));
                }
            }
            News::Epoch { worker, epoch, train_loss, val_loss, .. } => {
                if let (Some(work), Some(job)) = (self.workers.get(worker), job) {
                    let (epoch, epochs) = (epoch + 1, work.epochs);
                    let rest = format!("epoch {epoch}/{epochs}  loss {train_loss:.4}  val loss {val_loss:.4}");
                    match &work.line {
                        Some(line) => line.set_message(format!("{}  {rest}", work.name())),
                        None if self.verbose => self.line(&format!("{}  {rest}", describe(job))),
                        None => {}
                    }
                }
            }
            News::Succeeded { worker, .. } => self.ended(*worker, job, "done", tally),
            News::Stopped { worker, .. } => self.ended(*worker, job, "stopped", tally),
            News::Failed { worker, outcome, why, retry, .. } => {
                self.leave(*worker);
                let run = job.map(describe).unwrap_or_default();
                self.failures += 1;
                if self.failures <= FAILURES {
                    let then = if *retry { ", will be tried again" } else { "" };
                    self.line(&format!("failed {run}: {}: {}{then}", name(*outcome), shown::cut(why, WHY)));
                } else if self.failures == FAILURES + 1 {
                    self.line("more runs failed; `sweep status` lists them all");
                }
            }
            News::NoStart { why, again, .. } => {
                let then = if *again { "trying again" } else { "given up" };
                self.line(&format!("a worker did not start: {why} ({then})"));
            }
            News::Stopping { why } => self.line(&match why {
                Halt::Interrupted => "interrupted: stopping after the current epoch (once more: at once)".to_owned(),
                Halt::Killed => "interrupted: stopping at once".to_owned(),
                Halt::Failures(failed) => format!("{failed} runs failed: stopping (--max-failures)"),
                Halt::Fatal(why) => format!("stopping: {why}"),
            }),
        }
        if let Some(live) = &self.live {
            live.bar.set_position((tally.succeeded + tally.failed) as u64);
            live.bar.set_message(self.summary(tally));
        }
    }

    /// Keeps rates and times true while nothing happens.
    pub fn tick(&mut self, tally: Tally) {
        if let Some(live) = &self.live {
            live.bar.set_message(self.summary(tally));
        }
    }

    /// The bar is taken away.
    pub fn finish(&mut self) {
        for work in std::mem::take(&mut self.workers).into_values() {
            work.line.iter().for_each(ProgressBar::finish_and_clear);
        }
        if let Some(live) = self.live.take() {
            live.bar.finish_and_clear();
        }
    }

    /// A run of `worker` is over.
    fn leave(&mut self, worker: WorkerId) {
        let Some(work) = self.workers.get_mut(&worker) else { return };
        work.runs -= 1;
        if work.runs > 0 {
            return;
        }
        if let Some(line) = self.workers.remove(&worker).and_then(|work| work.line) {
            line.finish_and_clear();
            if let Some(live) = &self.live {
                live.all.remove(&line);
            }
        }
    }

    fn ended(&mut self, worker: WorkerId, job: Option<&Job>, how: &str, tally: Tally) {
        self.leave(worker);
        let run = job.map(describe).unwrap_or_default();
        if self.voice != Voice::Lines {
            return;
        }
        let over = tally.succeeded + tally.failed;
        let a_minute = over as f64 / self.start.elapsed().as_secs_f64().max(1.0) * 60.0;
        let few = over <= 20 || a_minute <= READABLE || tally.queued + tally.running == 0;
        if few || self.verbose || self.last.is_none_or(|last| last.elapsed() >= PACE) {
            self.last = Some(Instant::now());
            let total = self.total;
            self.line(&format!("[{over}/{total}] {how} {run}  ({})", self.summary(tally)));
        }
    }

    /// `3 failed, 95 left, 1.2 runs/s, 1m 20s left`.
    fn summary(&self, tally: Tally) -> String {
        let (over, left) = (tally.succeeded + tally.failed, tally.queued + tally.running);
        let mut parts = Vec::new();
        if tally.failed > 0 {
            parts.push(format!("{} failed", tally.failed));
        }
        parts.push(format!("{left} left"));
        let per_second = over as f64 / self.start.elapsed().as_secs_f64().max(1e-3);
        if over > 0 {
            parts.push(if per_second >= 1.0 {
                format!("{} runs/s", rate(per_second))
            } else {
                format!("{} runs/min", rate(per_second * 60.0))
            });
            if left > 0 {
                parts.push(format!("about {} to go", span(left as f64 / per_second)));
            }
        }
        parts.join(", ")
    }

    fn line(&self, text: &str) {
        match &self.live {
            Some(live) => drop(live.all.println(shown::message(text))),
            None => say(text),
        }
    }
}

/// `3f2a9c01 focal(gamma=2) neg_over_pos class_aware seed 0`.
fn describe(job: &Job) -> String {
    let config = &job.config;
    let weight = match &config.pos_weight {
        imbalance::PosWeight::Explicit(weights) => shown::shown(&format!("{weights:?}")),
        imbalance::PosWeight::Formula(choice) => choice.to_string(),
    };
    format!("{} {} {weight} {} seed {}", job.run.short(), config.loss, config.sampler, config.seed)
}

fn nth(attempt: u32) -> String {
    if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() }
}

/// The words of an outcome.
#[must_use]
pub fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Stopped => "stopped",
        Outcome::StoppedEarly => "stopped early",
        Outcome::Diverged => "diverged",
        Outcome::OutOfMemory => "out of memory",
        Outcome::Data => "data",
        Outcome::Io => "io",
        Outcome::Crashed => "crashed",
        Outcome::Killed => "killed",
        Outcome::Hung => "hung",
        Outcome::Timeout => "timeout",
        Outcome::Lost => "lost",
    }
}

fn rate(number: f64) -> String {
    if number >= 100.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// `45 s`, `3m 05s`, `2h 10m`.
#[must_use]
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        assert_eq!([0.4, 59.4, 185.0, 7800.0].map(span), ["0 s", "59 s", "3m 05s", "2h 10m"]);
    }

    #[test]
    fn templates_are_valid() {
        for template in ["{bar:24.cyan/dim} {pos}/{len} runs  {msg}", "  {msg}"] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn the_summary_counts() {
        let progress = Progress::new(Voice::Quiet, false, 4);
        let text = progress.summary(Tally { queued: 1, running: 1, succeeded: 1, failed: 1 });
        assert!(text.starts_with("1 failed, 2 left, "), "{text}");
        assert!(text.contains("to go"), "{text}");
    }
}
