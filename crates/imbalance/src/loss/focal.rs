//! Focal loss (Lin et al., "Focal loss for dense object detection", ICCV 2017), as torchvision's `sigmoid_focal_loss`, with pos_weight.
//!
//! `l+ = w a sigmoid(-z)^g softplus(-z)`, `l- = (1-a) sigmoid(z)^g softplus(z)`; without alpha neither term has its a. The modulator
//! is taken as `exp(-g softplus)`, which neither overflows nor loses digits. LINK by its definition from the derivatives; at z = 0 it
//! is `(1-a) / (1-a + w a)` for every gamma (1/2 without alpha and weight): gamma squeezes probabilities towards there, alpha moves them.

use super::form::Side;
use super::pointwise::{Pointwise, Term, exp, mean_by_columns, sigmoid, softplus};
use super::{Batch, Entry, Form, LossBuild, bce};
use crate::Choice;
use crate::{Absent, Param, Takes};

pub(super) const GAMMA: Takes = Takes::Number { min: 0.0, max: 20.0 };

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "focal",
    summary: "focal loss (Lin 2017): easy cells count less; pos_weight multiplies the positive term",
    params: &[
        Param {
            name: "gamma",
            help: "how much less easy cells count: (1-p)^gamma; 0 is bce (Lin 2017)",
            takes: GAMMA,
            absent: Absent::Number(2.0),
        },
        Param {
            name: "alpha",
            help: "weight of the positive term, 1-alpha of the negative one; off by default (Lin 2017 uses 0.25 for detection)",
            takes: Takes::Number { min: 0.0, max: 1.0 },
            absent: Absent::Off,
        },
    ],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |choice| (choice.get("gamma") == 0.0 && choice.find("alpha").is_none()).then(|| Choice::plain(bce::ENTRY.kind)),
        balances: |_| false,
        numerics: 0,
        make: |choice, context| {
            let (positive, negative) = choice.find("alpha").map_or((1.0, 1.0), |alpha| (alpha, 1.0 - alpha));
            let weight = context.pos_weight.iter().map(|weight| weight * positive).collect();
            Ok(Box::new(Focal { gamma: choice.get("gamma"), weight, negative }))
        },
    },
};

#[derive(Debug)]
struct Focal {
    gamma: f64,
    /// w a, one per label.
    weight: Vec<f64>,
    /// 1-a.
    negative: f64,
}

/// The positive term before weights: `sigmoid(-z)^g softplus(-z)`. The negative one is its mirror image.
#[inline(always)]
pub(super) fn term(gamma: f64, z: f64) -> Term {
    let modulator = exp(-gamma * softplus(z));
    let (cost, miss) = (softplus(-z), sigmoid(-z));
    Term { value: modulator * cost, slope: -modulator * (gamma * sigmoid(z) * cost + miss) }
}

impl Pointwise for Focal {
    fn positive(&self, label: usize, z: f64) -> Term {
        term(self.gamma, z).times(self.weight[label])
    }

    fn negative(&self, _: usize, z: f64) -> Term {
        term(self.gamma, -z).mirrored().times(self.negative)
    }

    fn mean(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        mean_by_columns(batch, gradient, |label| {
            let (gamma, weight, share) = (self.gamma, self.weight[label], self.negative);
            #[inline(always)]
            move |z, y| {
                // One term a cell, at whichever side it looks from.
                let term = term(gamma, if y { z } else { -z });
                if y { term.times(weight) } else { term.mirrored().times(share) }
            }
        })
    }

    fn form(&self) -> Option<Form> {
        let (gamma, labels) = (self.gamma, self.weight.len());
        Some(Form::new(Side::positive(gamma, self.weight.clone()), Side::negative(gamma, self.negative, labels)))
    }
}
