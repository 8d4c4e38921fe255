//! Losses on logits, with closed-form gradients: the mean over batch × labels, unless a loss says that it compares cells. One
//! loss per file; each says its formula, its source and its LINK, the probability that a logit of its perfectly trained model
//! stands for.

mod asl;
mod bce;
pub(super) mod class_balanced;
mod db;
mod focal;
mod focal_seed;
pub mod form;
mod hill;
pub mod lanes;
mod ldam;
mod logit_adjust;
mod pointwise;
mod poly1;
mod soft_f1;
mod splc;
pub mod start;
mod two_way;
mod zlpr;

pub use class_balanced::weights as class_weights;
pub use form::Form;
pub use pointwise::{Pointwise, Term, sigmoid, softplus};

use super::{Entry, LabelCounts, StrategyError};
use crate::Choice;

/// A masked target: its cell costs nothing and has no gradient. [`crate::UNKNOWN`] labels are masked.
pub const IGNORED: u8 = 2;

/// One batch, row-major `[rows, labels]`.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub labels: usize,
    pub logits: &'a [f32],
    /// 0, 1 or [`IGNORED`].
    pub targets: &'a [u8],
    /// Zero-based epoch, for schedules such as deferred re-weighting.
    pub epoch: usize,
}

/// What a loss is told about the data: positive weights (1 where none) and train counts.
#[derive(Clone, Debug)]
pub struct Context {
    /// One weight per label.
    pub pos_weight: Vec<f64>,
    pub counts: LabelCounts,
    /// Length of the training, in epochs.
    pub epochs: usize,
}

/// A loss over a batch of logits.
pub trait Loss: Send + Sync + std::fmt::Debug {
    /// The loss, a mean over batch × labels (masked cells too) unless the loss's own file says otherwise; writes its gradient by the
    /// logits to `gradient` (same shape as the logits).
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64;

    /// The loss of epoch `epoch` as numbers, where it is a mean over cells: the same values as [`Self::evaluate`], wherever they
    /// are computed.
    fn form(&self, _epoch: usize) -> Option<Form> {
        None
    }

    /// Whether it is a mean over cells, as every loss with a form is; the others compare rows or labels as a whole.
    fn is_over_cells(&self) -> bool {
        self.form(0).is_some()
    }

    /// A number for each row of `targets` (`[rows, labels]`) if the form's [`form::RowWeights`] uses one; empty otherwise.
    fn rows(&self, _labels: usize, _targets: &[u8]) -> Vec<f64> {
        Vec::new()
    }

    /// LINK: the probability P(y=1|x) that logit `z` of `label` stands for in a perfectly trained model; `None` where the loss
    /// has no link.
    fn implied_probability(&self, label: usize, z: f64) -> Option<f64>;
}

/// Makes a loss from a complete choice (see [`crate::admit`]).
pub type MakeLoss = fn(&Choice, &Context) -> Result<Box<dyn Loss>, StrategyError>;

/// How a loss is made, and what a plan has to know of it.
#[derive(Clone, Copy, Debug)]
pub struct LossBuild {
    /// `false`: the loss ignores pos_weight, so points that differ only in it are one run.
    pub reads_pos_weight: bool,
    /// The simpler choice that the loss equals under these parameters, equal to the last bit under every pos_weight. Two losses
    /// that differ by a factor are not equal.
    pub equal: fn(&Choice) -> Option<Choice>,
    /// Whether the loss itself makes up for rarity: it weighs a label, or moves its decision point, by how rare its positives are, or
    /// gives every label the same say however rare it is, or discounts negatives beside positives. With positive weights or a sampler
    /// that does the same, the imbalance is corrected twice.
    pub balances: fn(&Choice) -> bool,
    /// Part of the names of the loss's runs: raise it when a change of code changes the numbers of this loss alone.
    pub numerics: u32,
    pub make: MakeLoss,
}

/// Every loss.
pub const REGISTRY: &[Entry<LossBuild>] = &[
    bce::ENTRY,
    focal::ENTRY,
    focal_seed::ENTRY,
    class_balanced::ENTRY,
    asl::ENTRY,
    logit_adjust::ENTRY,
    ldam::ENTRY,
    db::ENTRY,
    soft_f1::ENTRY,
    poly1::ENTRY,
    two_way::ENTRY,
    zlpr::ENTRY,
    hill::ENTRY,
    splc::ENTRY,
];

/// The simplest choice that trains the same, to the last bit: `focal(gamma=0)` without alpha is `bce`. The identity for most.
#[must_use]
pub fn simplify(choice: Choice) -> Choice {
    match super::find(REGISTRY, &choice.kind).and_then(|entry| (entry.build.equal)(&choice)) {
        Some(simpler) => simplify(simpler),
        None => choice,
    }
}

/// Whether the loss itself makes up for rarity ([`LossBuild::balances`]); `false` of a choice that [`crate::admit`] refuses.
#[must_use]
pub fn balances(choice: &Choice) -> bool {
    super::admit(REGISTRY, "loss", choice).is_ok_and(|(entry, choice)| (entry.build.balances)(&choice))
}

/// What the loss `kind` adds to the version of a run's numbers ([`LossBuild::numerics`]).
#[must_use]
pub fn numerics(kind: &str) -> u32 {
    super::find(REGISTRY, kind).map_or(0, |entry| entry.build.numerics)
}

/// The epoch in which the loss changes for the last time, of a training of `epochs`: 0 for all but those with a schedule of their own.
#[must_use]
pub fn last_change(choice: &Choice, epochs: usize) -> usize {
    let from = if choice.kind == ldam::ENTRY.kind { ldam::deferred_from(choice, epochs) } else { 0 };
    if from < epochs { from } else { 0 }
}

/// The loss `choice` names.
///
/// # Errors
/// An unknown kind or parameter; a loss that cannot be built for these counts.
pub fn build(choice: &Choice, context: &Context) -> Result<Box<dyn Loss>, StrategyError> {
    let (entry, choice) = super::admit(REGISTRY, "loss", choice)?;
    (entry.build.make)(&choice, context)
}

#[cfg(test)]
mod tests;
