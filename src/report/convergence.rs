//! Whether trainings were long enough to be compared: a strategy that learns faster looks better where none has finished. Pure.

use serde::Serialize;

use store::SweepRun;

/// A run whose val macro AP rises by less from its last evaluation but one to its last is taken to have converged: a fifth of
/// the difference that counts as none.
const STILL: f64 = 0.001;

/// How many of some runs have not converged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Convergence {
    /// Runs whose best evaluation is their last, and that still got better there.
    pub rising: usize,
    /// Runs with results that have more than one evaluation.
    pub runs: usize,
    /// By how much val macro AP rose between the last two evaluations, mean over the rising runs.
    pub rise: f64,
}

impl Convergence {
    /// Counts recorded runs of the grid; those of reference runs are never cut short by their length.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a SweepRun>) -> Self {
        Self::of_rises(
            rows.into_iter()
                .filter(|row| row.state == "succeeded" && row.epochs > 1 && row.reference().is_none())
                .map(|row| row.rise),
        )
    }

    /// The same from what [`SweepRun::rise`] says of each run.
    pub fn of_rises(rises: impl IntoIterator<Item = Option<f64>>) -> Self {
        let (mut found, mut sum) = (Self::default(), 0.0);
        for rise in rises {
            found.runs += 1;
            if let Some(rise) = rise.filter(|rise| *rise > STILL) {
                found.rising += 1;
                sum += rise;
            }
        }
        found.rise = if found.rising > 0 { sum / found.rising as f64 } else { 0.0 };
        found
    }

    /// Whether so many have not converged that their differences say more about the length of training than about strategies.
    #[must_use]
    pub fn is_too_short(self) -> bool {
        2 * self.rising > self.runs
    }

    /// What is to be said; `None` where all have converged.
    #[must_use]
    pub fn sentence(self) -> Option<String> {
        let Self { rising, runs, rise } = self;
        (rising > 0).then(|| {
            format!(
                "not converged: the best evaluation is the last in {rising} of {runs} runs, and val macro AP still rises by {rise:.3} there; \
                 train longer before you compare (train.epochs = \"auto\", or a larger train.max_steps)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_rises_is_counted_and_said() {
        let found = Convergence::of_rises([Some(0.02), None, Some(0.0005), Some(0.04), Some(0.03)]);
        assert_eq!((found.rising, found.runs, found.is_too_short()), (3, 5, true));
        let words = found.sentence().unwrap();
        assert!(words.contains("the last in 3 of 5 runs") && words.contains("rises by 0.030"), "{words}");
        let most = Convergence::of_rises([Some(0.02), None]);
        assert!(!most.is_too_short() && most.sentence().is_some());
        assert_eq!(Convergence::of_rises([None, Some(0.001)]).sentence(), None);
    }
}
