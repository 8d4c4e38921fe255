//! pos_weight formulas (docs/strategies.md#positive-weights): one weight per label, from the train split's counts.
//!
//! A formula that weighs by counts refuses a label without positives (timm takes it for one positive, and the weight becomes the
//! number of rows) or without negatives (the weight would be 0: its positives would teach nothing).

mod capped;
mod cost;
mod effective_number;
mod inv_freq;
mod inverse_share;
mod log1p;
mod max_over_pos;
mod median_over_pos;
mod n_over_pos;
mod neg_over_pos;
mod none;
mod power;
mod prior_target;
mod sqrt;
mod threshold_target;

use super::{Entry, LabelCounts, StrategyError};
use crate::{Choice, PosWeight};

/// A formula over the counts.
pub type Formula = fn(&Choice, &LabelCounts) -> Result<Vec<f64>, StrategyError>;

/// Every formula.
pub const REGISTRY: &[Entry<Formula>] = &[
    none::ENTRY,
    neg_over_pos::ENTRY,
    inverse_share::ENTRY,
    sqrt::ENTRY,
    power::ENTRY,
    n_over_pos::ENTRY,
    log1p::ENTRY,
    max_over_pos::ENTRY,
    median_over_pos::ENTRY,
    capped::ENTRY,
    effective_number::ENTRY,
    inv_freq::ENTRY,
    prior_target::ENTRY,
    cost::ENTRY,
    threshold_target::ENTRY,
];

/// The weights, one per label.
///
/// # Errors
/// An unknown kind or parameter, a label without positives or without negatives in train, or an explicit vector of the wrong length
/// or with a weight that is not a positive number.
pub fn resolve(weight: &PosWeight, counts: &LabelCounts) -> Result<Vec<f64>, StrategyError> {
    match weight {
        PosWeight::Formula(choice) => {
            let (entry, choice) = super::admit(REGISTRY, "pos_weight", choice)?;
            (entry.build)(&choice, counts)
        }
        PosWeight::Explicit(weights) => {
            let labels = counts.positives.len();
            if weights.len() != labels {
                return Err(StrategyError::WeightCount { weights: weights.len(), labels });
            }
            match weights.iter().position(|weight| !(weight.is_finite() && *weight > 0.0)) {
                Some(label) => Err(StrategyError::Weight { label, weight: weights[label] }),
                None => Ok(weights.clone()),
            }
        }
    }
}

/// `formula(positives, negatives)` of every label, as [`resolve`] wants it: each label has both.
fn each_label(kind: &str, counts: &LabelCounts, formula: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, StrategyError> {
    counts.each_label(&format!("pos_weight {kind}"), formula)
}

#[cfg(test)]
mod tests;
