//! What a split deals out, and the two ways to do it: at random, or by iterative stratification.
//!
//! Labels are what is stratified. Of a label that some rows do not know, the rows without it would not follow from those with it: its
//! known negatives are dealt out as one more label, behind all others.

use crate::rng::Rng;
use crate::{LabelMatrix, UNKNOWN};

/// What is assigned as a whole: a row, or all rows of a group.
pub(super) struct Units {
    /// Unit → its part of `rows`.
    bounds: Vec<usize>,
    rows: Vec<u32>,
    /// Unit → its part of `positives`: (label, rows of the unit that carry it).
    positive_bounds: Vec<usize>,
    positives: Vec<(u32, u32)>,
    /// Labels of the data, and with those of known negatives.
    labels: usize,
    classes: usize,
}

impl Units {
    pub(super) fn new(rows: &[u32], labels: &LabelMatrix, groups: Option<&[u32]>) -> Self {
        let mut rows = rows.to_vec();
        let group = |row: u32| groups.map_or(row, |groups| groups[row as usize]);
        rows.sort_by_key(|&row| (group(row), row));
        let width = labels.names.len();
        let mut unknown = vec![false; width];
        for &row in &rows {
            unknown.iter_mut().zip(labels.row(row as usize)).for_each(|(any, &value)| *any |= value == UNKNOWN);
        }
        let partly: Vec<usize> = (0..width).filter(|&label| unknown[label]).collect();
        let (mut bounds, mut positive_bounds, mut positives) = (vec![0], vec![0], Vec::new());
        let mut sums = vec![0u32; width + partly.len()];
        for (i, &row) in rows.iter().enumerate() {
            let row_labels = labels.row(row as usize);
            let carried = row_labels.iter().map(|&value| value == 1);
            let denied = partly.iter().map(|&label| row_labels[label] == 0);
            sums.iter_mut().zip(carried.chain(denied)).for_each(|(sum, is)| *sum += u32::from(is));
            if rows.get(i + 1).is_none_or(|&next| group(next) != group(row)) {
                bounds.push(i + 1);
                positives.extend((0u32..).zip(&sums).filter(|(_, sum)| **sum > 0).map(|(label, sum)| (label, *sum)));
                positive_bounds.push(positives.len());
                sums.fill(0);
            }
        }
        Self { bounds, rows, positive_bounds, positives, labels: width, classes: width + partly.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Labels of the data, whether a unit carries them or not.
    pub(super) fn labels(&self) -> usize {
        self.labels
    }

    /// Labels with those of known negatives behind them.
    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    pub(super) fn rows(&self, unit: usize) -> &[u32] {
        &self.rows[self.bounds[unit]..self.bounds[unit + 1]]
    }

    /// (label, rows of the unit that carry it), by label.
    pub(super) fn positives(&self, unit: usize) -> &[(u32, u32)] {
        &self.positives[self.positive_bounds[unit]..self.positive_bounds[unit + 1]]
    }

    /// Units in random order, each to the part that still lacks most rows.
    pub(super) fn random(&self, shares: &[f64], rng: &mut Rng) -> Vec<usize> {
        let mut lacking = portions(self.rows.len() as f64, shares);
        let mut order: Vec<usize> = (0..self.len()).collect();
        rng.shuffle(&mut order);
        let mut parts = vec![0; self.len()];
        for unit in order {
            let part = most(&lacking, |_| 0.0, rng);
            parts[unit] = part;
            lacking[part] -= self.rows(unit).len() as f64;
        }
        parts
    }

    /// Iterative stratification: the label with the fewest rows left is dealt out first, each of its units to the part that
    /// lacks most of that label, then most rows, then by chance; what carries no label goes where rows lack. Units come in random
    /// order: large ones first would send the dense groups to the largest part and unbalance the rows.
    pub(super) fn stratify(&self, shares: &[f64], rng: &mut Rng) -> Vec<usize> {
        const OPEN: usize = usize::MAX;
        let mut carriers: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.classes];
        let mut left = vec![0u64; self.classes];
        let mut order: Vec<usize> = (0..self.len()).collect();
        rng.shuffle(&mut order);
        for &unit in &order {
            for &(label, count) in self.positives(unit) {
                carriers[label as usize].push((unit as u32, count));
                left[label as usize] += u64::from(count);
            }
        }
        let mut lacking = portions(self.rows.len() as f64, shares);
        let mut lacking_of: Vec<Vec<f64>> = left.iter().map(|&n| portions(n as f64, shares)).collect();
        let mut parts = vec![OPEN; self.len()];
        let mut take = |unit: usize, part: usize, lacking: &mut [f64], lacking_of: &mut [Vec<f64>], left: &mut [u64]| {
            parts[unit] = part;
            lacking[part] -= self.rows(unit).len() as f64;
            for &(label, count) in self.positives(unit) {
                lacking_of[label as usize][part] -= f64::from(count);
                left[label as usize] -= u64::from(count);
            }
        };
        let mut taken = vec![false; self.len()];
        loop {
            let fewest = left.iter().filter(|&&n| n > 0).min().copied();
            let Some(fewest) = fewest else { break };
            let rarest: Vec<usize> = (0..self.classes).filter(|&label| left[label] == fewest).collect();
            let label = rarest[rng.below(rarest.len() as u64) as usize];
            for (unit, _) in std::mem::take(&mut carriers[label]) {
                let unit = unit as usize;
                if !taken[unit] {
                    let part = most(&lacking_of[label], |part| lacking[part], rng);
                    taken[unit] = true;
                    take(unit, part, &mut lacking, &mut lacking_of, &mut left);
                }
            }
        }
        for unit in order {
            if !taken[unit] {
                let part = most(&lacking, |_| 0.0, rng);
                take(unit, part, &mut lacking, &mut lacking_of, &mut left);
            }
        }
        parts
    }
}

/// `total` divided in proportion to `shares`.
pub(super) fn portions(total: f64, shares: &[f64]) -> Vec<f64> {
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|share| total * share / sum).collect()
}

/// The index of the largest of `first`, ties by the largest `second`, then by chance.
fn most(first: &[f64], second: impl Fn(usize) -> f64, rng: &mut Rng) -> usize {
    let key = |part: usize| (first[part], second(part));
    let mut best = vec![0];
    for part in 1..first.len() {
        match key(part).partial_cmp(&key(best[0])) {
            Some(std::cmp::Ordering::Greater) => best = vec![part],
            Some(std::cmp::Ordering::Equal) => best.push(part),
            _ => {}
        }
    }
    if best.len() == 1 { best[0] } else { best[rng.below(best.len() as u64) as usize] }
}
