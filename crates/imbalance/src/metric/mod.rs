//! Metrics in f64, equal to scikit-learn's (docs/strategies.md#metrics). Pure: scores and truth in, numbers out. All of them are of the
//! known cells of the truth (docs/strategies.md#unknown-labels).
//!
//! Ranking metrics, which need no threshold, come from [`rank`]; [`decide()`] counts decisions under thresholds and [`counts_at`]
//! under many at once; [`Rate`] and [`average::average`] derive every rate from those counts. Undefined values are `None` in a
//! ranking and 0 in a rate (scikit-learn's `zero_division=0`), unless [`ZeroDivision`] says otherwise. [`samples`] averages over
//! rows, [`calibration`] is about scores as probabilities, [`certainty`] about how certain any of these numbers is.

pub mod average;
pub mod calibration;
pub mod certainty;
mod check;
mod curve;
mod decide;
mod probability;
mod rates;
pub mod samples;
mod single;
mod thresholds;

pub use check::{ScoreError, check_scores};
pub use curve::{Curve, Step, column};
pub(crate) use curve::{FallingCells, is_known};
pub(crate) use decide::row_by_row;
pub use decide::{Decide, decide};
pub use probability::{Probability, probability};
pub use rates::{Rate, ZeroDivision};
pub use samples::{LabelRanking, RowMean, SampleRates, label_ranking, sample_rates};
pub use single::{in_order, merged};
pub use thresholds::{Grid, counts_at};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{LabelMatrix, UNKNOWN};

/// The four cells of one label's confusion matrix, of the rows that know it.
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
    /// Average precision per label; `None` without positives.
    pub ap: Vec<Option<f64>>,
    /// Area under the ROC curve per label; `None` with one class only.
    pub auc: Vec<Option<f64>>,
    /// Mean score per label over the rows that know it: beside the prevalence it shows calibration in the large.
    pub mean_score: Vec<f64>,
}

/// Counts of the decisions of one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decisions {
    /// One threshold per label: positive where score >= threshold. 0 where a rule decides on whole rows (`rcut`).
    pub thresholds: Vec<f32>,
    pub counts: Vec<Counts>,
    /// Mean over rows of the row's F1 on the labels that it knows; 0 where truth and prediction are both empty.
    pub samples_f1: f64,
    /// Share of rows with every known label right. Rows that know no label count in neither.
    pub subset_accuracy: f64,
}

/// Ranking metrics of `scores` (`[rows, labels]` row-major float32 probabilities, finite). Where their logits are known,
/// [`rank_logits`] is better.
#[must_use]
pub fn rank(scores: &[f32], truth: &LabelMatrix) -> Ranking {
    rank_logits(scores, scores, truth)
}

/// [`rank`] by `logits`, whose order float32 keeps; `scores` are their probabilities, for the means. A probability near 1 is a
/// multiple of 2^-24: from a logit of 12 on many logits share one, from 17.4 on all are 1.
#[must_use]
pub fn rank_logits(logits: &[f32], scores: &[f32], truth: &LabelMatrix) -> Ranking {
    let labels = truth.names.len();
    let curves: Vec<_> = (0..labels).into_par_iter().map(|label| Curve::of(logits, truth, label)).collect();
    let mut mean_score = vec![0.0; labels];
    for (scores, truth) in scores.chunks_exact(labels.max(1)).zip(truth.values.chunks_exact(labels.max(1))) {
        for ((sum, &score), &y) in mean_score.iter_mut().zip(scores).zip(truth) {
            *sum += if y == UNKNOWN { 0.0 } else { f64::from(score) };
        }
    }
    let counts = truth.counts();
    for (label, sum) in mean_score.iter_mut().enumerate() {
        *sum /= counts.known(label).max(1) as f64;
    }
    Ranking {
        ap: curves.iter().map(Curve::average_precision).collect(),
        auc: curves.iter().map(Curve::roc_auc).collect(),
        mean_score,
    }
}

#[cfg(test)]
mod tests;
