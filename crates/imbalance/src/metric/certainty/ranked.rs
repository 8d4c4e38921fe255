//! Rankings under weights: rows are sorted once, each weighting takes one pass over them.

use rayon::prelude::*;

use super::resampling::{Blocks, LANES, Weights};
use super::statistic::Statistic;
use crate::metric::curve::ordered;
use crate::{LabelMatrix, UNKNOWN};

/// The rows that know each label in falling order of score: average precision and ROC-AUC of any weighting in one pass, without a sort.
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
/// What is left of a row's weights among those of positives, by [`POSITIVE`].
const MASKS: [[u8; LANES]; 2] = [[0; LANES], [u8::MAX; LANES]];

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
            let known = |(_, cell): &(usize, usize)| truth.values[*cell] != UNKNOWN;
            let column = (label..scores.len()).step_by(labels).enumerate().filter(known);
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
                || average_precision(order, weights),
            ),
            RankedMetric::RocAuc => crate::vectorized(
                #[inline(always)]
                || roc_auc(order, &weights.rows),
            ),
        }
    }

    fn without(&self, label: usize, blocks: &Blocks) -> Option<Vec<f64>> {
        let small = blocks.sizes.iter().all(|&size| size <= SMALL);
        let closed = self.metric == RankedMetric::AveragePrecision && small;
        closed.then(|| average_precision_without(&self.ranked.labels[label], blocks))
    }
}

/// Rows of a block up to which leaving it out has a closed form here: sums are kept for each number of rows left out so far.
const SMALL: u32 = 16;

/// A place where precision is read: at the end of a tied group that holds positives.
#[derive(Clone, Copy)]
struct Read {
    /// Positives of the group, those down to its end, and rows down to its end.
    gained: f64,
    tp: f64,
    predicted: f64,
}

/// A block on the way down a ranking.
#[derive(Clone, Copy, Default)]
struct LeftOut {
    /// Its rows passed so far, and how many of them are positive, in all and in the current group.
    rows: usize,
    positives: f64,
    in_group: f64,
    /// Reads that its sum holds.
    reads: usize,
    sum: f64,
}

/// [`average_precision`] without each block. Between two rows of a block every read has lost the same b rows and a positives, so the
/// reads from i to j add up to Σ gained (tp - a) / (predicted - b) = U_b(j) - U_b(i) - a (V_b(j) - V_b(i)), with U_b and V_b the sums
/// of gained tp / (predicted - b) and gained / (predicted - b) from the first read on. O(rows + reads × rows of the largest block)
/// for all blocks; the sums are in another order than those of a pass, so the last digits may differ.
fn average_precision_without(order: &[u32], blocks: &Blocks) -> Vec<f64> {
    let mut reads = Vec::new();
    let (mut tp, mut before) = (0u32, 0);
    for (rows, cell) in (1u32..).zip(order) {
        tp += cell & POSITIVE;
        if cell & READ != 0 {
            reads.push(Read { gained: f64::from(tp - before), tp: f64::from(tp), predicted: f64::from(rows) });
            before = tp;
        }
    }
    let largest = blocks.sizes.iter().copied().max().unwrap_or(0);
    let sums: Vec<Vec<[f64; 2]>> = (0..=largest)
        .map(|left_out| {
            let mut sum = [0.0; 2];
            let next = |read: &Read| {
                // With fewer rows than were left out, all of these are further down, and the sum is not asked for.
                let share = read.gained / (read.predicted - f64::from(left_out)).max(1.0);
                sum = [sum[0] + share * read.tp, sum[1] + share];
                sum
            };
            std::iter::once([0.0; 2]).chain(reads.iter().map(next)).collect()
        })
        .collect();
    let down_to = |block: &mut LeftOut, read: usize| {
        let ([from_u, from_v], [to_u, to_v]) = (sums[block.rows][block.reads], sums[block.rows][read]);
        block.sum += to_u - from_u - block.positives * (to_v - from_v);
        block.reads = read;
    };
    let mut left_out = vec![LeftOut::default(); blocks.sizes.len()];
    let block_of = |cell: u32| blocks.of[(cell >> SHIFT) as usize] as usize;
    let mut read = 0;
    for group in order.chunk_by(|cell, _| cell & END == 0) {
        for &cell in group {
            let block = &mut left_out[block_of(cell)];
            down_to(block, read);
            let positive = f64::from(cell & POSITIVE);
            (block.rows, block.positives, block.in_group) =
                (block.rows + 1, block.positives + positive, block.in_group + positive);
        }
        if group.last().is_some_and(|cell| cell & READ != 0) {
            let Read { gained, tp, predicted } = reads[read];
            read += 1;
            for &cell in group {
                let block = &mut left_out[block_of(cell)];
                if block.reads < read {
                    let rows = (predicted - block.rows as f64).max(1.0);
                    block.sum += (gained - block.in_group) * (tp - block.positives) / rows;
                    (block.reads, block.in_group) = (read, 0.0);
                }
            }
        }
    }
    let value = |block: &mut LeftOut| {
        down_to(block, reads.len());
        let positives = f64::from(tp) - block.positives;
        if positives > 0.0 { block.sum / positives } else { f64::NAN }
    };
    left_out.iter_mut().map(value).collect()
}

/// Σ (positives gained) × precision at the end of each tied group, over all positives. Rows since the last read are counted in bytes.
#[inline(always)]
fn average_precision(order: &[u32], weights: &Weights) -> [f64; LANES] {
    let (mut predicted, mut tp, mut gained) = ([0i32; LANES], [0i32; LANES], [0i32; LANES]);
    let (mut all, mut positives, mut room) = ([0u8; LANES], [0u8; LANES], weights.bytes());
    let mut sum = [0.0; LANES];
    for &cell in order {
        let row = &weights.rows[(cell >> SHIFT) as usize];
        let mask = &MASKS[(cell & POSITIVE) as usize];
        for lane in 0..LANES {
            all[lane] += row[lane];
            positives[lane] += row[lane] & mask[lane];
        }
        room -= 1;
        if cell & READ != 0 || room == 0 {
            for lane in 0..LANES {
                predicted[lane] += i32::from(all[lane]);
                gained[lane] += i32::from(positives[lane]);
            }
            (all, positives, room) = ([0; LANES], [0; LANES], weights.bytes());
        }
        if cell & READ != 0 {
            for lane in 0..LANES {
                tp[lane] += gained[lane];
                // Before the first drawn row nothing is predicted and nothing gained.
                let precision = f64::from(tp[lane]) / f64::from(predicted[lane].max(1));
                sum[lane] += f64::from(gained[lane]) * precision;
            }
            gained = [0; LANES];
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
