//! One label's decisions at every possible cut of its scores: what average precision, ROC-AUC and fitted thresholds are read off.

use super::Counts;
use crate::{LabelMatrix, UNKNOWN};

/// The decisions if every row with this score or a higher one is predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// A score that occurs.
    pub score: f32,
    /// Rows predicted, and how many of them are positive.
    pub predicted: u64,
    pub tp: u64,
}

/// The distinct scores of the rows that know a label in falling order; rows with equal scores are never told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub steps: Vec<Step>,
    pub rows: u64,
    pub positives: u64,
}

/// Score and known truth packed into integers that sort like the score, highest first.
pub(super) fn sorted(cells: impl Iterator<Item = (f32, u8)>, into: &mut Vec<u64>) {
    into.clear();
    // Of filtered cells the number is known at most.
    into.reserve(cells.size_hint().1.unwrap_or(0));
    into.extend(cells.map(|(score, y)| u64::from(ordered(score)) << 1 | u64::from(y)));
    // Parts of sorted rows come in order.
    if !into.is_sorted_by(|a, b| a >> 1 >= b >> 1) {
        sort_falling(into, 0);
    }
}

/// Sorts integers by their bits from `low` on, at most 33 of them, the highest first: by comparisons where they are few, else digit by
/// digit from the lowest (Knuth, TAOCP 3, 5.2.5, radix list sort with counted piles), each pass of which keeps the order of the one
/// before.
fn sort_falling(cells: &mut Vec<u64>, low: u32) {
    const BITS: u32 = 11;
    const PASSES: usize = 3;
    /// Below, counting the piles takes longer than comparing.
    const FEW: usize = 400;
    if cells.len() < FEW {
        return cells.sort_unstable_by(|a, b| b.cmp(a));
    }
    let digit = |cell: u64, pass: usize| (!cell >> (low + BITS * pass as u32)) as usize & ((1 << BITS) - 1);
    let mut piles = vec![[0_u32; 1 << BITS]; PASSES];
    for &cell in &*cells {
        for (pass, piles) in piles.iter_mut().enumerate() {
            piles[digit(cell, pass)] += 1;
        }
    }
    let mut other = vec![0; cells.len()];
    for (pass, piles) in piles.iter_mut().enumerate() {
        let mut next = 0;
        for pile in piles.iter_mut() {
            next += std::mem::replace(pile, next);
        }
        for &cell in &*cells {
            let place = &mut piles[digit(cell, pass)];
            other[*place as usize] = cell;
            *place += 1;
        }
        std::mem::swap(cells, &mut other);
    }
}

/// The steps of [`sorted`] cells, one a distinct score.
pub(super) fn steps(cells: &[u64], into: &mut Vec<Step>) {
    into.clear();
    into.reserve(cells.len());
    let mut tp = 0;
    for (at, cell) in cells.iter().enumerate() {
        tp += cell & 1;
        if cells.get(at + 1).is_none_or(|next| next >> 1 != cell >> 1) {
            into.push(Step { score: disordered((cell >> 1) as u32), predicted: at as u64 + 1, tp });
        }
    }
}

impl Curve {
    /// The curve of column `label` of `scores` (`[rows, labels]` row-major, finite). One sort: O(n log n).
    #[must_use]
    pub fn of(scores: &[f32], truth: &LabelMatrix, label: usize) -> Self {
        Self::new(column(scores, truth, label))
    }

    /// The curve of all known cells as if they were one label: what micro averages of ranking metrics are read off.
    #[must_use]
    pub fn of_all(scores: &[f32], truth: &LabelMatrix) -> Self {
        Self::new(scores.iter().copied().zip(truth.values.iter().copied()).filter(is_known))
    }

    /// The curve of these cells: score (finite) and known truth of each row.
    pub(crate) fn new(cells: impl Iterator<Item = (f32, u8)>) -> Self {
        let (mut order, mut groups) = (Vec::new(), Vec::new());
        sorted(cells, &mut order);
        steps(&order, &mut groups);
        let (rows, positives) = groups.last().map_or((0, 0), |last| (last.predicted, last.tp));
        Self { steps: groups, rows, positives }
    }

    /// The counts of "positive where score >= threshold". One binary search: O(log n).
    #[must_use]
    pub fn counts(&self, threshold: f32) -> Counts {
        let groups = self.steps.partition_point(|step| step.score >= threshold);
        let (predicted, tp) = if groups == 0 { (0, 0) } else { (self.steps[groups - 1].predicted, self.steps[groups - 1].tp) };
        let (fp, fn_) = (predicted - tp, self.positives - tp);
        Counts { tp, fp, fn_, tn: self.rows - tp - fp - fn_ }
    }

    /// Rows predicted if the `groups` highest distinct scores are.
    #[must_use]
    pub fn predicted(&self, groups: usize) -> u64 {
        if groups == 0 { 0 } else { self.steps[groups - 1].predicted }
    }

