//! Inverse frequency with a mean of 1 over the labels (timm `inv_freq`), put on the positives: it compares labels with each other, and
//! discourages the positives of labels more frequent than the harmonic mean. scikit-learn's `balanced` weights N/(2 pos) and N/(2 neg),
//! as a ratio, are neg_over_pos.

use super::{Entry, Formula, each_label};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "inv_freq",
    summary: "(rows / positives)^exponent, with a mean of 1 over the labels (timm)",
    params: &[Param {
        name: "exponent",
        help: "0.5 is the square root",
        takes: Takes::Number { min: 0.0, max: 2.0 },
        absent: Absent::Number(1.0),
    }],
    build: |choice, counts| {
        let power = |positives, negatives| libm::pow((positives + negatives) / positives, choice.get("exponent"));
        let mut weights = each_label(&choice.kind, counts, power)?;
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        weights.iter_mut().for_each(|weight| *weight /= mean);
        Ok(weights)
    },
};
