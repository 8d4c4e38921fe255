//! A precision to be kept, per label: of the cuts that reach it on validation the one that finds most positives, of equal ones the one
//! with the fewest predictions. A label that never reaches it is not predicted at all. A precision on validation is an estimate: new rows
//! will miss it about half of the time, and by much where few rows are predicted.

use std::cmp::Reverse;

use super::cut::tp;
use super::{Entry, FOLDS, Fit, each_label};
use crate::metric::Curve;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "precision_at_least",
    summary: "per label, the threshold that finds most positives with a precision on validation",
    params: &[
        Param {
            name: "precision",
            help: "share of the predictions to be right",
            takes: Takes::Number { min: 0.01, max: 1.0 },
            absent: Absent::Number(0.9),
        },
        FOLDS,
    ],
    build: |choice, scores, truth| each_label(choice, scores, truth, |curve, _| fit(curve, choice.get("precision"))),
};

fn fit(curve: &Curve, precision: f64) -> f32 {
    let right = |&groups: &usize| tp(curve, groups) as f64 >= precision * curve.predicted(groups) as f64 - 1e-9;
    let reaching = (1..=curve.steps.len()).filter(right);
    let found = reaching.max_by_key(|&groups| (tp(curve, groups), Reverse(groups)));
    curve.threshold(found.filter(|&groups| tp(curve, groups) > 0).unwrap_or(0))
}
