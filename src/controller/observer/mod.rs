//! Who hears what happens while a sweep runs: a live bar on a terminal, plain lines elsewhere, and whoever else is on the list. stderr
//! only, and never an error: a closed stderr must not end a sweep.

mod bar;
mod lines;
mod remarks;

use std::sync::Arc;

pub use bar::Bar;
pub use lines::Lines;

use super::progress::Voice;
use super::vocabulary::{News, Tally};
use protocol::Job;

/// One listener. It is told everything in order, after it was stored and done.
pub trait Observer {
    fn told(&mut self, news: &News, tally: &Tally);
}

/// What observers know of a run beside its number.
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

/// The observers that suit `voice`; with `verbose` they also tell of beginnings and epochs.
#[must_use]
pub fn standard(voice: Voice, verbose: bool) -> Vec<Box<dyn Observer>> {
    match voice {
        Voice::Quiet => Vec::new(),
        Voice::Lines => vec![Box::new(Lines::new(verbose))],
        Voice::Live => vec![Box::new(Bar::new(verbose))],
    }
}

/// The runs that a sweep begins with, by number.
pub type KnownRuns = Arc<[KnownRun]>;
