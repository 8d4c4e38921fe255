//! Batches that hold some positives of every label: what losses over a batch need (soft_f1), with the prior hardly changed.
//!
//! A shuffle, mended: where a batch has fewer than `min` positives of a label, one of its rows that no label of the batch depends
//! on changes places with a later row that has the label; if no such row is left, it is replaced by a random row with the label,
//! which is then shown again. Rare labels first. An epoch has as many draws as there are train rows; as long as every label has
//! rows for every batch, nearly all of them are shown once. The last batch is often short, and gets what it can hold.

use super::ml_ros::bag;
use super::{Entry, Sampler, SamplerBuild, StrategyError};
use crate::LabelMatrix;
use crate::rng::Rng;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "balanced_batch",
    summary: "a shuffle mended so that every batch has `min` positives of every label",
    params: &[Param {
        name: "min",
        help: "positives of each label in a batch",
        takes: Takes::Whole { min: 1, max: 1000 },
        absent: Absent::Number(1.0),
    }],
    build: SamplerBuild {
        needs_features: false,
        balances: false,
        least_batch: |choice, labels| labels * choice.get("min") as usize,
        make: |choice, train| {
            let least = choice.get("min") as usize;
            // Rarest first; labels without positives are left out.
            let mut bags: Vec<(usize, Vec<u32>)> =
                (0..train.labels.names.len()).map(|label| (label, bag(train.labels, label))).collect();
            bags.retain(|(_, bag)| !bag.is_empty());
            bags.sort_by_key(|(_, bag)| bag.len());
            let need = least * bags.len();
            if need > train.batch_size {
                let (size, labels) = (train.batch_size, bags.len());
                return Err(StrategyError::Unfit(format!(
                    "sampler balanced_batch: {least} positives of each of {labels} labels may not fit into batches of {size}; set train.batch_size to {need} or more"
                )));
            }
            Ok(Box::new(BalancedBatch { least, batch_size: train.batch_size, bags, train: train.labels.clone() }))
        },
    },
};

#[derive(Debug)]
struct BalancedBatch {
    least: usize,
    batch_size: usize,
    /// (label, its rows), the label with the fewest first.
    bags: Vec<(usize, Vec<u32>)>,
    train: LabelMatrix,
}

/// An epoch while it is mended.
struct Mending<'a> {
    train: &'a LabelMatrix,
    order: Vec<u32>,
    /// Where in `order` each row stands that has not been shown: those behind the batch at hand.
    place: Vec<usize>,
    /// The rows of each bag in random order, walked once: a row that is passed has been shown.
    queues: Vec<(Vec<u32>, usize)>,
}

impl Mending<'_> {
    /// A place behind `end` with a row of the bag's label, if one is left.
    fn later(&mut self, bag: usize, end: usize) -> Option<usize> {
        let (queue, next) = &mut self.queues[bag];
        while let Some(&row) = queue.get(*next) {
            *next += 1;
            let place = self.place[row as usize];
            if place >= end {
                return Some(place);
            }
        }
        None
    }

    /// A place in the batch whose row can go: without it every label still has `least` positives, or as many as it has now.
    fn spare(&self, batch: std::ops::Range<usize>, counts: &[usize], least: usize, rng: &mut Rng) -> Option<usize> {
        let (start, length) = (batch.start, batch.len());
        let first = rng.below(length as u64) as usize;
        let free = |place: &usize| {
            let row = self.train.row(self.order[*place] as usize);
            row.iter().zip(counts).all(|(&value, &count)| value != 1 || count > least)
        };
        (0..length).map(|step| start + (first + step) % length).find(free)
    }

    fn set(&mut self, place: usize, row: u32) {
        self.order[place] = row;
        self.place[row as usize] = place;
    }
}

impl Sampler for BalancedBatch {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut rng = Rng::new(seed, "balanced_batch", &[epoch as u64]);
        let rows = self.train.rows();
        let mut order: Vec<u32> = (0..rows as u32).collect();
        rng.shuffle(&mut order);
        let queues = self.bags.iter().map(|(_, bag)| {
            let mut queue = bag.clone();
            rng.shuffle(&mut queue);
            (queue, 0)
        });
        let queues = queues.collect();
        let mut place = vec![0; rows];
        order.iter().enumerate().for_each(|(at, &row)| place[row as usize] = at);
        let mut mending = Mending { train: &self.train, order, place, queues };
        for start in (0..rows).step_by(self.batch_size) {
            let batch = start..rows.min(start + self.batch_size);
            let mut counts = vec![0; self.train.names.len()];
            let tally = |counts: &mut Vec<usize>, row: u32, add: bool| {
                for (count, _) in counts.iter_mut().zip(self.train.row(row as usize)).filter(|(_, value)| **value == 1) {
                    *count = if add { *count + 1 } else { *count - 1 };
                }
            };
            mending.order[batch.clone()].iter().for_each(|&row| tally(&mut counts, row, true));
            for (at, (label, bag)) in self.bags.iter().enumerate() {
                while counts[*label] < self.least {
                    let Some(spare) = mending.spare(batch.clone(), &counts, self.least, &mut rng) else { break };
                    let out = mending.order[spare];
                    let into = match mending.later(at, batch.end) {
                        Some(later) => {
                            let row = mending.order[later];
                            mending.set(later, out);
                            row
                        }
                        None => bag[rng.below(bag.len() as u64) as usize],
                    };
                    mending.order[spare] = into;
                    tally(&mut counts, out, false);
                    tally(&mut counts, into, true);
                }
            }
        }
        mending.order
    }
}
