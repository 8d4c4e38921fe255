//! The square root of negatives over positives: half-way, on the logit scale, between no weight and neg_over_pos.

use super::{Entry, Formula, power};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "sqrt",
    summary: "square root of negatives / positives",
    params: &[],
    build: |choice, counts| power::weights(&choice.kind, counts, 0.5),
};
