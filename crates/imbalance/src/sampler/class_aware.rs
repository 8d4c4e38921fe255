//! Class-aware sampling (Shen, Lin, Huang, "Relay backpropagation", ECCV 2016): every label gives equally many draws.
//!
//! A shuffled list of the labels and, for each label, a shuffled list of its positive rows; both are walked in turn and shuffled
//! again at their end. An epoch has as many draws as there are train rows, so that one costs as much as an epoch of the other
//! samplers, and starts from fresh shuffles, so that it depends on (seed, epoch) alone. Rows without labels are never drawn, and a
//! label without positives gives no draws.

use super::ml_ros::bag;
use super::{Entry, Sampler, SamplerBuild, StrategyError};
use crate::rng::Rng;

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "class_aware",
    summary: "draw a label, then one of its positive rows (Shen 2016); rows without labels are never drawn",
    params: &[],
    build: SamplerBuild {
        needs_features: false,
        balances: true,
        least_batch: |_, _| 1,
        make: |_, train| {
            let mut positives: Vec<Vec<u32>> = (0..train.labels.names.len()).map(|label| bag(train.labels, label)).collect();
            positives.retain(|members| !members.is_empty());
            if positives.is_empty() {
                return Err(StrategyError::Unfit("sampler class_aware: no train row has a label".to_owned()));
            }
            Ok(Box::new(ClassAware { positives, rows: train.labels.rows() }))
        },
    },
};

#[derive(Debug)]
struct ClassAware {
    /// Positive rows of each label that has some.
    positives: Vec<Vec<u32>>,
    rows: usize,
}

/// A list walked in shuffled order, again and again.
struct Cycle {
    items: Vec<u32>,
    next: usize,
}

impl Cycle {
    fn new(items: Vec<u32>) -> Self {
        Self { next: items.len(), items }
    }

    fn draw(&mut self, rng: &mut Rng) -> u32 {
        if self.next == self.items.len() {
            rng.shuffle(&mut self.items);
            self.next = 0;
        }
        self.next += 1;
        self.items[self.next - 1]
    }
}

impl Sampler for ClassAware {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut rng = Rng::new(seed, "class_aware", &[epoch as u64]);
        let mut labels = Cycle::new((0..self.positives.len() as u32).collect());
        let mut members: Vec<Cycle> = self.positives.iter().cloned().map(Cycle::new).collect();
        (0..self.rows)
            .map(|_| {
                let label = labels.draw(&mut rng) as usize;
                members[label].draw(&mut rng)
            })
            .collect()
    }
}
