//! Metrics that average over rows instead of labels (scikit-learn's `average="samples"` and its label-ranking metrics). Of a row its
//! known labels count, and a row that knows none is left out.

use super::curve::{Step, is_known, sorted, steps};
use super::{Counts, Decide, Rate, ZeroDivision};
use crate::{LabelMatrix, UNKNOWN};

/// A rate's mean over rows, with what the rows for which it is 0/0 leave open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowMean {
    /// Sum over the rows that have the rate.
    sum: f64,
    /// Rows that have it.
    pub defined: u64,
    pub rows: u64,
}

impl RowMean {
    fn push(&mut self, rate: Option<f64>) {
        self.rows += 1;
        if let Some(rate) = rate {
            self.sum += rate;
            self.defined += 1;
        }
    }

    /// The mean under a convention for undefined rows; `None` where no row is left.
    #[must_use]
    pub fn mean(&self, zero_division: ZeroDivision) -> Option<f64> {
        let undefined = (self.rows - self.defined) as f64;
        let (sum, rows) = match zero_division {
            ZeroDivision::Zero => (self.sum, self.rows),
            ZeroDivision::One => (self.sum + undefined, self.rows),
            ZeroDivision::Undefined => (self.sum, self.defined),
        };
        (rows > 0).then(|| sum / rows as f64)
    }
}

/// Rates of rows under fixed decisions. Where many rows are empty in truth and prediction, the convention decides the F1: print it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SampleRates {
    pub precision: RowMean,
    pub recall: RowMean,
    /// Undefined for a row that is empty in truth and in prediction.
    pub f1: RowMean,
    /// Undefined as F1 is.
    pub jaccard: RowMean,
}

/// The rates of rows of `scores` (`[rows, labels]` row-major) under what `rule` decides: thresholds, one per label, or any other.
#[must_use]
pub fn sample_rates<R: Decide + ?Sized>(scores: &[f32], truth: &LabelMatrix, rule: &R) -> SampleRates {
    let labels = truth.names.len().max(1);
    let mut rates = SampleRates::default();
    let mut predicted = vec![false; labels];
    for (scores, truth) in scores.chunks_exact(labels).zip(truth.values.chunks_exact(labels)) {
        let mut cells = [0u64; 4];
        rule.row(scores, &mut predicted);
        for (&predicted, &y) in predicted.iter().zip(truth).filter(|(_, y)| **y != UNKNOWN) {
            cells[usize::from(predicted) << 1 | usize::from(y == 1)] += 1;
        }
        if cells == [0; 4] {
            continue;
        }
        let [tn, fn_, fp, tp] = cells;
        let row = Counts { tp, fp, fn_, tn };
        rates.precision.push(Rate::Precision.of(&row));
        rates.recall.push(Rate::Recall.of(&row));
        rates.f1.push(Rate::F(1.0).of(&row));
        rates.jaccard.push(Rate::Jaccard.of(&row));
    }
    rates
}

/// How well each row ranks its own labels; means over rows, as scikit-learn's functions of these names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LabelRanking {
    /// How far down the ranking one has to go to cover the row's labels, in labels; 0 for a row without any. Ties count in full.
    pub coverage_error: f64,
    /// Share of (true, false) pairs of labels in the wrong order, ties being wrong; 0 for a row that lacks one of the two.
    pub ranking_loss: f64,
    /// `label_ranking_average_precision_score`: the row's average precision; 1 for a row without labels or with all.
    pub ranking_average_precision: f64,
    /// Average precision of rows, undefined without labels: with [`ZeroDivision::Zero`] `average_precision_score(average="samples")`.
    pub average_precision: RowMean,
}

/// Ranks the labels of each row of `scores` (`[rows, labels]` row-major, finite). Zeros without rows.
#[must_use]
pub fn label_ranking(scores: &[f32], truth: &LabelMatrix) -> LabelRanking {
    let labels = truth.names.len().max(1);
    let mut sums = LabelRanking::default();
    let (mut cells, mut groups) = (Vec::new(), Vec::new());
    for (scores, truth) in scores.chunks_exact(labels).zip(truth.values.chunks_exact(labels)) {
        sorted(scores.iter().copied().zip(truth.iter().copied()).filter(is_known), &mut cells);
        steps(&cells, &mut groups);
        let Some(&Step { predicted: known, tp: positives, .. }) = groups.last() else { continue };
        let row = Row::of(&groups, positives);
        let both = positives > 0 && positives < known;
        sums.coverage_error += row.depth as f64;
        sums.ranking_loss += if both { row.wrong as f64 / (positives * (known - positives)) as f64 } else { 0.0 };
        sums.ranking_average_precision += if both { row.precision / positives as f64 } else { 1.0 };
        sums.average_precision.push((positives > 0).then(|| row.precision / positives as f64));
    }
    let rows = truth.known_rows().max(1) as f64;
    LabelRanking {
        coverage_error: sums.coverage_error / rows,
        ranking_loss: sums.ranking_loss / rows,
        ranking_average_precision: sums.ranking_average_precision / rows,
        average_precision: sums.average_precision,
    }
}

/// What one row's ranking adds up to.
struct Row {
    /// Labels ranked down to the last true one.
    depth: u64,
    /// Pairs of a true label and a false one that scores as high or higher.
    wrong: u64,
    /// Sum over true labels of the precision at their score.
    precision: f64,
}

impl Row {
    fn of(groups: &[Step], positives: u64) -> Self {
        let mut row = Self { depth: 0, wrong: 0, precision: 0.0 };
        let mut before = 0;
        for step in groups.iter().take_while(|_| positives > 0) {
            let gained = step.tp - before;
            before = step.tp;
            if gained > 0 {
                row.depth = step.predicted;
                row.wrong += gained * (step.predicted - step.tp);
                row.precision += gained as f64 * (step.tp as f64 / step.predicted as f64);
            }
        }
        row
    }
}