    /// A threshold that predicts exactly the `groups` highest distinct scores: half-way to the next lower one (0 below the lowest),
    /// or the lowest predicted score itself where float32 has nothing between the two. With no groups it is above 1, so that no
    /// other row is predicted either.
    #[must_use]
    pub fn threshold(&self, groups: usize) -> f32 {
        if groups == 0 {
            return self.steps.first().map_or(1.0, |top| top.score.max(1.0)).next_up();
        }
        let over = self.steps[groups - 1].score;
        let under = self.steps.get(groups).map_or(0.0, |step| step.score);
        let middle = f64::midpoint(over.into(), under.into()) as f32;
        if middle > under { middle } else { over }
    }

    /// Average precision: the sum over steps of (recall gained) × precision, without interpolation (scikit-learn
    /// `average_precision_score`). `None` without positives.
    #[must_use]
    pub fn average_precision(&self) -> Option<f64> {
        let mut before = 0;
        let mut sum = 0.0;
        for step in &self.steps {
            sum += (step.tp - before) as f64 * (step.tp as f64 / step.predicted as f64);
            before = step.tp;
        }
        (self.positives > 0).then(|| sum / self.positives as f64)
    }

    /// Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties counting half (Mann–Whitney).
    /// `None` with one class only.
    #[must_use]
    pub fn roc_auc(&self) -> Option<f64> {
        let negatives = self.rows - self.positives;
        let (mut tp, mut fp) = (0, 0);
        // Twice the pairs in the right order, exact: each positive beats the negatives below it.
        let mut twice = 0u128;
        for step in &self.steps {
            let (gained, lost) = (step.tp - tp, step.predicted - step.tp - fp);
            (tp, fp) = (step.tp, step.predicted - step.tp);
            twice += u128::from(gained) * u128::from(2 * (negatives - fp) + lost);
        }
        let pairs = self.positives as f64 * negatives as f64;
        (pairs > 0.0).then(|| twice as f64 / (2.0 * pairs))
    }
}

/// One label's known cells in falling order of their scores, each with the part of the rows that it is dealt to: sorted once,
/// whatever parts are left out.
pub(crate) struct FallingCells {
    /// Score, part (of [`PART`] bits) and truth, packed.
    cells: Vec<u64>,
}

/// Bits of the number of a part.
const PART: u32 = 8;

impl FallingCells {
    /// The known cells of column `label` of `scores` (`[rows, labels]` row-major, finite). `part` has one entry per row, below 256.
    pub fn of(scores: &[f32], truth: &LabelMatrix, label: usize, part: &[usize]) -> Self {
        debug_assert!(part.iter().all(|part| part >> PART == 0), "few parts");
        let cells = every_cell(scores, truth, label).zip(part).filter(|(cell, _)| is_known(cell));
        let pack = |((score, y), &part)| u64::from(ordered(score)) << (PART + 1) | (part as u64) << 1 | u64::from(y);
        let mut cells: Vec<u64> = cells.map(pack).collect();
        sort_falling(&mut cells, PART + 1);
        Self { cells }
    }

    /// Scores and truth of the cells outside of `part`, in falling order, in place of what the vectors hold.
    pub fn outside(&self, part: usize, scores: &mut Vec<f32>, truth: &mut Vec<u8>) {
        scores.resize(self.cells.len(), 0.0);
        truth.resize(self.cells.len(), 0);
        // Every cell is written, and the next one in its place where it is not to stay: parts come at random, which no branch foresees.
        let mut kept = 0;
        for &cell in &self.cells {
            scores[kept] = disordered((cell >> (PART + 1)) as u32);
            truth[kept] = (cell & 1) as u8;
            kept += usize::from((cell >> 1) as usize & ((1 << PART) - 1) != part);
        }
        scores.truncate(kept);
        truth.truncate(kept);
    }
}

/// Scores and truth of the rows that know a label, in their order.
pub fn column(scores: &[f32], truth: &LabelMatrix, label: usize) -> impl Iterator<Item = (f32, u8)> {
    every_cell(scores, truth, label).filter(is_known)
}

/// Whether the truth of a cell is known.
pub(crate) fn is_known((_, y): &(f32, u8)) -> bool {
    *y != UNKNOWN
}

/// Scores and truth of one label, row by row, [`UNKNOWN`] ones too.
pub(crate) fn every_cell(scores: &[f32], truth: &LabelMatrix, label: usize) -> impl Iterator<Item = (f32, u8)> {
    let labels = truth.names.len();
    debug_assert_eq!(scores.len(), truth.values.len(), "one score per cell");
    let of_label = |cells: usize| (label..cells).step_by(labels);
    of_label(scores.len()).map(|cell| (scores[cell], truth.values[cell]))
}

/// An integer that sorts like the score; -0 is 0.
pub(super) fn ordered(score: f32) -> u32 {
    debug_assert!(score.is_finite(), "scores are finite");
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The score of [`ordered`].
fn disordered(order: u32) -> f32 {
    f32::from_bits(if order >> 31 == 1 { order & !(1 << 31) } else { !order })
}
