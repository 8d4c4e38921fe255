//! `sweep explain`: what each strategy changed against plain bce, and what to choose. Load, summarise (pure), render.

mod advice;
pub(super) mod arms;
mod blocks;
mod choice;
mod effect;
mod groups;
mod load;
mod measure;
mod page;
mod prospect;
mod short;
mod summarise;
mod table;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod verdict;
mod view;
mod words;

pub use arms::{Case, settings};
pub use choice::{ArmCandidates, Candidates};
pub use groups::{Groups, LabelGroup};
pub use load::{explain, is_quick};
pub use page::{Part, Shown};
pub use prospect::Prospect;
pub use short::{Why, lines, why};
pub use table::{markdown, render};
pub use view::*;

/// Options of an explanation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExplainOptions {
    pub rope: Rope,
    /// What makes a label rare or frequent.
    pub groups: Groups,
    /// Resamples of the rows.
    pub replicates: usize,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self { rope: Rope::default(), groups: Groups::default(), replicates: 500 }
    }
}
