//! Distribution-balanced loss (Wu et al., "Distribution-balanced loss for multi-label classification in long-tailed datasets",
//! ECCV 2020), with and without its focal factor, written from the paper's equations 3 to 8.
//!
//! Re-balanced weights: `r = (1/n_k) / sum of 1/n_j over the row's labels`, the share of a row's draws under class-aware sampling
//! that are due to label k; a cell weighs `alpha + sigmoid(beta (r - mu))`, at most 1 + alpha, which a row without labels gets.
//! Negative-tolerant: `z' = z - (kappa/lambda) ln(N/n_k - 1)`, `l+ = w sp(-z')`, `l- = sp(lambda z') / lambda`; with gamma > 0
//! both times `balance` (1-p_t)^gamma, p_t by `sigmoid(z')` and `sigmoid(-lambda z')`. The defaults are the official COCO-MLT
//! settings; mu has to be tuned where labels are few. The weights depend on the row's labels, so there is no LINK: calibrate on
//! validation. It re-balances by itself; a pos_weight or a balancing sampler comes on top (the paper uses the sampler).

use super::form::{RowWeights, Side};
use super::pointwise::{Cell, Term, mean_over_cells, sigmoid};
use super::{Batch, Entry, Form, Loss, LossBuild, focal};
use crate::{Absent, Param, Takes};

const fn number(name: &'static str, help: &'static str, min: f64, max: f64, default: f64) -> Param {
    Param { name, help, takes: Takes::Number { min, max }, absent: Absent::Number(default) }
}

pub(super) const ENTRY: Entry<LossBuild> = Entry {
    kind: "db",
    summary: "distribution-balanced loss (Wu 2020); gamma 0 leaves out its focal factor; pos_weight multiplies the positive term",
    params: &[
        number("map_alpha", "least weight of a cell (Wu 2020: 0.1)", 0.0, 10.0, 0.1),
        number("map_beta", "steepness of the weight over r (Wu 2020: 10)", 0.0, 1000.0, 10.0),
        number("map_mu", "r of the middle weight (Wu 2020: 0.2 for COCO-MLT, 0.3 for VOC-MLT)", 0.0, 10.0, 0.2),
        number("lambda", "how much less a negative that is already right counts (Wu 2020: 2 and 5)", 0.1, 100.0, 2.0),
        number("kappa", "share of the prior that shifts the logits in the loss (Wu 2020: 0.05)", 0.0, 10.0, 0.05),
        Param { name: "gamma", help: "as in focal; 0 leaves the factor out", takes: focal::GAMMA, absent: Absent::Number(2.0) },
        number("balance", "factor of the focal form (Wu 2020: 2)", 0.01, 100.0, 2.0),
    ],
    build: LossBuild {
        reads_pos_weight: true,
        equal: |choice| (choice.get("gamma") == 0.0 && choice.get("balance") != 1.0).then(|| choice.clone().with("balance", 1.0)),
        balances: |_| true,
        numerics: 0,
        make: |choice, context| {
            let what = format!("loss {}", choice.kind);
            let [alpha, beta, mu, lambda, kappa, gamma, balance] =
                ["map_alpha", "map_beta", "map_mu", "lambda", "kappa", "gamma", "balance"].map(|name| choice.get(name));
            Ok(Box::new(Db {
                inverse: context.counts.each_label(&what, |positives, _| 1.0 / positives)?,
                map: [alpha, beta, mu],
                shift: context.counts.each_label(&what, |positives, negatives| -kappa / lambda * (negatives / positives).ln())?,
                lambda,
                gamma,
                balance: if gamma > 0.0 { balance } else { 1.0 },
                weight: context.pos_weight.clone(),
            }))
        },
    },
};

#[derive(Debug)]
struct Db {
    /// 1/n, one per label.
    inverse: Vec<f64>,
    /// alpha, beta, mu.
    map: [f64; 3],
    /// z' - z, one per label.
    shift: Vec<f64>,
    lambda: f64,
    gamma: f64,
    balance: f64,
    /// w, one per label.
    weight: Vec<f64>,
}

impl Db {
    fn positive(&self, label: usize, z: f64) -> Term {
        focal::term(self.gamma, z + self.shift[label]).times(self.balance * self.weight[label])
    }

