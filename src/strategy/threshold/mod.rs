//! Threshold policies: how scores become decisions. A number, or a rule fitted on validation.

mod max_f1;
mod prior_match;

use super::{Entry, StrategyError};
use crate::data::LabelMatrix;
use crate::metric::Curve;
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
pub const REGISTRY: &[Entry<Build>] = &[max_f1::ENTRY, prior_match::ENTRY];

impl Policy {
    /// The thresholds this policy chooses on validation, one a label. Test scores never come here.
    #[must_use]
    pub fn fit(&self, val_scores: &[f32], val_truth: &LabelMatrix) -> Vec<f32> {
        match self {
            Self::Fixed(number) => vec![*number as f32; val_truth.names.len()],
            Self::Fitted(choice) => {
                let entry = super::find(REGISTRY, &choice.kind).expect("the spec and `parse` admit registered policies only");
                (entry.build)(choice, val_scores, val_truth)
            }
        }
    }
}

/// The policy that `text` names, in the form that [`Policy`] displays; parameters may be left out where they have defaults.
///
/// # Errors
/// A number outside 0 to 1, or as [`super::parse`].
pub fn parse(text: &str) -> Result<Policy, StrategyError> {
    match text.trim().parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(Policy::Fixed(number)),
        Ok(number) => Err(StrategyError(format!("threshold {number} must be from 0 to 1: scores are probabilities"))),
        Err(_) => super::parse(REGISTRY, "threshold policy", text)
            .map(Policy::Fitted)
            .map_err(|error| StrategyError(format!("{error}; a number from 0 to 1 is a policy too"))),
    }
}

/// A rule that looks at one label at a time, applied to all.
fn each_label(scores: &[f32], truth: &LabelMatrix, rule: impl Fn(&Curve) -> f32) -> Vec<f32> {
    (0..truth.names.len()).map(|label| rule(&Curve::of(scores, truth, label))).collect()
}

#[cfg(test)]
mod tests;
