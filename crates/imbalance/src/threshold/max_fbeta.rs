//! SCut on F-beta, `(1+b²) P R / (b² P + R)`: recall counts b times as much as precision. On calibrated scores the threshold lies
//! at F / (1+b²) (docs/strategies.md#best-threshold). Otherwise as max_f1, which it is at beta = 1.

use super::max_f1::{MIN_POSITIVES, fit};
use super::{Entry, FOLDS, Fit, each_label};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "max_fbeta",
    summary: "per label, the threshold with the largest F-beta on validation (SCut)",
    params: &[
        Param {
            name: "beta",
            help: "how much more recall counts than precision: 2 for recall, 0.5 for precision",
            takes: Takes::Number { min: 0.01, max: 100.0 },
            absent: Absent::Number(2.0),
        },
        MIN_POSITIVES,
        FOLDS,
    ],
    build: |choice, scores, truth| {
        each_label(choice, scores, truth, |curve, positives| fit(choice, curve, positives, choice.get("beta")))
    },
};
