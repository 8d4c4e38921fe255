//! SCut on F1 (Yang, "A study of thresholding strategies for text categorization", SIGIR 2001): per label, the cut of the
//! validation scores with the largest F1. On calibrated scores it lies at half the F1 it reaches (Lipton et al. 2014).
//!
//! A label without positives in validation has no F1 to be maximised and keeps the threshold [`UNFITTED`]; one with fewer than
//! `min_positives` takes the cut of `prior_match`, which needs only a count.

use super::cut::largest_f;
use super::{Entry, FOLDS, Fit, UNFITTED, each_label, prior_match};
use crate::Choice;
use crate::metric::Curve;
use crate::{Absent, Param, Takes};

pub(super) const MIN_POSITIVES: Param = Param {
    name: "min_positives",
    help: "labels with fewer positives in validation take the threshold of prior_match; off by default (20 is usual)",
    takes: Takes::Whole { min: 1, max: 1_000_000 },
    absent: Absent::Off,
};

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "max_f1",
    summary: "per label, the threshold with the largest F1 on validation (SCut)",
    params: &[MIN_POSITIVES, FOLDS],
    build: |choice, scores, truth| each_label(choice, scores, truth, |curve, positives| fit(choice, curve, positives, 1.0)),
};

/// The threshold with the largest F-beta; `positives` are those of the label in all of validation.
pub(super) fn fit(choice: &Choice, curve: &Curve, positives: u64, beta: f64) -> f32 {
    match largest_f(curve, beta) {
        None => UNFITTED,
        Some(_) if (positives as f64) < choice.find("min_positives").unwrap_or(0.0) => prior_match::fit(curve),
        Some((groups, _)) => curve.threshold(groups),
    }
}
