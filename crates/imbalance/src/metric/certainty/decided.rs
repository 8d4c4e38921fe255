//! Decisions under weights: counts are sums of weights over lists of rows.

use super::resampling::{Blocks, LANES, Weights};
use super::statistic::Statistic;
use crate::metric::average::{Average, average};
use crate::metric::{Counts, Decide, Rate, ZeroDivision};
use crate::{LabelMatrix, UNKNOWN};

/// Decisions under thresholds held fixed: which rows of each label are hits, false alarms and misses.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Rows that are (tp, fp, fn), and those that do not know the label, a label.
    labels: Vec<[Vec<u32>; 4]>,
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
        let mut lists = vec![[const { Vec::new() }; 4]; labels];
        let mut predicted = vec![false; labels];
        for (row, scores) in scores.chunks_exact(labels.max(1)).enumerate() {
            rule.row(scores, &mut predicted);
            for ((lists, &predicted), &y) in lists.iter_mut().zip(&predicted).zip(truth.row(row)) {
                match (predicted, y == 1) {
                    _ if y == UNKNOWN => lists[3].push(row as u32),
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

    /// Counts of `label` without each block: those of all rows less those of the block. O(rows + blocks).
    fn counts_without(&self, label: usize, blocks: &Blocks) -> Vec<Counts> {
        let lists = &self.labels[label];
        let of_block = lists.each_ref().map(|rows| {
            let mut counts = vec![0u64; blocks.sizes.len()];
            rows.iter().for_each(|&row| counts[blocks.of[row as usize] as usize] += 1);
            counts
        });
        let all = lists.each_ref().map(|rows| rows.len() as u64);
        let without = |(block, &size): (usize, &u32)| {
            let [tp, fp, fn_, unknown] = std::array::from_fn(|list| all[list] - of_block[list][block]);
            Counts { tp, fp, fn_, tn: blocks.of.len() as u64 - u64::from(size) - tp - fp - fn_ - unknown }
        };
        blocks.sizes.iter().enumerate().map(without).collect()
    }

    /// Counts of `label` under each weighting.
    fn counts<'w>(&self, label: usize, weights: &'w Weights) -> impl Fn(usize) -> Counts + use<'w> {
        let [tp, fp, fn_, unknown] = self.labels[label].each_ref().map(|rows| {
            crate::vectorized(
                #[inline(always)]
                || sum(rows, weights),
            )
        });
        move |lane| {
            let [tp, fp, fn_, unknown] = [tp[lane], fp[lane], fn_[lane], unknown[lane]].map(u64::from);
            Counts { tp, fp, fn_, tn: weights.totals[lane] - tp - fp - fn_ - unknown }
        }
    }
}

#[inline(always)]
fn sum(rows: &[u32], weights: &Weights) -> [u32; LANES] {
    let mut sum = [0; LANES];
    for rows in rows.chunks(weights.bytes()) {
        let mut bytes = [0; LANES];
        for &row in rows {
            let row = &weights.rows[row as usize];
            for lane in 0..LANES {
                bytes[lane] += row[lane];
            }
        }
        for lane in 0..LANES {
            sum[lane] += u32::from(bytes[lane]);
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
            let counts = self.decided.counts(label, weights);
            return std::array::from_fn(|lane| self.of_label(&counts(lane)));
        }
        let labels: Vec<_> = (0..self.decided.labels.len()).map(|label| self.decided.counts(label, weights)).collect();
        std::array::from_fn(|lane| self.of_all(labels.iter().map(|counts| counts(lane))))
    }

    fn without(&self, label: usize, blocks: &Blocks) -> Option<Vec<f64>> {
        if self.how == Average::Macro {
            return Some(self.decided.counts_without(label, blocks).iter().map(|counts| self.of_label(counts)).collect());
        }
        let labels: Vec<Vec<Counts>> =
            (0..self.decided.labels.len()).map(|label| self.decided.counts_without(label, blocks)).collect();
        Some((0..blocks.sizes.len()).map(|block| self.of_all(labels.iter().map(|counts| counts[block]))).collect())
    }
}

impl DecidedRate<'_> {
    /// NaN without positives, unless the rate needs none.
    fn of_label(&self, counts: &Counts) -> f64 {
        let defined = counts.support() > 0 || self.rate == Rate::PredictedRate;
        if defined { counts.rate(self.rate) } else { f64::NAN }
    }

    /// The average over labels.
    fn of_all(&self, labels: impl Iterator<Item = Counts>) -> f64 {
        average(&labels.collect::<Vec<_>>(), self.rate, self.how, ZeroDivision::Zero).unwrap_or(0.0)
    }
}
