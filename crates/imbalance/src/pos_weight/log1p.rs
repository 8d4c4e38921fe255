//! Logarithms, which hardly grow: `ln(1 + neg/pos)`, that is `ln(N/pos)`, below 1 for labels with more than 1/e of the rows, whose
//! positives it discourages; and `ln(1 + N/pos)`, which stays above ln 2.

use super::{Entry, Formula, each_label};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "log1p",
    summary: "ln(1 + negatives / positives), or ln(1 + rows / positives)",
    params: &[Param {
        name: "of",
        help: "what is divided by the positives: negatives or rows",
        takes: Takes::Word(&["neg", "n"]),
        absent: Absent::Word("neg"),
    }],
    build: |choice, counts| {
        let rows = choice.word("of") == "n";
        each_label(&choice.kind, counts, |positives, negatives| {
            libm::log1p(if rows { positives + negatives } else { negatives } / positives)
        })
    },
};
