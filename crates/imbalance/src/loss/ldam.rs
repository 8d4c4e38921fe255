//! Label-distribution-aware margins with deferred re-weighting (Cao et al., "Learning imbalanced datasets with label-distribution-aware
//! margin loss", NeurIPS 2019, equation 13 and algorithm 1), in the sigmoid form.
//!
//! `l+ = w sp(-s (z - D))`, `l- = sp(s z)` with `D_k = max_margin n_k^-1/4 / max_j n_j^-1/4`: a rare label's positives must be right
//! by more; with `negatives` the negatives have margins too, from their own number in the same unit. From the epoch `drw` x epochs
//! on (algorithm 1: the last fifth) labels weigh 1 / effective number, on both terms alike, as in class_balanced. The paper's s = 30
//! belongs to normalised features; on a plain linear head s is a temperature and multiplies the learning rate, so it is 1 by default.
//! LINK: `sigmoid(s z) / (sigmoid(s z) + w sigmoid(-s (z - D)))`, in every epoch, since the label's weight cancels.

use super::class_balanced::{self, BETA};
use super::form::Side;
use super::pointwise::{Cell, Term, link, mean_over_cells, sigmoid, softplus};
use super::{Batch, Entry, Form, Loss, LossBuild, bce};
use crate::Choice;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "ldam",
    summary: "margins that grow with rarity, then deferred re-weighting (LDAM-DRW, Cao 2019); pos_weight multiplies the positive term",
    params: &[
        Param {
            name: "max_margin",
            help: "margin of the rarest label, in logits (Cao 2019: 0.5)",
            takes: Takes::Number { min: 0.0, max: 100.0 },
            absent: Absent::Number(0.5),
        },
        Param {
            name: "scale",
            help: "s, which multiplies the logits (Cao 2019: 30, on normalised features)",
            takes: Takes::Number { min: 0.01, max: 100.0 },
            absent: Absent::Number(1.0),
        },
        Param {
            name: "negatives",
            help: "1: negatives have margins too, from their own number",
            takes: Takes::Whole { min: 0, max: 1 },
            absent: Absent::Number(0.0),
        },
        Param {
            name: "drw",
            help: "share of the epochs after which labels are re-weighted; 1 is never (Cao 2019: 160 of 200 epochs)",
            takes: Takes::Number { min: 0.0, max: 1.0 },
            absent: Absent::Number(0.8),
        },
        Param {
            name: "drw_beta",
            help: "beta of the effective number in the re-weighting (Cao 2019: 0.9999)",
            takes: BETA,
            absent: Absent::Number(0.9999),
        },
    ],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |choice| match choice {
            choice if choice.get("drw") == 1.0 && choice.get("drw_beta") > 0.0 => Some(choice.clone().with("drw_beta", 0.0)),
            choice if choice.get("drw") < 1.0 && choice.get("drw_beta") == 0.0 => Some(choice.clone().with("drw", 1.0)),
            choice => {
                let plain = choice.get("max_margin") == 0.0 && choice.get("scale") == 1.0 && choice.get("drw") == 1.0;
                plain.then(|| Choice::plain(bce::ENTRY.kind))
            }
        },
        balances: |choice| choice.get("max_margin") > 0.0 || choice.get("drw") < 1.0,
        numerics: 1,
        make: |choice, context| {
            let what = format!("loss {}", choice.kind);
            let rarity = |n: f64| n.sqrt().sqrt().recip();
            let positives = context.counts.each_label(&what, |positives, _| rarity(positives))?;
            let unit = choice.get("max_margin") / positives.iter().copied().fold(0.0, f64::max);
            let negatives = context.counts.each_label(&what, |_, negatives| rarity(negatives) * choice.get("negatives"))?;
            Ok(Box::new(Ldam {
                scale: choice.get("scale"),
                positives: positives.into_iter().map(|rarity| unit * rarity).collect(),
                negatives: negatives.into_iter().map(|rarity| unit * rarity).collect(),
                deferred: class_balanced::weights(&what, &context.counts, choice.get("drw_beta"))?,
                start: deferred_from(choice, context.epochs),
                weight: context.pos_weight.clone(),
            }))
        },
    },
};

/// The epoch (from 0) from which on labels are re-weighted: the first that begins after `drw` of the training. Where none does, the
/// number of epochs, which no epoch reaches.
pub(super) fn deferred_from(choice: &Choice, epochs: usize) -> usize {
    // What a product is above a whole number by rounding does not count.
    (choice.get("drw") * epochs as f64 - 1e-9).ceil().max(0.0) as usize
}

#[derive(Debug)]
struct Ldam {
    scale: f64,
    /// Margins, one per label.
    positives: Vec<f64>,
    negatives: Vec<f64>,
    /// Weight of each label from epoch `start` on.
    deferred: Vec<f64>,
    start: usize,
    /// w, one per label.
    weight: Vec<f64>,
}

impl Ldam {
    fn positive(&self, label: usize, z: f64) -> Term {
        let u = self.scale * (z - self.positives[label]);
        Term { value: softplus(-u), slope: -self.scale * sigmoid(-u) }.times(self.weight[label])
    }

    fn negative(&self, label: usize, z: f64) -> Term {
        let u = self.scale * (z + self.negatives[label]);
        Term { value: softplus(u), slope: self.scale * sigmoid(u) }
    }
}

impl Loss for Ldam {
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        let deferred = batch.epoch >= self.start;
        mean_over_cells(batch, gradient, |Cell { label, z, positive, .. }| {
            let term = if positive { self.positive(label, z) } else { self.negative(label, z) };
            if deferred { term.times(self.deferred[label]) } else { term }
        })
    }

    fn form(&self, epoch: usize) -> Option<Form> {
        let margins = self.positives.iter().map(|margin| -margin).collect();
        let positive = Side { slope: self.scale, ..Side::positive(0.0, self.weight.clone()).shifted(margins) };
        let negative = Side::negative(0.0, 1.0, self.weight.len()).shifted(self.negatives.clone());
        let form = Form::new(positive, Side { slope: -self.scale, ..negative });
        Some(match epoch >= self.start {
            true => Form { positive: form.positive.times(&self.deferred), negative: form.negative.times(&self.deferred), ..form },
            false => form,
        })
    }

    fn implied_probability(&self, label: usize, z: f64) -> Option<f64> {
        link(self.positive(label, z), self.negative(label, z))
    }
}
