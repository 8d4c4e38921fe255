mod bootstrap;
mod optimism;
mod oracle;

use std::sync::Arc;

use crate::LabelMatrix;
use crate::loss::sigmoid;
use crate::oracle::LatentCurve;
use crate::rng::Rng;

/// The question's prevalences.
const RATES: [f64; 4] = [0.084_821, 0.290_179, 0.169_643, 0.468_75];

fn matrix(labels: usize, values: Vec<u8>) -> LabelMatrix {
    LabelMatrix { names: (0..labels).map(|label| label.to_string()).collect::<Arc<[_]>>(), values }
}

/// Data sets with known limits (docs/strategies.md#closed-form): u = g + b, y ~ Bernoulli(sigmoid(u)), and scores that are the
/// true probabilities.
struct Letters {
    limits: Vec<LatentCurve>,
    intercepts: Vec<f64>,
}

impl Letters {
    fn new() -> Self {
        let limits = RATES.map(|rate| LatentCurve::new(1.0, rate)).into();
        Self { limits, intercepts: RATES.map(|rate| crate::oracle::intercept(1.0, rate)).into() }
    }

    fn draw(&self, rows: usize, rng: &mut Rng) -> (Vec<f32>, LabelMatrix) {
        let mut cell = |label: usize| {
            let probability = sigmoid(rng.normal() + self.intercepts[label]);
            (probability as f32, u8::from(rng.uniform() < probability))
        };
        let (scores, truth) = (0..rows * RATES.len()).map(|cell_| cell(cell_ % RATES.len())).unzip();
        (scores, matrix(RATES.len(), truth))
    }
}
