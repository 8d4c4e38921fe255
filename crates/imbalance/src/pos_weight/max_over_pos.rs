//! The most frequent label's positives over the label's own: the imbalance ratio IRLbl (Charte et al. 2015). It compares labels with
//! each other, not positives with negatives: the most frequent label weighs 1 however rare it is.

use super::{Entry, Formula, each_label};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "max_over_pos",
    summary: "positives of the most frequent label / positives of the label (IRLbl)",
    params: &[],
    build: |choice, counts| {
        let largest = counts.positives.iter().max().copied().unwrap_or(0) as f64;
        each_label(&choice.kind, counts, |positives, _| largest / positives)
    },
};
