//! Every row once, in random order (Fisher–Yates).

use super::{Entry, Sampler, SamplerBuild};
use crate::rng::Rng;

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "shuffle",
    summary: "every row once, in random order",
    params: &[],
    build: SamplerBuild {
        needs_features: false,
        balances: false,
        least_batch: |_, _| 1,
        make: |_, train| Ok(Box::new(Shuffle { rows: train.labels.rows() as u32 })),
    },
};

#[derive(Debug)]
struct Shuffle {
    rows: u32,
}

impl Sampler for Shuffle {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.rows).collect();
        Rng::new(seed, "shuffle", &[epoch as u64]).shuffle(&mut order);
        order
    }
}