    fn negative(&self, label: usize, z: f64) -> Term {
        let Term { value, slope } = focal::term(self.gamma, -self.lambda * (z + self.shift[label])).mirrored();
        Term { value: value / self.lambda, slope }.times(self.balance)
    }

    /// The weight of a cell, given the sum of 1/n over the labels of its row (infinitely rare where there is none).
    fn rebalanced(&self, label: usize, row: f64) -> f64 {
        let [alpha, beta, mu] = self.map;
        let rarity = self.inverse[label] / row;
        alpha + if row == 0.0 { 1.0 } else { sigmoid(beta * (rarity - mu)) }
    }
}

impl Loss for Db {
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        let rows = self.rows(batch.labels, batch.targets);
        mean_over_cells(batch, gradient, |Cell { row, label, z, positive }| {
            let term = if positive { self.positive(label, z) } else { self.negative(label, z) };
            term.times(self.rebalanced(label, rows[row]))
        })
    }

    fn form(&self, _: usize) -> Option<Form> {
        let ([alpha, beta, mu], labels) = (self.map, self.weight.len());
        let weight = self.weight.iter().map(|weight| self.balance * weight).collect();
        let positive = Side::positive(self.gamma, weight).shifted(self.shift.clone());
        let negative = Side::negative(self.gamma, self.balance / self.lambda, labels).shifted(self.shift.clone());
        let rows = RowWeights::Shared { alpha, beta, mu, inverse: self.inverse.clone() };
        Some(Form { rows, ..Form::new(positive, Side { slope: -self.lambda, ..negative }) })
    }

    fn rows(&self, labels: usize, targets: &[u8]) -> Vec<f64> {
        let sum = |targets: &[u8]| targets.iter().zip(&self.inverse).filter(|(y, _)| **y == 1).map(|(_, inverse)| inverse).sum();
        targets.chunks_exact(labels).map(sum).collect()
    }

    fn implied_probability(&self, _: usize, _: f64) -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::pointwise::link;
    use super::*;

    /// docs/strategies.md#db: what 0.5 stands for given the row's labels, and the weights and shifts of the golden batch.
    #[test]
    fn the_parts_are_as_published() {
        let n = [19_000.0, 65_000.0, 38_000.0, 105_000.0f64];
        let db = |gamma, balance| Db {
            inverse: n.map(|n| 1.0 / n).to_vec(),
            map: [0.1, 10.0, 0.2],
            shift: n.map(|n| -0.025 * (224_000.0 / n - 1.0).ln()).to_vec(),
            lambda: 2.0,
            gamma,
            balance,
            weight: vec![1.0; 4],
        };
        for (db, expected) in [(db(0.0, 1.0), [0.4774, 0.4916, 0.4850, 0.4988]), (db(2.0, 2.0), [0.4395, 0.4774, 0.4598, 0.4969])]
        {
            for (label, expected) in expected.into_iter().enumerate() {
                let eta = link(db.positive(label, 0.0), db.negative(label, 0.0)).unwrap();
                assert!((eta - expected).abs() < 5e-5, "label {label}: {eta} is not {expected}");
                let shift = db.shift[label];
                let closed = sigmoid(2.0 * shift) / (sigmoid(2.0 * shift) + sigmoid(-shift));
                assert!(db.gamma > 0.0 || (eta - closed).abs() < 1e-12);
            }
        }
        let db = db(2.0, 2.0);
        for (shift, expected) in db.shift.iter().zip([-0.059_464, -0.022_363, -0.039_704, -0.003_129]) {
            assert!((shift - expected).abs() < 5e-7);
        }
        let rows = [
            ([1u8, 0, 1, 0], [1.090_684, 0.587_182, 0.891_391, 0.411_385]),
            ([0, 1, 1, 0], [1.099_976, 0.944_135, 1.086_753, 0.670_494]),
            ([0, 0, 0, 1], [1.1, 1.099_999, 1.1, 1.099_665]),
            ([0; 4], [1.1; 4]),
        ];
        for (targets, expected) in rows {
            let row = targets.iter().zip(&db.inverse).map(|(&y, inverse)| f64::from(y) * inverse).sum();
            for (label, expected) in expected.into_iter().enumerate() {
                let weight = db.rebalanced(label, row);
                assert!((weight - expected).abs() < 1e-6, "{targets:?}, label {label}: {weight} is not {expected}");
            }
        }
    }
}
