//! The imbalance strategies: pure maths over logits, counts and labels. One strategy a file, one registry a kind
//! ([`loss::REGISTRY`], [`pos_weight::REGISTRY`], [`sampler::REGISTRY`], [`threshold::REGISTRY`]); a new strategy is a new file and a new row.

pub mod loss;
mod param;
pub mod pos_weight;
pub mod sampler;
pub mod threshold;

pub use param::{Absent, Param, Takes, complete, complete_kind, nearest, parse};

use crate::spec::Choice;

/// Positives of each label among `rows` rows: all that a weight formula may look at (train split only).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LabelCounts {
    pub rows: usize,
    /// Positives a label.
    pub positives: Vec<usize>,
}

impl LabelCounts {
    /// `formula(positives, negatives)` of every label; `what` names the strategy in the error.
    ///
    /// # Errors
    /// A label without positives or without negatives: nothing can be weighed against nothing.
    pub(crate) fn each_label(&self, what: &str, formula: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>, StrategyError> {
        let weigh = |(label, &positives): (usize, &usize)| {
            let negatives = self.rows.saturating_sub(positives);
            let missing = match (positives, negatives) {
                (0, _) => "positive",
                (_, 0) => "negative",
                _ => return Ok(formula(positives as f64, negatives as f64)),
            };
            let rows = self.rows;
            Err(StrategyError(format!("{what}: label {label} (from 0) has no {missing} among the {rows} train rows")))
        };
        self.positives.iter().enumerate().map(weigh).collect()
    }
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

/// The row that a choice names, and the choice with every parameter that the row knows. Choices come from files and databases of any
/// version: this is where they are checked before anything is made of them.
///
/// # Errors
/// As [`require`] and [`complete`].
pub fn admit<'a, B>(registry: &'a [Entry<B>], what: &str, choice: &Choice) -> Result<(&'a Entry<B>, Choice), StrategyError> {
    let entry = require(registry, what, &choice.kind)?;
    Ok((entry, complete(entry, choice.params.clone())?))
}

/// The equal, simpler form of a choice: `focal(gamma=0)` without alpha is `bce`. The identity for most.
#[must_use]
pub fn simplify_loss(choice: Choice) -> Choice {
    loss::simplify(choice)
}
