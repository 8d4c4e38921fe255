//! A power of negatives over positives: exponent 0 is no weight, 1/2 is sqrt, 1 is neg_over_pos.

use super::{Entry, Formula, each_label};
use crate::{Absent, LabelCounts, Param, StrategyError, Takes};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "power",
    summary: "(negatives / positives)^exponent",
    params: &[Param {
        name: "exponent",
        help: "0 is none, 0.5 is sqrt, 1 is neg_over_pos",
        takes: Takes::Number { min: 0.0, max: 2.0 },
        absent: Absent::Error,
    }],
    build: |choice, counts| weights(&choice.kind, counts, choice.get("exponent")),
};

/// The weights, to the last bit the same for every formula of one exponent and on every machine: equal weights are one run.
pub(super) fn weights(kind: &str, counts: &LabelCounts, exponent: f64) -> Result<Vec<f64>, StrategyError> {
    each_label(kind, counts, |positives, negatives| libm::pow(negatives / positives, exponent))
}
