//! Asymmetric loss (Ben-Baruch, Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021), with pos_weight.
//!
//! `l+ = w (1-p)^g+ (-ln p)`, `l- = p_m^g- (-ln(1-p_m))` with `p_m = max(p - clip, 0)`: easy negatives count less than easy positives,
//! and those below `clip` not at all. With equal gammas and no clip it is focal. The official `AsymmetricLoss` treats the focusing
//! weights as constants when it differentiates (`disable_torch_grad_focal_loss`), its "bit-accurate" optimised twin and timm do not;
//! so do we, unless `detach` is set. The references sum over the batch or its labels; here it is the mean of all cells, as for every
//! pointwise loss, so that one learning rate serves all. LINK from the derivatives: 0.5 stands for 0.147 with the defaults, and any
//! score below `clip` for 0, which is not invertible there.

use super::form::{Shape, Side};
use super::pointwise::{Pointwise, Term, sigmoid, softplus};
use super::{Entry, Form, LossBuild, focal};
use crate::Choice;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "asl",
    summary: "asymmetric loss (Ridnik 2021): easy negatives count less, the easiest nothing; pos_weight multiplies the positive term",
    params: &[
        Param {
            name: "gamma_neg",
            help: "how much less easy negatives count (official default 4)",
            takes: focal::GAMMA,
            absent: Absent::Number(4.0),
        },
        Param {
            name: "gamma_pos",
            help: "how much less easy positives count (official default 1; the paper's COCO runs use 0)",
            takes: focal::GAMMA,
            absent: Absent::Number(1.0),
        },
        Param {
            name: "clip",
            help: "negatives with a probability below it cost nothing (official default 0.05)",
            takes: Takes::Number { min: 0.0, max: 0.99 },
            absent: Absent::Number(0.05),
        },
        Param {
            name: "detach",
            help: "1: no gradient through the focusing weights, as in the official AsymmetricLoss",
            takes: Takes::Whole { min: 0, max: 1 },
            absent: Absent::Number(0.0),
        },
    ],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |choice| {
            let [negative, positive, clip, detach] = ["gamma_neg", "gamma_pos", "clip", "detach"].map(|name| choice.get(name));
            let unfocused = negative == 0.0 && positive == 0.0;
            match () {
                () if detach == 1.0 && unfocused => Some(choice.clone().with("detach", 0.0)),
                () if detach == 0.0 && clip == 0.0 && negative == positive => {
                    Some(Choice::plain(focal::ENTRY.kind).with("gamma", negative))
                }
                () => None,
            }
        },
        balances: |choice| choice.get("gamma_neg") > choice.get("gamma_pos") || choice.get("clip") > 0.0,
        numerics: 0,
        make: |choice, context| {
            Ok(Box::new(Asl {
                negative: choice.get("gamma_neg"),
                positive: choice.get("gamma_pos"),
                clip: choice.get("clip"),
                detach: choice.get("detach") == 1.0,
                weight: context.pos_weight.clone(),
            }))
        },
    },
};

#[derive(Debug)]
struct Asl {
    /// g-.
    negative: f64,
    /// g+.
    positive: f64,
    clip: f64,
    detach: bool,
    /// w, one per label.
    weight: Vec<f64>,
}

impl Pointwise for Asl {
    fn positive(&self, label: usize, z: f64) -> Term {
        let term = if self.detach {
            let modulator = (-self.positive * softplus(z)).exp();
            Term { value: modulator * softplus(-z), slope: -modulator * sigmoid(-z) }
        } else {
            focal::term(self.positive, z)
        };
        term.times(self.weight[label])
    }

    fn negative(&self, _: usize, z: f64) -> Term {
        let gamma = self.negative;
        if self.clip == 0.0 {
            let term = focal::term(gamma, -z).mirrored();
            return if self.detach { Term { slope: (-gamma * softplus(-z)).exp() * sigmoid(z), ..term } } else { term };
        }
        let (p, rest) = (sigmoid(z), sigmoid(-z));
        let shifted = p - self.clip;
        if shifted <= 0.0 {
            return Term { value: 0.0, slope: 0.0 };
        }
        // 1 - p_m = (1 - p) + clip keeps its digits on the right, ln(1 - p_m) by ln_1p on the left.
        let (modulator, cost) = (shifted.powf(gamma), -(-shifted).ln_1p());
        let focus = if self.detach { 0.0 } else { gamma * modulator / shifted * cost };
        Term { value: modulator * cost, slope: (focus + modulator / (rest + self.clip)) * p * rest }
    }

    fn form(&self) -> Option<Form> {
        let shape = |gamma| match self.detach {
            true => Shape::Detached { gamma },
            false => Shape::Focal { gamma, epsilon: 0.0 },
        };
        let negative = match self.clip {
            0.0 => shape(self.negative),
            clip => Shape::Clipped { gamma: self.negative, clip, detach: self.detach },
        };
        let positive = Side::new(shape(self.positive), 1.0, self.weight.clone());
        Some(Form::new(positive, Side::new(negative, -1.0, vec![1.0; self.weight.len()])))
    }
}
