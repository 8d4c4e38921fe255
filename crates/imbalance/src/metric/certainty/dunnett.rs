//! The largest of several t statistics that share a baseline: many strategies against one (Dunnett, "A multiple comparison procedure
//! for comparing several treatments with a control", JASA 1955), each with its own share of the baseline in its variance.
//!
//! With Z the baseline's part of the error and s the ratio of the estimated to the true standard deviation, the statistics are
//! independent given both, so P(max |t| > c) is an integral over s (chi with `df` degrees of freedom) and Z (normal) of
//! 1 - Π (1 - q_j), where q_j = P(|λ_j Z + √(1 - λ_j²) ε| > c s) and λ_j² is the baseline's share of variance j.

use std::collections::BTreeMap;

use super::special::{normal_cdf, student_two_sided};

/// Nodes of the integrals; both integrands are smooth and fall to nothing at the ends, so that the midpoint rule converges fast. With few
/// degrees of freedom the one over s does not.
const NODES: usize = 16;
const NODES_OF_FEW: usize = 64;
/// Shares of the variance are rounded to so many steps, and degrees of freedom beyond this are endless.
const STEPS: f64 = 10.0;
const LARGE: f64 = 1e4;

/// The distribution of the largest statistic of a family.
#[derive(Clone, Debug)]
pub struct Largest {
    df: f64,
    /// (λ, how many).
    shares: Vec<(f64, f64)>,
    /// (s, weight), and (z, weight).
    scales: Vec<(f64, f64)>,
    normals: Vec<(f64, f64)>,
}

impl Largest {
    /// Of one statistic per entry of `shares`, the baseline's share of its variance, with `df` degrees of freedom in common.
    #[must_use]
    pub fn new(shares: &[f64], df: f64) -> Self {
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        for share in shares {
            // Up to the step below 1, so that something of each is its own.
            let step = (share.clamp(0.0, 1.0) * STEPS).round().min(STEPS - 1.0) as u32;
            *counts.entry(step).or_default() += 1.0;
        }
        let shares = counts.into_iter().map(|(step, count)| ((f64::from(step) / STEPS).sqrt(), count)).collect();
        let df = df.min(LARGE);
        let reach = 6.0 / (2.0 * df).sqrt();
        let density = |s: f64| libm::exp((df - 1.0) * libm::log(s) - 0.5 * df * (s * s - 1.0));
        Self {
            df,
            shares,
            scales: nodes((1.0 - reach).max(0.0), 1.0 + reach, if df < 10.0 { NODES_OF_FEW } else { NODES }, density),
            normals: nodes(-5.5, 5.5, NODES, |z| libm::exp(-0.5 * z * z)),
        }
    }

    fn alone(&self) -> bool {
        matches!(self.shares[..], [(_, count)] if count <= 1.0)
    }

    /// P(max |t| > c).
    #[must_use]
    pub fn tail(&self, c: f64) -> f64 {
        if self.alone() {
            return student_two_sided(c, self.df);
        }
        let mut sum = 0.0;
        for &(s, of_s) in &self.scales {
            for &(z, of_z) in &self.normals {
                let stays = |&(lambda, count): &(f64, f64)| {
                    let own = (1.0 - lambda * lambda).sqrt();
                    let exceeds = normal_cdf((lambda * z - c * s) / own) + normal_cdf((-lambda * z - c * s) / own);
                    count * libm::log1p(-exceeds.min(1.0 - 1e-15))
                };
                sum += of_s * of_z * -libm::expm1(self.shares.iter().map(stays).sum());
            }
        }
        sum.min(1.0)
    }

    /// c with P(max |t| > c) = `p`, by the secant rule on logarithms, kept in a bracket.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        let off = |c: f64| libm::log(self.tail(c).max(1e-300)) - libm::log(p);
        let (mut low, mut high) = (0.0, 2.0);
        let mut at_low = -libm::log(p);
        let mut at_high = off(high);
        while at_high > 0.0 && high < 1e12 {
            (low, at_low) = (high, at_high);
            high *= 2.0;
            at_high = off(high);
        }
        for _ in 0..60 {
            let secant = low + (high - low) * at_low / (at_low - at_high);
            let inside = low + 0.02 * (high - low)..high - 0.02 * (high - low);
            let next = if inside.contains(&secant) { secant } else { f64::midpoint(low, high) };
            let there = off(next);
            if there > 0.0 {
                (low, at_low) = (next, there)
            } else {
                (high, at_high) = (next, there)
            }
            if high - low < 1e-5 * high || there.abs() < 1e-6 {
                return next;
            }
        }
        f64::midpoint(low, high)
    }
}

/// Points of the midpoint rule from `low` to `high` with the weights of a density that is not normalised.
fn nodes(low: f64, high: f64, count: usize, density: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let points = (0..count).map(|at| low + (high - low) * (at as f64 + 0.5) / count as f64);
    let weighed: Vec<(f64, f64)> = points.map(|point| (point, density(point))).collect();
    let sum: f64 = weighed.iter().map(|(_, weight)| weight).sum();
    weighed.into_iter().map(|(point, weight)| (point, weight / sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::special::student_quantile;
    use super::*;

    /// Two-sided 5 % points of comparisons with a control, equal groups, so that every share is a half: `tests/oracle/dunnett.py`, by
    /// scipy's adaptive quadrature. Those of 2 and 5 comparisons and 10 degrees of freedom are in Dunnett's table (1964): 2.57, 2.99.
    #[test]
    fn critical_values_are_dunnetts() {
        for (comparisons, df, table) in [
            (2, 4.0, 3.31035),
            (2, 10.0, 2.56834),
            (5, 10.0, 2.99029),
            (11, 30.0, 2.92069),
            (11, 88.0, 2.80185),
            (3, 2.0, 6.06485),
        ] {
            let ours = Largest::new(&vec![0.5; comparisons], df).quantile(0.05);
            assert!((ours / table - 1.0).abs() < 5e-3, "{comparisons} comparisons, {df}: {ours}, not {table}");
        }
    }

    #[test]
    fn one_comparison_is_students_and_independent_ones_are_sidaks() {
        let one = Largest::new(&[0.5], 8.0);
        assert!((one.quantile(0.05) - student_quantile(0.975, 8.0)).abs() < 1e-4);
        let many = Largest::new(&[0.0; 6], 1e6);
        let alone = 1.0 - 0.95f64.powf(1.0 / 6.0);
        assert!((many.quantile(0.05) - student_quantile(1.0 - 0.5 * alone, 1e6)).abs() < 2e-3);
    }

    #[test]
    fn tails_fall_to_tiny_ones() {
        let family = Largest::new(&[0.5, 0.5, 0.2, 0.1], 40.0);
        let tails: Vec<f64> = [1.0, 2.0, 3.0, 5.0, 9.0].into_iter().map(|c| family.tail(c)).collect();
        assert!(tails.is_sorted_by(|a, b| a > b) && tails[4] > 0.0 && tails[4] < 1e-8, "{tails:?}");
    }
}
