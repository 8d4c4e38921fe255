//! Whether a label's scores may be used as probabilities: one answer for every screen (docs/strategies.md#calibration).

use rayon::prelude::*;

use super::chance::{Chance, Shift};
use super::reliability::{equal_mass, equal_width, expected_error};
use super::{BINS, Slope, expected_error_at, gap_at};
use crate::LabelMatrix;
use crate::metric::curve::column;

/// Rows of either class below which nothing is said.
pub const FEW: u64 = 20;
/// What the mean score may be off the prevalence, whatever chance allows; a quarter of the prevalence (or of its complement) where that
/// is less, so that a rare label is not allowed to be said twice as often as it is there.
pub const GAP: f64 = 0.05;
/// Where the interval of the calibration slope must lie.
pub const SLOPE: [f64; 2] = [0.8, 1.25];
/// What the expected calibration error may be above what chance explains.
pub const ECE: f64 = 0.03;

/// What keeps scores from being probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The mean score is off the prevalence.
    Gap,
    /// The logits are spread too far (slope below 1) or not far enough.
    Slope,
    /// Scores of some size are off, though mean and spread are right.
    Ece,
}

/// Whether scores are probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Judgement {
    /// Gap, slope and error are small, and these rows are enough to say so.
    Probabilities,
    /// They are not: the first fault, gap before slope before error.
    Not(Fault),
    /// Nothing is wrong with them, but these rows cannot say that the slope is close to 1.
    Unsure,
    /// Fewer than [`FEW`] positives or negatives.
    TooFew,
}

/// How calibrated one label's scores are.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Calibration {
    #[serde(flatten)]
    pub judgement: Judgement,
    pub rows: u64,
    pub positives: u64,
    /// Mean score minus prevalence: calibration in the large.
    pub gap: f64,
    /// Expected calibration error over [`BINS`] bins of equal width.
    pub ece: f64,
    /// The same over bins of equal numbers of rows, as these are: it also sees where most scores are close together.
    pub ece_equal_mass: f64,
    /// What chance makes of gap and error. `None` where it does not matter: both are small whatever chance explains, or there are too
    /// few rows.
    pub chance: Option<Chance>,
    /// The logistic regression of truth on the scores' logits. `None` where none exists: one class only, classes that the scores
    /// separate, or one score for all.
    pub line: Option<Slope>,
}

/// Judges one label's (score, truth). Scores are probabilities if all three hold:
///
/// - |gap| is at most [`GAP`] (a quarter of the prevalence where that is less) or what chance explains in 19 of 20 cases;
/// - the 95 % interval of the calibration slope lies within [`SLOPE`];
/// - the expected calibration error is at most [`ECE`] above what chance explains in 19 of 20 cases.
///
/// `prevalence`: judge gap and error as if it were that of the rows, weighed by class ([`gap_at`], [`expected_error_at`]); chance is
/// then drawn from scores shifted to the rows' own prevalence, and weighed alike. A shift of the prevalence moves the intercept of the
/// calibration line and leaves its slope, which needs no weights. `None`: as the rows are. Equal seeds give equal answers.
#[must_use]
pub fn judge_label(cells: &[(f32, u8)], prevalence: Option<f64>, seed: u64) -> Calibration {
    let positives = cells.iter().filter(|cell| cell.1 == 1).count() as u64;
    let (rows, own) = (cells.len() as u64, positives as f64 / cells.len().max(1) as f64);
    let prevalence = prevalence.filter(|prevalence| *prevalence > 0.0 && *prevalence < 1.0 && own > 0.0 && own < 1.0);
    let (gap, ece) = match prevalence {
        Some(prevalence) => (gap_at(cells, prevalence), expected_error_at(cells, BINS, prevalence)),
        None => (gap_at(cells, own), expected_error(&equal_width(cells, BINS))),
    };
    let (line, at) = (Slope::of_truth(cells), prevalence.unwrap_or(own));
    let ece_equal_mass = expected_error(&equal_mass(cells, BINS));
    let found = |judgement, chance| Calibration { judgement, rows, positives, gap, ece, ece_equal_mass, chance, line };
    if positives.min(rows - positives) < FEW {
        return found(Judgement::TooFew, None);
    }
    let most = GAP.min(0.25 * at.min(1.0 - at));
    let chance = (gap.abs() > most || ece > ECE).then(|| {
        let odds = |prevalence: f64| prevalence / (1.0 - prevalence);
        let shift = prevalence.map(|prevalence| Shift { prevalence, odds: odds(own) / odds(prevalence) });
        Chance::of(&cells.iter().map(|cell| cell.0).collect::<Vec<_>>(), shift, seed)
    });
    let Chance { gap: chance_gap, ece: chance_ece } = chance.unwrap_or_default();
    let near = |slope: &Slope| slope.low >= SLOPE[0] && slope.high <= SLOPE[1];
    let judgement = if gap.abs() > most.max(chance_gap) {
        Judgement::Not(Fault::Gap)
    } else if line.is_some_and(|slope| !near(&slope) && (slope.low > 1.0 || slope.high < 1.0)) {
        Judgement::Not(Fault::Slope)
    } else if ece > ECE + chance_ece {
        Judgement::Not(Fault::Ece)
    } else if line.as_ref().is_some_and(near) {
        Judgement::Probabilities
    } else {
        Judgement::Unsure
    };
    found(judgement, chance)
}

/// [`judge_label`] for the known cells of every label of `scores` (`[rows, labels]` row-major probabilities); `prevalences` has one
/// per label.
#[must_use]
pub fn judge(scores: &[f32], truth: &LabelMatrix, prevalences: Option<&[f64]>, seed: u64) -> Vec<Calibration> {
    let of_label = |label: usize| {
        let cells: Vec<_> = column(scores, truth, label).collect();
        judge_label(&cells, prevalences.and_then(|prevalences| prevalences.get(label).copied()), seed)
    };
    (0..truth.names.len()).into_par_iter().map(of_label).collect()
}
