//! Averages of rates over labels, as scikit-learn defines them. The views of the database derive the same by the same formulas;
//! what is stored is counts.

use super::{Counts, Rate, ZeroDivision};

/// How the rates of several labels become one: scikit-learn's `average`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean of the labels' rates: every label counts alike.
    Macro,
    /// The rate of the summed counts: every cell counts alike.
    Micro,
    /// The mean weighted by support; where there is no support at all, the plain mean.
    Weighted,
}

/// `rate` averaged over labels; `None` where nothing defined is left to average, which needs [`ZeroDivision::Undefined`] or no label.
/// (scikit-learn accepts `zero_division=nan` for precision, recall and F-beta only; here it means the same for every rate.)
#[must_use]
pub fn average(counts: &[Counts], rate: Rate, average: Average, zero_division: ZeroDivision) -> Option<f64> {
    if average == Average::Micro {
        return if counts.is_empty() { None } else { zero_division.settle(rate.of(&counts.iter().copied().sum())) };
    }
    let (mut sum, mut weighted, mut labels, mut support) = (0.0, 0.0, 0.0, 0.0);
    for label in counts {
        if let Some(value) = zero_division.settle(rate.of(label)) {
            sum += value;
            labels += 1.0;
            weighted += value * label.support() as f64;
            support += label.support() as f64;
        }
    }
    let mean = if average == Average::Weighted && support > 0.0 { weighted / support } else { sum / labels };
    (labels > 0.0).then_some(mean)
}

/// The averages over labels, named as the columns of the view `leaderboard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Averages {
    /// Mean of the labels' F1 (not the F1 of the mean precision and recall).
    pub macro_f1: f64,
    /// 2 Σtp / (2 Σtp + Σfp + Σfn).
    pub micro_f1: f64,
    /// Σ support f1 / Σ support; 0 where there is no support.
    pub weighted_f1: f64,
    /// Mean of the labels' precision.
    pub macro_precision: f64,
    /// Mean of the labels' recall.
    pub macro_recall: f64,
    /// Σ (fp + fn) / Σ rows: the share of wrong cells among the known ones.
    pub hamming_loss: f64,
}

impl Averages {
    /// The averages of one evaluation, given the counts of each label; zeros without labels.
    #[must_use]
    pub fn of(counts: &[Counts]) -> Self {
        let of = |rate, how| average(counts, rate, how, ZeroDivision::Zero).unwrap_or(0.0);
        let all: Counts = counts.iter().copied().sum();
        Self {
            macro_f1: of(Rate::F(1.0), Average::Macro),
            micro_f1: of(Rate::F(1.0), Average::Micro),
            weighted_f1: of(Rate::F(1.0), Average::Weighted),
            macro_precision: of(Rate::Precision, Average::Macro),
            macro_recall: of(Rate::Recall, Average::Macro),
            hamming_loss: if all.rows() == 0 { 0.0 } else { (all.fp + all.fn_) as f64 / all.rows() as f64 },
        }
    }
}

/// A mean over those labels (or rows) for which a metric is defined.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct MeanDefined {
    pub mean: f64,
    /// Labels that entered.
    pub labels: usize,
}

/// `macro_ap` or `macro_auc`: the mean over the labels that have the metric; `None` if none has.
#[must_use]
pub fn mean_defined(metric: &[Option<f64>]) -> Option<MeanDefined> {
    let labels = metric.iter().flatten().count();
    (labels > 0).then(|| MeanDefined { mean: metric.iter().flatten().sum::<f64>() / labels as f64, labels })
}
