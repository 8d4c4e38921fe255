//! What every difference between strategies has in common: coverage, seeds of resampling, p-values as text.

use imbalance::metric::certainty::Resampling;

/// Nominal coverage of the intervals of a family together.
pub const LEVEL: f64 = 0.95;
/// Seed of every resampling, so that a question always has the same answer.
pub const SEED: u64 = 0;

/// How rows (or groups, whole) are resampled: the same draws for every run and every question.
#[must_use]
pub fn resampling(rows: usize, groups: Option<&[u32]>, replicates: usize) -> Resampling<'_> {
    Resampling { rows, groups, replicates, seed: SEED, jackknife: replicates.min(1000) }
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
