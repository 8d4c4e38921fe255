//! Resampled rows, as weights: a row drawn twice weighs 2, a row left out 0.
//!
//! A statistic of weighted rows needs no copy of the rows and no new sort. [`LANES`] weightings lie side by side, row by row, so that
//! one pass over presorted rows serves all of them with vector instructions.

use crate::rng::Rng;

/// Weightings evaluated in one pass.
pub const LANES: usize = 64;

/// How rows are resampled.
#[derive(Clone, Copy, Debug)]
pub struct Resampling<'a> {
    pub rows: usize,
    /// The group (patient, burst, document) of each row: groups are drawn whole, since rows of a group are not independent.
    /// `None`: every row is drawn for itself.
    pub groups: Option<&'a [u32]>,
    /// Resamples, each of as many rows (or groups) as there are, with replacement. 1,000 is usual.
    pub replicates: usize,
    /// Replicate r of a seed is the same draw in every call: differences of two runs are paired.
    pub seed: u64,
    /// Leave-out weightings for BCa intervals, at most: exact up to so many rows (or groups), by random blocks beyond, which estimates
    /// the same acceleration. 0: percentile intervals only. 1,000 is plenty.
    pub jackknife: usize,
}

/// What a lane stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weighting {
    /// Every row once: the point estimate.
    Once,
    Replicate(u64),
    /// Every row but those of one block of units.
    Without(usize),
    /// A lane that fills up the last block.
    Spare,
}

/// [`LANES`] weightings of the rows.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[row][lane]`. A byte is enough: among n <= 255 units none is drawn oftener, and among more with a probability below 1e-500.
    pub rows: Vec<[u8; LANES]>,
    /// Sum of each lane's weights.
    pub totals: [u64; LANES],
    /// The largest weight.
    pub largest: u8,
}

impl Weights {
    /// Rows whose weights add up to a byte at most.
    pub(super) fn bytes(&self) -> usize {
        usize::from(u8::MAX / self.largest.max(1))
    }
}

/// The rows in blocks, of which the jackknife leaves out one at a time.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Block of each row.
    pub of: Vec<u32>,
    /// Rows of each block.
    pub sizes: Vec<u32>,
}

/// A [`Resampling`] made ready: units counted, blocks of the jackknife dealt.
pub(super) struct Plan {
    rows: usize,
    replicates: usize,
    seed: u64,
    /// Unit of each row; empty if every row is its own.
    unit: Vec<u32>,
    units: usize,
    /// Block of each unit, `blocks` of them.
    block: Vec<u32>,
    pub blocks: usize,
}

impl Plan {
    pub fn new(resampling: &Resampling<'_>) -> Self {
        let Resampling { rows, groups, replicates, seed, jackknife } = *resampling;
        let (unit, units) = match groups {
            None => (Vec::new(), rows),
            Some(groups) => {
                debug_assert_eq!(groups.len(), rows, "one group a row");
                let mut names = groups.to_vec();
                names.sort_unstable();
                names.dedup();
                (groups.iter().map(|group| names.partition_point(|name| name < group) as u32).collect(), names.len())
            }
        };
        debug_assert!(u32::try_from(rows).is_ok(), "rows fit into 32 bits");
        let blocks = jackknife.min(units);
        let mut block: Vec<u32> = (0..units).map(|unit| (unit % blocks.max(1)) as u32).collect();
        if blocks < units {
            Rng::new(seed, "jackknife", &[]).shuffle(&mut block);
        }
        Self { rows, replicates, seed, unit, units, block, blocks }
    }

    /// Weightings in all: the point, the replicates, the blocks left out.
    pub fn weightings(&self) -> usize {
        self.drawn() + self.blocks
    }

    /// The blocks that are left out; without a jackknife one of all rows, which is not.
    pub fn left_out(&self) -> Blocks {
        let block = |row: usize| self.block[self.unit.get(row).map_or(row, |&unit| unit as usize)];
        let of: Vec<u32> = (0..self.rows).map(block).collect();
        let mut sizes = vec![0; self.blocks.max(1)];
        of.iter().for_each(|&block| sizes[block as usize] += 1);
        Blocks { of, sizes }
    }

    /// The point and the replicates: the weightings before those that leave blocks out.
    pub fn drawn(&self) -> usize {
        1 + self.replicates
    }

    /// Batches of [`LANES`] weightings.
    pub fn batches(&self) -> usize {
        self.weightings().div_ceil(LANES)
    }

    fn weighting(&self, place: usize) -> Weighting {
        match place {
            0 => Weighting::Once,
            _ if place < self.drawn() => Weighting::Replicate(place as u64 - 1),
            _ if place < self.weightings() => Weighting::Without(place - self.drawn()),
            _ => Weighting::Spare,
        }
    }

    /// The weights of batch `batch`: lane l is weighting `batch × LANES + l`.
    pub fn weights(&self, batch: usize) -> Weights {
        let mut units = vec![[0; LANES]; self.units];
        for lane in 0..LANES {
            match self.weighting(batch * LANES + lane) {
                Weighting::Once => units.iter_mut().for_each(|unit| unit[lane] = 1),
                Weighting::Replicate(replicate) => self.draw(replicate, lane, &mut units),
                Weighting::Without(left_out) => {
                    for (unit, &block) in units.iter_mut().zip(&self.block) {
                        unit[lane] = u8::from(block as usize != left_out);
                    }
                }
                Weighting::Spare => {}
            }
        }
        let rows = if self.unit.is_empty() { units } else { self.unit.iter().map(|&unit| units[unit as usize]).collect() };
        debug_assert_eq!(rows.len(), self.rows);
        let (mut totals, mut most) = ([0; LANES], [0; LANES]);
        for row in &rows {
            totals.iter_mut().zip(row).for_each(|(total, &weight)| *total += u64::from(weight));
            most.iter_mut().zip(row).for_each(|(most, &weight)| *most = weight.max(*most));
        }
        Weights { rows, totals, largest: most.into_iter().max().unwrap_or(0) }
    }

    /// Draws as many units as there are, with replacement.
    fn draw(&self, replicate: u64, lane: usize, units: &mut [[u8; LANES]]) {
        let mut rng = Rng::new(self.seed, "bootstrap", &[replicate]);
        let n = self.units as u32;
        // Lemire's method, as `Rng::below`, on 32 bits: twice as fast.
        let threshold = n.wrapping_neg().checked_rem(n).unwrap_or(0);
        for _ in 0..n {
            let unit = loop {
                let product = u64::from(rng.next_u32()) * u64::from(n);
                if product as u32 >= threshold {
                    break (product >> 32) as usize;
                }
            };
            units[unit][lane] = units[unit][lane].saturating_add(1);
        }
    }

    /// Splits one statistic's values, in the order of weightings, into point, replicates and jackknife.
    pub fn split(&self, mut values: Vec<f64>) -> (f64, Vec<f64>, Vec<f64>) {
        values.truncate(self.weightings());
        let jackknife = values.split_off(self.drawn());
        let replicates = values.split_off(1);
        (values[0], replicates, jackknife)
    }
}
