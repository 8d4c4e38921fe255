//! The square root of negatives over positives: half-way, on the logit scale, between no weight and neg_over_pos.

use super::{Build, Entry, each_label};

pub(super) const ENTRY: Entry<Build> = Entry {
    kind: "sqrt",
    summary: "square root of negatives / positives",
    params: &[],
    build: |choice, counts| each_label(&choice.kind, counts, |positives, negatives| (negatives / positives).sqrt()),
};
