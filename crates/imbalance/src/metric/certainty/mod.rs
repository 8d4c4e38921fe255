//! How certain a number is: intervals for one test set, and over seeds (docs/strategies.md#certainty).
//!
//! | question | answer |
//! |---|---|
//! | how far would this number move on another test set of this size? | [`bootstrap()`] with thresholds held fixed, [`Estimate::percentile`], [`Estimate::bca`] |
//! | is run A better than run B on these rows? | [`bootstrap()`] of both, [`Estimate::minus`]: the same resampled rows for both |
//! | is strategy A better than B over seeds (or splits), on these and on other rows, and among many comparisons? | [`crossed()`] |
//! | could so many seeds say it? | [`detectable`], [`seeds_for`] |
//! | how much of a tuned F1 is luck of the validation set? | [`cross_fit`] |
//!
//! Every draw comes from [`crate::rng::Rng`]: one seed, one answer, on any number of threads.

mod bootstrap;
mod crossed;
mod decided;
mod dunnett;
mod interval;
mod moments;
mod optimism;
mod ranked;
mod resampling;
pub mod special;
mod statistic;

pub use bootstrap::{Estimates, Resampler, bootstrap};
pub use crossed::{Crossed, LEVELS, Observed, RowVariance, crossed, detectable, level, seeds_for};
pub use decided::{Decided, DecidedRate};
pub use dunnett::Largest;
pub use interval::{Estimate, Interval, Method};
pub use optimism::{CrossFit, cross_fit, deal};
pub use ranked::{Ranked, RankedMetric};
pub use resampling::{Blocks, LANES, Resampling, Weights};
pub use statistic::{RowValues, Statistic};

#[cfg(test)]
mod tests;
