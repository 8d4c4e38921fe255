//! Counts of decisions.

use super::{Counts, Decisions};
use crate::LabelMatrix;

/// Turns scores into decisions, one row at a time. A vector of thresholds (one per label) predicts where score >= threshold.
pub trait Decide {
    /// Whether each label of a row is predicted.
    fn row(&self, scores: &[f32], predicted: &mut [bool]);

    /// What is recorded as each label's threshold: no label is predicted at a score below it.
    fn thresholds(&self, labels: usize) -> Vec<f32>;
}

impl Decide for [f32] {
    fn row(&self, scores: &[f32], predicted: &mut [bool]) {
        for ((predicted, score), threshold) in predicted.iter_mut().zip(scores).zip(self) {
            *predicted = score >= threshold;
        }
    }

    fn thresholds(&self, labels: usize) -> Vec<f32> {
        debug_assert_eq!(self.len(), labels, "one threshold per label");
        self.to_vec()
    }
}

impl Decide for Vec<f32> {
    fn row(&self, scores: &[f32], predicted: &mut [bool]) {
        self.as_slice().row(scores, predicted);
    }

    fn thresholds(&self, labels: usize) -> Vec<f32> {
        self.as_slice().thresholds(labels)
    }
}

impl<const LABELS: usize> Decide for [f32; LABELS] {
    fn row(&self, scores: &[f32], predicted: &mut [bool]) {
        self.as_slice().row(scores, predicted);
    }

    fn thresholds(&self, labels: usize) -> Vec<f32> {
        self.as_slice().thresholds(labels)
    }
}

/// Counts of what `rule` decides on `scores` (`[rows, labels]` row-major).
#[must_use]
pub fn decide<R: Decide + ?Sized>(scores: &[f32], truth: &LabelMatrix, rule: &R) -> Decisions {
    let labels = truth.names.len();
    debug_assert_eq!(scores.len(), truth.values.len(), "one score per cell");
    let mut cells = vec![[0u64; 4]; labels];
    let mut predicted = vec![false; labels];
    let (mut f1, mut exact) = (0.0, 0u64);
    for (scores, truth) in scores.chunks_exact(labels.max(1)).zip(truth.values.chunks_exact(labels.max(1))) {
        rule.row(scores, &mut predicted);
        let mut row = [0u64; 4];
        for ((cells, &predicted), &y) in cells.iter_mut().zip(&predicted).zip(truth) {
            let cell = usize::from(predicted) << 1 | usize::from(y == 1);
            cells[cell] += 1;
            row[cell] += 1;
        }
        let [_, misses, alarms, hits] = row;
        let wrong = misses + alarms;
        exact += u64::from(wrong == 0);
        if hits > 0 {
            f1 += (2 * hits) as f64 / (2 * hits + wrong) as f64;
        }
    }
    let rows = truth.rows().max(1) as f64;
    Decisions {
        thresholds: rule.thresholds(labels),
        counts: cells.into_iter().map(|[tn, fn_, fp, tp]| Counts { tp, fp, fn_, tn }).collect(),
        samples_f1: f1 / rows,
        subset_accuracy: exact as f64 / rows,
    }
}
