//! The news that get a line of their own, for every observer that prints, and the text of rates and counts.

use std::sync::Arc;
use std::time::Instant;

use super::KnownRuns;
use crate::controller::failure::name;
use crate::controller::progress::{rate, span};
use crate::controller::vocabulary::{Halt, News, RunIndex, Tally};
use imbalance::shown;

/// Characters of the reason for a failure.
const WHY: usize = 400;
/// Failures and losses that get a line of their own.
const SHOWN: usize = 50;

/// Writes the lines.
pub(super) struct Remarks {
    verbose: bool,
    runs: KnownRuns,
    start: Instant,
    failures: usize,
    losses: usize,
}

impl Remarks {
    pub(super) fn new(verbose: bool) -> Self {
        Self { verbose, runs: Arc::new([]), start: Instant::now(), failures: 0, losses: 0 }
    }

    pub(super) fn total(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn name(&self, run: RunIndex) -> &str {
        self.runs.get(run).map_or("", |run| run.name.as_str())
    }

    pub(super) fn epochs(&self, run: RunIndex) -> usize {
        self.runs.get(run).map_or(0, |run| run.epochs)
    }

    /// `epoch 3/10  loss 0.1234  val loss 0.2345`.
    pub(super) fn epoch(&self, run: RunIndex, epoch: usize, train_loss: f64, val_loss: f64) -> String {
        let (epoch, epochs) = (epoch + 1, self.epochs(run));
        format!("epoch {epoch}/{epochs}  loss {train_loss:.4}  val loss {val_loss:.4}")
    }

    /// The line for these news, if they get one. All news must pass through here.
    pub(super) fn line(&mut self, news: &News) -> Option<String> {
        match news {
            News::Sweep { runs } => {
                (self.runs, self.start) = (Arc::clone(runs), Instant::now());
                None
            }
            News::Began { run, attempt, .. } if self.verbose => {
                let nth = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                Some(format!("begin {}{nth}", self.name(*run)))
            }
            News::Failed { run, outcome, why, retry, .. } => {
                self.failures += 1;
                let then = if *retry { ", will be tried again" } else { "" };
                shown(self.failures, "failed", || {
                    format!("failed {}: {}: {}{then}", self.name(*run), name(*outcome), shown::cut(why, WHY))
                })
            }
            News::Lost { run, why, .. } => {
                self.losses += 1;
                shown(self.losses, "were interrupted", || format!("interrupted {}: {why}; it goes on", self.name(*run)))
            }
            News::NoStart { why, again, .. } => {
                let then = if *again { "trying again" } else { "given up" };
                Some(format!("a worker did not start: {why} ({then})"))
            }
            News::Locked { waited } => Some(format!(
                "another program keeps the database locked: waiting for it ({} so far), workers go on with what they have",
                span(waited.as_secs_f64())
            )),
            News::Stopping { why } => Some(match why {
                Halt::Interrupted => "interrupted: stopping after the current epoch (once more: at once)".to_owned(),
                Halt::Killed => "interrupted: stopping at once".to_owned(),
                Halt::Failures(failed) => format!("{failed} runs failed: stopping (--max-failures)"),
                Halt::Fatal(why) => format!("stopping: {why}"),
            }),
            _ => None,
        }
    }

    /// Runs that ended per minute.
    pub(super) fn per_minute(&self, tally: &Tally) -> f64 {
        tally.over() as f64 / self.start.elapsed().as_secs_f64().max(1.0) * 60.0
    }

    /// `3 failed, 95 left, 1.2 runs/s, 1m 20s left`.
    pub(super) fn summary(&self, tally: &Tally) -> String {
        let (over, left) = (tally.over(), tally.left());
        let mut parts = Vec::new();
        for (count, what) in [(tally.failed, "failed"), (tally.stopped, "stopped early")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
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
}

/// The line of the `count`th event of its kind, up to the limit of lines.
fn shown(count: usize, what: &str, line: impl FnOnce() -> String) -> Option<String> {
    match count {
        0..=SHOWN => Some(line()),
        _ if count == SHOWN + 1 => Some(format!("more runs {what}; `sweep status` lists them all")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::WorkerId;

    #[test]
    fn the_summary_counts() {
        let text = Remarks::new(false).summary(&Tally { queued: 1, running: 1, succeeded: 1, failed: 1, stopped: 1 });
        assert!(text.starts_with("1 failed, 1 stopped early, 2 left, "), "{text}");
        assert!(text.contains("to go"), "{text}");
    }

    #[test]
    fn a_flood_of_losses_is_cut() {
        let mut remarks = Remarks::new(false);
        let lost = News::Lost { worker: WorkerId(0), run: 0, why: "SIGTERM".to_owned() };
        let lines: Vec<String> = (0..100).filter_map(|_| remarks.line(&lost)).collect();
        assert_eq!(lines.len(), SHOWN + 1);
        assert!(lines[0].contains("SIGTERM; it goes on") && lines[SHOWN].contains("sweep status"), "{lines:?}");
    }
}
