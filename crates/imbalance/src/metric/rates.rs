//! Rates of one label's counts (docs/strategies.md#metrics), with scikit-learn's conventions for division by zero.
//!
//! The plain methods give 0 for 0/0, as the database's views and `zero_division=0` do. [`Rate::of`] says `None` instead, and
//! [`ZeroDivision`] decides what it counts as.

use super::Counts;
use crate::LabelCounts;

/// What an undefined rate, 0/0, counts as: scikit-learn's `zero_division`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroDivision {
    /// 0, sweep's convention everywhere but in rankings.
    #[default]
    Zero,
    One,
    /// Left out of averages (`zero_division=nan`).
    Undefined,
}

impl ZeroDivision {
    /// The rate, or what stands for an undefined one.
    #[must_use]
    pub fn settle(self, rate: Option<f64>) -> Option<f64> {
        rate.or(match self {
            Self::Zero => Some(0.0),
            Self::One => Some(1.0),
            Self::Undefined => None,
        })
    }
}

/// A rate of one label's counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// tp / (tp + fp); undefined where nothing is predicted.
    Precision,
    /// tp / (tp + fn); undefined without positives.
    Recall,
    /// tn / (tn + fp); undefined without negatives.
    Specificity,
    /// F-beta: (1+b²) tp / ((1+b²) tp + b² fn + fp); undefined only where tp + fp + fn = 0. Beta 0 is precision, infinity is
    /// recall.
    F(f64),
    /// tp / (tp + fp + fn); undefined where all three are 0.
    Jaccard,
    /// (recall + specificity) / 2; undefined unless both classes occur.
    BalancedAccuracy,
    /// Matthews' correlation coefficient; 0 where any margin is 0, as in scikit-learn.
    Mcc,
    /// (tp + fp) / rows; undefined without rows.
    PredictedRate,
    /// (fp + fn) / rows: the Hamming loss; undefined without rows.
    Error,
}

/// `part / whole`; undefined where the whole is 0.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Rate {
    /// The rate of `counts`; `None` where it is 0/0.
    #[must_use]
    pub fn of(self, counts: &Counts) -> Option<f64> {
        let Counts { tp, fp, fn_, tn } = *counts;
        match self {
            Self::Precision | Self::F(0.0) => ratio(tp, tp + fp),
            Self::Recall | Self::F(f64::INFINITY) => ratio(tp, tp + fn_),
            Self::Specificity => ratio(tn, tn + fp),
            Self::F(1.0) => ratio(2 * tp, 2 * tp + fp + fn_),
            Self::F(beta) => {
                let square = beta * beta;
                let whole = (1.0 + square) * tp as f64 + square * fn_ as f64 + fp as f64;
                (whole > 0.0).then(|| (1.0 + square) * tp as f64 / whole)
            }
            Self::Jaccard => ratio(tp, tp + fp + fn_),
            Self::BalancedAccuracy => Some(f64::midpoint(Self::Recall.of(counts)?, Self::Specificity.of(counts)?)),
            Self::Mcc => Some(matthews(counts)),
            Self::PredictedRate => ratio(tp + fp, counts.rows()),
            Self::Error => ratio(fp + fn_, counts.rows()),
        }
    }
}

/// (tp tn - fp fn) / √((tp+fp)(tp+fn)(tn+fp)(tn+fn)). The numerator is exact: it may be a small difference of large products.
fn matthews(counts: &Counts) -> f64 {
    let Counts { tp, fp, fn_, tn } = *counts;
    let covariance = i128::from(tp) * i128::from(tn) - i128::from(fp) * i128::from(fn_);
    let margins = (tp + fp) as f64 * (tp + fn_) as f64 * (tn + fp) as f64 * (tn + fn_) as f64;
    if margins > 0.0 { covariance as f64 / margins.sqrt() } else { 0.0 }
}

impl Counts {
    /// The counts, label by label, of a model that predicts every label for every row: the trivial baseline.
    #[must_use]
    pub fn all_positive(truth: &LabelCounts) -> Vec<Self> {
        let of = |(label, &positives): (usize, &usize)| Self {
            tp: positives as u64,
            fp: truth.negatives(label) as u64,
            ..Self::default()
        };
        truth.positives.iter().enumerate().map(of).collect()
    }

    /// Rows that know the label: tp + fp + fn + tn.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tp + self.fp + self.fn_ + self.tn
    }

    /// Positives in truth: tp + fn.
    #[must_use]
    pub fn support(&self) -> u64 {
        self.tp + self.fn_
    }

    /// (tp + fn) / rows.
    #[must_use]
    pub fn prevalence(&self) -> f64 {
        ratio(self.support(), self.rows()).unwrap_or(0.0)
    }

    /// `rate`, 0 where it is undefined.
    #[must_use]
    pub fn rate(&self, rate: Rate) -> f64 {
        rate.of(self).unwrap_or(0.0)
    }

    /// (tp + fp) / rows.
    #[must_use]
    pub fn predicted_rate(&self) -> f64 {
        self.rate(Rate::PredictedRate)
    }

    /// tp / (tp + fp).
    #[must_use]
    pub fn precision(&self) -> f64 {
        self.rate(Rate::Precision)
    }

    /// tp / (tp + fn).
    #[must_use]
    pub fn recall(&self) -> f64 {
        self.rate(Rate::Recall)
    }

    /// 2 tp / (2 tp + fp + fn).
    #[must_use]
    pub fn f1(&self) -> f64 {
        self.rate(Rate::F(1.0))
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { tp: self.tp + other.tp, fp: self.fp + other.fp, fn_: self.fn_ + other.fn_, tn: self.tn + other.tn }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| sum + counts)
    }
}
