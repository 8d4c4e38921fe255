//! Observers of a running sweep: a live bar on a terminal, plain lines elsewhere, and others on the list. The standard ones write to
//! stderr only and ignore its errors: a closed stderr must not end a sweep.

mod bar;
mod lines;
mod remarks;
mod screen;
mod work;

use std::sync::Arc;

pub use bar::Bar;
pub use lines::Lines;

use super::progress::Verbosity;
use super::vocabulary::{News, Tally};
use protocol::Job;

/// A listener. It gets all news in order, after they were stored and carried out.
pub trait Observer {
    fn told(&mut self, news: &News, tally: &Tally);
}

/// What observers know about a run besides its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRun {
    /// `3f2a9c01 focal(gamma=2) neg_over_pos class_aware seed 0`.
    pub name: String,
    pub epochs: usize,
}

impl KnownRun {
    /// The run of `job`.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let config = &job.config;
        let weight = match &config.pos_weight {
            imbalance::PosWeight::Explicit(weights) => imbalance::shown::shown(&format!("{weights:?}")),
            imbalance::PosWeight::Formula(choice) => choice.to_string(),
        };
        let name = format!("{} {} {weight} {} seed {}", job.run.short(), config.loss, config.sampler, config.seed);
        Self { name, epochs: config.train.epochs }
    }
}

/// The observers that suit `verbosity`; with `verbose` they also report beginnings and epochs.
#[must_use]
pub fn standard(verbosity: Verbosity, verbose: bool) -> Vec<Box<dyn Observer>> {
    match verbosity {
        Verbosity::Quiet => Vec::new(),
        Verbosity::Lines => vec![Box::new(Lines::new(verbose))],
        Verbosity::Live => vec![Box::new(Bar::new(verbose))],
    }
}

/// The runs that a sweep begins with, by number.
pub type KnownRuns = Arc<[KnownRun]>;
