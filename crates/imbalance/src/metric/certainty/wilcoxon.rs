//! Wilcoxon's signed-rank test (1945), as `scipy.stats.wilcoxon` with its defaults: zeros are left out, tied sizes share their
//! middle rank.

use super::special::normal_cdf;

/// Differences up to which the null distribution is enumerated, with ties too (scipy turns to the normal from 14 on if there are any).
const EXACT: usize = 50;

/// What the signed ranks say.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SignedRank {
    /// Sum of the ranks of positive differences, and of negative ones.
    pub plus: f64,
    pub minus: f64,
    /// Differences that are not 0.
    pub runs: usize,
    /// Two-sided.
    pub p: f64,
    /// Whether p is exact; else it is from the normal approximation with tie correction.
    pub exact: bool,
}

/// Tests whether `differences` lie symmetrically about 0. Exact up to 50 that are not 0, given their ranks. p = 1 if none is left.
#[must_use]
pub fn wilcoxon(differences: &[f64]) -> SignedRank {
    let mut sizes: Vec<f64> = differences.iter().copied().filter(|&difference| difference != 0.0).collect();
    sizes.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let runs = sizes.len();
    // Twice the ranks: whole numbers.
    let mut ranks = Vec::with_capacity(runs);
    let (mut plus, mut ties) = (0, 0.0);
    for group in sizes.chunk_by(|a, b| a.abs() == b.abs()) {
        let twice = 2 * ranks.len() + group.len() + 1;
        plus += twice * group.iter().filter(|&&difference| difference > 0.0).count();
        ties += (group.len() as f64).powi(3) - group.len() as f64;
        ranks.extend(std::iter::repeat_n(twice, group.len()));
    }
    let total: usize = ranks.iter().sum();
    let exact = runs <= EXACT;
    let p = if exact { enumerate(&ranks, plus) } else { approximate(runs as f64, 0.5 * plus as f64, ties) };
    SignedRank { plus: 0.5 * plus as f64, minus: 0.5 * (total - plus) as f64, runs, p, exact }
}

/// Twice the smaller tail of the sum of ranks with random signs.
fn enumerate(ranks: &[usize], plus: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    // Patterns by sum; at most 2^50 of them, so whole numbers in f64.
    let mut patterns = vec![0.0; total + 1];
    patterns[0] = 1.0;
    for &rank in ranks {
        for sum in (rank..=total).rev() {
            patterns[sum] += patterns[sum - rank];
        }
    }
    let all: f64 = patterns.iter().sum();
    let low: f64 = patterns[..=plus].iter().sum();
    let high: f64 = patterns[plus..].iter().sum();
    (2.0 * low.min(high) / all).min(1.0)
}

fn approximate(n: f64, plus: f64, ties: f64) -> f64 {
    let mean = n * (n + 1.0) / 4.0;
    let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - 0.5 * ties) / 24.0;
    2.0 * normal_cdf(-((plus - mean) / variance.sqrt()).abs())
}
