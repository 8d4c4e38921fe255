//! ML-RUS (Charte et al., Neurocomputing 163, 2015, algorithm 4): fewer rows of majority labels.
//!
//! Majority labels are those with an IRLbl below the mean. In turns, each loses a random row of its bag, until P % of the rows are gone;
//! one whose IRLbl has come up to the mean takes no more turns. With `protect`, rows that carry any minority label (IRLbl above the mean)
//! stay. The rows are those of the seed, the same in every epoch; the others are never seen.

use super::ml_ros::{bag, quota, ratio};
use super::{Entry, Sampler, SamplerBuild};
use crate::LabelMatrix;
use crate::diagnosis::imbalance;
use crate::rng::Rng;
use crate::{Absent, Param, StrategyError, Takes};

pub(super) const PERCENT: Param = Param {
    name: "percent",
    help: "rows to leave out, in percent of the train rows (Charte 2015: 10 to 25)",
    takes: Takes::Number { min: 0.0, max: 99.0 },
    absent: Absent::Number(25.0),
};

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "ml_rus",
    summary: "leave out random rows of majority labels (ML-RUS, Charte 2015); epochs get shorter",
    params: &[
        PERCENT,
        Param {
            name: "protect",
            help: "1: rows with a minority label stay",
            takes: Takes::Whole { min: 0, max: 1 },
            absent: Absent::Number(0.0),
        },
    ],
    build: SamplerBuild {
        needs_features: false,
        balances: true,
        least_batch: |_, _| 1,
        make: |choice, train| {
            let protect = choice.get("protect") == 1.0;
            if train.labels.rows() == 0 {
                return Err(StrategyError::Unfit("sampler ml_rus: there are no train rows".to_owned()));
            }
            Ok(Box::new(MlRus { percent: choice.get("percent"), protect, train: train.labels.clone() }))
        },
    },
};

/// The rows that go, in the order in which they go.
pub(super) fn deleted(percent: f64, protect: bool, train: &LabelMatrix, mut rng: Rng) -> Vec<u32> {
    let mut positives = train.counts().positives;
    let start = imbalance(&positives);
    let (Some(mean), quota) = (start.mean_ir, quota(percent, train.rows())) else { return Vec::new() };
    let is = |label: usize, over: bool| start.irlbl[label].is_some_and(|ratio| if over { ratio > mean } else { ratio < mean });
    let minority: Vec<usize> = (0..positives.len()).filter(|&label| is(label, true)).collect();
    let kept = |row: &u32| protect && minority.iter().any(|&label| train.row(*row as usize)[label] == 1);
    let members = |label| bag(train, label).into_iter().filter(|row| !kept(row)).collect();
    let mut turns: Vec<(usize, Vec<u32>)> =
        (0..positives.len()).filter(|&label| is(label, false)).map(|label| (label, members(label))).collect();
    let mut gone = vec![false; train.rows()];
    let mut deleted = Vec::with_capacity(quota);
    while !turns.is_empty() {
        turns.retain_mut(|(label, bag)| {
            if deleted.len() == quota {
                return false;
            }
            // Rows that went on another label's turn are struck off here when they are met.
            let row = loop {
                if bag.is_empty() {
                    return false;
                }
                let row = bag.swap_remove(rng.below(bag.len() as u64) as usize);
                if !gone[row as usize] {
                    break row;
                }
            };
            gone[row as usize] = true;
            deleted.push(row);
            positives.iter_mut().zip(train.row(row as usize)).for_each(|(count, &value)| *count -= usize::from(value == 1));
            ratio(&positives, *label) < mean
        });
    }
    deleted
}

#[derive(Debug)]
struct MlRus {
    percent: f64,
    protect: bool,
    train: LabelMatrix,
}

impl Sampler for MlRus {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let gone = deleted(self.percent, self.protect, &self.train, Rng::new(seed, "ml_rus", &[]));
        shuffled_rest(self.train.rows(), &gone, Rng::new(seed, "ml_rus", &[epoch as u64]))
    }
}

/// All rows but those that are gone, in random order.
pub(super) fn shuffled_rest(rows: usize, gone: &[u32], mut rng: Rng) -> Vec<u32> {
    let mut kept = vec![true; rows];
    gone.iter().for_each(|&row| kept[row as usize] = false);
    let mut order: Vec<u32> = (0..rows as u32).filter(|&row| kept[row as usize]).collect();
    rng.shuffle(&mut order);
    order
}
