//! MLSMOTE (Charte et al., "MLSMOTE: approaching imbalanced multilabel learning through synthetic instance generation",
//! Knowledge-Based Systems 89, 2015): synthetic rows between rows of a minority label. For features only: between two images
//! there is no image.
//!
//! For each label with an IRLbl above the mean and each of its rows: the k nearest rows with the label (Euclid, on the features as
//! the network sees them), one of them at random, and a new row whose every number lies at a random place between the two. Its
//! labels are those that more than half of the row and its neighbours have (`ranking`), any of them (`union`) or all
//! (`intersection`); those that do not know a label have no say in it, and where none knows it, it is unknown. The synthetic rows
//! are those of the seed, the same in every epoch. All pairs of a label's rows are compared: 10,000 rows of 100 features are
//! seconds.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::ml_ros::bag;
use super::{Blend, Draw, Entry, Sampler, SamplerBuild, StrategyError};
use crate::LabelMatrix;
use crate::diagnosis::imbalance;
use crate::rng::Rng;
use crate::{Absent, Param, Takes, UNKNOWN};

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "mlsmote",
    summary: "add synthetic rows between neighbours of a minority label (MLSMOTE, Charte 2015); features only; epochs get longer",
    params: &[
        Param {
            name: "k",
            help: "nearest rows with the label to choose from (Charte 2015: 5)",
            takes: Takes::Whole { min: 1, max: 1000 },
            absent: Absent::Number(5.0),
        },
        Param {
            name: "labels",
            help: "labels of a synthetic row: those of most neighbours, of any or of all",
            takes: Takes::Word(&["ranking", "union", "intersection"]),
            absent: Absent::Word("ranking"),
        },
    ],
    build: SamplerBuild {
        needs_features: true,
        balances: true,
        least_batch: |_, _| 1,
        make: |choice, train| {
            let Some(features) = (train.features)() else {
                return Err(StrategyError::Unfit(
                    "sampler mlsmote mixes features and means nothing to images: take data of kind \"features\", or a sampler that draws rows as they are".to_owned(),
                ));
            };
            let seeds = seeds(train.labels, &features, choice.get("k") as usize, choice.word("labels"), train.progress);
            Ok(Box::new(MlSmote { rows: train.labels.rows(), seeds }))
        },
    },
};

/// What a synthetic row starts from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seed {
    pub row: u32,
    /// The nearest first.
    pub neighbours: Vec<u32>,
    pub labels: Box<[u8]>,
}

/// One for every row of every minority label that has another one.
pub(super) fn seeds(
    train: &LabelMatrix,
    features: &[f32],
    k: usize,
    by: &str,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Vec<Seed> {
    let ratios = imbalance(&train.counts().positives);
    let minority = |&label: &usize| ratios.irlbl[label].zip(ratios.mean_ir).is_some_and(|(ratio, mean)| ratio > mean);
    let bags = (0..train.names.len()).filter(minority).map(|label| bag(train, label)).filter(|bag| bag.len() > 1);
    let bags: Vec<Vec<u32>> = bags.collect();
    let (all, done) = (bags.iter().map(Vec::len).sum(), AtomicUsize::new(0));
    let of = |bag: Vec<u32>| -> Vec<Seed> {
        let seed = |&row: &u32| {
            let neighbours = nearest(row, &bag, features, train.rows(), k);
            let labels = labels(train, row, &neighbours, by);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            Seed { row, neighbours, labels }
        };
        bag.par_iter().map(seed).collect()
    };
    bags.into_iter().flat_map(of).collect()
}

/// The `k` rows of `bag` nearest to `row`; of equally near ones the first.
fn nearest(row: u32, bag: &[u32], features: &[f32], rows: usize, k: usize) -> Vec<u32> {
    let width = features.len() / rows;
    let input = |row: u32| &features[row as usize * width..][..width];
    let mut near: Vec<(f32, u32)> =
        bag.iter().filter(|&&other| other != row).map(|&other| (distance(input(row), input(other)), other)).collect();
    let by_distance = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if near.len() > k {
        near.select_nth_unstable_by(k - 1, by_distance);
        near.truncate(k);
    }
    near.sort_by(by_distance);
    near.into_iter().map(|(_, other)| other).collect()
}

/// The squared Euclidean distance, in eight sums that the compiler can keep in one register.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum()
}

fn labels(train: &LabelMatrix, row: u32, neighbours: &[u32], by: &str) -> Box<[u8]> {
    let vote = |label: usize| {
        let value = |row: &u32| train.row(*row as usize)[label];
        let (mut positives, mut all) = (0, 0);
        for value in neighbours.iter().chain([&row]).map(value).filter(|&value| value != UNKNOWN) {
            positives += usize::from(value);
            all += 1;
        }
        match by {
            _ if all == 0 => UNKNOWN,
            "union" => u8::from(positives > 0),
            "intersection" => u8::from(positives == all),
            _ => u8::from(2 * positives > all),
        }
    };
    (0..train.names.len()).map(vote).collect()
}

#[derive(Debug)]
struct MlSmote {
    rows: usize,
    seeds: Vec<Seed>,
}

impl Sampler for MlSmote {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        self.draws(seed, epoch).into_iter().map(|draw| draw.row).collect()
    }

    fn draws(&self, seed: u64, epoch: usize) -> Vec<Draw> {
        let mut rng = Rng::new(seed, "mlsmote", &[]);
        let mut draws: Vec<Draw> = (0..self.rows as u32).map(Draw::plain).collect();
        draws.extend(self.seeds.iter().map(|Seed { row, neighbours, labels }| {
            let partner = neighbours[rng.below(neighbours.len() as u64) as usize];
            Draw { row: *row, labels: Some(labels.clone()), blend: Some(Blend { partner, key: rng.next_u64() }) }
        }));
        Rng::new(seed, "mlsmote", &[epoch as u64]).shuffle(&mut draws);
        draws
    }
}
