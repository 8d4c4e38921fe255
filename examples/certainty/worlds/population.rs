//! What a ranking is worth on infinitely many rows, by quadrature.
//!
//! A row has x ~ N(0, 1) in 20 dimensions, and label k is on with probability sigmoid(2 w_k.x + b_k), w_k of length 1. A score s.x
//! depends on the truth through rho, the cosine between s and w_k, only: every direction with the same rho has the same average
//! precision.

use imbalance::loss::sigmoid;
use imbalance::rng::Rng;

pub const LABELS: usize = 4;
/// 19,000, 65,000, 38,000 and 105,000 of 224,000.
pub const RATES: [f64; LABELS] = [0.0848, 0.2902, 0.1696, 0.4688];
/// Numbers of a row.
pub const INPUTS: usize = 20;
/// Strength of the signal: u = SLOPE w.x.
pub const SLOPE: f64 = 2.0;

/// Steps of rho from 0 to 1 in the table.
const STEPS: usize = 100;
/// Trainings that an expectation over luck is taken over.
const TRAININGS: u64 = 400;

/// Intercepts of the labels, and average precision by rho.
pub struct Population {
    pub intercepts: [f64; LABELS],
    /// At rho = step / STEPS.
    ap: Vec<[f64; LABELS]>,
}

/// Nodes and weights for the mean over a standard normal: trapezoids of width `step` over +-8.
fn normal(step: f64) -> impl DoubleEndedIterator<Item = (f64, f64)> + Clone {
    let half = (8.0 / step).round() as i32;
    (-half..=half).map(move |at| {
        let z = f64::from(at) * step;
        (z, step * (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt())
    })
}

/// `f(x) = 0` between `low` and `high`, for a rising `f`.
pub fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if f(middle) < 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

impl Population {
    pub fn new() -> Self {
        let intercepts = RATES.map(|rate| {
            bisect(-30.0, 30.0, |b| normal(0.1).map(|(z, weight)| weight * sigmoid(SLOPE * z + b)).sum::<f64>() - rate)
        });
        let ap = (0..=STEPS).map(|step| {
            let rho = step as f64 / STEPS as f64;
            std::array::from_fn(|label| average_precision(rho, intercepts[label], RATES[label]))
        });
        Self { intercepts, ap: ap.collect() }
    }

    /// Average precision of each label, given the cosine of each.
    fn at(&self, rho: [f64; LABELS]) -> [f64; LABELS] {
        std::array::from_fn(|label| {
            let at = rho[label].clamp(0.0, 1.0) * STEPS as f64;
            let below = (at as usize).min(STEPS - 1);
            let share = at - below as f64;
            (1.0 - share) * self.ap[below][label] + share * self.ap[below + 1][label]
        })
    }

    /// Expected average precision of trainings that end at `cos(angle) w + sin(angle) v + luck e / sqrt(20)`, v at right angles to w and
    /// e ~ N(0, 1).
    pub fn expected(&self, angle: [f64; LABELS], luck: f64) -> [f64; LABELS] {
        let mut sum = [0.0; LABELS];
        for training in 0..TRAININGS {
            let mut rng = Rng::new(0, "certainty expectation", &[training]);
            let rho = angle.map(|angle| {
                let mut e = || luck * rng.normal() / (INPUTS as f64).sqrt();
                let (along, aside) = (angle.cos() + e(), angle.sin() + e());
                let rest: f64 = (2..INPUTS).map(|_| e().powi(2)).sum();
                along / (along * along + aside * aside + rest).sqrt()
            });
            sum.iter_mut().zip(self.at(rho)).for_each(|(sum, ap)| *sum += ap);
        }
        sum.map(|sum| sum / TRAININGS as f64)
    }

    /// The angle, the same for every label, at which the expected macro AP of trainings with `luck` is `below` less than at angle 0 with
    /// luck `than`.
    pub fn angle(&self, luck: f64, below: f64, than: f64) -> f64 {
        let aim = macro_ap(self.expected([0.0; LABELS], than)) - below;
        bisect(0.0, 1.5, |angle| aim - macro_ap(self.expected([angle; LABELS], luck)))
    }
}

pub fn macro_ap(ap: [f64; LABELS]) -> f64 {
    ap.iter().sum::<f64>() / LABELS as f64
}

/// The area under the precision-recall curve of a score whose cosine with the truth is `rho`.
fn average_precision(rho: f64, intercept: f64, rate: f64) -> f64 {
    let aside = (1.0 - rho * rho).max(0.0).sqrt();
    let (mut predicted, mut found, mut area) = (0.0, 0.0, 0.0);
    for (score, weight) in normal(0.04).rev() {
        let positive: f64 = normal(0.25).map(|(z, weight)| weight * sigmoid(SLOPE * (rho * score + aside * z) + intercept)).sum();
        let hits = weight * positive;
        // Precision half-way through the step.
        area += hits * (found + 0.5 * hits) / (predicted + 0.5 * weight);
        predicted += weight;
        found += hits;
    }
    area / rate
}
