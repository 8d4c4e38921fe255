//! ZLPR (Su et al., "ZLPR: a novel loss for multi-label classification", 2022, equation 5): zero-bounded log-sum-exp, pairwise
//! rank-based.
//!
//! Of a row: `ln(1 + sum of e^z over negatives) + ln(1 + sum of e^-z over positives)`: every positive above every negative, with
//! 0 between them. Reduction: mean over rows, as published; a row's sum over labels stands inside the logarithm. A cell's slope
//! depends on its row, so there is no LINK and no pos_weight. 0.5 is its built-in threshold.

use super::two_way::log_sum_exp;
use super::{Batch, Entry, Loss, LossBuild};

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "zlpr",
    summary: "ranks a row's positives above 0 and its negatives below, softly (Su 2022; reads no pos_weight)",
    params: &[],
    build: LossBuild {
        reads_pos_weight: false,
        equal: |_| None,
        balances: |_| false,
        numerics: 0,
        make: |_, _| Ok(Box::new(Zlpr)),
    },
};

#[derive(Debug)]
struct Zlpr;

impl Loss for Zlpr {
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        let Batch { labels, logits, targets, .. } = batch;
        let share = labels as f64 / logits.len() as f64;
        let mut sum = 0.0;
        let rows = logits.chunks_exact(labels).zip(targets.chunks_exact(labels)).zip(gradient.chunks_exact_mut(labels));
        for ((logits, targets), gradient) in rows {
            gradient.fill(0.0);
            for (y, sign) in [(0, 1.0), (1, -1.0)] {
                // The 1 beside the sum is a logit of 0.
                let cells = logits.iter().zip(targets).filter(|(_, target)| **target == y);
                let total = log_sum_exp(cells.map(|(&z, _)| sign * f64::from(z)).chain([0.0]));
                sum += total;
                for ((&z, _), slope) in logits.iter().zip(targets).zip(&mut *gradient).filter(|((_, target), _)| **target == y) {
                    *slope = (sign * (sign * f64::from(z) - total).exp() * share) as f32;
                }
            }
        }
        sum * share
    }

    fn implied_probability(&self, _: usize, _: f64) -> Option<f64> {
        None
    }
}
