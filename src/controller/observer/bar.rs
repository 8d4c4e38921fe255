//! A live bar and a line per busy worker: for terminals.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Observer;
use super::remarks::Remarks;
use super::screen::Screen;
use crate::controller::progress::say;
use crate::controller::vocabulary::{News, Tally};
use crate::launcher::WorkerId;
use imbalance::shown;

const BAR: &str = "{bar:24.cyan/dim} {pos}/{len} runs  {msg}";
const LINE: &str = "  {msg}";
/// Frames per second at most.
const RATE: u8 = 8;

/// The observer. Dropping it removes the bar.
pub struct Bar {
    remarks: Remarks,
    live: Option<LiveBar>,
}

struct LiveBar {
    all: MultiProgress,
    bar: ProgressBar,
    /// The line of each busy worker.
    lines: BTreeMap<WorkerId, ProgressBar>,
    /// See [`Screen::new`].
    echoed: Arc<AtomicUsize>,
}

impl LiveBar {
    fn new(total: usize) -> Self {
        let (screen, echoed) = Screen::new();
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(screen), RATE));
        let bar = all.add(ProgressBar::new(total as u64).with_style(style(BAR)));
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { all, bar, lines: BTreeMap::new(), echoed }
    }

    /// Shows what a worker does; nothing: it is not busy any more.
    fn show(&mut self, worker: WorkerId, words: Option<String>) {
        match words {
            Some(words) => {
                let begin = || self.all.add(ProgressBar::new_spinner().with_style(style(LINE)));
                self.lines.entry(worker).or_insert_with(begin).set_message(shown::message(&words));
            }
            None => {
                if let Some(line) = self.lines.remove(&worker) {
                    line.finish_and_clear();
                    self.all.remove(&line);
                }
            }
        }
    }
}

impl Bar {
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Self { remarks: Remarks::new(verbose), live: None }
    }
}

impl Observer for Bar {
    fn told(&mut self, news: &News, tally: &Tally) {
        if let (News::Key(_), Some(live)) = (news, &self.live) {
            live.echoed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(line) = self.remarks.line(news, tally) {
            match &self.live {
                Some(live) => drop(live.all.println(shown::message(&line))),
                None => say(&line),
            }
        }
        match news {
            News::Sweep { runs } => self.live = (!runs.is_empty()).then(|| LiveBar::new(runs.len())),
            News::Began { worker, .. }
            | News::Beat { worker, .. }
            | News::Epoch { worker, .. }
            | News::Succeeded { worker, .. }
            | News::Stopped { worker, .. }
            | News::StoppedEarly { worker, .. }
            | News::Lost { worker, .. }
            | News::Failed { worker, .. } => {
                let words = self.remarks.work(*worker);
                if let Some(live) = &mut self.live {
                    live.show(*worker, words);
                }
            }
            News::NoStart { .. }
            | News::Locked { .. }
            | News::Stopping { .. }
            | News::TimeOver { .. }
            | News::Key(_)
            | News::Pulse => {}
        }
        if let Some(live) = &self.live {
            live.bar.set_length((self.remarks.total() - tally.left_out) as u64);
            live.bar.set_position(tally.over() as u64);
            live.bar.set_message(self.remarks.summary(tally));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            live.lines.into_values().for_each(|line| line.finish_and_clear());
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
