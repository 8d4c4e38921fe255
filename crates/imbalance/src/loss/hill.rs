//! Hill loss (Zhang et al., "Simple and robust loss design for multi-label learning with missing labels", 2021, equations 7 and
//! 9).
//!
//! `l+ = w focal(z - margin)`, `l- = (lambda - p) p^2`: a negative that scores high counts less and less, since in data with
//! missing labels it is likely a positive that was not marked. lambda = 1.5 is where the slope of `l-` vanishes at p = 1; below,
//! it would change its sign. LINK from the derivatives, where it rises (with the defaults: 0.5 stands for 0.196). A large margin
//! or a small gamma lets the negatives fade faster than the positives: higher scores then stand for lower probabilities
//! somewhere, and there is no LINK.

use super::form::{Shape, Side};
use super::pointwise::{Pointwise, Term, link, sigmoid};
use super::{Entry, Form, LossBuild, focal};
use crate::{Absent, Param, Takes};

pub(super) const MARGIN: Param = Param {
    name: "margin",
    help: "how much better positives must be, in logits (Zhang 2021: 1)",
    takes: Takes::Number { min: 0.0, max: 20.0 },
    absent: Absent::Number(1.0),
};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "hill",
    summary: "high-scoring negatives count less, for data with missing labels (Zhang 2021); pos_weight multiplies the positive term",
    params: &[
        Param {
            name: "lambda",
            help: "lambda of the negative term (lambda - p) p^2 (Zhang 2021: 1.5)",
            takes: Takes::Number { min: 1.5, max: 100.0 },
            absent: Absent::Number(1.5),
        },
        MARGIN,
        Param { name: "gamma", help: "as in focal, positives only", takes: focal::GAMMA, absent: Absent::Number(2.0) },
    ],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |_| None,
        balances: |_| false,
        numerics: 0,
        make: |choice, context| {
            let mut hill = Hill {
                lambda: choice.get("lambda"),
                margin: choice.get("margin"),
                gamma: choice.get("gamma"),
                weight: vec![1.0],
                linked: true,
            };
            // A weight scales the odds that a logit stands for: it cannot turn them.
            hill.linked = (-600..=600).map(|step| hill.link(0, f64::from(step) / 20.0)).is_sorted();
            Ok(Box::new(Hill { weight: context.pos_weight.clone(), ..hill }))
        },
    },
};

#[derive(Debug)]
struct Hill {
    lambda: f64,
    margin: f64,
    gamma: f64,
    /// w, one per label.
    weight: Vec<f64>,
    /// Whether LINK rises.
    linked: bool,
}

impl Pointwise for Hill {
    fn positive(&self, label: usize, z: f64) -> Term {
        focal::term(self.gamma, z - self.margin).times(self.weight[label])
    }

    fn negative(&self, _: usize, z: f64) -> Term {
        let (p, rest) = (sigmoid(z), sigmoid(-z));
        // 2 lambda - 3p and lambda - p, through 1-p: at the right end both are differences of almost equal numbers.
        let falling = 2.0 * self.lambda - 3.0 + 3.0 * rest;
        Term { value: p * p * (self.lambda - 1.0 + rest), slope: p * p * rest * falling }
    }

    fn link(&self, label: usize, z: f64) -> Option<f64> {
        if self.linked { link(self.positive(label, z), self.negative(label, z)) } else { None }
    }

    fn form(&self) -> Option<Form> {
        let labels = self.weight.len();
        let positive = Side::positive(self.gamma, self.weight.clone()).shifted(vec![-self.margin; labels]);
        Some(Form::new(positive, Side::new(Shape::Hill { lambda: self.lambda }, -1.0, vec![1.0; labels])))
    }
}
