//! Samplers: which rows an epoch trains on, and in which order. Most look at labels only and draw rows as they are. A row carries a
//! label where it is known to; how rare a label is, is counted among the rows that know it. Two change rows: `mlsmote` mixes the
//! features of two rows, `remedial` changes labels; their draws say so ([`Draw`]).

mod balanced_batch;
mod class_aware;
mod draw;
mod lp;
mod lp_ros;
mod lp_rus;
mod ml_ros;
mod ml_rus;
mod mlsmote;
mod realised;
mod remedial;
mod repeat_factor;
mod shuffle;
mod stream;
mod weighted;

pub use draw::{Blend, Draw};
pub use realised::{Realised, realised};
pub use repeat_factor::label_factors;
pub use stream::Stream;

use super::{Entry, StrategyError};
use crate::Choice;
use crate::LabelMatrix;

/// Draws epochs from the train rows.
pub trait Sampler: Send + Sync + std::fmt::Debug {
    /// Indices into the rows of the matrix the sampler was built on, in training order. Depends on (seed, epoch) only.
    /// Of a sampler that makes synthetic rows, the rows that they are made from.
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32>;

    /// The same with what each draw changes: what a training loop has to follow.
    fn draws(&self, seed: u64, epoch: usize) -> Vec<Draw> {
        self.epoch(seed, epoch).into_iter().map(Draw::plain).collect()
    }
}

/// What a sampler is told.
#[derive(Clone, Copy)]
pub struct Train<'a> {
    /// The labels of the train rows, and of no others.
    pub labels: &'a LabelMatrix,
    /// Draws a step.
    pub batch_size: usize,
    /// The train rows' inputs as the network sees them, `[rows, width]` row-major; `None` where they are images. A function,
    /// since hardly any sampler wants them.
    pub features: &'a dyn Fn() -> Option<Vec<f32>>,
    /// Hears (done, all) while a sampler is built that [`counts_rows`].
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// Makes a sampler from a complete choice (see [`crate::admit`]).
pub type MakeSampler = fn(&Choice, &Train<'_>) -> Result<Box<dyn Sampler>, StrategyError>;

/// How a sampler is made, and for which data.
#[derive(Clone, Copy, Debug)]
pub struct SamplerBuild {
    /// `true`: it mixes inputs, which is not defined for images.
    pub needs_features: bool,
    /// Whether it shows labels oftener, or seldomer, than the data has them, the rare ones oftener.
    pub balances: bool,
    /// The smallest `batch_size` that it accepts, given the number of labels.
    pub least_batch: fn(&Choice, labels: usize) -> usize,
    pub make: MakeSampler,
}

/// Every sampler.
pub const REGISTRY: &[Entry<SamplerBuild>] = &[
    shuffle::ENTRY,
    class_aware::ENTRY,
    weighted::ENTRY,
    repeat_factor::ENTRY,
    balanced_batch::ENTRY,
    ml_ros::ENTRY,
    ml_rus::ENTRY,
    lp_ros::ENTRY,
    lp_rus::ENTRY,
    mlsmote::ENTRY,
    remedial::ENTRY,
];

/// Whether building the sampler is so much work that it says how far it is.
#[must_use]
pub fn counts_rows(choice: &Choice) -> bool {
    super::find(REGISTRY, &choice.kind).is_some_and(|entry| entry.build.needs_features)
}

/// Whether the sampler called `kind` changes how often labels are shown; an unknown one is taken to.
#[must_use]
pub fn balances(kind: &str) -> bool {
    super::find(REGISTRY, kind).is_none_or(|entry| entry.build.balances)
}

/// The sampler `choice` names.
///
/// # Errors
/// An unknown kind or parameter; a sampler that cannot be built for these rows.
pub fn build(choice: &Choice, train: &Train<'_>) -> Result<Box<dyn Sampler>, StrategyError> {
    let (entry, choice) = super::admit(REGISTRY, "sampler", choice)?;
    (entry.build.make)(&choice, train)
}

#[cfg(test)]
mod tests;
