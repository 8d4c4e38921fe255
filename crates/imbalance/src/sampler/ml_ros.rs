//! ML-ROS (Charte et al., "Addressing imbalance in multilabel classification: measures and random resampling algorithms",
//! Neurocomputing 163, 2015, algorithm 3): clones of rows with minority labels.
//!
//! Minority labels are those with an IRLbl (most positives of any label / own positives) above the mean. In turns, each gives a clone of
//! a random row of its bag (its rows in the data, not their clones), until P % rows were added; one whose IRLbl has come down to the mean
//! takes no more turns. A clone brings its row's other labels along, frequent ones too. The clones are those of the seed, the same in
//! every epoch: an epoch is the enlarged data set in a new order.

use super::{Entry, Sampler, SamplerBuild};
use crate::LabelMatrix;
use crate::diagnosis::imbalance;
use crate::rng::Rng;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "ml_ros",
    summary: "clone random rows of minority labels (ML-ROS, Charte 2015); epochs get longer",
    params: &[Param {
        name: "percent",
        help: "rows to add, in percent of the train rows (Charte 2015: 10 to 25)",
        takes: Takes::Number { min: 0.0, max: 1000.0 },
        absent: Absent::Number(25.0),
    }],
    build: SamplerBuild {
        needs_features: false,
        balances: true,
        least_batch: |_, _| 1,
        make: |choice, train| Ok(Box::new(MlRos { percent: choice.get("percent"), train: train.labels.clone() })),
    },
};

/// Rows that `percent` stands for.
pub(super) fn quota(percent: f64, rows: usize) -> usize {
    (rows as f64 * percent / 100.0).round() as usize
}

/// The rows that are known to carry the label.
pub(super) fn bag(train: &LabelMatrix, label: usize) -> Vec<u32> {
    (0..train.rows() as u32).filter(|&row| train.row(row as usize)[label] == 1).collect()
}

/// IRLbl of a label under these counts.
pub(super) fn ratio(positives: &[usize], label: usize) -> f64 {
    positives.iter().copied().max().unwrap_or(0) as f64 / positives[label] as f64
}

/// The clones in the order in which they are made.
pub(super) fn clones(percent: f64, train: &LabelMatrix, mut rng: Rng) -> Vec<u32> {
    let mut positives = train.counts().positives;
    let start = imbalance(&positives);
    let (Some(mean), quota) = (start.mean_ir, quota(percent, train.rows())) else { return Vec::new() };
    let minority = |&label: &usize| start.irlbl[label].is_some_and(|ratio| ratio > mean);
    let mut turns: Vec<(usize, Vec<u32>)> =
        (0..positives.len()).filter(minority).map(|label| (label, bag(train, label))).collect();
    let mut clones = Vec::with_capacity(quota);
    while !turns.is_empty() {
        turns.retain(|(label, bag)| {
            if clones.len() == quota {
                return false;
            }
            let row = bag[rng.below(bag.len() as u64) as usize];
            clones.push(row);
            positives.iter_mut().zip(train.row(row as usize)).for_each(|(count, &value)| *count += usize::from(value == 1));
            ratio(&positives, *label) > mean
        });
    }
    clones
}

#[derive(Debug)]
struct MlRos {
    percent: f64,
    train: LabelMatrix,
}

impl Sampler for MlRos {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.train.rows() as u32).collect();
        order.extend(clones(self.percent, &self.train, Rng::new(seed, "ml_ros", &[])));
        Rng::new(seed, "ml_ros", &[epoch as u64]).shuffle(&mut order);
        order
    }
}
