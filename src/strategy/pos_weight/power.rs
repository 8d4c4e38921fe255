//! A power of negatives over positives: exponent 0 is no weight, 1/2 is sqrt, 1 is neg_over_pos.

use super::{Build, Entry, each_label};
use crate::strategy::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Build> = Entry {
    kind: "power",
    summary: "(negatives / positives)^exponent",
    params: &[Param {
        name: "exponent",
        help: "0 is none, 0.5 is sqrt, 1 is neg_over_pos",
        takes: Takes::Number { min: 0.0, max: 2.0 },
        absent: Absent::Error,
    }],
    build: |choice, counts| {
        let exponent = choice.get("exponent");
        each_label(&choice.kind, counts, |positives, negatives| (negatives / positives).powf(exponent))
    },
};
