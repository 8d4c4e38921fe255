//! Platt scaling: a sigmoid of the logit, fitted on validation (Platt, "Probabilistic outputs for support vector machines", 1999).

use super::logistic::{Line, fit};

/// One label's map from scores to probabilities.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Platt(pub Line);

/// Platt's targets: how sure n₋ negatives and n₊ positives can make one, 1/(n₋+2) and (n₊+1)/(n₊+2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Targets {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Targets {
    pub(super) fn of(cells: &[(f32, u8)]) -> Self {
        let positives = cells.iter().filter(|cell| cell.1 == 1).count() as f64;
        let negatives = cells.len() as f64 - positives;
        Self { low: 1.0 / (negatives + 2.0), high: (positives + 1.0) / (positives + 2.0) }
    }
}

impl Platt {
    /// Fits to (score, 0/1 truth) of validation. Targets are Platt's: (n₊+1)/(n₊+2) for positives, 1/(n₋+2) for negatives, so that
    /// the fit exists and stays tame for separated, few or no positives (scikit-learn `CalibratedClassifierCV(method="sigmoid")`,
    /// whose a and b are minus slope and minus intercept). `None` without rows.
    #[must_use]
    pub fn fit(cells: &[(f32, u8)]) -> Option<Self> {
        let Targets { low, high } = Targets::of(cells);
        (!cells.is_empty()).then(|| Self(fit(cells, low, high).0))
    }

    /// The calibrated probability.
    #[must_use]
    pub fn apply(&self, score: f32) -> f64 {
        self.0.probability(score)
    }
}
