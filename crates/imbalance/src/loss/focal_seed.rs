//! The focal loss of the question that started this program (Stack Overflow 72666962), as it was asked: on probabilities, in
//! float32.
//!
//! `p = sigmoid(z)`, `L = -a_k [ (1-p)^g y ln(p+eps) + p^g (1-y) ln(1-p+eps) ]`, eps = 1e-8, and a_k, the pos_weight, on BOTH
//! terms: it weighs labels against each other, never positives against negatives (docs/strategies.md#focal_seed). In float32 p is
//! exactly 1 from z = 17, so that a confidently wrong negative gets no gradient at all; `focal` is the numerically sound form.
//! LINK: that of focal without alpha and weight, since a_k cancels (eps and rounding left aside).

use super::focal;
use super::form::{Shape, Side};
use super::pointwise::{Pointwise, Term};
use super::{Entry, Form, LossBuild};
use crate::{Absent, Param};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "focal_seed",
    summary: "the question's own focal loss: float32 probabilities, pos_weight on both terms (a baseline, not advice)",
    params: &[Param {
        name: "gamma",
        help: "as in focal; the question used 1.5",
        takes: focal::GAMMA,
        absent: Absent::Number(1.5),
    }],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |_| None,
        balances: |_| false,
        numerics: 0,
        make: |choice, context| {
            let weight = context.pos_weight.iter().map(|&weight| weight as f32).collect();
            Ok(Box::new(FocalSeed { gamma: choice.get("gamma") as f32, weight }))
        },
    },
};

const EPS: f32 = 1e-8;

#[derive(Debug)]
struct FocalSeed {
    gamma: f32,
    /// a_k, one per label.
    weight: Vec<f32>,
}

impl FocalSeed {
    /// Either term: `right` is the probability given to the truth, `wrong` the rest; `toward` is the sign of d right / dz.
    /// Both come from one rounded sigmoid, and the slope goes through `right wrong`, its derivative: the defect is kept.
    fn term(&self, label: usize, right: f32, wrong: f32, toward: f32) -> Term {
        let (modulator, log) = (wrong.powf(self.gamma), (right + EPS).ln());
        let slope = toward * modulator * (self.gamma * right * log - right * wrong / (right + EPS));
        Term { value: (-modulator * log * self.weight[label]).into(), slope: (slope * self.weight[label]).into() }
    }
}

/// Either term at `z`, before its weight.
pub(super) fn term(gamma: f32, z: f64, negative: bool) -> Term {
    let loss = FocalSeed { gamma, weight: vec![1.0] };
    if negative { loss.negative(0, z) } else { loss.positive(0, z) }
}

/// The logistic function as a float32 program computes it.
fn probability(z: f64) -> f32 {
    1.0 / (1.0 + (-(z as f32)).exp())
}

impl Pointwise for FocalSeed {
    fn positive(&self, label: usize, z: f64) -> Term {
        let p = probability(z);
        self.term(label, p, 1.0 - p, 1.0)
    }

    fn negative(&self, label: usize, z: f64) -> Term {
        let p = probability(z);
        self.term(label, 1.0 - p, p, -1.0)
    }

    fn link(&self, _: usize, z: f64) -> Option<f64> {
        let gamma = self.gamma.into();
        let (positive, negative) = (focal::term(gamma, z), focal::term(gamma, -z).mirrored());
        Some(negative.slope / (negative.slope - positive.slope))
    }

    fn form(&self) -> Option<Form> {
        let weight: Vec<f64> = self.weight.iter().map(|&weight| weight.into()).collect();
        let side = |negative| Side::new(Shape::Seed { gamma: self.gamma, negative }, 1.0, weight.clone());
        Some(Form::new(side(false), side(true)))
    }
}
