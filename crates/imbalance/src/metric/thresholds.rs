//! Counts of every label at many thresholds, in one pass over the scores and without a sort.
//!
//! A score belongs to the bin between two neighbouring thresholds; a histogram of the bins, summed from above, is the counts at all
//! of them. The bin is found through a table over the range of the thresholds, so that its cost does not grow with their number.
//! (For every threshold that could matter, take [`super::Curve`]; for one threshold per label, [`super::decide()`].)

use rayon::prelude::*;

use super::Counts;
use crate::{LabelMatrix, UNKNOWN};

/// Counts per label, threshold by threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// `[label][threshold]`, in the order of the thresholds given.
    pub counts: Vec<Vec<Counts>>,
}

/// Cells that are worth a thread, about a millisecond: on a busy machine it takes longer than that until another one is awake.
const PIECE: usize = 1 << 17;

/// The counts of every label, on the rows that know it, at each of `thresholds` (any order, not NaN; the same for every label),
/// positive where score >= threshold. `scores` is `[rows, labels]` row-major, finite. O(cells + labels × thresholds).
#[must_use]
pub fn counts_at(scores: &[f32], truth: &LabelMatrix, thresholds: &[f32]) -> Grid {
    let labels = truth.names.len();
    let bins = Bins::new(thresholds);
    let width = 2 * (thresholds.len() + 1);
    let add = |mut histogram: Vec<u64>, (scores, truth): (&[f32], &[u8])| {
        bins.count(scores, truth, labels, &mut histogram);
        histogram
    };
    let sum = |mut sum: Vec<u64>, part: Vec<u64>| {
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        sum
    };
    let empty = || vec![0; labels * width];
    // Few long pieces: each thread clears and sums one histogram.
    let piece = labels.max(1) * truth.rows().div_ceil(4 * rayon::current_num_threads()).max(PIECE.div_ceil(labels.max(1)));
    let histogram = if scores.len() <= piece {
        add(empty(), (scores, &truth.values))
    } else {
        let pieces = scores.par_chunks(piece).zip(truth.values.par_chunks(piece));
        pieces.fold(empty, add).reduce(empty, sum)
    };
    Grid { counts: histogram.chunks_exact(width).map(|label| bins.decide(label)).collect() }
}

/// Thresholds in rising order, and a table that finds a score's place among them.
struct Bins {
    sorted: Vec<f32>,
    /// Place of each sorted threshold among those given.
    place: Vec<usize>,
    low: f32,
    /// Table cells per unit of score.
    scale: f32,
    /// For each cell, how many thresholds surely lie at or below every score in it.
    table: Vec<u32>,
}

/// Cells of the table a threshold: with more than one, a look-up is rarely followed by more than one comparison.
const CELLS: usize = 4;

impl Bins {
    fn new(thresholds: &[f32]) -> Self {
        debug_assert!(thresholds.iter().all(|threshold| !threshold.is_nan()), "thresholds are numbers");
        let mut place: Vec<usize> = (0..thresholds.len()).collect();
        place.sort_by(|&a, &b| thresholds[a].total_cmp(&thresholds[b]));
        // -0 and 0 are one number, whichever of the two a caller wrote.
        let sorted: Vec<f32> = place.iter().map(|&place| thresholds[place] + 0.0).collect();
        let finite = || sorted.iter().copied().filter(|threshold| threshold.is_finite());
        let low = finite().next().unwrap_or(0.0);
        let span = finite().next_back().unwrap_or(0.0) - low;
        let cells = CELLS * sorted.len();
        let scale = cells as f32 / span;
        // Thresholds (all but) equal: one cell, and every score is compared from the start.
        let scale = if scale.is_finite() { scale } else { 0.0 };
        let mut bins = Self { sorted, place, low, scale, table: Vec::new() };
        // Cells rise with scores, so a threshold in a lower cell lies below every score of this one, whatever rounding did.
        let of: Vec<usize> = bins.sorted.iter().map(|&threshold| bins.cell(threshold, cells)).collect();
        bins.table = (0..=cells).map(|cell| of.partition_point(|&threshold| threshold < cell) as u32).collect();
        bins
    }

    /// The cell of a score; rises with it.
    fn cell(&self, score: f32, last: usize) -> usize {
        // A cast saturates: below the range is 0.
        (((score - self.low) * self.scale) as usize).min(last)
    }

    /// Thresholds at or below `score`: 0 ..= all.
    fn bin(&self, score: f32) -> usize {
        let mut bin = self.table[self.cell(score, self.table.len() - 1)] as usize;
        while self.sorted.get(bin).is_some_and(|&threshold| threshold <= score) {
            bin += 1;
        }
        bin
    }

    /// Adds whole rows to `histogram`, which is `[label][bin][y]`.
    fn count(&self, scores: &[f32], truth: &[u8], labels: usize, histogram: &mut [u64]) {
        let width = 2 * (self.sorted.len() + 1);
        for (scores, truth) in scores.chunks_exact(labels.max(1)).zip(truth.chunks_exact(labels.max(1))) {
            for ((&score, &y), histogram) in scores.iter().zip(truth).zip(histogram.chunks_exact_mut(width)) {
                debug_assert!(score.is_finite(), "scores are finite");
                histogram[2 * self.bin(score) + usize::from(y == 1)] += u64::from(y != UNKNOWN);
            }
        }
    }

    /// The counts at each threshold from one label's histogram.
    fn decide(&self, histogram: &[u64]) -> Vec<Counts> {
        let sum = |y: usize| histogram.iter().skip(y).step_by(2).sum::<u64>();
        let (negatives, positives) = (sum(0), sum(1));
        let mut counts = vec![Counts::default(); self.place.len()];
        let (mut fp, mut tp) = (0, 0);
        for bin in (1..=self.place.len()).rev() {
            fp += histogram[2 * bin];
            tp += histogram[2 * bin + 1];
            counts[self.place[bin - 1]] = Counts { tp, fp, fn_: positives - tp, tn: negatives - fp };
        }
        counts
    }
}
