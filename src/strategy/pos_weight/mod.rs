//! pos_weight formulas (strategies.md section 2): one weight a label, from the train split's counts.

mod inverse_share;
mod neg_over_pos;
mod none;
mod power;
mod sqrt;

use super::{Entry, LabelCounts, StrategyError};
use crate::spec::{Choice, PosWeight};

/// A formula over the counts.
pub type Build = fn(&Choice, &LabelCounts) -> Result<Vec<f64>, StrategyError>;

/// Every formula.
pub const REGISTRY: &[Entry<Build>] = &[none::ENTRY, neg_over_pos::ENTRY, inverse_share::ENTRY, sqrt::ENTRY, power::ENTRY];

/// The weights, one a label.
///
/// # Errors
/// A label without positives or without negatives in train, or an explicit vector of the wrong length or with a weight that is not a positive number.
pub fn resolve(weight: &PosWeight, counts: &LabelCounts) -> Result<Vec<f64>, StrategyError> {
    match weight {
        PosWeight::Formula(choice) => (super::require(REGISTRY, "pos_weight", &choice.kind)?.build)(choice, counts),
        PosWeight::Explicit(weights) => {
            let labels = counts.positives.len();
            if weights.len() != labels {
                return Err(StrategyError(format!(
                    "pos_weight has {} weights for {labels} labels: give one a label",
                    weights.len()
                )));
            }
            match weights.iter().position(|weight| !(weight.is_finite() && *weight > 0.0)) {
                Some(label) => {
                    Err(StrategyError(format!("weight {} of label {label} (from 0) must be a number above 0", weights[label])))
                }
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
