//! The imbalance strategies: pure maths over logits, counts and labels. One strategy per file, one registry per kind
//! ([`loss::REGISTRY`], [`pos_weight::REGISTRY`], [`sampler::REGISTRY`], [`threshold::REGISTRY`]); a new strategy is a new file
//! and a new row.

mod choice;
pub mod diagnosis;
mod labels;
pub mod loss;
pub mod metric;
pub mod oracle;
mod param;
pub mod pos_weight;
pub mod rng;
pub mod sampler;
pub mod shown;
pub mod stratification;
pub mod threshold;

pub use choice::{Choice, PosWeight, Setting};
pub use labels::{LabelCounts, LabelMatrix};
pub use param::{Absent, Param, Takes, complete, nearest, parse};

/// An error: the strategy cannot be built for this data.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct StrategyError(pub String);

/// A row of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<B> {
    pub kind: &'static str,
    /// One line for `--help`, README and error messages.
    pub summary: &'static str,
    pub params: &'static [Param],
    pub build: B,
}

/// The row of `registry` named `kind`.
pub fn find<'a, B>(registry: &'a [Entry<B>], kind: &str) -> Option<&'a Entry<B>> {
    registry.iter().find(|entry| entry.kind == kind)
}

/// The row named `kind`, or an error that says which `what` there are and which is nearest.
///
/// # Errors
/// No row of that name.
pub fn require<'a, B>(registry: &'a [Entry<B>], what: &str, kind: &str) -> Result<&'a Entry<B>, StrategyError> {
    find(registry, kind).ok_or_else(|| {
        let kinds: Vec<_> = registry.iter().map(|entry| entry.kind).collect();
        StrategyError(format!("no {what} is called `{kind}`{}; there are {}", nearest(kind, &kinds), kinds.join(", ")))
    })
}

/// The equal, simpler form of a choice: `focal(gamma=0)` without alpha is `bce`. The identity for most.
#[must_use]
pub fn simplify_loss(choice: Choice) -> Choice {
    loss::simplify(choice)
}
