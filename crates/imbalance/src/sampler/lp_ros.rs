//! LP-ROS (Charte et al., Neurocomputing 163, 2015): clones of rows whose whole set of labels is rare.
//!
//! Sets of labels with fewer rows than the mean set are filled up towards it with random clones of their rows, P % of the rows in all, in
//! equal shares as far as each can take them. With C labels there are up to 2^C sets: it means something for few labels. The clones are
//! those of the seed, the same in every epoch.

use super::lp;
use super::ml_ros::quota;
use super::{Entry, Sampler, SamplerBuild};
use crate::rng::Rng;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "lp_ros",
    summary: "clone random rows of rare label combinations (LP-ROS, Charte 2015); epochs get longer",
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
        make: |choice, train| {
            Ok(Box::new(LpRos { percent: choice.get("percent"), bags: lp::bags(train.labels), rows: train.labels.rows() }))
        },
    },
};

/// The clones that each bag gives.
pub(super) fn clones(percent: f64, bags: &[Vec<u32>], rows: usize, mut rng: Rng) -> Vec<u32> {
    let shares = lp::divide(quota(percent, rows), &lp::room(bags, true));
    let mut draw = |bag: &Vec<u32>| bag[rng.below(bag.len() as u64) as usize];
    bags.iter().zip(shares).flat_map(|(bag, share)| (0..share).map(|_| draw(bag)).collect::<Vec<_>>()).collect()
}

#[derive(Debug)]
struct LpRos {
    percent: f64,
    bags: Vec<Vec<u32>>,
    rows: usize,
}

impl Sampler for LpRos {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.rows as u32).collect();
        order.extend(clones(self.percent, &self.bags, self.rows, Rng::new(seed, "lp_ros", &[])));
        Rng::new(seed, "lp_ros", &[epoch as u64]).shuffle(&mut order);
        order
    }
}
