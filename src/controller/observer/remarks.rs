//! The news that get a line of their own, for every observer that prints, and the text of rates and counts.

use std::sync::Arc;
use std::time::Instant;

use super::KnownRuns;
use super::work::{Workers, epoch_words};
use crate::controller::failure::name;
use crate::controller::progress::{rate, span};
use crate::controller::request::Key;
use crate::controller::vocabulary::{Halt, News, RunIndex, Tally};
use crate::launcher::WorkerId;
use imbalance::shown;

/// Characters of the reason for a failure.
const WHY: usize = 400;
/// Failures and losses that get a line of their own.
const SHOWN: usize = 50;

/// What may be typed while a sweep runs.
const KEYS: &str = "Enter: a line with the status; ?: the keys; Ctrl-C: stop after the current epoch, `sweep resume` goes on";

/// Writes the lines.
pub(super) struct Remarks {
    verbose: bool,
    runs: KnownRuns,
    workers: Workers,
    start: Instant,
    failures: usize,
    losses: usize,
}

impl Remarks {
    pub(super) fn new(verbose: bool) -> Self {
        Self { verbose, runs: Arc::new([]), workers: Workers::default(), start: Instant::now(), failures: 0, losses: 0 }
    }

    pub(super) fn total(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn name(&self, run: RunIndex) -> &str {
        self.runs.get(run).map_or("", |run| run.name.as_str())
    }

    /// What a worker does; `None`: it is not busy.
    pub(super) fn work(&self, worker: WorkerId) -> Option<String> {
        self.workers.line(worker, &self.runs)
    }

    /// `epoch 3/10  loss 0.1234  val loss 0.2345`.
    pub(super) fn epoch(&self, run: RunIndex, epoch: usize, train_loss: f64, val_loss: f64) -> String {
        epoch_words(&self.runs, run, epoch, train_loss, val_loss)
    }

    /// The line for these news, if they get one. All news must pass through here.
    pub(super) fn line(&mut self, news: &News, tally: &Tally) -> Option<String> {
        self.workers.told(news, &self.runs);
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
            News::TimeOver { left_out } => {
                Some(format!("the time of the search is over: what runs is finished, {left_out} runs are left out"))
            }
            News::Key(Key::Status) => Some(self.status(tally)),
            News::Key(Key::Help) => Some(KEYS.to_owned()),
            News::Key(Key::Unknown) => Some(format!("what you typed was not for the shell: {KEYS}")),
            _ => None,
        }
    }

    /// Counts, speed and time left, then what each worker does.
    fn status(&self, tally: &Tally) -> String {
        let (over, total, Tally { running, queued, .. }) = (tally.over(), self.total() - tally.left_out, *tally);
        let counts =
            format!("{over} of {total} runs over, {}", self.counts(tally, format!("{running} running, {queued} queued")));
        let workers = self.workers.lines(&self.runs);
        std::iter::once(counts).chain(workers).collect::<Vec<_>>().join("; ")
    }

    /// Runs that ended per minute.
    pub(super) fn per_minute(&self, tally: &Tally) -> f64 {
        tally.over() as f64 / self.start.elapsed().as_secs_f64().max(1.0) * 60.0
    }

    /// `3 failed, 95 left, 1.2 runs/s, 1m 20s left`.
    pub(super) fn summary(&self, tally: &Tally) -> String {
        self.counts(tally, format!("{} left", tally.left()))
    }

    fn counts(&self, tally: &Tally, rest: String) -> String {
        let (over, left) = (tally.over(), tally.left());
        let mut parts = Vec::new();
        for (count, what) in [(tally.failed, "failed"), (tally.stopped, "stopped early")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.push(rest);
        if tally.held > 0 {
            parts.push(format!("{} held back", tally.held));
        }
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
    use crate::controller::vocabulary::Beat;

    #[test]
    fn the_summary_counts() {
        let text = Remarks::new(false).summary(&Tally {
            queued: 1,
            running: 1,
            succeeded: 1,
            failed: 1,
            stopped: 1,
            ..Tally::default()
        });
        assert!(text.starts_with("1 failed, 1 stopped early, 2 left, "), "{text}");
        assert!(text.contains("to go"), "{text}");
    }

    #[test]
    fn a_key_is_answered_in_one_line() {
        use crate::controller::observer::KnownRun;
        let mut remarks = Remarks::new(false);
        let tally = Tally { queued: 3, running: 2, succeeded: 1, failed: 1, ..Tally::default() };
        let known = ["a bce seed 0", "b bce seed 1", "c asl seed 0"].map(|name| KnownRun { name: name.to_owned(), epochs: 4 });
        let began = |worker: u32, run: RunIndex| News::Began { worker: WorkerId(worker), run, attempt: 1 };
        let beat = Beat { epoch: 0, step: 0, steps: 0, loss: 0.0, images_per_s: 0.0, doing: Some("hashing weights".to_owned()) };
        for news in [
            News::Sweep { runs: known.into() },
            began(0, 0),
            began(1, 1),
            began(1, 2),
            News::Epoch { worker: WorkerId(0), run: 0, epoch: 1, train_loss: 0.25, val_loss: 0.5 },
            News::Beat { worker: WorkerId(1), run: 1, beat },
        ] {
            assert_eq!(remarks.line(&news, &tally), None);
        }
        let mut said = |key| remarks.line(&News::Key(key), &tally).unwrap();
        let text = said(Key::Status);
        assert!(text.starts_with("2 of 3 runs over, 1 failed, 2 running, 3 queued, "), "{text}");
        assert!(
            text.ends_with(" to go; a bce seed 0  epoch 2/4  loss 0.2500  val loss 0.5000; 2 runs at once  hashing weights"),
            "{text}"
        );
        assert_eq!((text.lines().count(), said(Key::Help).as_str()), (1, KEYS));
        assert!(said(Key::Unknown).ends_with(KEYS));
        // Who is done is not named any more; one of two runs leaves the other.
        for run in [0, 1] {
            remarks.line(&News::Succeeded { worker: WorkerId(run as u32), run }, &tally);
        }
        let text = remarks.line(&News::Key(Key::Status), &tally).unwrap();
        assert!(!text.contains("a bce") && !text.contains("at once") && text.contains("hashing weights"), "{text}");
    }

    #[test]
    fn a_flood_of_losses_is_cut() {
        let mut remarks = Remarks::new(false);
        let lost = News::Lost { worker: WorkerId(0), run: 0, why: "SIGTERM".to_owned() };
        let lines: Vec<String> = (0..100).filter_map(|_| remarks.line(&lost, &Tally::default())).collect();
        assert_eq!(lines.len(), SHOWN + 1);
        assert!(lines[0].contains("SIGTERM; it goes on") && lines[SHOWN].contains("sweep status"), "{lines:?}");
    }
}
