//! The page: one self-contained HTML file of a sweep, and the same page live (`crate::serve`). Load, view model (pure), render.
//!
//! Val and test are never mixed: what the reader moves (thresholds, prevalences, costs) is computed on val; test is shown only for
//! what was frozen on val.

mod board;
mod html;
mod model;

pub use html::Place;
pub use model::*;

use super::question::Question;
use crate::error::Error;
use store::{Reader, SweepId};

/// What a page is about.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// The metric that ranks, the epoch, a policy instead of those of the grid, the columns that make a row.
    pub question: Question,
    /// Whether pictures of the worst mistakes are shown, where the data are images.
    pub images: bool,
}

/// Makes pages of one sweep. What it has read about recorded runs, which do not change, is kept from one page to the next.
pub struct PageBuilder {
    options: PageOptions,
}

impl PageBuilder {
    #[must_use]
    pub fn new(options: PageOptions) -> Self {
        Self { options }
    }

    /// The page of what the database holds now.
    ///
    /// # Errors
    /// The database; an epoch or a column that the sweep does not have.
    pub async fn build(&mut self, reader: &mut Reader, sweep: SweepId) -> Result<Page, Error> {
        let row = reader.sweep(sweep).await?;
        let model = board::board(reader, row, &self.options.question).await?;
        Ok(Page { model })
    }
}

/// A page before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub model: Model,
}
