//! Progress while data is prepared or runs are explained: a bar on a terminal, occasional lines elsewhere, nothing where it is quick.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::thousands;
use crate::controller::progress::{Verbosity, say};
use plan::{DataConfig, Source};

/// Shorter work is not reported.
const PATIENCE: Duration = Duration::from_millis(700);
/// Interval between two plain lines.
const PACE: Duration = Duration::from_secs(5);

/// Reports progress; called from all decoding threads.
pub struct Preparing {
    verbosity: Verbosity,
    start: Instant,
    told: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    line: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Preparing {
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, start: Instant::now(), told: Mutex::default() }
    }

    /// `done` of `total` rows are read.
    pub fn tell(&self, config: &DataConfig, done: usize, total: usize) {
        let doing = match config.source {
            Source::Letters { .. } => "drawing letters",
            Source::Images { .. } => "decoding images",
            Source::Features { .. } => "reading features",
            Source::Imported { .. } => "reading scores",
        };
        self.say(doing, done, total);
    }

    /// `done` of `total` rows of prepared data are checked.
    pub fn checking(&self, done: usize, total: usize) {
        self.say("checking the prepared data", done, total);
    }

    /// `done` of `total` bytes of weights have come from the hub.
    pub fn fetching(&self, done: usize, total: usize) {
        self.say("fetching weights (MB)", done / 1_000_000, total / 1_000_000);
    }

    /// `done` of `total` bytes of weights are hashed.
    pub fn hashing(&self, done: usize, total: usize) {
        self.say("reading weights (MB)", done / 1_000_000, total / 1_000_000);
    }

    /// `done` of `total` runs are judged and resampled.
    pub fn explaining(&self, done: usize, total: usize) {
        self.say("explaining runs", done, total);
    }

    /// `done` of `total` inputs are scored; the total is not known of features until they are.
    pub fn scoring(&self, done: usize, total: usize) {
        self.say("scoring", done, total);
    }

    /// `done` of `total` steps of a refit.
    pub fn refitting(&self, done: usize, total: usize) {
        self.say("steps of the refit", done, total);
    }

    /// `done` of `total` tables or runs are written.
    pub fn exporting(&self, doing: &'static str, done: usize, total: usize) {
        self.say(doing, done, total);
    }

    /// A line that stays.
    pub fn note(&self, words: &str) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match (&told.bar, self.verbosity) {
            (_, Verbosity::Quiet) => {}
            (Some(bar), _) => bar.suspend(|| say(words)),
            (None, _) => say(words),
        }
    }

    fn say(&self, doing: &'static str, done: usize, total: usize) {
        if self.verbosity == Verbosity::Quiet || self.start.elapsed() < PATIENCE {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if self.verbosity == Verbosity::Live {
            let bar = told.bar.get_or_insert_with(|| bar(total));
            bar.set_length(total as u64);
            bar.set_message(doing);
            bar.set_position(done as u64);
        } else if told.line.is_none_or(|last| last.elapsed() >= PACE) {
            told.line = Some(Instant::now());
            say(&format!("{doing}: {} of {}", thousands(done), thousands(total)));
        }
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        let told = self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = told.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24.cyan/dim} {human_pos}/{human_len} {msg}  {eta} left");
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(8));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
