//! Reports, and the view of a single run, in three steps: load, summarise (pure), render.

mod baseline;
mod columns;
pub mod compare;
mod convergence;
mod csv;
mod difference;
pub mod explain;
mod group;
mod kept_scores;
mod labels;
pub mod lint;
mod load;
mod markdown;
mod notes;
pub mod predictions;
mod probabilities;
mod question;
mod rank;
mod references;
mod refit;
mod samplers;
mod score;
mod show;
mod show_probabilities;
mod show_rows;
mod show_table;
mod splits;
mod strategy_names;
mod summary;
mod table;
mod text_grid;
mod tuning;

pub use baseline::ALL_POSITIVE;
pub use convergence::Convergence;
pub use kept_scores::{RowGroups, SweepGroups};
pub use question::{Question, Split, unknown};
pub use samplers::SamplerLine;
pub use show::{EpochLine, LabelLine, Shown, show};
pub use show_rows::{RowMetrics, RowRates};
pub use show_table::render as render_run;
pub use summary::*;
pub use text_grid::wrap;

use crate::error::Error;
use store::{At, Reader, SweepRow};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people. `style`: bold and dim, for a terminal; `width`: columns that fit.
    Table { style: bool, width: u16 },
    /// One JSON value.
    Json,
    /// Long form: one line per row and label.
    Csv,
    /// Tables as GitHub renders them.
    Markdown,
}

/// The answer to `question` about `sweep`.
///
/// # Errors
/// The database; an epoch or a column that the sweep does not have; scores that cannot be read.
pub async fn answer(reader: &mut Reader, sweep: SweepRow, question: &Question) -> Result<Summary, Error> {
    let loaded = load::load(reader, sweep, question).await?;
    let why = if question.why && question.at == At::Best && explain::is_quick(reader.path(), &loaded) {
        // The report is complete without the short explanation.
        explain::explain(reader, &loaded.sweep, &explain::ExplainOptions::default(), &|_, _| ())
            .await
            .ok()
            .and_then(|found| explain::why(&found))
    } else {
        None
    };
    let columns = question::columns(&question.group_by, &loaded.keys)?;
    let mut summary = rank::rank(&loaded, question, &columns);
    let mut given = vec![0; summary.data.len()];
    let detailed = |(place, row): (usize, &Row)| {
        given[row.data] += usize::from(row.is_strategy());
        // Tables show the labels of the best strategies; where all rows have theirs, the reference runs have them too.
        let wanted = if row.is_strategy() { given[row.data] <= question.detailed } else { question.detailed == usize::MAX };
        (!row.baseline && wanted).then_some(place)
    };
    let places: Vec<usize> = summary.rows.iter().enumerate().filter_map(detailed).collect();
    let parts = load::labels(reader, &loaded, question, &summary, &places).await?;
    labels::describe(&mut summary, &parts);
    summary.why = why;
    Ok(summary)
}

/// The report as text, with a newline at its end.
///
/// # Errors
/// Errors of the CSV and JSON writers, which a summary cannot cause.
pub fn render(summary: &Summary, form: Form) -> Result<String, Error> {
    match form {
        Form::Table { style, width } => Ok(table::render(summary, style, width)),
        Form::Markdown => Ok(markdown::render(summary)),
        Form::Csv => csv::render(summary).map_err(|error| Error::Unexpected(error.to_string())),
        Form::Json => match serde_json::to_string_pretty(summary) {
            Ok(json) => Ok(json + "\n"),
            Err(error) => Err(Error::Unexpected(error.to_string())),
        },
    }
}

#[cfg(test)]
mod tests;
