//! The weight that makes 0.5 stand for the probability `threshold` with bce: `(1-t)/t`. Half of the best F1 is the threshold that reaches
//! it (Lipton et al. 2014).

use super::{Entry, Formula};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "threshold_target",
    summary: "the weight under which a score of 0.5 means the probability `threshold`",
    params: &[Param {
        name: "threshold",
        help: "probability that 0.5 shall stand for",
        takes: Takes::Number { min: 1e-6, max: 0.999_999 },
        absent: Absent::Error,
    }],
    build: |choice, counts| {
        let threshold = choice.get("threshold");
        Ok(vec![(1.0 - threshold) / threshold; counts.positives.len()])
    },
};
