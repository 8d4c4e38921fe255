//! Rankings under weights: rows are sorted once, each weighting takes one pass over them.

use rayon::prelude::*;

use super::resampling::{LANES, Weights};
use super::statistic::Statistic;
use crate::LabelMatrix;
use crate::metric::curve::ordered;

/// The rows of each label in falling order of score: average precision and ROC-AUC of any weighting in one pass, without a sort.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// Cells: row, flags and truth, see below.
    labels: Vec<Vec<u32>>,
}

/// Bits of a ranked cell; the row is above them.
const POSITIVE: u32 = 1;
/// The last row of a tied group that holds a positive: where precision is read.
const READ: u32 = 2;
/// The last row of a tied group.
const END: u32 = 4;
const SHIFT: u32 = 3;

/// A [`Ranked`] as a statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankedMetric {
    /// Undefined without positives.
    AveragePrecision,
    /// Undefined with one class only.
    RocAuc,
}

impl Ranked {
    /// Sorts each column of `scores` (`[rows, labels]` row-major, finite; fewer than 2^29 rows).
    #[must_use]
    pub fn new(scores: &[f32], truth: &LabelMatrix) -> Self {
        let labels = truth.names.len();
        debug_assert!(scores.len() == truth.values.len() && truth.rows() < 1 << (32 - SHIFT));
        let order = |label: usize| {
            let column = (label..scores.len()).step_by(labels).enumerate();
            let mut cells: Vec<u64> = column.map(|(row, cell)| u64::from(!ordered(scores[cell])) << 32 | row as u64).collect();
            cells.sort_unstable();
            let positive = |cell: u64| truth.values[(cell as u32) as usize * labels + label] == 1;
            let mut order = Vec::with_capacity(cells.len());
            for group in cells.chunk_by(|a, b| a >> 32 == b >> 32) {
                let any = group.iter().any(|&cell| positive(cell));
                order.extend(group.iter().map(|&cell| (cell as u32) << SHIFT | if positive(cell) { POSITIVE } else { 0 }));
                if let Some(last) = order.last_mut() {
                    *last |= END | if any { READ } else { 0 };
                }
            }
            order
        };
        Self { labels: (0..labels).into_par_iter().map(order).collect() }
    }

    /// One of its metrics, a value per label.
    #[must_use]
    pub fn metric(&self, metric: RankedMetric) -> impl Statistic + '_ {
        RankedStatistic { ranked: self, metric }
    }
}

struct RankedStatistic<'a> {
    ranked: &'a Ranked,
    metric: RankedMetric,
}

impl Statistic for RankedStatistic<'_> {
    fn labels(&self) -> usize {
        self.ranked.labels.len()
    }

    fn lanes(&self, label: usize, weights: &Weights) -> [f64; LANES] {
        let order = &self.ranked.labels[label];
        match self.metric {
            RankedMetric::AveragePrecision => crate::vectorized(
                #[inline(always)]
                || average_precision(order, &weights.rows),
            ),
            RankedMetric::RocAuc => crate::vectorized(
                #[inline(always)]
                || roc_auc(order, &weights.rows),
            ),
        }
    }
}

/// Σ (positives gained) × precision at the end of each tied group, over all positives.
#[inline(always)]
fn average_precision(order: &[u32], weights: &[[u8; LANES]]) -> [f64; LANES] {
    let (mut predicted, mut tp, mut before) = ([0i32; LANES], [0i32; LANES], [0i32; LANES]);
    let mut sum = [0.0; LANES];
    for &cell in order {
        let row = &weights[(cell >> SHIFT) as usize];
        let mask = -((cell & POSITIVE) as i32);
        for lane in 0..LANES {
            let weight = i32::from(row[lane]);
            predicted[lane] += weight;
            tp[lane] += weight & mask;
        }
        if cell & READ != 0 {
            for lane in 0..LANES {
                // Before the first drawn row nothing is predicted and nothing gained.
                let precision = f64::from(tp[lane]) / f64::from(predicted[lane].max(1));
                sum[lane] += f64::from(tp[lane] - before[lane]) * precision;
            }
            before = tp;
        }
    }
    std::array::from_fn(|lane| sum[lane] / f64::from(tp[lane]))
}

/// Pairs in the right order, ties counting half, over all pairs (Mann-Whitney).
#[inline(always)]
fn roc_auc(order: &[u32], weights: &[[u8; LANES]]) -> [f64; LANES] {
    let (mut fp, mut tp, mut before) = ([0i32; LANES], [0i32; LANES], [[0i32; LANES]; 2]);
    // Twice the pairs, whole numbers below 2^53.
    let mut twice = [0.0; LANES];
    for &cell in order {
        let row = &weights[(cell >> SHIFT) as usize];
        let mask = -((cell & POSITIVE) as i32);
        for lane in 0..LANES {
            let weight = i32::from(row[lane]);
            tp[lane] += weight & mask;
            fp[lane] += weight & !mask;
        }
        if cell & END != 0 {
            for lane in 0..LANES {
                twice[lane] += f64::from(fp[lane] - before[0][lane]) * (f64::from(tp[lane]) + f64::from(before[1][lane]));
            }
            before = [fp, tp];
        }
    }
    std::array::from_fn(|lane| twice[lane] / (2.0 * f64::from(tp[lane]) * f64::from(fp[lane])))
}
