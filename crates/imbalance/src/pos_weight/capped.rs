//! Negatives over positives with a ceiling (timm `max_weight`), so that a label with a handful of positives does not dominate the
//! others.

use super::{Entry, Formula, each_label};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "capped",
    summary: "negatives / positives, but at most `max`",
    params: &[Param {
        name: "max",
        help: "the largest weight",
        takes: Takes::Number { min: 1e-6, max: 1e6 },
        absent: Absent::Number(10.0),
    }],
    build: |choice, counts| {
        each_label(&choice.kind, counts, |positives, negatives| (negatives / positives).min(choice.get("max")))
    },
};
