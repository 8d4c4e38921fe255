//! The labels of a row: means over its runs. Pure.

use std::collections::HashMap;

use super::load::Part;
use super::score::LabelScore;
use super::summary::{DataSet, LabelLine, Summary};

/// Fills in the labels of the rows that have parts.
pub fn describe(summary: &mut Summary, parts: &HashMap<usize, Vec<Part>>) {
    for (place, row) in summary.rows.iter_mut().enumerate() {
        if let Some(parts) = parts.get(&place) {
            row.labels = lines(parts, &summary.data[row.data]);
        }
    }
}

/// Means over evaluations, one line per label of the data.
#[must_use]
pub fn lines(parts: &[Part], set: &DataSet) -> Vec<LabelLine> {
    let line = |(at, label): (usize, &String)| {
        // A label's AP is defined in all evaluations of a data set or in none.
        let ap = mean(parts, |part| part.labels.get(at).and_then(|score| score.ap));
        let of = |value: fn(&LabelScore) -> f64| mean(parts, |part| part.labels.get(at).map(value)).unwrap_or(0.0);
        LabelLine {
            label: label.clone(),
            ap,
            precision: of(|score| score.precision),
            recall: of(|score| score.recall),
            f1: of(|score| score.f1),
            threshold: of(|score| score.threshold),
            prevalence: set.positives[at] as f64 / set.rows.max(1) as f64,
            predicted_rate: of(|score| score.predicted_rate),
        }
    };
    set.labels.iter().enumerate().map(line).collect()
}

/// Weighted by evaluations; `None` without values.
fn mean(parts: &[Part], value: impl Fn(&Part) -> Option<f64>) -> Option<f64> {
    let (sum, n) = parts
        .iter()
        .filter_map(|part| Some((value(part)?, part.evaluations as f64)))
        .fold((0.0, 0.0), |(sum, n), (value, weight)| (sum + value * weight, n + weight));
    (n > 0.0).then(|| sum / n)
}
