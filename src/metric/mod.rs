//! Metrics in f64, equal to scikit-learn's (strategies.md section 5). Pure.

use serde::{Deserialize, Serialize};

use crate::data::LabelMatrix;

/// The four cells of one label's confusion matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub tp: u64,
    pub fp: u64,
    #[serde(rename = "fn")]
    pub fn_: u64,
    pub tn: u64,
}

/// What does not depend on a threshold, for one split at one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Average precision a label; `None` without positives.
    pub ap: Vec<Option<f64>>,
    /// Area under the ROC curve a label; `None` with one class only.
    pub auc: Vec<Option<f64>>,
    /// Mean score a label: beside the prevalence it shows calibration in the large.
    pub mean_score: Vec<f64>,
}

/// Decisions under one set of thresholds, counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decisions {
    /// One threshold a label: positive where score >= threshold.
    pub thresholds: Vec<f32>,
    pub counts: Vec<Counts>,
    /// Mean over rows of the row's F1; 0 where truth and prediction are both empty.
    pub samples_f1: f64,
    /// Share of rows with every label right.
    pub subset_accuracy: f64,
}

/// Ranking metrics of `scores` (`[rows, labels]` row-major float32 probabilities, finite).
#[must_use]
pub fn rank(scores: &[f32], truth: &LabelMatrix) -> Ranking {
    let _ = (scores, truth);
    todo!()
}

/// Counts under `thresholds`, one a label.
#[must_use]
pub fn decide(scores: &[f32], truth: &LabelMatrix, thresholds: &[f32]) -> Decisions {
    let _ = (scores, truth, thresholds);
    todo!()
}
