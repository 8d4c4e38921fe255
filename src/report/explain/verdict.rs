//! From a difference and its certainty to a verdict. Pure.

use super::super::difference::Difference;
use super::effect::Bounds;
use super::view::Verdict;

/// From this number of seeds on, the seeds decide.
pub const SEEDS: usize = 3;
/// Posterior probability that a verdict needs.
const SURE: f64 = 0.75;

/// The verdict on a difference. From three seeds on they decide (Bayesian signed-rank test), but better or worse must also hold
/// under resampled rows, because all seeds share one test set. With fewer seeds the rows alone decide: the verdict is then about
/// these trainings, and the whole interval must lie outside the rope.
#[must_use]
pub fn verdict(difference: Option<&Difference>, over_rows: Option<Bounds>, rope: f64) -> Verdict {
    let Some(difference) = difference else { return Verdict::Unknown };
    match difference.posterior.filter(|_| difference.effect.runs >= SEEDS) {
        Some(posterior) => {
            let holds = |beyond: fn(&Bounds) -> bool| over_rows.as_ref().is_none_or(beyond);
            if posterior.better >= SURE && holds(|bounds| bounds.low > 0.0) {
                Verdict::Better
            } else if posterior.worse >= SURE && holds(|bounds| bounds.high < 0.0) {
                Verdict::Worse
            } else if posterior.same >= SURE {
                Verdict::Same
            } else {
                Verdict::Unknown
            }
        }
        None => match over_rows {
            Some(Bounds { low, .. }) if low > rope => Verdict::Better,
            Some(Bounds { high, .. }) if high < -rope => Verdict::Worse,
            Some(Bounds { low, high }) if low >= -rope && high <= rope => Verdict::Same,
            _ => Verdict::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::difference::family;
    use super::*;

    fn of(differences: &[f64], low: f64, high: f64) -> Verdict {
        let difference = family(&[differences.to_vec()], 0.005, false).remove(0);
        verdict(difference.as_ref(), Some(Bounds { low, high }), 0.005)
    }

    #[test]
    fn seeds_decide_and_rows_must_agree() {
        assert_eq!(of(&[0.03, 0.04, 0.05], 0.01, 0.07), Verdict::Better);
        assert_eq!(of(&[0.03, 0.04, 0.05], -0.01, 0.09), Verdict::Unknown, "the test set may be lucky");
        assert_eq!(of(&[-0.03, -0.04, -0.05], -0.06, -0.01), Verdict::Worse);
        assert_eq!(of(&[0.001, -0.001, 0.0], -0.02, 0.02), Verdict::Same);
        assert_eq!(of(&[0.02, -0.02, 0.01], -0.02, 0.02), Verdict::Unknown);
    }

    #[test]
    fn with_few_seeds_the_rows_alone_must_be_clear() {
        assert_eq!(of(&[0.03], 0.01, 0.05), Verdict::Better);
        assert_eq!(of(&[0.03], 0.004, 0.05), Verdict::Unknown);
        assert_eq!(of(&[0.001, 0.0], -0.004, 0.004), Verdict::Same);
        assert_eq!(of(&[-0.03], -0.05, -0.01), Verdict::Worse);
        assert_eq!(verdict(None, None, 0.005), Verdict::Unknown);
    }
}
