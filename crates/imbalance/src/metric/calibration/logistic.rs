//! Logistic regression on one variable, by Newton's method: the engine of Platt scaling and of the calibration slope.

use super::logit;
use crate::loss::{sigmoid, softplus};
use crate::vectorized;

/// Points that are added side by side, with vectors.
const LANES: usize = 8;

/// P(y = 1) = sigmoid(slope × logit(score) + intercept).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    pub slope: f64,
    pub intercept: f64,
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
        let range = |y: u8| {
            let scores = cells.iter().filter(|cell| cell.1 == y).map(|cell| cell.0);
            scores.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), score| (low.min(score), high.max(score)))
        };
        let ((low_0, high_0), (low_1, high_1)) = (range(0), range(1));
        // Without a class its range is empty, and either comparison holds.
        let separated = high_0 <= low_1 || high_1 <= low_0;
        (!separated).then(|| fit(cells, 0.0, 1.0))
    }
}

/// The line that minimises the cross-entropy against `low` for y = 0 and `high` for y = 1. The minimum must exist: targets within
/// (0, 1), or overlapping classes. A constant score gets slope 0.
pub(super) fn fit(cells: &[(f32, u8)], low: f64, high: f64) -> Line {
    let points: Vec<(f64, f64)> = cells.iter().map(|&(score, y)| (logit(score), if y == 1 { high } else { low })).collect();
    let n = points.len() as f64;
    let mean = points.iter().map(|point| point.0).sum::<f64>() / n;
    let spread = (points.iter().map(|point| (point.0 - mean).powi(2)).sum::<f64>() / n).sqrt();
    let target = points.iter().map(|point| point.1).sum::<f64>() / n;
    let start = [0.0, (target / (1.0 - target)).ln()];
    // Rounding leaves a constant score a spread of a few ulps.
    if spread <= 1e-12 * mean.abs().max(1.0) {
        return Line { slope: 0.0, intercept: start[1] };
    }
    // On standardised logits both directions have curvatures of one magnitude.
    let standard: Vec<(f64, f64)> = points.iter().map(|&(z, t)| ((z - mean) / spread, t)).collect();
    let [slope, intercept] = newton(&standard, start);
    Line { slope: slope / spread, intercept: intercept - slope * mean / spread }
}

/// Newton's method with halved steps (Lin, Lin & Weng, "A note on Platt's probabilistic outputs", 2007). The loss is convex, so a
/// step that does not lower it is too long; close to the minimum the steps shrink quadratically.
fn newton(points: &[(f64, f64)], start: [f64; 2]) -> [f64; 2] {
    let mut at = start;
    let mut held = Slope::of(points, at);
    for _ in 0..200 {
        let Slope { gradient: [ga, gb], curvature: [haa, hab, hbb], .. } = held;
        let determinant = haa * hbb - hab * hab;
        let step = [(hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant];
        if !step.iter().all(|step| step.is_finite()) {
            break;
        }
        let mut length = 1.0;
        let (next, there) = loop {
            let next = [at[0] - length * step[0], at[1] - length * step[1]];
            let there = Slope::of(points, next);
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
    at
}

/// The cross-entropy and its derivatives at a line, from one pass over the points.
struct Slope {
    loss: f64,
    /// By slope and intercept.
    gradient: [f64; 2],
    /// By slope twice, by both, by intercept twice.
    curvature: [f64; 3],
}

impl Slope {
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
