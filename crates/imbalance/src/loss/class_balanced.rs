//! Class-balanced loss (Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019, equation 6), on bce or
//! focal.
//!
//! n samples are worth `E_n = (1 - b^n) / (1 - b)`; a label weighs `1 / E_n`, normalised to a mean of 1 over the labels (as the
//! reference and timm do), on BOTH terms: it weighs labels against each other, so the LINK is that of the loss below it. Where
//! the labels have thousands of positives, b <= 0.999 gives weights that are all 1 (docs/strategies.md#class_balanced). The other
//! forms, for rows with several labels (those of the distribution-balanced loss's comparison), weigh whole rows: by the mean n of
//! the row's labels, the mean weight or the rarest label; a row without labels weighs 1. Their weight depends on the labels, so
//! that they have no LINK.

use super::form::{RowWeights, Side};
use super::pointwise::{Cell, link, mean_over_cells};
use super::{Batch, Entry, Form, Loss, LossBuild, bce, focal};
use crate::Choice;
use crate::{Absent, LabelCounts, Param, StrategyError, Takes};

/// Of an effective number: below 1, where it would be the number itself.
pub(crate) const BETA: Takes = Takes::Number { min: 0.0, max: 0.999_999_999 };

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "class_balanced",
    summary: "labels weigh 1 / effective number (Cui 2019), both terms alike; pos_weight multiplies the positive term",
    params: &[
        Param {
            name: "beta",
            help: "beta of the effective number (1 - beta^n) / (1 - beta): 0 weighs nothing, towards 1 it weighs by 1/n (Cui 2019: 0.9 to 0.9999)",
            takes: BETA,
            absent: Absent::Number(0.9999),
        },
        Param {
            name: "by",
            help: "what is weighed: each label, or each row by its labels' mean n, mean weight or smallest n",
            takes: Takes::Word(&["label", "average_n", "average_w", "min_n"]),
            absent: Absent::Word("label"),
        },
        Param { name: "gamma", help: "as in focal; 0 is bce", takes: focal::GAMMA, absent: Absent::Number(0.0) },
    ],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |choice| {
            (choice.get("beta") == 0.0).then(|| match choice.get("gamma") {
                0.0 => Choice::plain(bce::ENTRY.kind),
                gamma => Choice::plain(focal::ENTRY.kind).with("gamma", gamma),
            })
        },
        balances: |choice| choice.get("beta") > 0.0,
        numerics: 0,
        make: |choice, context| {
            let (what, beta) = (format!("loss {}", choice.kind), choice.get("beta"));
            Ok(Box::new(ClassBalanced {
                gamma: choice.get("gamma"),
                weights: weights(&what, &context.counts, beta)?,
                scale: scale(&what, &context.counts, beta)?,
                beta,
                by: choice.word("by").to_owned(),
                positives: context.counts.positives.iter().map(|&n| n as f64).collect(),
                pos_weight: context.pos_weight.clone(),
            }))
        },
    },
};

/// `(1 - b^n) / (1 - b)`: what n samples are worth.
pub(crate) fn effective(beta: f64, n: f64) -> f64 {
    -libm::expm1(n * libm::log(beta)) / (1.0 - beta)
}

/// What turns 1 / effective number into weights with a mean of 1 over the labels.
fn scale(what: &str, counts: &LabelCounts, beta: f64) -> Result<f64, StrategyError> {
    let inverse = counts.each_label(what, |positives, _| 1.0 / effective(beta, positives))?;
    Ok(inverse.len() as f64 / inverse.iter().sum::<f64>())
}

/// 1 / effective number of each label, with a mean of 1; `what` names the strategy in errors.
///
/// # Errors
/// A label without positives or without negatives.
pub fn weights(what: &str, counts: &LabelCounts, beta: f64) -> Result<Vec<f64>, StrategyError> {
    let scale = scale(what, counts, beta)?;
    counts.each_label(what, |positives, _| scale / effective(beta, positives))
}

#[derive(Debug)]
struct ClassBalanced {
    gamma: f64,
    /// One per label, with a mean of 1.
    weights: Vec<f64>,
    /// See [`scale`].
    scale: f64,
    beta: f64,
    by: String,
    /// n, one per label.
    positives: Vec<f64>,
    pos_weight: Vec<f64>,
}

impl ClassBalanced {
    /// The weight of a row with these targets, where rows are weighed.
    fn row(&self, targets: &[u8]) -> f64 {
        let active = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(targets).filter(|(_, target)| **target == 1).map(|(value, _)| *value).collect()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let of_n = |n: f64| self.scale / effective(self.beta, n);
        let counts = active(&self.positives);
        match self.by.as_str() {
            _ if counts.is_empty() => 1.0,
            "average_n" => of_n(mean(&counts)),
            "average_w" => mean(&active(&self.weights)),
            _ => of_n(counts.into_iter().fold(f64::INFINITY, f64::min)),
        }
    }
}

impl Loss for ClassBalanced {
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        let rows = self.rows(batch.labels, batch.targets);
        mean_over_cells(batch, gradient, |Cell { row, label, z, positive }| {
            let weight = rows.get(row).unwrap_or(&self.weights[label]);
            let term = if positive {
                focal::term(self.gamma, z).times(self.pos_weight[label])
            } else {
                focal::term(self.gamma, -z).mirrored()
            };
            term.times(*weight)
        })
    }

    fn form(&self, _: usize) -> Option<Form> {
        let (positive, labels) = (Side::positive(self.gamma, self.pos_weight.clone()), self.weights.len());
        let negative = Side::negative(self.gamma, 1.0, labels);
        Some(match self.by.as_str() {
            "label" => Form::new(positive.times(&self.weights), negative.times(&self.weights)),
            _ => Form { rows: RowWeights::Weighed, ..Form::new(positive, negative) },
        })
    }

    fn rows(&self, labels: usize, targets: &[u8]) -> Vec<f64> {
        match self.by.as_str() {
            "label" => Vec::new(),
            _ => targets.chunks_exact(labels).map(|targets| self.row(targets)).collect(),
        }
    }

    fn implied_probability(&self, label: usize, z: f64) -> Option<f64> {
        let positive = focal::term(self.gamma, z).times(self.pos_weight[label]);
        if self.by == "label" { link(positive, focal::term(self.gamma, -z).mirrored()) } else { None }
    }
}
