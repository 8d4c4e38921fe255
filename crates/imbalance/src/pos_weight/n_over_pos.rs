//! Rows over positives, 1 / prevalence, or a power of it: neg_over_pos plus 1 at exponent 1, never below 1.

use super::{Entry, Formula, each_label};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "n_over_pos",
    summary: "(rows / positives)^exponent: 1 / prevalence",
    params: &[Param {
        name: "exponent",
        help: "0.5 is the square root",
        takes: Takes::Number { min: 0.0, max: 2.0 },
        absent: Absent::Number(1.0),
    }],
    build: |choice, counts| {
        let exponent = choice.get("exponent");
        // By libm, as every formula here that is not exact: the weights are part of a run's name on every machine.
        each_label(&choice.kind, counts, |positives, negatives| libm::pow((positives + negatives) / positives, exponent))
    },
};
