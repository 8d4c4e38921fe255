//! Long work without steps: fetching and hashing weights, building a network or a sampler, opening data, evaluating an epoch, features.
//! A stage has a name and, where possible, a count; a listener turns these into heartbeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use plan::words::{rate, span, thousands};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Rows,
    /// With their number per second and the time that is left.
    Images,
}

/// Work under way.
#[derive(Debug)]
pub struct Work {
    doing: String,
    unit: Option<Unit>,
    /// What was there when it was first counted.
    before: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
    began: Instant,
    over: AtomicBool,
}

impl Work {
    /// Work that begins now; with a `unit` its count has to increase.
    #[must_use]
    pub fn begin(doing: &str, unit: Option<Unit>) -> Arc<Self> {
        let [before, done, total] = [0; 3].map(AtomicU64::new);
        let (doing, over) = (doing.to_owned(), AtomicBool::new(false));
        Arc::new(Self { doing, unit, before, done, total, began: Instant::now(), over })
    }

    /// The count so far; `None` for work that is not counted.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.unit.map(|_| self.done.load(Ordering::Relaxed))
    }

    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    #[must_use]
    pub fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// `downloading weights: 12 of 30 MB`, `features of resnet50: 51,200 of 224,000 images, 18.1 images/s, 2h 39m left`.
    #[must_use]
    pub fn words(&self) -> String {
        self.words_after(self.began.elapsed().as_secs_f64())
    }

    fn words_after(&self, seconds: f64) -> String {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        match self.unit {
            Some(Unit::Bytes) if total > 0 => format!("{}: {} of {} MB", self.doing, done / 1_000_000, total.div_ceil(1_000_000)),
            Some(Unit::Rows) if total > 0 => format!("{}: {done} of {total} rows", self.doing),
            Some(Unit::Images) if total > 0 => {
                let now = done.saturating_sub(self.before.load(Ordering::Relaxed)) as f64;
                let pace = now / seconds.max(1e-9);
                let left = total.saturating_sub(done) as f64 / pace;
                let ends = if now > 0.0 { format!(", {} images/s, {} left", rate(pace), span(left)) } else { String::new() };
                format!("{}: {} of {} images{ends}", self.doing, thousands(done as usize), thousands(total as usize))
            }
            _ => self.doing.clone(),
        }
    }
}

/// Guard of work under way, which ends when it is dropped. The default has no listener.
#[derive(Debug, Default)]
pub struct Stage(Option<Arc<Work>>);

impl Stage {
    /// A stage with a listener.
    #[must_use]
    pub fn of(work: Arc<Work>) -> Self {
        Self(Some(work))
    }

    /// Reports how much of the total is done.
    pub fn at(&self, done: u64, total: u64) {
        if let Some(work) = &self.0 {
            if work.total.swap(total, Ordering::Relaxed) == 0 {
                work.before.store(done, Ordering::Relaxed);
            }
            work.done.store(done, Ordering::Relaxed);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(work) = &self.0 {
            work.over.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_says_how_far_it_is() {
        let work = Work::begin("downloading weights", Some(Unit::Bytes));
        let stage = Stage::of(Arc::clone(&work));
        assert_eq!((work.words().as_str(), work.count()), ("downloading weights", Some(0)));
        stage.at(12_345_678, 29_500_000);
        assert_eq!((work.words().as_str(), work.over()), ("downloading weights: 12 of 30 MB", false));
        drop(stage);
        assert!(work.over());
        let work = Work::begin("features of resnet50", Some(Unit::Images));
        let stage = Stage::of(Arc::clone(&work));
        stage.at(51_000, 224_000);
        assert_eq!(work.words_after(1.0), "features of resnet50: 51,000 of 224,000 images");
        stage.at(52_000, 224_000);
        let words = "features of resnet50: 52,000 of 224,000 images, 20.0 images/s, 2h 23m left";
        assert_eq!(work.words_after(50.0), words, "what was found is no speed");
        let work = Work::begin("building the network", None);
        assert_eq!((work.words().as_str(), work.count()), ("building the network", None));
    }
}
