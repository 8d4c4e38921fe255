//! Counts of decisions.

use super::{Counts, Decisions};
use crate::{LabelMatrix, UNKNOWN, vectorized};

/// Turns scores into decisions, one row at a time. A vector of thresholds (one per label) predicts where score >= threshold.
pub trait Decide {
    /// Whether each label of a row is predicted.
    fn row(&self, scores: &[f32], predicted: &mut [bool]);

    /// [`Self::row`] of several rows, `[rows, labels]` row-major.
    fn rows(&self, scores: &[f32], labels: usize, predicted: &mut [bool]) {
        row_by_row(self, scores, labels, predicted);
    }

    /// What is recorded as each label's threshold: no label is predicted at a score below it.
    fn thresholds(&self, labels: usize) -> Vec<f32>;
}

/// [`Decide::rows`] by way of [`Decide::row`].
pub(crate) fn row_by_row<R: Decide + ?Sized>(rule: &R, scores: &[f32], labels: usize, predicted: &mut [bool]) {
    let rows = scores.chunks_exact(labels.max(1)).zip(predicted.chunks_exact_mut(labels.max(1)));
    rows.for_each(|(scores, predicted)| rule.row(scores, predicted));
}

impl Decide for [f32] {
    fn row(&self, scores: &[f32], predicted: &mut [bool]) {
        for ((predicted, score), threshold) in predicted.iter_mut().zip(scores).zip(self) {
            *predicted = score >= threshold;
        }
    }

    fn rows(&self, scores: &[f32], labels: usize, predicted: &mut [bool]) {
        // Side by side for all cells, so that a row of few labels fills a vector too.
        let thresholds = self.repeat(scores.len() / labels.max(1));
        vectorized(
            #[inline(always)]
            || thresholds.row(scores, predicted),
        );
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

    fn rows(&self, scores: &[f32], labels: usize, predicted: &mut [bool]) {
        self.as_slice().rows(scores, labels, predicted);
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

/// Cells that are decided before they are counted, at least a row of them.
const CELLS: usize = 4096;
/// Bits of each of the three counts of a [`pack`].
const BITS: u32 = 21;

/// Whether a cell is predicted, positive and both, as counts that add up side by side, as far as 2^21.
#[inline(always)]
fn pack(predicted: bool, positive: bool) -> u64 {
    u64::from(predicted & positive) | u64::from(predicted) << BITS | u64::from(positive) << (2 * BITS)
}

/// Sums of [`pack`]: true positives, predicted, positives.
fn unpack(sum: u64) -> [u64; 3] {
    [0, BITS, 2 * BITS].map(|shift| sum >> shift & ((1 << BITS) - 1))
}

/// Adds the rows of `cells` (`[rows, labels]`) up in the first one.
fn add_up_rows(mut cells: &mut [u64], labels: usize) {
    while cells.len() >= 2 * labels {
        let rows = cells.len() / labels;
        let (low, high) = cells.split_at_mut(rows.div_ceil(2) * labels);
        low.iter_mut().zip(&*high).for_each(|(low, high)| *low += high);
        cells = low;
    }
}

/// Counts of what `rule` decides on `scores` (`[rows, labels]` row-major): of each label on the rows that know it; over rows, of each
/// on the labels that it knows, and a row that knows none stays out of the means.
#[must_use]
pub fn decide<R: Decide + ?Sized>(scores: &[f32], truth: &LabelMatrix, rule: &R) -> Decisions {
    let labels = truth.names.len();
    debug_assert_eq!(scores.len(), truth.values.len(), "one score per cell");
    let mut counts = vec![Counts::default(); labels];
    let (mut f1, mut exact) = (0.0, 0u64);
    let block = CELLS.div_ceil(labels.max(1)) * labels.max(1);
    let (mut predicted, mut cells) = (vec![false; block], vec![0; block]);
    for (scores, truth) in scores.chunks(block).zip(truth.values.chunks(block)) {
        let cells = &mut cells[..truth.len()];
        rule.rows(scores, labels, &mut predicted[..truth.len()]);
        vectorized(
            #[inline(always)]
            || {
                let decided = predicted.iter().zip(truth);
                cells
                    .iter_mut()
                    .zip(decided)
                    .for_each(|(cell, (&predicted, &y))| *cell = pack(predicted & (y != UNKNOWN), y == 1));
            },
        );
        for row in cells.chunks_exact(labels) {
            let [hits, predicted, positive] = unpack(row.iter().sum());
            exact += u64::from(predicted + positive == 2 * hits);
            if hits > 0 {
                f1 += (2 * hits) as f64 / (predicted + positive) as f64;
            }
        }
        let rows = (cells.len() / labels) as u64;
        add_up_rows(cells, labels);
        for (counts, &sum) in counts.iter_mut().zip(&*cells) {
            let [tp, predicted, positive] = unpack(sum);
            counts.tp += tp;
            counts.fp += predicted - tp;
            counts.fn_ += positive - tp;
            counts.tn += rows + tp - predicted - positive;
        }
    }
    // Up to here an unknown cell is a negative that is not predicted, and a row of such cells is right.
    counts.iter_mut().zip(truth.unknown()).for_each(|(counts, unknown)| counts.tn -= unknown as u64);
    let known = truth.known_rows();
    exact -= (truth.rows() - known) as u64;
    let rows = known.max(1) as f64;
    Decisions { thresholds: rule.thresholds(labels), counts, samples_f1: f1 / rows, subset_accuracy: exact as f64 / rows }
}
