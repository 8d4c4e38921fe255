//! One evaluation as the reports see it, and what counts alone say of one.

use imbalance::metric::Counts;
use imbalance::metric::average::Averages;
use store::{EvaluationId, LabelMeans, METRICS};

/// One evaluation: a run on one split at one epoch under one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Index into [`super::load::Loaded::runs`].
    pub run: usize,
    /// Index into [`super::load::Loaded::policies`].
    pub policy: usize,
    /// In the order of [`METRICS`]; `None` where undefined.
    pub values: [Option<f64>; METRICS.len()],
    pub predicted_rate: Option<f64>,
    pub labels: Labels,
}

/// Where the labels of an evaluation are.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// In the database: asked for once it is known which are shown.
    Recorded(EvaluationId),
    /// Here: the evaluation was made for this report.
    Made(Vec<LabelScore>),
}

/// One label of an evaluation, or its means over several.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelScore {
    pub ap: Option<f64>,
    pub threshold: f64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub predicted_rate: f64,
}

/// Where a metric stands in [`METRICS`].
#[must_use]
pub fn place(metric: &str) -> usize {
    METRICS.iter().position(|name| *name == metric).unwrap_or(0)
}

impl From<&LabelMeans> for LabelScore {
    fn from(means: &LabelMeans) -> Self {
        let LabelMeans { ap, threshold, precision, recall, f1, predicted_rate, .. } = *means;
        Self { ap, threshold, precision, recall, f1, predicted_rate }
    }
}

/// The columns of the leaderboard: what counts give, and `other` for the rest.
#[must_use]
pub fn values(counts: &[Counts], other: impl Fn(&str) -> Option<f64>) -> [Option<f64>; METRICS.len()] {
    let average = Averages::of(counts);
    METRICS.map(|name| match name {
        "macro_f1" => Some(average.macro_f1),
        "micro_f1" => Some(average.micro_f1),
        "weighted_f1" => Some(average.weighted_f1),
        "macro_precision" => Some(average.macro_precision),
        "macro_recall" => Some(average.macro_recall),
        "hamming_loss" => Some(average.hamming_loss),
        other_name => other(other_name),
    })
}

/// Mean over labels.
#[must_use]
pub fn predicted_rate(counts: &[Counts]) -> f64 {
    counts.iter().map(Counts::predicted_rate).sum::<f64>() / counts.len().max(1) as f64
}

/// A line a label; all of equal length.
#[must_use]
pub fn label_scores(counts: &[Counts], ap: &[Option<f64>], thresholds: &[f32]) -> Vec<LabelScore> {
    let labels = counts.iter().zip(ap).zip(thresholds);
    labels
        .map(|((counts, &ap), &threshold)| LabelScore {
            ap,
            threshold: f64::from(threshold),
            precision: counts.precision(),
            recall: counts.recall(),
            f1: counts.f1(),
            predicted_rate: counts.predicted_rate(),
        })
        .collect()
}
