//! PCut with factor 1 (Yang 2001; Lewis 1992): per label, the cut that predicts as many validation rows as are positive there.
//! Precision equals recall at such a cut (the break-even point), whatever the loss did to the scale of the scores.
//!
//! The prior is validation's own, which stratification makes train's up to one row: on one split the two sides of the match are
//! then counts of the same rows. Where tied scores allow no exact match, the nearest count is taken, of two the smaller one.

use super::{Entry, FOLDS, Fit, each_label};
use crate::metric::Curve;

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "prior_match",
    summary: "per label, the threshold that predicts as many validation rows as are positive (PCut)",
    params: &[FOLDS],
    build: |choice, scores, truth| each_label(choice, scores, truth, |curve, _| fit(curve)),
};

pub(super) fn fit(curve: &Curve) -> f32 {
    // `groups` highest distinct scores are predicted, 0 ..= all.
    let off = |groups: usize| curve.predicted(groups).abs_diff(curve.positives);
    let groups = (0..=curve.steps.len()).min_by_key(|&groups| off(groups)).unwrap_or(0);
    curve.threshold(groups)
}
