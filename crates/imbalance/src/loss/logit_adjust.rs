//! Logit adjustment (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10), in its sigmoid form.
//!
//! bce of `z + tau logit(pi)` with the label's prevalence pi in train: the network learns what the features add to the
//! prevalence. Scores are taken without the offset, so that 0.5 stands for `sigmoid(tau logit pi)`, which is pi at tau = 1: the
//! same operating point as bce with neg_over_pos (docs/strategies.md#operating-points). LINK: `sigmoid(z + tau logit pi - ln w)`.

use super::form::Side;
use super::pointwise::{Pointwise, Term, mean_by_columns, sigmoid};
use super::{Batch, Entry, Form, LossBuild, bce};
use crate::Choice;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "logit_adjust",
    summary: "bce of the logit plus tau logit(prevalence) (Menon 2021); pos_weight multiplies the positive term",
    params: &[Param {
        name: "tau",
        help: "how much of the prior is taken out of the scores: 0 is bce, 1 puts 0.5 at the prevalence (Menon 2021 uses 1)",
        takes: Takes::Number { min: 0.0, max: 10.0 },
        absent: Absent::Number(1.0),
    }],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |choice| (choice.get("tau") == 0.0).then(|| Choice::plain(bce::ENTRY.kind)),
        balances: |choice| choice.get("tau") > 0.0,
        numerics: 0,
        make: |choice, context| {
            let logit = |positives: f64, negatives: f64| choice.get("tau") * (positives / negatives).ln();
            let offset = context.counts.each_label(&format!("loss {}", choice.kind), logit)?;
            Ok(Box::new(LogitAdjust { offset, weight: context.pos_weight.clone() }))
        },
    },
};

#[derive(Debug)]
struct LogitAdjust {
    /// tau logit(pi), one per label.
    offset: Vec<f64>,
    /// w, one per label.
    weight: Vec<f64>,
}

impl Pointwise for LogitAdjust {
    fn positive(&self, label: usize, z: f64) -> Term {
        bce::terms(z + self.offset[label])[0].times(self.weight[label])
    }

    fn negative(&self, label: usize, z: f64) -> Term {
        bce::terms(z + self.offset[label])[1]
    }

    fn mean(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        mean_by_columns(batch, gradient, |label| {
            let (offset, weight) = (self.offset[label], self.weight[label]);
            #[inline(always)]
            move |z, y| {
                let [positive, negative] = bce::terms(z + offset);
                if y { positive.times(weight) } else { negative }
            }
        })
    }

    fn link(&self, label: usize, z: f64) -> Option<f64> {
        Some(sigmoid(z + self.offset[label] - self.weight[label].ln()))
    }

    fn form(&self) -> Option<Form> {
        let (labels, offset) = (self.weight.len(), &self.offset);
        let positive = Side::positive(0.0, self.weight.clone()).shifted(offset.clone());
        Some(Form::new(positive, Side::negative(0.0, 1.0, labels).shifted(offset.clone())))
    }
}
