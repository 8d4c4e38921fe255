//! How far the numbers of a perfectly trained model deviate from the closed form because val and test sets are finite.

use imbalance::Choice;
use imbalance::LabelMatrix;
use imbalance::loss::sigmoid;
use imbalance::metric::Curve;
use imbalance::oracle::intercept;
use imbalance::rng::Rng;
use imbalance::threshold::{Policy, Rule};

use crate::expected::{Pair, RATES};
use crate::moments;

/// Simulated data sets.
const SETS: u64 = 200;
/// Val rows for each test row, the smaller of what latents.toml (0.2 to 0.3) and images.toml (0.15 to 0.25) have.
const VAL: f64 = 0.6;

/// A label of one simulated data set, its true probabilities as scores.
struct Set {
    test: Curve,
    /// The threshold that `max_f1` takes from val.
    tuned: f32,
}

/// The simulated sets of every label.
pub struct Sampling(Vec<Vec<Set>>);

impl Sampling {
    /// Draws the sets: `rows` test rows each.
    ///
    /// # Errors
    /// `max_f1` fits no threshold.
    pub fn new(signal: f64, rows: f64) -> Result<Self, String> {
        let label = |(label, rate): (usize, &f64)| {
            let offset = intercept(signal, *rate);
            let draw = |set: u64, split: u64, rows: usize| {
                let mut rng = Rng::new(0, "closed form sampling", &[set, label as u64, split]);
                let (scores, values) = (0..rows)
                    .map(|_| {
                        let probability = sigmoid(signal * rng.normal() + offset);
                        (probability as f32, u8::from(rng.uniform() < probability))
                    })
                    .unzip();
                (scores, LabelMatrix { names: [label.to_string()].into(), values })
            };
            let set = |set| {
                let (scores, truth): (Vec<f32>, _) = draw(set, 0, (VAL * rows) as usize);
                let Rule::Thresholds(tuned) = Policy::Fitted(Choice::plain("max_f1")).fit(&scores, &truth) else {
                    return Err("max_f1 gives thresholds".to_owned());
                };
                let (scores, truth) = draw(set, 1, rows as usize);
                Ok(Set { test: Curve::of(&scores, &truth, 0), tuned: tuned[0] })
            };
            (0..SETS).map(set).collect()
        };
        RATES.iter().enumerate().map(label).collect::<Result<_, _>>().map(Self)
    }

    /// The standard deviation of a number over the sets.
    #[must_use]
    pub fn deviation(&self, pair: &Pair) -> f64 {
        let number = |set: &Set| match pair.what {
            "AP" => set.test.average_precision().unwrap_or(f64::NAN),
            "recall" => set.test.counts(pair.threshold as f32).recall(),
            "predicted rate" => set.test.counts(pair.threshold as f32).predicted_rate(),
            "tuned F1" => set.test.counts(set.tuned).f1(),
            _ => f64::from(set.tuned),
        };
        moments(&self.0[pair.label].iter().map(number).collect::<Vec<_>>()).1
    }
}
