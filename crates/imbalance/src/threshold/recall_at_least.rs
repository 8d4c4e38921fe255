//! A recall to be kept, per label.
//!
//! `expected`: the threshold of class-conditional conformal prediction (Sadinle, Lei, Wasserman, JASA 2019): the positive validation score
//! of falling rank `ceil(recall (n+1))` of n. A new positive scores at least that with a probability of at least `recall`, whatever the
//! scores mean. Where n is too small to promise it, everything is predicted. `validation`: the cut of the best precision among those
//! that reach the recall on validation itself, which new rows will miss about half of the time.

use super::cut::{best, fractions, tp};
use super::{Entry, FOLDS, Fit, UNFITTED, each_label};
use crate::metric::Curve;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "recall_at_least",
    summary: "per label, the highest threshold that keeps a recall",
    params: &[
        Param {
            name: "recall",
            help: "share of the positives to be found",
            takes: Takes::Number { min: 0.01, max: 1.0 },
            absent: Absent::Number(0.9),
        },
        Param {
            name: "guarantee",
            help: "expected: the recall of new rows; validation: best precision with that recall on validation",
            takes: Takes::Word(&["expected", "validation"]),
            absent: Absent::Word("expected"),
        },
        FOLDS,
    ],
    build: |choice, scores, truth| {
        let rule = if choice.word("guarantee") == "expected" { expected } else { on_validation };
        each_label(choice, scores, truth, |curve, _| rule(curve, choice.get("recall")))
    },
};

/// `share` of `count`, rounded up; what a product is above a whole number by rounding does not count.
fn share_of(share: f64, count: u64) -> u64 {
    (share * count as f64 - 1e-9).ceil().max(0.0) as u64
}

fn expected(curve: &Curve, recall: f64) -> f32 {
    let needed = share_of(recall, curve.positives + 1);
    let groups = curve.steps.iter().position(|step| step.tp >= needed);
    groups.map_or(0.0, |group| curve.threshold(group + 1))
}

fn on_validation(curve: &Curve, recall: f64) -> f32 {
    if curve.positives == 0 {
        return UNFITTED;
    }
    let needed = share_of(recall, curve.positives);
    let precision = |groups: usize| (tp(curve, groups) as f64, curve.predicted(groups) as f64);
    let reaching = (1..=curve.steps.len()).filter(|&groups| tp(curve, groups) >= needed);
    best(reaching, |a, b| fractions(precision(a), precision(b))).map_or(UNFITTED, |groups| curve.threshold(groups))
}
