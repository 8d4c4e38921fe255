//! Losses on logits: mean over batch × labels, with closed-form gradients.

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

/// How a loss is made, and whether `pos_weight` means anything to it.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// `false`: points that differ only in pos_weight are one run.
    pub reads_pos_weight: bool,
    pub make: fn(&Choice, &Context) -> Result<Box<dyn Loss>, StrategyError>,
}

/// Every loss.
pub const REGISTRY: &[Entry<Build>] = &[];

/// The equal, simpler form of a loss.
#[must_use]
pub fn simplify(choice: Choice) -> Choice {
    choice
}

/// The loss `choice` names; the spec has validated kind and parameters.
///
/// # Errors
/// Where the loss cannot be built for these counts.
pub fn build(choice: &Choice, context: &Context) -> Result<Box<dyn Loss>, StrategyError> {
    let entry = super::find(REGISTRY, &choice.kind).ok_or_else(|| StrategyError(format!("no loss is called {}", choice.kind)))?;
    (entry.build.make)(choice, context)
}
