//! Long work without steps: fetching and hashing weights, building a network or a sampler, opening data, evaluating an epoch.
//! A stage has a name and, where possible, a count; a listener turns these into heartbeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Rows,
}

/// Work under way.
#[derive(Debug)]
pub struct Work {
    doing: &'static str,
    unit: Option<Unit>,
    done: AtomicU64,
    total: AtomicU64,
    began: Instant,
    over: AtomicBool,
}

impl Work {
    /// Work that begins now; with a `unit` its count has to increase.
    #[must_use]
    pub fn begin(doing: &'static str, unit: Option<Unit>) -> Arc<Self> {
        let (done, total, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { doing, unit, done, total, began: Instant::now(), over })
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

    /// `downloading weights: 12 of 30 MB`.
    #[must_use]
    pub fn words(&self) -> String {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        match self.unit {
            Some(Unit::Bytes) if total > 0 => format!("{}: {} of {} MB", self.doing, done / 1_000_000, total.div_ceil(1_000_000)),
            Some(Unit::Rows) if total > 0 => format!("{}: {done} of {total} rows", self.doing),
            _ => self.doing.to_owned(),
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
            work.total.store(total, Ordering::Relaxed);
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
        let work = Work::begin("building the network", None);
        assert_eq!((work.words().as_str(), work.count()), ("building the network", None));
    }
}
