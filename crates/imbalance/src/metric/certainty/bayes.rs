//! The Bayesian signed-rank test (Benavoli et al., "A Bayesian Wilcoxon signed-rank test based on the Dirichlet process", ICML
//! 2014; "Time for a change", JMLR 2017), the headline of a comparison: the probabilities of "better", "the same" and "worse".

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

/// Which region a pair's mean lies in; a mean on the border counts half for either side.
#[derive(Clone, Copy)]
struct Share {
    below: f64,
    above: f64,
}

/// The posterior over the median of `differences` (one per seed or data set), where differences up to `rope` count as the same in
/// practice (0.01 for F1). The Dirichlet process gives each difference a random weight; the means of all pairs (Walsh averages),
/// so weighted, vote for a region, and the region with most of the weight wins the draw. O(50,000 n²).
#[must_use]
pub fn signed_rank_posterior(differences: &[f64], rope: f64, seed: u64) -> Posterior {
    let values: Vec<f64> = std::iter::once(0.0).chain(differences.iter().copied()).collect();
    let half = |above: bool, border: bool| if above { 1.0 } else { 0.5 * f64::from(u8::from(border)) };
    let share =
        |sum: f64| Share { below: half(-sum > 2.0 * rope, -sum == 2.0 * rope), above: half(sum > 2.0 * rope, sum == 2.0 * rope) };
    let pairs: Vec<Vec<Share>> = values.iter().map(|a| values.iter().map(|b| share(a + b)).collect()).collect();
    let mut rng = Rng::new(seed, "signed_rank", &[]);
    let mut wins = [0u32; 3];
    let mut weights = vec![0.0; values.len()];
    for _ in 0..DRAWS {
        // Dirichlet(0.5, 1, ..., 1), not normalised: gammas, of which the first is half a squared normal.
        let normal = rng.normal();
        weights[0] = PRIOR * normal * normal;
        weights[1..].iter_mut().for_each(|weight| *weight = -libm::log(1.0 - rng.uniform()));
        let total: f64 = weights.iter().sum();
        let (mut below, mut above) = (0.0, 0.0);
        for (weight, row) in weights.iter().zip(&pairs) {
            for (other, share) in weights.iter().zip(row) {
                below += weight * other * share.below;
                above += weight * other * share.above;
            }
        }
        let within = total * total - below - above;
        let winner = if below >= within && below >= above { 0 } else { 1 + usize::from(above > within) };
        wins[winner] += 1;
    }
    let [worse, same, better] = wins.map(|wins| f64::from(wins) / DRAWS as f64);
    Posterior { worse, same, better }
}
