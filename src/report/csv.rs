//! A report in long form: one line per row and label, for pandas and spreadsheets.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula. Text (never a number) that begins so gets a `'` before
//! it, as the spreadsheets themselves write it.

use std::borrow::Cow;

use super::summary::{LabelLine, Row, Summary};
use super::text_grid::text;
use imbalance::shown::{is_formula, lines};

/// CSV with a header; a report without rows is the header alone. Values that are not defined are empty.
///
/// # Errors
/// Errors of the CSV writer, which writing to memory cannot cause.
pub fn render(summary: &Summary) -> Result<String, ::csv::Error> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let columns = summary.group_by.iter().map(String::as_str);
    let before = ["sweep", "data", "split", "epoch", "rank"];
    let after = [
        "policy",
        "n",
        "runs",
        "metric",
        "mean",
        "sd",
        "macro_ap",
        "label",
        "ap",
        "threshold",
        "precision",
        "recall",
        "f1",
        "prevalence",
        "predicted_rate",
        "reference",
        "val",
        "held_out",
    ];
    writer.write_record(before.into_iter().chain(columns).chain(after))?;
    for row in &summary.rows {
        for label in &row.labels {
            writer.write_record(line(summary, row, label).iter().map(|cell| plain(cell).into_owned()))?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| ::csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A cell that a spreadsheet shows and a terminal prints.
fn plain(cell: &str) -> Cow<'_, str> {
    if is_formula(cell) { Cow::Owned(format!("'{}", lines(cell))) } else { lines(cell) }
}

fn line(summary: &Summary, row: &Row, label: &LabelLine) -> Vec<String> {
    let optional = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let metric = row.metrics.get(summary.metric);
    let mut cells = vec![
        summary.sweep.clone(),
        (row.data + 1).to_string(),
        summary.split.name().to_owned(),
        summary.epoch.clone(),
        row.rank.map_or_else(String::new, |rank| rank.to_string()),
    ];
    let value = |name: &String| row.strategy.get(name).filter(|value| !value.is_null());
    cells.extend(summary.group_by.iter().map(|name| value(name).map_or_else(String::new, |value| text(Some(value)))));
    cells.extend([
        row.policy.clone(),
        row.n.to_string(),
        row.of.to_string(),
        summary.metric.to_owned(),
        optional(metric.map(|spread| spread.mean)),
        optional(metric.and_then(|spread| spread.sd)),
        optional(row.metrics.get("macro_ap").map(|spread| spread.mean)),
        label.label.clone(),
        optional(label.ap),
        label.threshold.to_string(),
        label.precision.to_string(),
        label.recall.to_string(),
        label.f1.to_string(),
        label.prevalence.to_string(),
        label.predicted_rate.to_string(),
        row.reference.unwrap_or_default().to_owned(),
        optional(row.val.map(|spread| spread.mean)),
        optional(row.held_out.map(|spread| spread.mean)),
    ]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_never_a_formula_and_numbers_stay() {
        for (cell, wanted) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+x", "'+x"),
            ("-a", "'-a"),
            ("\t=1", "'\t=1"),
            ("-0.5", "-0.5"),
            ("-1e-7", "-1e-7"),
            ("-inf", "-inf"),
            ("A=1", "A=1"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("", ""),
        ] {
            assert_eq!(plain(cell), wanted);
        }
    }
}
