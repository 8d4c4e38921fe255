//! Statistics of weighted rows, [`LANES`] weightings at a time: rankings over presorted rows, counts over lists of rows, row means.

use rayon::prelude::*;

use super::resampling::{LANES, Weights};
use crate::data::LabelMatrix;
use crate::metric::curve::ordered;
use crate::metric::{Counts, Rate};

/// What [`super::bootstrap`] can resample.
pub trait Statistic: Sync {
    /// Labels it has a value for; 1 if it is one number for all.
    fn labels(&self) -> usize;

    /// The value of `label` under each weighting; NaN where it is undefined, which drops the label from that weighting's mean.
    fn lanes(&self, label: usize, weights: &Weights) -> [f64; LANES];
}

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

    /// One of its metrics, a value a label.
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
            RankedMetric::AveragePrecision => pulp::Arch::new().dispatch(|| average_precision(order, &weights.rows)),
            RankedMetric::RocAuc => pulp::Arch::new().dispatch(|| roc_auc(order, &weights.rows)),
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

/// Decisions under thresholds held fixed: which rows of each label are hits, false alarms and misses.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Rows that are (tp, fp, fn), a label.
    labels: Vec<[Vec<u32>; 3]>,
}

/// A rate of [`Decided`] as a statistic.
#[derive(Clone, Copy, Debug)]
pub struct DecidedRate<'a> {
    decided: &'a Decided,
    rate: Rate,
    micro: bool,
}

impl Decided {
    /// Decides `scores` (`[rows, labels]` row-major) under `thresholds`, one a label.
    #[must_use]
    pub fn new(scores: &[f32], truth: &LabelMatrix, thresholds: &[f32]) -> Self {
        let labels = truth.names.len();
        debug_assert!(scores.len() == truth.values.len() && thresholds.len() == labels);
        let mut lists = vec![[const { Vec::new() }; 3]; labels];
        for (cell, (&score, &y)) in scores.iter().zip(&truth.values).enumerate() {
            let (row, label) = ((cell / labels) as u32, cell % labels);
            match (score >= thresholds[label], y == 1) {
                (true, true) => lists[label][0].push(row),
                (true, false) => lists[label][1].push(row),
                (false, true) => lists[label][2].push(row),
                (false, false) => {}
            }
        }
        Self { labels: lists }
    }

    /// `rate` label by label. In a weighting without positives of a label, every rate of it but the predicted one is undefined: the
    /// label drops out of that weighting's mean.
    #[must_use]
    pub fn rate(&self, rate: Rate) -> DecidedRate<'_> {
        DecidedRate { decided: self, rate, micro: false }
    }

    /// `rate` of the counts summed over labels: one number, such as micro-F1.
    #[must_use]
    pub fn micro(&self, rate: Rate) -> DecidedRate<'_> {
        DecidedRate { decided: self, rate, micro: true }
    }

    fn counts(&self, label: usize, weights: &Weights) -> [Counts; LANES] {
        let [tp, fp, fn_] = self.labels[label].each_ref().map(|rows| pulp::Arch::new().dispatch(|| sum(rows, &weights.rows)));
        std::array::from_fn(|lane| {
            let [tp, fp, fn_] = [tp, fp, fn_].map(|lanes| u64::from(lanes[lane]));
            Counts { tp, fp, fn_, tn: weights.totals[lane] - tp - fp - fn_ }
        })
    }
}

#[inline(always)]
fn sum(rows: &[u32], weights: &[[u8; LANES]]) -> [u32; LANES] {
    let mut sum = [0; LANES];
    for &row in rows {
        let row = &weights[row as usize];
        for lane in 0..LANES {
            sum[lane] += u32::from(row[lane]);
        }
    }
    sum
}

impl Statistic for DecidedRate<'_> {
    fn labels(&self) -> usize {
        if self.micro { 1 } else { self.decided.labels.len() }
    }

    fn lanes(&self, label: usize, weights: &Weights) -> [f64; LANES] {
        if self.micro {
            let mut all = [Counts::default(); LANES];
            for label in 0..self.decided.labels.len() {
                let counts = self.decided.counts(label, weights);
                all.iter_mut().zip(counts).for_each(|(sum, counts)| *sum = *sum + counts);
            }
            return all.map(|counts| self.rate.of(&counts).unwrap_or(0.0));
        }
        let defined = |counts: &Counts| counts.support() > 0 || self.rate == Rate::PredictedRate;
        self.decided.counts(label, weights).map(|counts| if defined(&counts) { counts.rate(self.rate) } else { f64::NAN })
    }
}

/// A number a row and label, whose weighted mean is the statistic: Brier score, calibration gap, samples-F1.
#[derive(Clone, Debug)]
pub struct RowValues {
    /// `[label][row]`.
    pub labels: Vec<Vec<f64>>,
}

impl RowValues {
    /// `value(score, y)` of every cell: `(q - y)²` is the Brier score, `q - y` the calibration gap.
    #[must_use]
    pub fn of_cells(scores: &[f32], truth: &LabelMatrix, value: impl Fn(f64, f64) -> f64) -> Self {
        let of = |label: usize| {
            let column = crate::metric::curve::column(scores, truth, label);
            column.map(|(score, y)| value(score.into(), y.into())).collect()
        };
        Self { labels: (0..truth.names.len()).map(of).collect() }
    }
}

impl Statistic for RowValues {
    fn labels(&self) -> usize {
        self.labels.len()
    }

    fn lanes(&self, label: usize, weights: &Weights) -> [f64; LANES] {
        let sum = pulp::Arch::new().dispatch(|| weighted(&self.labels[label], &weights.rows));
        std::array::from_fn(|lane| sum[lane] / weights.totals[lane] as f64)
    }
}

#[inline(always)]
fn weighted(values: &[f64], weights: &[[u8; LANES]]) -> [f64; LANES] {
    let mut sum = [0.0; LANES];
    for (value, row) in values.iter().zip(weights) {
        for lane in 0..LANES {
            sum[lane] += value * f64::from(row[lane]);
        }
    }
    sum
}
