//! Decisions under thresholds, counted.

use super::{Counts, Decisions};
use crate::data::LabelMatrix;

/// Counts under `thresholds`, one a label.
#[must_use]
pub fn decide(scores: &[f32], truth: &LabelMatrix, thresholds: &[f32]) -> Decisions {
    let labels = truth.names.len();
    debug_assert_eq!(scores.len(), truth.values.len(), "one score a cell");
    debug_assert_eq!(thresholds.len(), labels, "one threshold a label");
    let mut cells = vec![[0u64; 4]; labels];
    let (mut f1, mut exact) = (0.0, 0u64);
    for (scores, truth) in scores.chunks_exact(labels.max(1)).zip(truth.values.chunks_exact(labels.max(1))) {
        let mut row = [0u64; 4];
        for (label, ((score, threshold), &y)) in scores.iter().zip(thresholds).zip(truth).enumerate() {
            let cell = usize::from(score >= threshold) << 1 | usize::from(y == 1);
            cells[label][cell] += 1;
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
        thresholds: thresholds.to_vec(),
        counts: cells.into_iter().map(|[tn, fn_, fp, tp]| Counts { tp, fp, fn_, tn }).collect(),
        samples_f1: f1 / rows,
        subset_accuracy: exact as f64 / rows,
    }
}
