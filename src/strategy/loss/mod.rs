//! Losses on logits: mean over batch × labels, with closed-form gradients. One loss a file; each says its formula, its source and
//! its LINK, the probability that a logit of its perfectly trained model stands for.

mod bce;
mod focal;
mod focal_seed;
mod pointwise;

pub use pointwise::{Pointwise, Term, sigmoid, softplus};

use super::{Entry, LabelCounts, StrategyError};
use crate::spec::Choice;

/// One batch, row-major `[rows, labels]`.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub labels: usize,
    pub logits: &'a [f32],
    /// 0 or 1.
    pub targets: &'a [u8],
    /// Zero-based epoch, for schedules such as deferred re-weighting.
    pub epoch: usize,
}

/// What a loss may know about the data: positive weights (1 where none) and train counts.
#[derive(Clone, Debug)]
pub struct Context {
    /// One weight a label.
    pub pos_weight: Vec<f64>,
    pub counts: LabelCounts,
    /// Length of the training, in epochs.
    pub epochs: usize,
}

/// A loss over a batch of logits.
pub trait Loss: Send + Sync + std::fmt::Debug {
    /// The mean loss over batch × labels; writes its gradient by the logits to `gradient` (same shape as the logits).
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64;

    /// LINK: the probability P(y=1|x) that a perfectly trained model means by logit `z` of `label`; `None` where the loss has no link.
    fn implied_probability(&self, label: usize, z: f64) -> Option<f64>;
}

/// Makes a loss; the spec has validated the parameters.
pub type Make = fn(&Choice, &Context) -> Result<Box<dyn Loss>, StrategyError>;

/// How a loss is made, and whether `pos_weight` means anything to it.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// `false`: points that differ only in pos_weight are one run.
    pub reads_pos_weight: bool,
    pub make: Make,
}

/// Every loss.
pub const REGISTRY: &[Entry<Build>] = &[bce::ENTRY, focal::ENTRY, focal_seed::ENTRY];

/// The equal, simpler form of a loss, equal to the last bit under every pos_weight. Two losses that differ by a factor are not equal.
#[must_use]
pub fn simplify(choice: Choice) -> Choice {
    if choice.kind == focal::ENTRY.kind && choice.find("gamma") == Some(0.0) && choice.find("alpha").is_none() {
        return Choice::plain(bce::ENTRY.kind);
    }
    choice
}

/// The loss `choice` names; the spec has validated kind and parameters.
///
/// # Errors
/// Where the loss cannot be built for these counts.
pub fn build(choice: &Choice, context: &Context) -> Result<Box<dyn Loss>, StrategyError> {
    (super::require(REGISTRY, "loss", &choice.kind)?.build.make)(choice, context)
}

#[cfg(test)]
mod tests;
