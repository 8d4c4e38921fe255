//! Decisions under weights: counts are sums of weights over lists of rows.

use super::resampling::{LANES, Weights};
use super::statistic::Statistic;
use crate::data::LabelMatrix;
use crate::metric::{Counts, Rate};

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
