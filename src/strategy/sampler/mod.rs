//! Samplers: which rows an epoch trains on, in which order.

use super::{Entry, StrategyError};
use crate::data::LabelMatrix;
use crate::spec::Choice;

/// Draws epochs from the train rows.
pub trait Sampler: Send + Sync {
    /// Indices into the rows of the matrix the sampler was built on, in training order. Depends on (seed, epoch) only.
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32>;
}

/// Makes a sampler for the labels of the train split (`train` has only train rows).
pub type Build = fn(&Choice, train: &LabelMatrix) -> Result<Box<dyn Sampler>, StrategyError>;

/// Every sampler.
pub const REGISTRY: &[Entry<Build>] = &[];
