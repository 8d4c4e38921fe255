//! pos_weight formulas (strategies.md section 2): one weight a label, from the train split's counts.

use super::{Entry, LabelCounts, StrategyError};
use crate::spec::{Choice, PosWeight};

/// A formula over the counts.
pub type Build = fn(&Choice, &LabelCounts) -> Result<Vec<f64>, StrategyError>;

/// Every formula.
pub const REGISTRY: &[Entry<Build>] = &[];

/// The weights, one a label.
///
/// # Errors
/// A label without positives or without negatives in train, or an explicit vector of the wrong length.
pub fn resolve(weight: &PosWeight, counts: &LabelCounts) -> Result<Vec<f64>, StrategyError> {
    let _ = (weight, counts);
    todo!()
}
