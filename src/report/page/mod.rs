//! The page: one self-contained HTML file of a sweep, and the same page live (`crate::serve`). Load, view model (pure), render.
//!
//! Val and test are never mixed: what the reader moves (thresholds, prevalences, costs) is computed on val; test is shown only for
//! what was frozen on val.

mod assets;
mod axes;
mod board;
mod build;
mod counts;
mod evidence;
mod html;
mod learning;
mod mistakes;
mod model;
mod pack;
mod provenance;
mod runs;
#[cfg(test)]
mod schema;
mod stops;
mod strategies;
mod verdict;

pub use build::PageBuilder;
pub use html::Place;
pub use model::*;
pub use provenance::quoted;
pub use verdict::{keep_explained, verdict_path};

use super::question::Question;

/// Strategies whose runs, counts and curves are on a page; the others have their rows.
const DETAILED: usize = 200;

/// What a page is about.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// The metric that ranks, the epoch, a policy instead of those of the grid, the columns that make a row.
    pub question: Question,
    /// Whether pictures of the worst mistakes are shown, where the data are images.
    pub images: bool,
    /// Where it is opened: a file waits for a verdict that takes long and may be large; a live page has to be quick.
    pub place: Place,
}

/// A page before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub model: Model,
}
