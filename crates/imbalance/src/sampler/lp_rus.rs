//! LP-RUS (Charte et al., Neurocomputing 163, 2015): fewer rows whose whole set of labels is frequent.
//!
//! Sets of labels with more rows than the mean set (often the empty one) lose random rows towards it, P % of the rows in all, in equal
//! shares as far as each can give them. The rows are those of the seed, the same in every epoch; the others are never seen.

use super::lp;
use super::ml_ros::quota;
use super::ml_rus::{PERCENT, shuffled_rest};
use super::{Entry, Sampler, SamplerBuild};
use crate::rng::Rng;

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "lp_rus",
    summary: "leave out random rows of frequent label combinations (LP-RUS, Charte 2015); epochs get shorter",
    params: &[PERCENT],
    build: SamplerBuild {
        needs_features: false,
        balances: true,
        least_batch: |_, _| 1,
        make: |choice, train| {
            Ok(Box::new(LpRus { percent: choice.get("percent"), bags: lp::bags(train.labels), rows: train.labels.rows() }))
        },
    },
};

/// The rows that go.
pub(super) fn deleted(percent: f64, bags: &[Vec<u32>], rows: usize, mut rng: Rng) -> Vec<u32> {
    let shares = lp::divide(quota(percent, rows), &lp::room(bags, false));
    let mut draw = |bag: &Vec<u32>, share| {
        let mut bag = bag.clone();
        rng.shuffle(&mut bag);
        bag.truncate(share);
        bag
    };
    bags.iter().zip(shares).flat_map(|(bag, share)| draw(bag, share)).collect()
}

#[derive(Debug)]
struct LpRus {
    percent: f64,
    bags: Vec<Vec<u32>>,
    rows: usize,
}

impl Sampler for LpRus {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let gone = deleted(self.percent, &self.bags, self.rows, Rng::new(seed, "lp_rus", &[]));
        shuffled_rest(self.rows, &gone, Rng::new(seed, "lp_rus", &[epoch as u64]))
    }
}
