//! All labels' positives over the label's own, the second approach of the question (Stack Overflow 72666962). It counts labels
//! where neg_over_pos counts rows, so that each weight grows with the number of labels a row has
//! (docs/strategies.md#positive-weights).

use super::{Entry, Formula, each_label};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "inverse_share",
    summary: "positives of all labels / positives of the label",
    params: &[],
    build: |choice, counts| {
        let total = counts.positives.iter().sum::<usize>() as f64;
        each_label(&choice.kind, counts, |positives, _| total / positives)
    },
};
