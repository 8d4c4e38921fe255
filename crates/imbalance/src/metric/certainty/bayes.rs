//! The Bayesian signed-rank test (Benavoli et al., "A Bayesian Wilcoxon signed-rank test based on the Dirichlet process", ICML
//! 2014; "Time for a change", JMLR 2017), the headline of a comparison: the probabilities of "better", "the same" and "worse".

use std::collections::BTreeSet;

use rayon::prelude::*;

use crate::rng::Rng;

/// Draws from the posterior: probabilities are exact to about 0.002.
const DRAWS: usize = 50_000;
/// Weight of the prior, one pseudo-difference of 0 (the paper's s = 0.5).
const PRIOR: f64 = 0.5;

/// How likely each verdict on the median difference is; they add up to 1.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Posterior {
    /// Below -rope.
    pub worse: f64,
    /// Within the region of practical equivalence.
    pub same: f64,
    /// Above rope.
    pub better: f64,
}

/// What each of so many regions gets of a draw in which their weights are equal: a draw is [`WHOLE`], shared equally.
const SHARES: [u32; 4] = [0, WHOLE, WHOLE / 2, WHOLE / 3];
const WHOLE: u32 = 6;
/// Draws side by side.
const LANES: usize = 8;
/// Weights that are made before they are used, at most (unless one draw has more).
const BLOCK: usize = 1 << 18;

/// The posterior over the median of `differences` (one per seed or data set), where differences up to `rope` count as the same in
/// practice (0.01 for F1). The Dirichlet process gives each difference a random weight; the means of all pairs (Walsh averages),
/// so weighted, vote for a region, and the region with most of the weight wins the draw; regions with equal weights share it. A sum
/// on the border of a region counts half for either side, so that with a `rope` of 0 equal runs are worse and better alike. O(50,000 n).
#[must_use]
pub fn signed_rank_posterior(differences: &[f64], rope: f64, seed: u64) -> Posterior {
    let [posterior] = signed_rank_posteriors(&[(differences, rope)], seed)[..] else { unreachable!("one each") };
    posterior
}

/// The same of several comparisons, each its differences and their rope, in parallel. Weights depend on `seed` and on the number of
/// differences only, so that comparisons with as many share them.
#[must_use]
pub fn signed_rank_posteriors(comparisons: &[(&[f64], f64)], seed: u64) -> Vec<Posterior> {
    let votes: Vec<Votes> = comparisons.iter().map(|(differences, rope)| Votes::new(differences, *rope)).collect();
    let mut wins = vec![[0u32; 3]; votes.len()];
    let lengths: BTreeSet<usize> = votes.iter().map(|votes| votes.order.len()).collect();
    for values in lengths {
        let mut rng = Rng::new(seed, "signed_rank", &[]);
        let mut left = DRAWS / LANES;
        while left > 0 {
            let now = left.min((BLOCK / (LANES * values)).max(1));
            let weights = dirichlet(&mut rng, values, now);
            let of_length = wins.par_iter_mut().zip(&votes).filter(|(_, votes)| votes.order.len() == values);
            of_length.for_each(|(wins, votes)| votes.count(&weights, wins));
            left -= now;
        }
    }
    let shares = wins.iter().map(|wins| wins.map(|wins| f64::from(wins) / f64::from(WHOLE * DRAWS as u32)));
    shares.map(|[worse, same, better]| Posterior { worse, same, better }).collect()
}

/// Weights of [`LANES`] draws at a time, `times` of them: `[time][value][lane]`. Dirichlet(0.5, 1, ..., 1), not normalised: gammas, of
/// which the first is half a squared normal.
fn dirichlet(rng: &mut Rng, values: usize, times: usize) -> Vec<[f64; LANES]> {
    let mut weights = vec![[0.0; LANES]; times * values];
    for draws in weights.chunks_exact_mut(values) {
        for lane in 0..LANES {
            let normal = rng.normal();
            draws[0][lane] = PRIOR * normal * normal;
            draws[1..].iter_mut().for_each(|weight| weight[lane] = 1.0 - rng.uniform());
        }
    }
    weights.par_chunks_mut(values).for_each(|draws| {
        draws[1..].as_flattened_mut().iter_mut().for_each(|weight| *weight = -libm::log(*weight));
    });
    weights
}

/// Which pairs vote for which region, with values in rising order: for each value those below some place give a sum below the rope,
/// those from some place on one above it. A sum on the border counts half for either side, hence two places each.
struct Votes {
    /// The place of each value among the weights: the pseudo-difference first.
    order: Vec<usize>,
    /// Values with a pair in that region, and the two places.
    below: Vec<(usize, [usize; 2])>,
    above: Vec<(usize, [usize; 2])>,
}

impl Votes {
    fn new(differences: &[f64], rope: f64) -> Self {
        let values: Vec<f64> = std::iter::once(0.0).chain(differences.iter().copied()).collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let places = |holds: [fn(f64, f64) -> bool; 2], none: usize| {
            let until =
                |a: usize, holds: fn(f64, f64) -> bool| order.partition_point(|&b| holds(values[a] + values[b], 2.0 * rope));
            let both = order.iter().map(|&a| (a, holds.map(|holds| until(a, holds))));
            both.filter(|(_, places)| *places != [none; 2]).collect()
        };
        let below = places([|sum, reach| -sum > reach, |sum, reach| -sum >= reach], 0);
        let above = places([|sum, reach| sum < reach, |sum, reach| sum <= reach], values.len());
        Self { order, below, above }
    }

    /// Adds the draws that each region wins.
    fn count(&self, weights: &[[f64; LANES]], wins: &mut [u32; 3]) {
        let mut sums = vec![[0.0; LANES]; self.order.len() + 1];
        crate::vectorized(
            #[inline(always)]
            || {
                for draws in weights.chunks_exact(self.order.len()) {
                    for (region, won) in wins.iter_mut().zip(self.winners(draws, &mut sums)) {
                        *region += won;
                    }
                }
            },
        );
    }

    /// Draws won by each region, in units of 1 / [`WHOLE`]. `sums` will hold those of the weights of the values before each place.
    #[inline(always)]
    fn winners(&self, weights: &[[f64; LANES]], sums: &mut [[f64; LANES]]) -> [u32; 3] {
        let mut total = [0.0; LANES];
        for (value, sum) in self.order.iter().zip(&mut sums[1..]) {
            for lane in 0..LANES {
                total[lane] += weights[*value][lane];
            }
            *sum = total;
        }
        let (mut below, mut above) = ([0.0; LANES], [0.0; LANES]);
        for &(value, [low, high]) in &self.below {
            let (weight, low, high) = (&weights[value], &sums[low], &sums[high]);
            for lane in 0..LANES {
                below[lane] += weight[lane] * (0.5 * (low[lane] + high[lane]));
            }
        }
        for &(value, [low, high]) in &self.above {
            let (weight, low, high) = (&weights[value], &sums[low], &sums[high]);
            for lane in 0..LANES {
                above[lane] += weight[lane] * (total[lane] - 0.5 * (low[lane] + high[lane]));
            }
        }
        let mut wins = [0; 3];
        for lane in 0..LANES {
            let within = total[lane] * total[lane] - below[lane] - above[lane];
            let (low, high) = (below[lane].max(within), above[lane].max(within));
            // The greatest of the three.
            let first = [below[lane] >= high, within >= below[lane].max(above[lane]), above[lane] >= low];
            let share = SHARES[first.into_iter().map(usize::from).sum::<usize>()];
            wins.iter_mut().zip(first).for_each(|(won, first)| *won += share * u32::from(first));
        }
        wins
    }
}
