//! Repeat factor sampling (Gupta, Dollár, Girshick, "LVIS", CVPR 2019, section 5.1): a row is repeated as its rarest label demands.
//!
//! Label c with prevalence f (among the rows that know it) has `r(c) = max(1, sqrt(t / f))`, a row the largest r of its labels, a
//! row without labels 1. Each epoch shows a row floor(r) times, and once more with the probability of what is left (stochastic
//! rounding, as in detectron2), so that an epoch has as many draws as the factors add up to: more than there are rows. LVIS's own t
//! = 0.001 repeats nothing where every label has 0.1 % of the rows.

use super::{Entry, Sampler, SamplerBuild};
use crate::LabelMatrix;
use crate::rng::Rng;
use crate::{Absent, LabelCounts, Param, Takes};

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "repeat_factor",
    summary: "repeat rows by sqrt(t / prevalence) of their rarest label (LVIS 2019); epochs get longer",
    params: &[Param {
        name: "t",
        help: "prevalence up to which a label is repeated (LVIS: 0.001 for a thousand rare labels; 0.3 to 0.5 for a few frequent ones)",
        takes: Takes::Number { min: 0.0, max: 1.0 },
        absent: Absent::Number(0.3),
    }],
    build: SamplerBuild {
        needs_features: false,
        balances: true,
        least_batch: |_, _| 1,
        make: |choice, train| Ok(Box::new(RepeatFactor { factors: factors(choice.get("t"), train.labels) })),
    },
};

/// r of every label; 1 where it has no positives. Where all are 1, the sampler is a shuffle.
#[must_use]
pub fn label_factors(t: f64, train: &LabelCounts) -> Vec<f64> {
    let factor = |(label, &positives): (usize, &usize)| match positives {
        0 => 1.0,
        _ => (t * train.known(label) as f64 / positives as f64).sqrt().max(1.0),
    };
    train.positives.iter().enumerate().map(factor).collect()
}

/// r of every row.
pub(super) fn factors(t: f64, train: &LabelMatrix) -> Vec<f64> {
    let labels = label_factors(t, &train.counts());
    let factor = |row: &[u8]| row.iter().zip(&labels).filter(|(y, _)| **y == 1).fold(1.0, |most: f64, (_, r)| most.max(*r));
    (0..train.rows()).map(|row| factor(train.row(row))).collect()
}

#[derive(Debug)]
struct RepeatFactor {
    /// r of every row.
    factors: Vec<f64>,
}

impl Sampler for RepeatFactor {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut rng = Rng::new(seed, "repeat_factor", &[epoch as u64]);
        let mut order = Vec::with_capacity(self.factors.iter().sum::<f64>() as usize + 1);
        for (row, factor) in self.factors.iter().enumerate() {
            let times = factor.floor() as usize + usize::from(rng.uniform() < factor.fract());
            order.extend(std::iter::repeat_n(row as u32, times));
        }
        rng.shuffle(&mut order);
        order
    }
}
