//! REMEDIAL (Charte et al., "Resampling multilabel datasets by decoupling highly imbalanced labels", HAIS 2015): rows in which rare and
//! frequent labels meet become two.
//!
//! A row whose SCUMBLE is above the mean over all rows is shown twice: once with its minority labels (IRLbl above the mean) alone,
//! once with the others alone. The method was made for tabular data and writes 0 for the labels taken away (`removed = "zero"`): for
//! images those are false negatives, the label is still to be seen. By default the loss ignores them instead (`"ignore"`), so that
//! each copy says nothing false; a label's row then counts once, its negatives twice. What the row does not know is unknown in both.
//! Not recommended for pixels either way: it is here to be compared.

use super::{Draw, Entry, Sampler, SamplerBuild};
use crate::LabelMatrix;
use crate::diagnosis::{imbalance, scumble};
use crate::loss::IGNORED;
use crate::rng::Rng;
use crate::{Absent, Param, Takes};

pub(super) const ENTRY: Entry<SamplerBuild> = Entry {
    kind: "remedial",
    summary: "split rows with rare and frequent labels into two (REMEDIAL, Charte 2015); not recommended for images; epochs get longer",
    params: &[Param {
        name: "removed",
        help: "labels taken away from a copy: ignored by the loss, or 0 as published (false negatives)",
        takes: Takes::Word(&["ignore", "zero"]),
        absent: Absent::Word("ignore"),
    }],
    build: SamplerBuild {
        needs_features: false,
        balances: false,
        least_batch: |_, _| 1,
        make: |choice, train| {
            let removed = if choice.word("removed") == "zero" { 0 } else { IGNORED };
            Ok(Box::new(Remedial { rows: train.labels.rows(), split: split(train.labels, removed) }))
        },
    },
};

/// The rows that become two, with the targets of both: minority labels, majority labels.
pub(super) fn split(train: &LabelMatrix, removed: u8) -> Vec<(u32, [Box<[u8]>; 2])> {
    let ratios = imbalance(&train.counts().positives);
    let active = |row: &'_ [u8]| -> Vec<f64> {
        row.iter().zip(&ratios.irlbl).filter(|(y, _)| **y == 1).filter_map(|(_, ratio)| *ratio).collect()
    };
    let scumbles: Vec<f64> = (0..train.rows()).map(|row| scumble(active(train.row(row)).into_iter())).collect();
    let mean = scumbles.iter().sum::<f64>() / scumbles.len().max(1) as f64;
    let minority: Vec<bool> =
        ratios.irlbl.iter().map(|ratio| ratio.zip(ratios.mean_ir).is_some_and(|(ratio, mean)| ratio > mean)).collect();
    let only = |row: usize, side: bool| -> Box<[u8]> {
        let keep = |(&y, &minority): (&u8, &bool)| if y == 1 && minority != side { removed } else { y };
        train.row(row).iter().zip(&minority).map(keep).collect()
    };
    // A row with one label has a SCUMBLE of 0 up to rounding.
    let rows = (0..train.rows()).filter(|&row| scumbles[row] > mean + 1e-12);
    rows.map(|row| (row as u32, [only(row, true), only(row, false)])).collect()
}

#[derive(Debug)]
struct Remedial {
    rows: usize,
    split: Vec<(u32, [Box<[u8]>; 2])>,
}

impl Sampler for Remedial {
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<u32> {
        self.draws(seed, epoch).into_iter().map(|draw| draw.row).collect()
    }

    fn draws(&self, seed: u64, epoch: usize) -> Vec<Draw> {
        let mut draws: Vec<Draw> = (0..self.rows as u32).map(Draw::plain).collect();
        for (row, [minority, majority]) in &self.split {
            draws[*row as usize].labels = Some(minority.clone());
            draws.push(Draw { labels: Some(majority.clone()), ..Draw::plain(*row) });
        }
        Rng::new(seed, "remedial", &[epoch as u64]).shuffle(&mut draws);
        draws
    }
}
