//! How certain a number is: intervals for one test set, and tests over seeds (docs/strategies.md#certainty).
//!
//! | question | answer |
//! |---|---|
//! | how far would this number move on another test set of this size? | [`bootstrap()`] with thresholds held fixed, [`Estimate::percentile`], [`Estimate::bca`] |
//! | is run A better than run B on these rows? | [`bootstrap()`] of both, [`Estimate::minus`]: the same resampled rows for both |
//! | is strategy A better than B over seeds? | [`Paired`], [`sign_flip()`], [`wilcoxon()`], [`signed_rank_posterior`] (the headline) |
//! | ... among many contrasts? | [`holm`], and before that [`Design`]: could it be said at all with so few seeds? |
//! | ... over overlapping splits of one data set? | [`corrected_t()`] |
//! | how much of a tuned F1 is luck of the validation set? | [`cross_fit`] |
//!
//! Every draw comes from [`crate::rng::Rng`]: one seed, one answer, on any number of threads.

mod bayes;
mod bootstrap;
mod corrected_t;
mod crossed;
mod decided;
mod design;
mod dunnett;
mod interval;
mod optimism;
mod paired;
mod ranked;
mod resampling;
mod sign_flip;
pub mod special;
mod statistic;
mod wilcoxon;

pub use bayes::{Posterior, signed_rank_posterior, signed_rank_posteriors};
pub use bootstrap::{Estimates, Resampler, bootstrap};
pub use corrected_t::{StudentTest, corrected_t};
pub use crossed::{Crossed, LEVELS, Observed, RowVariance, crossed, detectable, level, seeds_for};
pub use decided::{Decided, DecidedRate};
pub use design::{Design, holm};
pub use dunnett::Largest;
pub use interval::{Estimate, Interval, Method};
pub use optimism::{CrossFit, cross_fit, deal};
pub use paired::Paired;
pub use ranked::{Ranked, RankedMetric};
pub use resampling::{Blocks, LANES, Resampling, Weights};
pub use sign_flip::sign_flip;
pub use statistic::{RowValues, Statistic};
pub use wilcoxon::{SignedRank, wilcoxon};

#[cfg(test)]
mod tests;
