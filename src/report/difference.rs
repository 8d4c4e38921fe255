//! What every difference between strategies has in common: coverage, seeds of resampling, p-values as text.

use std::collections::BTreeMap;

use super::question::Split;
use imbalance::metric::certainty::{Observed, Resampling, RowVariance};
use plan::DataFacts;

/// Nominal coverage of the intervals of a family together.
pub const LEVEL: f64 = 0.95;
/// Seed of every resampling, so that a question always has the same answer.
pub const SEED: u64 = 0;

/// How rows (or groups, whole) are resampled: the same draws for every run and every question.
#[must_use]
pub fn resampling(rows: usize, groups: Option<&[u32]>, replicates: usize) -> Resampling<'_> {
    Resampling { rows, groups, replicates, seed: SEED, jackknife: replicates.min(1000) }
}

/// Rows of `split` / rows of train: how much splits of one data set overlap.
#[must_use]
pub fn overlap(facts: &DataFacts, split: Split) -> f64 {
    let rows = if split == Split::Test { facts.test.rows } else { facts.val.rows };
    rows as f64 / facts.train.rows.max(1) as f64
}

/// The independent differences among those of `pairs` of runs, each with its unit, a seed or a split: the mean over the pairs of a unit,
/// because those that differ in other axes are no independent evidence. The rest is as in [`Observed`].
#[must_use]
pub fn independent<U: Ord>(pairs: impl IntoIterator<Item = (U, f64)>, rows: Option<RowVariance>, overlap: f64) -> Observed {
    let mut units: BTreeMap<U, Vec<f64>> = BTreeMap::new();
    pairs.into_iter().for_each(|(unit, difference)| units.entry(unit).or_default().push(difference));
    let differences = units.into_values().map(|all| all.iter().sum::<f64>() / all.len() as f64).collect();
    Observed { differences, rows, overlap }
}

/// `0.25`, `0.0078`, `< 0.0001`.
#[must_use]
pub fn probability(p: f64) -> String {
    match p {
        p if p < 1e-4 => "< 0.0001".to_owned(),
        p if p < 0.01 => format!("{p:.4}"),
        p => format!("{p:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_short() {
        assert_eq!([0.25, 1.0, 0.00390625, 1e-9, 0.05].map(probability), ["0.25", "1", "0.0039", "< 0.0001", "0.05"]);
    }
}
