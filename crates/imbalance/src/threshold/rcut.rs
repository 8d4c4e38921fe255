//! RCut (Yang, SIGIR 2001): the r highest labels of every row, so that every row has r. Scores of different labels are compared with
//! each other, which weighted losses make incomparable; and a row without labels gets r all the same. Unknown cells do not count: r
//! is the sum of the labels' prevalences, each among the rows that know it, and the r labels may be some that a row does not know.

use super::{Entry, Fit, Rule};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Fit> = Entry {
    kind: "rcut",
    summary: "the r labels with the highest scores of every row (RCut)",
    params: &[Param {
        name: "r",
        help: "labels per row; by default the mean number of labels per row in validation, rounded, at least 1",
        takes: Takes::Whole { min: 1, max: 100_000 },
        absent: Absent::Off,
    }],
    build: |choice, _, truth| {
        let counts = truth.counts();
        // The positives that all rows would have if those that do not know a label had it as often as the others.
        let expected = |(label, &positives): (usize, &usize)| match counts.known(label) {
            0 => 0.0,
            known => positives as f64 * (counts.rows as f64 / known as f64),
        };
        let cardinality = counts.positives.iter().enumerate().map(expected).sum::<f64>() / counts.rows.max(1) as f64;
        Rule::Top(choice.find("r").unwrap_or_else(|| cardinality.round().max(1.0)) as usize)
    },
};
