//! `sweep explain`: what each strategy changed against plain bce, and what to choose. Load, summarise (pure), render.

mod advice;
pub(super) mod arms;
mod blocks;
mod effect;
mod load;
mod measure;
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
pub use load::{explain, is_quick};
pub use short::{Why, lines, why};
pub use table::{markdown, render};
pub use view::*;

use crate::error::Error;

/// What is asked of an explanation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    pub rope: Rope,
    /// Resamples of the rows.
    pub replicates: usize,
}

impl Default for Ask {
    fn default() -> Self {
        Self { rope: Rope { ap: 0.005, f1: 0.01 }, replicates: 1000 }
    }
}

impl Ask {
    /// Reads the flags.
    ///
    /// # Errors
    /// [`Error::Usage`] for a number out of range.
    pub fn read(args: &crate::cli::Explain) -> Result<Self, Error> {
        for (flag, rope) in [("--rope-ap", args.rope_ap), ("--rope-f1", args.rope_f1)] {
            if !(0.0..1.0).contains(&rope) {
                return Err(Error::Usage(format!(
                    "{flag} {rope}: differences that mean nothing are from 0 to below 1, such as 0.01"
                )));
            }
        }
        if !(2..=1_000_000).contains(&args.replicates) {
            return Err(Error::Usage(format!("--replicates {}: 2 to 1,000,000, and 1,000 is usual", args.replicates)));
        }
        Ok(Self { rope: Rope { ap: args.rope_ap, f1: args.rope_f1 }, replicates: args.replicates })
    }
}
