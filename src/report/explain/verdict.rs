//! From a difference with its simultaneous interval to a word (docs/certainty.md). Pure.

use super::view::Verdict;
use imbalance::metric::certainty::Crossed;

/// The fewest seeds (or splits) with which anything is said of a strategy: fewer do not tell how much a seed changes.
pub const SEEDS: usize = 3;
/// A strategy ranks the same where the interval excludes differences beyond so many ropes.
const MARGIN: f64 = 2.0;

/// The word for a difference; differences up to `rope` mean nothing in practice.
///
/// - the same: the mean is within the rope, and the interval within twice the rope (two one-sided tests, Schuirmann 1987);
/// - better, worse: the interval excludes 0;
/// - else it cannot be told. Runs that do not differ at all are the same, however few.
#[must_use]
pub fn verdict(difference: Option<&Crossed>, rope: f64) -> Verdict {
    let Some(Crossed { runs, mean, sd, low: Some(low), high: Some(high), .. }) = difference.copied() else {
        return Verdict::Unknown;
    };
    if (low, high) == (0.0, 0.0) && sd.unwrap_or(0.0) == 0.0 {
        return Verdict::Same;
    }
    if runs < SEEDS {
        return Verdict::Unknown;
    }
    if mean.abs() <= rope && low >= -MARGIN * rope && high <= MARGIN * rope {
        Verdict::Same
    } else if low > 0.0 {
        Verdict::Better
    } else if high < 0.0 {
        Verdict::Worse
    } else {
        Verdict::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::metric::certainty::{Observed, RowVariance, crossed};

    fn of(differences: &[f64], row_sd: f64, rope: f64) -> Verdict {
        let rows = Some(RowVariance { of_mean: row_sd * row_sd, of_one: row_sd * row_sd, units: 1000 });
        let observed = Observed { differences: differences.to_vec(), rows, overlap: 0.0 };
        verdict(crossed(&[observed], 1, 0.95)[0].as_ref(), rope)
    }

    #[test]
    fn seeds_and_rows_must_both_exclude() {
        assert_eq!(of(&[0.03, 0.04, 0.05], 0.005, 0.005), Verdict::Better);
        assert_eq!(of(&[0.03, 0.04, 0.05], 0.03, 0.005), Verdict::Unknown, "the test rows may be lucky");
        assert_eq!(of(&[0.01, 0.04, 0.09], 0.001, 0.005), Verdict::Unknown, "the seeds may be lucky");
        assert_eq!(of(&[-0.03, -0.04, -0.05], 0.005, 0.005), Verdict::Worse);
        assert_eq!(of(&[0.001, -0.001, 0.0], 0.001, 0.005), Verdict::Same);
        assert_eq!(of(&[0.001, -0.001, 0.0], 0.01, 0.005), Verdict::Unknown, "the rows do not exclude a difference");
        assert_eq!(of(&[0.02, -0.02, 0.01], 0.001, 0.005), Verdict::Unknown, "nor do the seeds");
    }

    #[test]
    fn fewer_than_three_seeds_say_nothing_unless_nothing_differs() {
        assert_eq!(of(&[0.03], 0.001, 0.005), Verdict::Unknown);
        assert_eq!(of(&[0.03, 0.03], 0.001, 0.005), Verdict::Unknown);
        for rope in [0.0, 0.005] {
            assert_eq!(of(&[0.0], 0.0, rope), Verdict::Same);
            assert_eq!(of(&[0.0; 4], 0.0, rope), Verdict::Same);
        }
        assert_eq!(verdict(None, 0.005), Verdict::Unknown);
    }
}
