//! The imbalance strategies: pure maths over logits, counts and labels. One strategy a file, one registry a kind
//! ([`loss::REGISTRY`], [`pos_weight::REGISTRY`], [`sampler::REGISTRY`], [`threshold::REGISTRY`]); a new strategy is a new file and a new row.

pub mod loss;
pub mod pos_weight;
pub mod sampler;
pub mod threshold;

use crate::spec::Choice;

/// One parameter of a strategy: the schema of the sweep file is read off these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Param {
    pub name: &'static str,
    /// What it does, with unit and source.
    pub help: &'static str,
    pub takes: Takes,
    pub absent: Absent,
}

/// The values a parameter allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    /// A finite number in this closed range.
    Number { min: f64, max: f64 },
    /// A whole number in this closed range (stored as [`crate::spec::Setting::Number`]).
    Whole { min: u32, max: u32 },
    /// One of these words.
    Word(&'static [&'static str]),
}

/// What a choice gets where the sweep file is silent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Absent {
    /// An error: it must be given.
    Error,
    /// Nothing: the parameter is optional and stays out of [`Choice::params`].
    Off,
    Number(f64),
    Word(&'static str),
}

/// Positives of each label among `rows` rows: all that a weight formula may look at (train split only).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LabelCounts {
    pub rows: usize,
    /// Positives a label.
    pub positives: Vec<usize>,
}

/// A strategy that cannot be built for this data.
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

/// The equal, simpler form of a choice: `focal(gamma=0)` without alpha is `bce`. The identity for most.
#[must_use]
pub fn simplify_loss(choice: Choice) -> Choice {
    loss::simplify(choice)
}
