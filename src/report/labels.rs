//! The labels of a row: means over its runs. Pure.

use super::load::Labels;
use super::score::LabelScore;
use super::summary::{DataSet, LabelLine, Spread, Summary};

/// Gives their labels to the rows that have evaluations in `labels`.
pub fn describe(summary: &mut Summary, labels: &Labels) {
    for row in &mut summary.rows {
        let members: Vec<&Vec<LabelScore>> = row.members.iter().filter_map(|member| labels.get(member)).collect();
        if !members.is_empty() {
            row.labels = lines(&members, &summary.data[row.data]);
        }
    }
}

/// Means over evaluations, a line a label of the data.
#[must_use]
pub fn lines(members: &[&Vec<LabelScore>], set: &DataSet) -> Vec<LabelLine> {
    let line = |(at, label): (usize, &String)| {
        let values = || members.iter().filter_map(|labels| labels.get(at));
        let mean = |value: fn(&LabelScore) -> f64| Spread::of(values().map(value)).map_or(0.0, |spread| spread.mean);
        LabelLine {
            label: label.clone(),
            ap: Spread::of(values().filter_map(|score| score.ap)).map(|spread| spread.mean),
            precision: mean(|score| score.precision),
            recall: mean(|score| score.recall),
            f1: mean(|score| score.f1),
            threshold: mean(|score| score.threshold),
            prevalence: set.positives[at] as f64 / set.rows.max(1) as f64,
            predicted_rate: mean(|score| score.predicted_rate),
        }
    };
    set.labels.iter().enumerate().map(line).collect()
}
