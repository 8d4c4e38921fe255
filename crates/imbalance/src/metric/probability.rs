//! How good scores are as probabilities, per label: proper scores, and calibration in the large. The reliability of
//! binned scores is in [`super::calibration`].

use crate::{LabelMatrix, UNKNOWN};

/// One label's scores as probabilities P(y = 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Probability {
    /// Mean of (score - y)² (scikit-learn `brier_score_loss` of the column).
    pub brier: f64,
    /// Mean negative log-likelihood in nats (`log_loss` of the column in float64, which clips scores to [2.2e-16, 1 - 2.2e-16]).
    pub nll: f64,
    /// Mean score minus prevalence: calibration in the large, the clearest symptom of a positive weight.
    pub gap: f64,
}

/// Evaluates the known cells of every column of `scores` (`[rows, labels]` row-major probabilities); zeros without any.
#[must_use]
pub fn probability(scores: &[f32], truth: &LabelMatrix) -> Vec<Probability> {
    let labels = truth.names.len();
    let mut sums = vec![Probability::default(); labels];
    for (scores, truth) in scores.chunks_exact(labels.max(1)).zip(truth.values.chunks_exact(labels.max(1))) {
        for ((sum, &score), &y) in sums.iter_mut().zip(scores).zip(truth).filter(|(_, y)| **y != UNKNOWN) {
            let (score, y) = (f64::from(score), f64::from(y));
            sum.brier += (score - y) * (score - y);
            sum.nll += surprise(score, y == 1.0);
            sum.gap += score - y;
        }
    }
    let counts = truth.counts();
    for (label, sum) in sums.iter_mut().enumerate() {
        let rows = counts.known(label).max(1) as f64;
        *sum = Probability { brier: sum.brier / rows, nll: sum.nll / rows, gap: sum.gap / rows };
    }
    sums
}

/// -ln of the probability given to what happened.
pub(super) fn surprise(score: f64, happened: bool) -> f64 {
    let score = score.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    if happened { -score.ln() } else { -(-score).ln_1p() }
}
