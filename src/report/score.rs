//! One evaluation as the reports use it, and the metrics that follow from counts alone.

use imbalance::metric::Counts;
use store::{EvaluationId, LabelMeans, METRICS, MetricColumn};

/// One evaluation: a run on one split at one epoch under one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Index into [`super::load::Loaded::runs`].
    pub run: usize,
    /// Index into [`super::load::Loaded::policies`].
    pub policy: usize,
    /// In the order of [`METRICS`]; `None` where undefined.
    pub values: [Option<f64>; METRICS.len()],
    /// On val, the metric that ranks on rows that the thresholds were not fitted on: the value itself for a number and for a metric of
    /// rankings; `None` where it is not known.
    pub held_out: Option<f64>,
    pub predicted_rate: Option<f64>,
    pub labels: Labels,
}

/// Where the labels of an evaluation are.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// In the database: read once it is known which are shown.
    Recorded(EvaluationId),
    /// Here: the evaluation was computed for this report.
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

/// Whether `policy` is a number, which nothing is fitted for.
#[must_use]
pub fn is_number(policy: &str) -> bool {
    policy.parse::<f64>().is_ok()
}

/// Whether smaller values of a metric are better.
#[must_use]
pub fn lower_is_better(metric: &str) -> bool {
    MetricColumn::named(metric).is_some_and(|column| !column.higher_is_better)
}

/// Whether a metric judges the ranking alone, without a threshold.
#[must_use]
pub fn is_of_rankings(metric: &str) -> bool {
    MetricColumn::named(metric).is_some_and(|column| !column.metric.needs_threshold())
}

/// One line per label; all of equal length.
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
