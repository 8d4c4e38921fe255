//! Weighted random sampling (torch `WeightedRandomSampler`): as many draws with replacement as there are train rows, each row with
//! probability proportional to its weight: the largest, mean or summed 1 / prevalence (among the rows that know it) of its labels;
//! rows without labels have a weight of their own, 1 by default (the least a label could give). Drawn by the alias method (Walker
//! 1977; Vose 1991) in O(1).

use super::{Entry, Sampler, SamplerBuild, StrategyError};
use crate::LabelMatrix;
use crate::rng::Rng;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "weighted",
    summary: "draw rows with replacement, in proportion to the rarity of their labels",
    params: &[
        Param {
            name: "by",
            help: "how 1 / prevalence of a row's labels becomes its weight",
            takes: Takes::Word(&["max", "mean", "sum"]),
            absent: Absent::Word("max"),
        },
        Param {
            name: "empty",
            help: "weight of rows without labels; 0 never draws them",
            takes: Takes::Number { min: 0.0, max: 1e6 },
            absent: Absent::Number(1.0),
        },
    ],
    build: SamplerBuild {
        needs_features: false,
        balances: true,
        least_batch: |_, _| 1,
        make: |choice, train| {
            let weights = weights(choice.word("by"), choice.get("empty"), train.labels);
            if weights.iter().sum::<f64>() <= 0.0 {
                return Err(StrategyError::Unfit(
                    "sampler weighted: no train row has a label and `empty` is 0, so nothing can be drawn".to_owned(),
                ));
            }
            Ok(Box::new(Weighted::new(&weights)))
        },
    },
};

/// One weight per row.
pub(super) fn weights(by: &str, empty: f64, train: &LabelMatrix) -> Vec<f64> {
    let counts = train.counts();
    let rarity = |(label, &positives): (usize, &usize)| counts.known(label) as f64 / positives as f64;
    let rarity: Vec<f64> = counts.positives.iter().enumerate().map(rarity).collect();
    let weight = |row: &[u8]| {
        let (mut count, mut sum, mut max) = (0.0, 0.0, 0.0f64);
        for (rarity, _) in rarity.iter().zip(row).filter(|(_, value)| **value == 1) {
            count += 1.0;
            sum += rarity;
            max = max.max(*rarity);
        }
        match by {
            _ if count == 0.0 => empty,
            "mean" => sum / count,
            "sum" => sum,
            _ => max,
        }
    };
    (0..train.rows()).map(|row| weight(train.row(row))).collect()
}

/// An alias table: column i is drawn uniformly and keeps the draw with probability `keep[i]`, else gives it to `alias[i]`.
#[derive(Debug)]
struct Weighted {
    keep: Vec<f64>,
    alias: Vec<u32>,
}

impl Weighted {
    fn new(weights: &[f64]) -> Self {
        let scale = weights.len() as f64 / weights.iter().sum::<f64>();
        let mut keep: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut alias: Vec<u32> = (0..weights.len() as u32).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = alias.iter().partition(|&&i| keep[i as usize] < 1.0);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            alias[poor as usize] = rich;
            keep[rich as usize] -= 1.0 - keep[poor as usize];
            if keep[rich as usize] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        // What is left on either stack is 1 up to rounding, and aliases itself.
        Self { keep, alias }
    }
}

impl Sampler for Weighted {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut rng = Rng::new(seed, "weighted", &[epoch as u64]);
        (0..self.keep.len())
            .map(|_| {
                let column = rng.below(self.keep.len() as u64) as usize;
                if rng.uniform() < self.keep[column] { column as u32 } else { self.alias[column] }
            })
            .collect()
    }
}
