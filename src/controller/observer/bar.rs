//! A live bar and a line per busy worker: for terminals.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Observer;
use super::remarks::Remarks;
use crate::controller::progress::{rate, say};
use crate::controller::vocabulary::{News, RunIndex, Tally};
use crate::launcher::WorkerId;
use imbalance::shown;

const BAR: &str = "{bar:24.cyan/dim} {pos}/{len} runs  {msg}";
const LINE: &str = "  {msg}";

/// The observer. Dropping it removes the bar.
pub struct Bar {
    remarks: Remarks,
    /// The current run of each busy worker.
    workers: BTreeMap<WorkerId, Work>,
    live: Option<LiveBar>,
}

struct Work {
    /// The first of its runs.
    run: RunIndex,
    /// Number of its runs.
    runs: usize,
    line: ProgressBar,
}

struct LiveBar {
    all: MultiProgress,
    bar: ProgressBar,
}

impl LiveBar {
    fn new(total: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let bar = all.add(ProgressBar::new(total as u64).with_style(style(BAR)));
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { all, bar }
    }
}

impl Bar {
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Self { remarks: Remarks::new(verbose), workers: BTreeMap::new(), live: None }
    }

    fn began(&mut self, worker: WorkerId, run: RunIndex) {
        let Some(live) = &self.live else { return };
        let begin = || {
            let line = live.all.add(ProgressBar::new_spinner().with_style(style(LINE)));
            line.set_message(self.remarks.name(run).to_owned());
            Work { run, runs: 0, line }
        };
        self.workers.entry(worker).or_insert_with(begin).runs += 1;
    }

    /// A run of `worker` is over.
    fn leave(&mut self, worker: WorkerId) {
        let Some(work) = self.workers.get_mut(&worker) else { return };
        work.runs -= 1;
        if work.runs > 0 {
            return;
        }
        if let (Some(work), Some(live)) = (self.workers.remove(&worker), &self.live) {
            work.line.finish_and_clear();
            live.all.remove(&work.line);
        }
    }

    /// The text of a worker's line.
    fn line(&self, worker: WorkerId, words: &str) {
        if let Some(Work { run, runs, line }) = self.workers.get(&worker) {
            let name = if *runs > 1 { format!("{runs} runs at once") } else { self.remarks.name(*run).to_owned() };
            line.set_message(shown::message(&format!("{name}  {words}")));
        }
    }
}

impl Observer for Bar {
    fn told(&mut self, news: &News, tally: &Tally) {
        if let Some(line) = self.remarks.line(news) {
            match &self.live {
                Some(live) => drop(live.all.println(shown::message(&line))),
                None => say(&line),
            }
        }
        match news {
            News::Sweep { runs } => self.live = (!runs.is_empty()).then(|| LiveBar::new(runs.len())),
            News::Began { worker, run, .. } => self.began(*worker, *run),
            News::Beat { worker, run, beat } => {
                let words = beat.doing.clone().unwrap_or_else(|| {
                    let (epoch, epochs, speed) = (beat.epoch + 1, self.remarks.epochs(*run), rate(beat.images_per_s));
                    let (step, steps, loss) = (beat.step, beat.steps, beat.loss);
                    format!("epoch {epoch}/{epochs}  step {step}/{steps}  loss {loss:.4}  {speed} rows/s")
                });
                self.line(*worker, &words);
            }
            News::Epoch { worker, run, epoch, train_loss, val_loss } => {
                self.line(*worker, &self.remarks.epoch(*run, *epoch, *train_loss, *val_loss));
            }
            News::Succeeded { worker, .. }
            | News::Stopped { worker, .. }
            | News::StoppedEarly { worker, .. }
            | News::Lost { worker, .. }
            | News::Failed { worker, .. } => self.leave(*worker),
            News::NoStart { .. } | News::Locked { .. } | News::Stopping { .. } | News::Pulse => {}
        }
        if let Some(live) = &self.live {
            live.bar.set_position(tally.over() as u64);
            live.bar.set_message(self.remarks.summary(tally));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        for work in std::mem::take(&mut self.workers).into_values() {
            work.line.finish_and_clear();
        }
        if let Some(live) = self.live.take() {
            live.bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid() {
        for template in [BAR, LINE] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
