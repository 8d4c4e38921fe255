//! The imbalance strategies: pure maths over logits, counts and labels. One strategy per file, one registry per kind
//! ([`loss::REGISTRY`], [`pos_weight::REGISTRY`], [`sampler::REGISTRY`], [`threshold::REGISTRY`]); a new strategy is a new file
//! and a new row.

mod choice;
pub mod diagnosis;
mod error;
pub mod evaluation;
mod labels;
pub mod loss;
pub mod metric;
pub mod oracle;
mod param;
pub mod pos_weight;
pub mod rng;
pub mod sampler;
pub mod shift;
pub mod shown;
pub mod stratification;
pub mod threshold;
#[cfg(test)]
mod unknown_tests;
mod vectorized;

pub use choice::{Choice, PosWeight, Setting};
pub use error::{ChoiceError, StrategyError, hint, nearest};
pub use labels::{LabelCounts, LabelMatrix, UNKNOWN};
pub use param::{Absent, Family, Param, Takes, param, range};
pub use vectorized::vectorized;

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

/// The choice of `entry` with these parameters: all known and allowed, absent ones filled in.
///
/// # Errors
/// An unknown, forbidden or missing parameter.
pub fn complete<B>(entry: &'static Entry<B>, given: std::collections::BTreeMap<String, Setting>) -> Result<Choice, ChoiceError> {
    Family { what: "strategy", kinds: vec![(entry.kind, entry.params)] }.complete(entry.kind, given)
}

/// Reads a choice from the form that [`Choice`] displays: `max_f1`, `weighted(by=mean,empty=1)`.
///
/// # Errors
/// As [`Family::parse`].
pub fn parse<B>(registry: &'static [Entry<B>], what: &'static str, text: &str) -> Result<Choice, ChoiceError> {
    Family::of(what, registry).parse(text)
}

/// The row that a choice names, and the choice with every parameter that the row knows. Choices come from files and databases of any
/// version: this is where they are checked before anything is made of them.
///
/// # Errors
/// An unknown kind; an unknown, forbidden or missing parameter.
pub fn admit<B>(
    registry: &'static [Entry<B>],
    what: &'static str,
    choice: &Choice,
) -> Result<(&'static Entry<B>, Choice), ChoiceError> {
    let complete = Family::of(what, registry).complete(&choice.kind, (*choice.params).clone())?;
    let entry = registry.iter().find(|entry| entry.kind == choice.kind);
    let unknown = || ChoiceError::Kind { what, typed: choice.kind.clone(), allowed: Vec::new() };
    Ok((entry.ok_or_else(unknown)?, complete))
}
