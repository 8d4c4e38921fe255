//! Poly-1 loss (Leng et al., "PolyLoss", ICLR 2022, equations 6 and 7): bce or focal plus the first term of its own expansion.
//!
//! `l+ = w a [(1-p)^g (-ln p) + e (1-p)^(g+1)]`, the negative term its mirror image with 1-a. A positive e sharpens (scores move away
//! from 0.5), a negative one smooths; 0.5 stands for 1/2 under any e without weight and alpha. From e = -1 up the slopes keep their
//! sign. LINK by its definition from the derivatives.

use super::form::{Shape, Side};
use super::pointwise::{Pointwise, Term, exp, sigmoid, softplus};
use super::{Entry, Form, LossBuild, focal};
use crate::Choice;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "poly1",
    summary: "bce or focal plus epsilon (1 - p_t)^(gamma+1) (Leng 2022); pos_weight multiplies the positive term",
    params: &[
        Param {
            name: "epsilon",
            help: "weight of the added term; 0 is focal or bce (Leng 2022: 2 for classification, -1 for detection; timm 2)",
            takes: Takes::Number { min: -1.0, max: 100.0 },
            absent: Absent::Number(2.0),
        },
        Param { name: "gamma", help: "as in focal; 0 is bce", takes: focal::GAMMA, absent: Absent::Number(0.0) },
        Param {
            name: "alpha",
            help: "as in focal: weight of the positive term, 1-alpha of the negative one; off by default",
            takes: Takes::Number { min: 0.0, max: 1.0 },
            absent: Absent::Off,
        },
    ],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |choice| {
            (choice.get("epsilon") == 0.0).then(|| {
                let focal = Choice::plain(focal::ENTRY.kind).with("gamma", choice.get("gamma"));
                choice.find("alpha").map_or(focal.clone(), |alpha| focal.with("alpha", alpha))
            })
        },
        balances: |_| false,
        numerics: 0,
        make: |choice, context| {
            let (positive, negative) = choice.find("alpha").map_or((1.0, 1.0), |alpha| (alpha, 1.0 - alpha));
            let weight = context.pos_weight.iter().map(|weight| weight * positive).collect();
            Ok(Box::new(Poly1 { epsilon: choice.get("epsilon"), gamma: choice.get("gamma"), weight, negative }))
        },
    },
};

#[derive(Debug)]
struct Poly1 {
    epsilon: f64,
    gamma: f64,
    /// w a, one per label.
    weight: Vec<f64>,
    /// 1-a.
    negative: f64,
}

impl Poly1 {
    /// The positive term before weights.
    fn term(&self, z: f64) -> Term {
        let Term { value, slope } = focal::term(self.gamma, z);
        let power = self.gamma + 1.0;
        let added = self.epsilon * exp(-power * softplus(z));
        Term { value: value + added, slope: slope - power * added * sigmoid(z) }
    }
}

impl Pointwise for Poly1 {
    fn positive(&self, label: usize, z: f64) -> Term {
        self.term(z).times(self.weight[label])
    }

    fn negative(&self, _: usize, z: f64) -> Term {
        self.term(-z).mirrored().times(self.negative)
    }

    fn form(&self) -> Option<Form> {
        let shape = Shape::Focal { gamma: self.gamma, epsilon: self.epsilon };
        let negative = vec![self.negative; self.weight.len()];
        Some(Form::new(Side::new(shape, 1.0, self.weight.clone()), Side::new(shape, -1.0, negative)))
    }
}
