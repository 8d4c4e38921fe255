//! Effective numbers (Cui et al., CVPR 2019) as a pos_weight: `E_neg / E_pos` with `E_n = (1 - b^n) / (1 - b)`, from 1 (b = 0) to
//! neg_over_pos (b towards 1). Where a label has many times 1 / (1-b) positives, it is 1: b = 0.999 changes nothing from some thousand
//! positives on. The other form is the paper's class weight, `1 / E_pos` with a mean of 1 over the labels, put on the positives alone.

use super::{Entry, Formula, each_label};
use crate::loss::class_balanced::{BETA, effective, weights};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "effective_number",
    summary: "effective number of negatives / of positives (Cui 2019)",
    params: &[
        Param {
            name: "beta",
            help: "beta of the effective number (1 - beta^n) / (1 - beta); towards 1 the weight is neg_over_pos",
            takes: BETA,
            absent: Absent::Number(0.9999),
        },
        Param {
            name: "form",
            help: "negatives over positives, or the paper's class weight: 1 / effective number of positives, with a mean of 1",
            takes: Takes::Word(&["ratio", "class"]),
            absent: Absent::Word("ratio"),
        },
    ],
    build: |choice, counts| {
        let beta = choice.get("beta");
        if choice.word("form") == "class" {
            return weights(&format!("pos_weight {}", choice.kind), counts, beta);
        }
        each_label(&choice.kind, counts, |positives, negatives| effective(beta, negatives) / effective(beta, positives))
    },
};
