//! Self-paced loss correction (SPLC; Zhang et al., "Simple and robust loss design for multi-label learning with missing labels",
//! 2021, equation 13), with the focal margin loss it was published with.
//!
//! `l+ = w focal(z - margin)`, `l- = focal, mirrored`, until epoch `start`; from then on a negative with p > tau is taken for a
//! positive that was not marked, and costs `w focal(z)`, without the margin as in the reference. LINK from the derivatives up to
//! p = tau; above, no probability makes a logit optimal once labels are corrected, since both terms then fall with it.

use super::form::Side;
use super::hill::MARGIN;
use super::pointwise::{Cell, Term, link, mean_over_cells, sigmoid};
use super::{Batch, Entry, Form, Loss, LossBuild, focal};
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "splc",
    summary: "takes high-scoring negatives for missing labels (SPLC, Zhang 2021); pos_weight multiplies the positive term",
    params: &[
        Param {
            name: "tau",
            help: "a negative with a higher probability is taken for a positive (Zhang 2021: 0.6)",
            takes: Takes::Number { min: 0.0, max: 1.0 },
            absent: Absent::Number(0.6),
        },
        Param {
            name: "start",
            help: "epochs before labels are corrected (Zhang 2021: 1)",
            takes: Takes::Whole { min: 0, max: 1_000_000 },
            absent: Absent::Number(1.0),
        },
        MARGIN,
        Param { name: "gamma", help: "as in focal", takes: focal::GAMMA, absent: Absent::Number(2.0) },
    ],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |_| None,
        balances: |_| false,
        numerics: 0,
        make: |choice, context| {
            let start = choice.get("start") as usize;
            Ok(Box::new(Splc {
                tau: choice.get("tau"),
                start,
                corrects: start < context.epochs,
                margin: choice.get("margin"),
                gamma: choice.get("gamma"),
                weight: context.pos_weight.clone(),
            }))
        },
    },
};

#[derive(Debug)]
struct Splc {
    tau: f64,
    start: usize,
    /// Whether the training is long enough to reach `start`.
    corrects: bool,
    margin: f64,
    gamma: f64,
    /// w, one per label.
    weight: Vec<f64>,
}

impl Splc {
    fn positive(&self, label: usize, z: f64) -> Term {
        focal::term(self.gamma, z - self.margin).times(self.weight[label])
    }

    fn negative(&self, z: f64) -> Term {
        focal::term(self.gamma, -z).mirrored()
    }
}

impl Loss for Splc {
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        let correct = batch.epoch >= self.start;
        mean_over_cells(batch, gradient, |Cell { label, z, positive, .. }| match positive {
            true => self.positive(label, z),
            false if correct && sigmoid(z) > self.tau => focal::term(self.gamma, z).times(self.weight[label]),
            false => self.negative(z),
        })
    }

    fn form(&self, epoch: usize) -> Option<Form> {
        let labels = self.weight.len();
        let positive = Side::positive(self.gamma, self.weight.clone());
        let corrected = (epoch >= self.start).then(|| (self.tau, positive.clone()));
        let positive = positive.shifted(vec![-self.margin; labels]);
        Some(Form { corrected, ..Form::new(positive, Side::negative(self.gamma, 1.0, labels)) })
    }

    fn implied_probability(&self, label: usize, z: f64) -> Option<f64> {
        if self.corrects && sigmoid(z) > self.tau { None } else { link(self.positive(label, z), self.negative(z)) }
    }
}
