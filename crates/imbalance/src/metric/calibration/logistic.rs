//! Logistic regression on one variable, by Newton's method: the engine of Platt scaling and of the calibration slope.

use super::logit;
use crate::loss::{sigmoid, softplus};
use crate::metric::certainty::special::normal_quantile;
use crate::vectorized;

/// Points that are added side by side, with vectors.
const LANES: usize = 8;

/// P(y = 1) = sigmoid(slope × logit(score) + intercept).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    pub slope: f64,
    pub intercept: f64,
}

/// The calibration line ([`Line::of_truth`]) and how sure its slope is.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Slope {
    /// 1 if calibrated; below 1 overconfident, above 1 underconfident.
    pub slope: f64,
    pub intercept: f64,
    /// Standard error of the slope: the root of its entry in the inverse of the Fisher information.
    pub error: f64,
    /// The slope's Wald interval of [`LEVEL`].
    pub low: f64,
    pub high: f64,
}

/// Level of [`Slope`]'s interval.
pub const LEVEL: f64 = 0.95;

impl Slope {
    /// `None` where there is no line, or where all scores are one and every slope fits.
    #[must_use]
    pub fn of_truth(cells: &[(f32, u8)]) -> Option<Self> {
        let (Line { slope, intercept }, error) = overlap(cells).then(|| fit(cells, 0.0, 1.0))?;
        let error = error?;
        let margin = normal_quantile(0.5 + LEVEL / 2.0) * error;
        Some(Self { slope, intercept, error, low: slope - margin, high: slope + margin })
    }
}

/// Whether the maximum-likelihood line exists: there are rows of both classes, and no cut of the scores separates them.
fn overlap(cells: &[(f32, u8)]) -> bool {
    let range = |y: u8| {
        let scores = cells.iter().filter(|cell| cell.1 == y).map(|cell| cell.0);
        scores.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), score| (low.min(score), high.max(score)))
    };
    let ((low_0, high_0), (low_1, high_1)) = (range(0), range(1));
    // Without a class its range is empty, and either comparison fails.
    high_0 > low_1 && high_1 > low_0
}

impl Line {
    /// The line's probability for a score.
    #[must_use]
    pub fn probability(&self, score: f32) -> f64 {
        sigmoid(self.slope * logit(score) + self.intercept)
    }

    /// Calibration slope and intercept (Cox 1958): the maximum-likelihood line of 0/1 truth on the logits of scores. `None` where
    /// there is none: without rows of both classes, or where some cut of the scores separates them (Albert & Anderson 1984).
    #[must_use]
    pub fn of_truth(cells: &[(f32, u8)]) -> Option<Self> {
        overlap(cells).then(|| fit(cells, 0.0, 1.0).0)
    }
}

/// The line that minimises the cross-entropy against `low` for y = 0 and `high` for y = 1; see [`fit_points`].
pub(super) fn fit(cells: &[(f32, u8)], low: f64, high: f64) -> (Line, Option<f64>) {
    fit_points(cells.iter().map(|&(score, y)| (logit(score), if y == 1 { high } else { low })).collect(), None)
}

/// The line that minimises the cross-entropy of `points` (logit, target), and the standard error of its slope. The minimum must exist:
/// targets within (0, 1), or overlapping classes. A constant logit gets slope 0 and no error. `near`: a line of similar points, from
/// which the search is shorter.
pub(super) fn fit_points(mut points: Vec<(f64, f64)>, near: Option<Line>) -> (Line, Option<f64>) {
    let n = points.len() as f64;
    let mean = points.iter().map(|point| point.0).sum::<f64>() / n;
    let spread = (points.iter().map(|point| (point.0 - mean).powi(2)).sum::<f64>() / n).sqrt();
    let target = points.iter().map(|point| point.1).sum::<f64>() / n;
    let flat = (target / (1.0 - target)).ln();
    // Rounding leaves a constant score a spread of a few ulps.
    if spread <= 1e-12 * mean.abs().max(1.0) {
        return (Line { slope: 0.0, intercept: flat }, None);
    }
    // On standardised logits both directions have curvatures of one magnitude.
    points.iter_mut().for_each(|point| point.0 = (point.0 - mean) / spread);
    let start = near.map_or([0.0, flat], |line| [line.slope * spread, line.intercept + line.slope * mean]);
    let ([slope, intercept], [haa, hab, hbb]) = newton(&points, start);
    let line = Line { slope: slope / spread, intercept: intercept - slope * mean / spread };
    let error = (hbb / (haa * hbb - hab * hab)).sqrt() / spread;
    (line, Some(error).filter(|error| error.is_finite()))
}

/// Newton's method with halved steps (Lin, Lin & Weng, "A note on Platt's probabilistic outputs", 2007). The loss is convex, so a
/// step that does not lower it is too long; close to the minimum the steps shrink quadratically. Returns the minimum and the curvature
/// there.
fn newton(points: &[(f64, f64)], start: [f64; 2]) -> ([f64; 2], [f64; 3]) {
    let mut at = start;
    let mut held = Tangent::of(points, at);
    for _ in 0..200 {
        let Tangent { gradient: [ga, gb], curvature: [haa, hab, hbb], .. } = held;
        let determinant = haa * hbb - hab * hab;
        let step = [(hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant];
        if !step.iter().all(|step| step.is_finite()) {
            break;
        }
        let mut length = 1.0;
        let (next, there) = loop {
            let next = [at[0] - length * step[0], at[1] - length * step[1]];
            let there = Tangent::of(points, next);
            // At the minimum losses differ by rounding only.
            if there.loss <= held.loss + 1e-14 * held.loss.abs() || length < 1e-10 {
                break (next, there);
            }
            length *= 0.5;
        };
        let moved = (next[0] - at[0]).abs() + (next[1] - at[1]).abs();
        (at, held) = (next, there);
        if moved <= 1e-13 * (1.0 + at[0].abs() + at[1].abs()) {
            break;
        }
    }
    (at, held.curvature)
}

/// The cross-entropy and its derivatives at a line, from one pass over the points.
struct Tangent {
    loss: f64,
    /// By slope and intercept.
    gradient: [f64; 2],
    /// By slope twice, by both, by intercept twice.
    curvature: [f64; 3],
}

impl Tangent {
    fn of(points: &[(f64, f64)], line: [f64; 2]) -> Self {
        let (eights, rest) = points.as_chunks::<LANES>();
        let mut sums = [[0.0; LANES]; 6];
        vectorized(
            #[inline(always)]
            || {
                for eight in eights {
                    Self::add(&mut sums, eight, line);
                }
            },
        );
        rest.iter().for_each(|&point| Self::add(&mut sums, &[point], line));
        let [loss, ga, gb, haa, hab, hbb] = sums.map(|lanes| lanes.iter().sum());
        Self { loss, gradient: [ga, gb], curvature: [haa, hab, hbb] }
    }

    /// Adds a point to each of the first lanes.
    #[inline(always)]
    fn add<const N: usize>(sums: &mut [[f64; LANES]; 6], points: &[(f64, f64); N], [a, b]: [f64; 2]) {
        let [loss, ga, gb, haa, hab, hbb] = sums;
        for (lane, &(x, t)) in points.iter().enumerate() {
            let z = a * x + b;
            let p = sigmoid(z);
            let (error, bend) = (p - t, p * (1.0 - p));
            loss[lane] += softplus(z) - t * z;
            ga[lane] += error * x;
            gb[lane] += error;
            haa[lane] += bend * x * x;
            hab[lane] += bend * x;
            hbb[lane] += bend;
        }
    }
}
