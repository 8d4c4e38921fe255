//! TOML → [`Plan`]: schema, axes, canonical form, fingerprint, bundles. Pure: no files, no clocks, no tokio, no Candle.

mod architecture;
mod backbone;
mod choice;
mod config;
mod document;
mod fingerprint;
mod flatten;
mod grid;
mod hub;
mod input;
mod length;
pub mod macs;
mod plan;
mod planner;
mod points;
mod recorded;
mod reference;
mod schedule;
mod schema;
mod search;
mod sweep;
pub mod tensors;
#[cfg(test)]
mod tests;
mod typed;
pub mod words;

pub use architecture::{ARCHITECTURES, Architecture, Backbone, Trained};
pub use config::*;
pub use hub::{HubFile, meant_as_repository};
pub use input::InputShape;
pub use length::{Budget, Length, Stop};
pub use macs::{forward_macs, trained_macs};
pub use plan::*;
pub use recorded::{Recorded, admitted};
pub use reference::{Reference, STRENGTHS};
pub use schedule::Schedule;
pub use schema::{SlurmConfig, WorkersConfig};
pub use search::{Halving, Search, SearchBudget, SearchMetric, Searched, shuffled, strategy_key};
pub use sweep::{Sweep, WeightFile, parse, unusable_name};

/// Version of everything that decides a result besides the configuration and the data; part of each fingerprint.
/// Raise it when a change of code changes the numbers of a run.
pub const FORMAT: u32 = 3;

/// [`FORMAT`] as the fingerprint of a run of `model` with this kind of loss has it: where only the numbers of one architecture have
/// changed, which may be that of a frozen backbone's head, or those of one loss, only its runs are trained anew.
pub(crate) fn numerics(model: &ModelConfig, loss: &str) -> u32 {
    let head = model.head().map(|(_, head)| head.arch);
    let network = Architecture::trained(head.as_ref().unwrap_or(&model.arch)).map_or(0, |trained| trained.numerics);
    FORMAT + network + imbalance::loss::numerics(loss)
}

/// Version of the features that frozen backbones give; part of the fingerprints of their runs and of the names of cached features.
/// Raise it when a change of code changes them.
pub const FEATURES: u32 = 2;

/// Labels that a data set may have: an evaluation of so many fits a line of a worker's journal (1 MiB).
pub const MOST_LABELS: usize = 10_000;

/// A sweep file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SpecError {
    /// `file:line:column`, or the flag that was typed.
    pub place: String,
    /// What is wrong, what is allowed, the nearest name.
    pub message: String,
}
