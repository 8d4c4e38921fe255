//! The sign-flip permutation test of a mean difference (Fisher 1935): if neither strategy is better, each difference might as well
//! have had the other sign.

use crate::rng::Rng;

/// Pairs up to which all sign patterns are tried.
const EXACT: usize = 20;
/// Random patterns beyond.
const DRAWS: usize = 100_000;
/// Patterns side by side.
const LANES: usize = 16;

/// The two-sided p-value of the mean of `differences`: the share of sign patterns with a mean at least as far from 0. Exact up to 20
/// pairs (`scipy.stats.permutation_test(permutation_type="samples")`); beyond, over 100,000 random patterns drawn under `seed`, the
/// observed one counted among them. 1 without pairs.
#[must_use]
pub fn sign_flip(differences: &[f64], seed: u64) -> f64 {
    let observed = differences.iter().sum::<f64>().abs();
    // Sums that are equal in exact arithmetic differ by rounding.
    let reached = observed - 1e-12 * differences.iter().map(|difference| difference.abs()).sum::<f64>();
    if differences.len() <= EXACT {
        // The first sign may be fixed: turning all of them changes no distance from 0.
        let mut sums = vec![differences.first().copied().unwrap_or(0.0)];
        for difference in differences.iter().skip(1) {
            sums = sums.iter().flat_map(|sum| [sum + difference, sum - difference]).collect();
        }
        return sums.iter().filter(|sum| sum.abs() >= reached).count() as f64 / sums.len() as f64;
    }
    let mut rng = Rng::new(seed, "sign_flip", &[]);
    let mut signs = vec![[0; LANES]; differences.len().div_ceil(32)];
    let mut far = 0;
    for _ in 0..DRAWS / LANES {
        (0..LANES).for_each(|lane| signs.iter_mut().for_each(|word| word[lane] = rng.next_u32()));
        let sums = crate::vectorized(
            #[inline(always)]
            || flipped(differences, &signs),
        );
        far += sums.iter().filter(|sum| sum.abs() >= reached).count();
    }
    (far + 1) as f64 / (DRAWS + 1) as f64
}

/// Sums of `differences` under [`LANES`] patterns of signs, a bit each, 32 a word; 0 turns the sign.
#[inline(always)]
fn flipped(differences: &[f64], signs: &[[u32; LANES]]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for (differences, word) in differences.chunks(32).zip(signs) {
        let mut word = *word;
        for difference in differences {
            for lane in 0..LANES {
                sums[lane] += f64::from_bits(difference.to_bits() ^ u64::from(!word[lane] & 1) << 63);
                word[lane] >>= 1;
            }
        }
    }
    sums
}
