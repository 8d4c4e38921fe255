//! Negatives over positives (torch `BCEWithLogitsLoss`): with bce, 0.5 then stands for the label's prevalence
//! (docs/strategies.md#operating-points).

use super::{Entry, Formula, each_label};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "neg_over_pos",
    summary: "negatives / positives of the label: a score of 0.5 then means the prevalence",
    params: &[],
    build: |choice, counts| each_label(&choice.kind, counts, |positives, negatives| negatives / positives),
};
