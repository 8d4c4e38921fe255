//! Threshold policies: how scores become decisions. A number, or a rule fitted on validation.

use super::Entry;
use crate::data::LabelMatrix;
use crate::spec::Choice;

/// A policy as the sweep file names it. Serialised as a number or a choice.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Policy {
    /// The same number for every label: predicted where score >= threshold.
    Fixed(f64),
    /// A rule fitted on the validation scores.
    Fitted(Choice),
}

impl std::fmt::Display for Policy {
    /// The name in the database: `0.5`, `max_f1`, `max_fbeta(beta=2)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(number) => write!(f, "{number}"),
            Self::Fitted(choice) => write!(f, "{choice}"),
        }
    }
}

/// Fits one threshold a label on validation scores (`[rows, labels]` row-major, float32 probabilities).
pub type Build = fn(&Choice, scores: &[f32], truth: &LabelMatrix) -> Vec<f32>;

/// Every fitted policy.
pub const REGISTRY: &[Entry<Build>] = &[];

impl Policy {
    /// The thresholds this policy chooses on validation, one a label. Test scores never come here.
    #[must_use]
    pub fn fit(&self, val_scores: &[f32], val_truth: &LabelMatrix) -> Vec<f32> {
        let _ = (val_scores, val_truth);
        todo!()
    }
}
