//! Reports, and the view of a single run, in three steps: load, summarise (pure), render.

mod baseline;
mod columns;
pub mod compare;
mod convergence;
mod csv;
mod curves;
pub mod difference;
mod equal;
pub mod explain;
mod fitting;
mod group;
mod illustrated;
pub mod kept_scores;
mod labels;
pub mod lint;
mod load;
mod loading;
mod markdown;
mod notes;
pub mod page;
mod pictures;
pub mod predictions;
pub mod probabilities;
mod question;
mod rank;
pub mod recipe;
mod references;
mod refit;
mod samplers;
mod score;
pub mod searched;
mod short_values;
mod show;
mod show_curves;
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
pub use labels::check as check_labels;
pub use pictures::Blocks;
pub use question::{LabelChoice, Question, Split, unknown};
pub use samplers::SamplerLine;
pub use short_values::ShortValues;
pub use show::{EpochLine, LabelLine, Shown, show};
pub use show_curves::Canvas;
pub use show_rows::{RowMetrics, RowRates};
pub use show_table::render as render_run;
pub use splits::without_positives;
pub use strategy_names::{setting, strategy};
pub use summary::*;
pub use text_grid::{text as axis_value, wrap};

use crate::error::Error;
use store::{At, Reader, SweepRow};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people. `style`: bold and dim, for a terminal; `width`: columns that fit; `blocks`: what pictures are made of, where there are
    /// to be any.
    Table { style: bool, width: u16, blocks: Option<Blocks> },
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
    let mut summary = ranked(reader, &loaded, question).await?;
    if let Some(choice) = &question.labels {
        labels::check(choice, summary.data.iter().map(|set| &set.labels[..]))?;
    }
    let places = detailed(&summary, question);
    let parts = load::labels(reader, &loaded, question, &summary, &places).await?;
    labels::describe(&mut summary, &parts);
    if let Some(choice) = &question.labels {
        labels::select(&mut summary, choice);
    }
    if question.curves {
        curves::attach(reader, loaded.sweep.id, &mut summary).await?;
    }
    summary.why = why;
    Ok(summary)
}

/// The ranked rows, those with equal results marked, without their labels.
async fn ranked(reader: &mut Reader, loaded: &load::Loaded, question: &Question) -> Result<Summary, Error> {
    let columns = question::columns(&question.group_by, &loaded.keys)?;
    let mut summary = rank::rank(loaded, question, &columns);
    let alike = equal::candidates(&summary);
    let places: Vec<usize> = alike.iter().flatten().copied().collect();
    let parts = load::labels(reader, loaded, question, &summary, &places).await?;
    equal::mark(&mut summary, &alike, &parts);
    Ok(summary)
}

/// Lines of labels that a table has at most, unless it is asked for a number of rows.
const LINES: usize = 60;

/// The rows whose labels are shown. Where all rows have theirs, so do the reference runs and rows with equal results; a table shows
/// those of the best strategies, and fewer of them where each has many labels.
fn detailed(summary: &Summary, question: &Question) -> Vec<usize> {
    let all = question.detailed == usize::MAX;
    let most = |data: usize| match (question.top, summary.data[data].labels.len()) {
        (None, labels) if !all => question.detailed.min((LINES / labels.clamp(1, labels::SHOWN)).max(1)),
        _ => question.detailed,
    };
    let mut given = vec![0; summary.data.len()];
    let wanted = |(place, row): (usize, &Row)| {
        let repeats = row.equal_to.first().is_some_and(|&first| first < place);
        given[row.data] += usize::from(row.is_strategy() && !repeats);
        let wanted = all || row.is_strategy() && !repeats && given[row.data] <= most(row.data);
        (!row.baseline && wanted).then_some(place)
    };
    summary.rows.iter().enumerate().filter_map(wanted).collect()
}

/// The report as text, with a newline at its end.
///
/// # Errors
/// Errors of the CSV and JSON writers, which a summary cannot cause.
pub fn render(summary: &Summary, form: Form) -> Result<String, Error> {
    match form {
        Form::Table { style, width, blocks } => Ok(table::render(summary, style, width, blocks)),
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
