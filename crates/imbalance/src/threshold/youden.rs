//! Youden's J (Cancer 3, 1950): per label, the cut with the largest TPR - FPR, that is the largest balanced accuracy. On
//! calibrated scores it lies at the prevalence, where neg_over_pos puts 0.5 (docs/strategies.md#operating-points).
//!
//! A label with one class only in validation keeps the threshold [`UNFITTED`].

use super::cut::{best, tp};
use super::{Entry, FOLDS, Fit, UNFITTED, each_label};
use crate::metric::Curve;

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "youden",
    summary: "per label, the threshold with the largest TPR - FPR on validation (balanced accuracy)",
    params: &[FOLDS],
    build: |choice, scores, truth| each_label(choice, scores, truth, |curve, _| fit(curve)),
};

fn fit(curve: &Curve) -> f32 {
    let (positives, negatives) = (i128::from(curve.positives), i128::from(curve.rows - curve.positives));
    if positives == 0 || negatives == 0 {
        return UNFITTED;
    }
    // (TPR - FPR) x positives x negatives, exact.
    let j = |groups: usize| {
        let hits = i128::from(tp(curve, groups));
        hits * negatives - (i128::from(curve.predicted(groups)) - hits) * positives
    };
    best(0..=curve.steps.len(), |a, b| j(a).cmp(&j(b))).map_or(UNFITTED, |groups| curve.threshold(groups))
}
