//! Rates and averages of counts, as scikit-learn defines them with `zero_division=0`. The views of the database derive the same by
//! the same formulas; what is stored is counts.

use super::Counts;

/// `part / whole`, 0 where the whole is.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Counts {
    /// The counts of a model that predicts the label for every row: the trivial baseline.
    #[must_use]
    pub fn all_positive(rows: usize, positives: usize) -> Self {
        Self { tp: positives as u64, fp: rows.saturating_sub(positives) as u64, fn_: 0, tn: 0 }
    }

    /// Rows: tp + fp + fn + tn.
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
        ratio(self.support(), self.rows())
    }

    /// (tp + fp) / rows.
    #[must_use]
    pub fn predicted_rate(&self) -> f64 {
        ratio(self.tp + self.fp, self.rows())
    }

    /// tp / (tp + fp).
    #[must_use]
    pub fn precision(&self) -> f64 {
        ratio(self.tp, self.tp + self.fp)
    }

    /// tp / (tp + fn).
    #[must_use]
    pub fn recall(&self) -> f64 {
        ratio(self.tp, self.tp + self.fn_)
    }

    /// 2 tp / (2 tp + fp + fn).
    #[must_use]
    pub fn f1(&self) -> f64 {
        ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn_)
    }
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
    /// Σ (fp + fn) / Σ rows: the share of wrong cells.
    pub hamming_loss: f64,
}

impl Averages {
    /// The averages of one evaluation, given the counts of each label; zeros without labels.
    #[must_use]
    pub fn of(counts: &[Counts]) -> Self {
        let mean = |rate: fn(&Counts) -> f64| counts.iter().map(rate).sum::<f64>() / counts.len().max(1) as f64;
        let mut all = Counts::default();
        let mut weighted = 0.0;
        for label in counts {
            all.tp += label.tp;
            all.fp += label.fp;
            all.fn_ += label.fn_;
            all.tn += label.tn;
            weighted += label.support() as f64 * label.f1();
        }
        Self {
            macro_f1: mean(Counts::f1),
            micro_f1: all.f1(),
            weighted_f1: if all.support() == 0 { 0.0 } else { weighted / all.support() as f64 },
            macro_precision: mean(Counts::precision),
            macro_recall: mean(Counts::recall),
            hamming_loss: ratio(all.fp + all.fn_, all.rows()),
        }
    }
}

/// A mean over those labels for which a ranking metric is defined.
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
