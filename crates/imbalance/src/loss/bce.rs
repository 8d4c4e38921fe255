//! Binary cross-entropy on logits, with pos_weight (torch `binary_cross_entropy_with_logits`).
//!
//! `l+ = w softplus(-z)`, `l- = softplus(z)`; the mean divides by batch × labels, not by the sum of the weights.
//! LINK: `eta = q / (q + w (1-q))` with `q = sigmoid(z)`, that is `sigmoid(z - ln w)`: 0.5 stands for `1 / (1+w)`.

use super::form::Side;
use super::pointwise::{Pointwise, Term, mean_by_columns, sigmoid, softplus};
use super::{Batch, Entry, Form, LossBuild};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "bce",
    summary: "binary cross-entropy; pos_weight multiplies the positive term",
    params: &[],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |_| None,
        balances: |_| false,
        numerics: 0,
        make: |_, context| Ok(Box::new(Bce { weight: context.pos_weight.clone() })),
    },
};

#[derive(Debug)]
struct Bce {
    /// w, one per label.
    weight: Vec<f64>,
}

/// Both terms before weights.
#[inline(always)]
pub(super) fn terms(z: f64) -> [Term; 2] {
    [Term { value: softplus(-z), slope: -sigmoid(-z) }, Term { value: softplus(z), slope: sigmoid(z) }]
}

impl Pointwise for Bce {
    fn positive(&self, label: usize, z: f64) -> Term {
        terms(z)[0].times(self.weight[label])
    }

    fn negative(&self, _: usize, z: f64) -> Term {
        terms(z)[1]
    }

    fn mean(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        mean_by_columns(batch, gradient, |label| {
            let weight = self.weight[label];
            #[inline(always)]
            move |z, y| {
                let [positive, negative] = terms(z);
                if y { positive.times(weight) } else { negative }
            }
        })
    }

    fn link(&self, label: usize, z: f64) -> Option<f64> {
        Some(sigmoid(z - self.weight[label].ln()))
    }

    fn form(&self) -> Option<Form> {
        let labels = self.weight.len();
        Some(Form::new(Side::positive(0.0, self.weight.clone()), Side::negative(0.0, 1.0, labels)))
    }
}
