//! What chance alone does to the calibration errors of scores that are probabilities: consistency resampling (Bröcker & Smith, "Increasing
//! the reliability of reliability diagrams", Weather and Forecasting 22, 2007). Truth is drawn anew, y ~ Bern(score), and the errors of
//! the draws are what a calibrated model would show on so many rows.
//!
//! The errors depend on a draw only through the positives of each bin, so these are drawn instead of the rows: their number has a
//! Poisson-binomial distribution, exact by the recursion over rows where its variance is small, else normal.

use super::BINS;
use super::reliability::place;
use crate::rng::Rng;

/// Draws of the truth.
pub const DRAWS: usize = 1000;
/// The quantile of the draws' errors that chance is held to explain.
pub const QUANTILE: f64 = 0.95;
/// From this variance on the number of positives in a bin is drawn from the normal distribution: its skewness is below 0.1.
const MANY: f64 = 100.0;

/// The largest errors that scores which are probabilities show by chance, in 19 of 20 cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Chance {
    /// Of the absolute gap.
    pub gap: f64,
    /// Of the expected calibration error over [`BINS`] bins of equal width.
    pub ece: f64,
}

impl Chance {
    /// Of `scores`, judged as they are; or with a shift, by class: rows weighed as if its prevalence were theirs, although a row with score q is
    /// positive with odds `odds` × q / (1 - q) in this split ([`super::prevalence`]).
    pub(super) fn of(scores: &[f32], shift: Option<Shift>, seed: u64) -> Self {
        let bins = collect(scores, shift);
        let mut rng = Rng::new(seed, "calibration by chance", &[]);
        let (mut gaps, mut errors) = (Vec::with_capacity(DRAWS), Vec::with_capacity(DRAWS));
        let mut drawn = vec![(0.0, 0.0); bins.len()];
        for _ in 0..DRAWS {
            drawn.iter_mut().zip(&bins).for_each(|(drawn, bin)| *drawn = bin.draw(&mut rng, shift.is_some()));
            let (gap, error) = errors_of(&bins, &drawn, scores.len() as f64, shift);
            gaps.push(gap.abs());
            errors.push(error);
        }
        Self { gap: quantile(&mut gaps), ece: quantile(&mut errors) }
    }
}

/// A split whose prevalence is not the one that scores are judged at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shift {
    pub prevalence: f64,
    pub odds: f64,
}

/// A bin that has rows.
struct Cells {
    rows: f64,
    /// Sum of the scores.
    scores: f64,
    /// Mean and variance of the number of positives.
    mean: f64,
    variance: f64,
    /// Mean of the sum of the positives' scores, its slope on their number, and the deviation that is left.
    sum: f64,
    slope: f64,
    rest: f64,
    /// The cumulative distribution of the smaller class where the variance is small; whether that is the negatives.
    small: Option<(Vec<f64>, bool)>,
}

fn collect(scores: &[f32], shift: Option<Shift>) -> Vec<Cells> {
    let mut bins: Vec<Vec<f64>> = vec![Vec::new(); BINS];
    scores.iter().for_each(|&score| bins[place(score.into(), BINS)].push(score.into()));
    bins.iter().filter(|scores| !scores.is_empty()).map(|scores| Cells::of(scores, shift)).collect()
}

impl Cells {
    fn of(scores: &[f64], shift: Option<Shift>) -> Self {
        let probability = |q: f64| shift.map_or(q, |Shift { odds, .. }| odds * q / (odds * q + 1.0 - q));
        let [mut all, mut mean, mut variance, mut sum, mut both, mut squares] = [0.0; 6];
        for &q in scores {
            let p = probability(q);
            let spread = p * (1.0 - p);
            all += q;
            mean += p;
            variance += spread;
            sum += q * p;
            both += q * spread;
            squares += q * q * spread;
        }
        let slope = if variance > 0.0 { both / variance } else { 0.0 };
        let rows = scores.len() as f64;
        let negatives = mean > 0.5 * rows;
        let small = (variance < MANY).then(|| {
            let of_class = |q: &f64| if negatives { 1.0 - probability(*q) } else { probability(*q) };
            let expected = if negatives { rows - mean } else { mean };
            (cumulative(scores.iter().map(of_class), expected, variance), negatives)
        });
        Self { rows, scores: all, mean, variance, sum, slope, rest: (squares - slope * both).max(0.0).sqrt(), small }
    }

    /// The number of positives of a draw and, where `weighed`, the sum of their scores: normal given the number.
    fn draw(&self, rng: &mut Rng, weighed: bool) -> (f64, f64) {
        let positives = match &self.small {
            _ if self.variance == 0.0 => self.mean,
            Some((cumulative, negatives)) => {
                let all = cumulative.last().copied().unwrap_or(1.0);
                let share = rng.uniform() * all;
                let found = cumulative.partition_point(|&below| below <= share) as f64;
                if *negatives { self.rows - found } else { found }
            }
            None => (self.mean + self.variance.sqrt() * rng.normal()).round().clamp(0.0, self.rows),
        };
        let noise = if weighed && self.rest > 0.0 { self.rest * rng.normal() } else { 0.0 };
        (positives, self.sum + self.slope * (positives - self.mean) + noise)
    }
}

/// P(number <= k) for k = 0, 1, ... up to where nothing is left, of independent trials with these probabilities.
fn cumulative(trials: impl Iterator<Item = f64>, mean: f64, variance: f64) -> Vec<f64> {
    let most = (mean + 9.0 * variance.sqrt() + 10.0) as usize;
    let (mut now, mut next) = (vec![0.0; most + 1], vec![0.0; most + 1]);
    now[0] = 1.0;
    for (trial, p) in trials.enumerate() {
        let reach = (trial + 1).min(most);
        next[0] = now[0] * (1.0 - p);
        let pairs = now[..reach].iter().zip(&now[1..=reach]);
        next[1..=reach].iter_mut().zip(pairs).for_each(|(next, (below, here))| *next = here * (1.0 - p) + below * p);
        std::mem::swap(&mut now, &mut next);
    }
    let mut sum = 0.0;
    now.iter_mut().for_each(|share| {
        sum += *share;
        *share = sum;
    });
    now
}

/// Gap and expected calibration error of one draw.
fn errors_of(bins: &[Cells], drawn: &[(f64, f64)], rows: f64, shift: Option<Shift>) -> (f64, f64) {
    let positives: f64 = drawn.iter().map(|drawn| drawn.0).sum();
    // As in `prevalence`: with one class only, rows count as they are.
    let weights = shift.filter(|_| positives > 0.0 && positives < rows);
    let weights = weights.map(|shift| (shift.prevalence / positives, (1.0 - shift.prevalence) / (rows - positives)));
    let off = |(bin, &(positives, scores)): (&Cells, &(f64, f64))| match weights {
        Some((one, other)) => one * (scores - positives) + other * (bin.scores - scores),
        None => (bin.scores - positives) / rows,
    };
    bins.iter().zip(drawn).map(off).fold((0.0, 0.0), |(gap, error), off| (gap + off, error + off.abs()))
}

/// The [`QUANTILE`], between two values where it falls between them.
fn quantile(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let place = QUANTILE * (values.len() - 1) as f64;
    let (below, share) = (place as usize, place.fract());
    values[below] + share * (values[(below + 1).min(values.len() - 1)] - values[below])
}
