//! Decisions under weights: counts are sums of weights over lists of rows.

use super::resampling::{LANES, Weights};
use super::statistic::Statistic;
use crate::LabelMatrix;
use crate::metric::average::{Average, average};
use crate::metric::{Counts, Decide, Rate, ZeroDivision};

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
    how: Average,
}

impl Decided {
    /// Decides `scores` (`[rows, labels]` row-major) by `rule`, such as a threshold per label.
    #[must_use]
    pub fn new<R: Decide + ?Sized>(scores: &[f32], truth: &LabelMatrix, rule: &R) -> Self {
        let labels = truth.names.len();
        debug_assert_eq!(scores.len(), truth.values.len(), "one score per cell");
        let mut lists = vec![[const { Vec::new() }; 3]; labels];
        let mut predicted = vec![false; labels];
        for (row, scores) in scores.chunks_exact(labels.max(1)).enumerate() {
            rule.row(scores, &mut predicted);
            for ((lists, &predicted), &y) in lists.iter_mut().zip(&predicted).zip(truth.row(row)) {
                match (predicted, y == 1) {
                    (true, true) => lists[0].push(row as u32),
                    (true, false) => lists[1].push(row as u32),
                    (false, true) => lists[2].push(row as u32),
                    (false, false) => {}
                }
            }
        }
        Self { labels: lists }
    }

    /// `rate` label by label. In a weighting without positives of a label, every rate of it but the predicted one is undefined: the
    /// label drops out of that weighting's mean.
    #[must_use]
    pub fn rate(&self, rate: Rate) -> DecidedRate<'_> {
        DecidedRate { decided: self, rate, how: Average::Macro }
    }

    /// `rate` of the counts summed over labels: one number, such as micro-F1.
    #[must_use]
    pub fn micro(&self, rate: Rate) -> DecidedRate<'_> {
        DecidedRate { decided: self, rate, how: Average::Micro }
    }

    /// The mean of `rate` over labels, weighted by support: one number, such as weighted F1.
    #[must_use]
    pub fn weighted(&self, rate: Rate) -> DecidedRate<'_> {
        DecidedRate { decided: self, rate, how: Average::Weighted }
    }

    fn counts(&self, label: usize, weights: &Weights) -> [Counts; LANES] {
        let [tp, fp, fn_] = self.labels[label].each_ref().map(|rows| {
            crate::vectorized(
                #[inline(always)]
                || sum(rows, &weights.rows),
            )
        });
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
        if self.how == Average::Macro { self.decided.labels.len() } else { 1 }
    }

    fn lanes(&self, label: usize, weights: &Weights) -> [f64; LANES] {
        if self.how == Average::Macro {
            let defined = |counts: &Counts| counts.support() > 0 || self.rate == Rate::PredictedRate;
            let counts = self.decided.counts(label, weights);
            return counts.map(|counts| if defined(&counts) { counts.rate(self.rate) } else { f64::NAN });
        }
        let labels: Vec<[Counts; LANES]> =
            (0..self.decided.labels.len()).map(|label| self.decided.counts(label, weights)).collect();
        std::array::from_fn(|lane| {
            let counts: Vec<Counts> = labels.iter().map(|lanes| lanes[lane]).collect();
            average(&counts, self.rate, self.how, ZeroDivision::Zero).unwrap_or(0.0)
        })
    }
}
