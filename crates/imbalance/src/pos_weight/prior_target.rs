//! The weight under which a label seems to have the prevalence `target`: `t/(1-t) neg/pos`. It trains for data where the label is that
//! frequent (prior correction); 0.5 is neg_over_pos.

use super::{Entry, Formula, each_label};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "prior_target",
    summary: "the weight under which every label seems to have the prevalence `target`",
    params: &[Param {
        name: "target",
        help: "prevalence to train for; 0.5 is neg_over_pos",
        takes: Takes::Number { min: 1e-6, max: 0.999_999 },
        absent: Absent::Error,
    }],
    build: |choice, counts| {
        let target = choice.get("target");
        each_label(&choice.kind, counts, |positives, negatives| target / (1.0 - target) * (negatives / positives))
    },
};
