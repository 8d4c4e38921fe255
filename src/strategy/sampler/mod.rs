//! Samplers: which rows an epoch trains on, in which order. They see labels only; features stay where they are.

mod class_aware;
mod realised;
mod shuffle;
mod weighted;

pub use realised::{Realised, realised};

use super::{Entry, StrategyError};
use crate::data::LabelMatrix;
use crate::spec::Choice;

/// Draws epochs from the train rows.
pub trait Sampler: Send + Sync + std::fmt::Debug {
    /// Indices into the rows of the matrix the sampler was built on, in training order. Depends on (seed, epoch) only.
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32>;
}

/// Makes a sampler for the labels of the train split (`train` has only train rows).
pub type Build = fn(&Choice, train: &LabelMatrix) -> Result<Box<dyn Sampler>, StrategyError>;

/// Every sampler.
pub const REGISTRY: &[Entry<Build>] = &[shuffle::ENTRY, class_aware::ENTRY, weighted::ENTRY];

/// The sampler `choice` names; the spec has validated kind and parameters.
///
/// # Errors
/// Where it cannot be built for these labels.
pub fn build(choice: &Choice, train: &LabelMatrix) -> Result<Box<dyn Sampler>, StrategyError> {
    (super::require(REGISTRY, "sampler", &choice.kind)?.build)(choice, train)
}

#[cfg(test)]
mod tests;
