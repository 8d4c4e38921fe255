//! Two-way multi-label loss (Kobayashi, "Two-way multi-label loss", CVPR 2023, equations 6 and 11), written from the paper.
//!
//! Of a group of cells: `softplus(Tn LSE of z/Tn over negatives + Tp LSE of -z/Tp over positives)`, a smooth form of "the highest
//! negative is below the lowest positive". The groups are the rows of the batch (labels of a sample) and its columns (samples of
//! a label).
//!
//! Reduction: the mean over rows with positives plus the mean over labels with positives, as published: groups, not cells, are
//! what is compared. Scores only rank, so there is no LINK, and it reads no pos_weight. Choose thresholds on validation.

use super::pointwise::{sigmoid, softplus};
use super::{Batch, Entry, Loss, LossBuild};
use crate::{Absent, Param, Takes};

const TEMPERATURE: Takes = Takes::Number { min: 0.01, max: 1000.0 };

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "two_way",
    summary: "ranks positives above negatives within rows and within labels (Kobayashi 2023; reads no pos_weight)",
    params: &[
        Param {
            name: "t_pos",
            help: "temperature of the soft minimum over positives (Kobayashi 2023: 4)",
            takes: TEMPERATURE,
            absent: Absent::Number(4.0),
        },
        Param {
            name: "t_neg",
            help: "temperature of the soft maximum over negatives (Kobayashi 2023: 1)",
            takes: TEMPERATURE,
            absent: Absent::Number(1.0),
        },
    ],
    build: LossBuild {
        reads_pos_weight: false,
        equal: |_| None,
        balances: |_| true,
        numerics: 0,
        make: |choice, _| Ok(Box::new(TwoWay { positive: choice.get("t_pos"), negative: choice.get("t_neg") })),
    },
};

#[derive(Debug)]
struct TwoWay {
    positive: f64,
    negative: f64,
}

/// `ln sum e^x` without overflow; -infinity of nothing.
pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_finite() { largest + values.map(|x| (x - largest).exp()).sum::<f64>().ln() } else { largest }
}

impl TwoWay {
    /// The mean over groups with positives; adds its gradient.
    fn way<G: Iterator<Item = usize> + Clone>(&self, batch: Batch<'_>, groups: &[G], gradient: &mut [f64]) -> f64 {
        let of = |group: &G, y: u8| group.clone().filter(move |&cell| batch.targets[cell] == y);
        let z = |cell: usize| f64::from(batch.logits[cell]);
        let valid: Vec<&G> = groups.iter().filter(|group| of(group, 1).next().is_some()).collect();
        let share = 1.0 / valid.len().max(1) as f64;
        let mut sum = 0.0;
        for group in valid {
            let highest = log_sum_exp(of(group, 0).map(|cell| z(cell) / self.negative));
            let lowest = log_sum_exp(of(group, 1).map(|cell| -z(cell) / self.positive));
            let gap = self.negative * highest + self.positive * lowest;
            sum += softplus(gap);
            for cell in of(group, 0) {
                gradient[cell] += share * sigmoid(gap) * (z(cell) / self.negative - highest).exp();
            }
            for cell in of(group, 1) {
                gradient[cell] -= share * sigmoid(gap) * (-z(cell) / self.positive - lowest).exp();
            }
        }
        sum * share
    }
}

impl Loss for TwoWay {
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        let (labels, cells) = (batch.labels, batch.logits.len());
        let rows: Vec<_> = (0..cells).step_by(labels).map(|first| (first..first + labels).step_by(1)).collect();
        let columns: Vec<_> = (0..labels).map(|first| (first..cells).step_by(labels)).collect();
        let mut sum = vec![0.0; cells];
        let value = self.way(batch, &rows, &mut sum) + self.way(batch, &columns, &mut sum);
        gradient.iter_mut().zip(sum).for_each(|(slope, sum)| *slope = sum as f32);
        value
    }

    fn implied_probability(&self, _: usize, _: f64) -> Option<f64> {
        None
    }
}
