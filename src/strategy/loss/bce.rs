//! Binary cross-entropy on logits, with pos_weight (torch `binary_cross_entropy_with_logits`).
//!
//! `l+ = w softplus(-z)`, `l- = softplus(z)`; the mean divides by batch × labels, not by the sum of the weights.
//! LINK: `eta = q / (q + w (1-q))` with `q = sigmoid(z)`, that is `sigmoid(z - ln w)`: 0.5 stands for `1 / (1+w)`.

use super::pointwise::{Pointwise, Term, sigmoid, softplus};
use super::{Build, Entry};

pub(super) const ENTRY: Entry<Build> = Entry {
    kind: "bce",
    summary: "binary cross-entropy; pos_weight multiplies the positive term",
    params: &[],
    build: Build {
        reads_pos_weight: true,
        equal: |_| None,
        make: |_, context| Ok(Box::new(Bce { weight: context.pos_weight.clone() })),
    },
};

#[derive(Debug)]
struct Bce {
    /// w, one a label.
    weight: Vec<f64>,
}

impl Pointwise for Bce {
    fn positive(&self, label: usize, z: f64) -> Term {
        Term { value: softplus(-z), slope: -sigmoid(-z) }.times(self.weight[label])
    }

    fn negative(&self, _: usize, z: f64) -> Term {
        Term { value: softplus(z), slope: sigmoid(z) }
    }

    fn link(&self, label: usize, z: f64) -> Option<f64> {
        Some(sigmoid(z - self.weight[label].ln()))
    }
}
