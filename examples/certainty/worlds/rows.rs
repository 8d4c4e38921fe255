//! The rows of one sweep, and its random numbers.

use imbalance::rng::Rng;

use super::population::{INPUTS, LABELS, SLOPE};
use super::world::Cell;

/// Names the random numbers of one sweep of one cell.
pub struct Stream {
    seed: u64,
    cell: String,
    sweep: u64,
}

impl Stream {
    pub fn new(seed: u64, cell: &Cell, sweep: usize) -> Self {
        Self { seed, cell: cell.to_string(), sweep: sweep as u64 }
    }

    pub fn rng(&self, what: &str, at: &[u64]) -> Rng {
        let indices: Vec<u64> = [self.sweep].iter().chain(at).copied().collect();
        Rng::new(self.seed, &format!("certainty {} {what}", self.cell), &indices)
    }

    /// A name for its data that no other has.
    pub fn content(&self) -> String {
        format!("{:016x}", self.rng("content", &[]).next_u64())
    }
}

/// One sweep's data: val and test.
pub struct Rows {
    /// `[2 rows, INPUTS]`: val, then test.
    pub inputs: Vec<[f64; INPUTS]>,
    /// `[2 rows, LABELS]`.
    pub truth: Vec<u8>,
    /// The truth's direction of each label.
    pub directions: [[f64; INPUTS]; LABELS],
    /// Rows of each split.
    pub rows: usize,
}

impl Rows {
    /// The label with the largest u, plus noise, of a row: as a softmax would draw it.
    pub fn likeliest(&self, row: usize) -> usize {
        let mut rng = Rng::new(0, "certainty likeliest", &[row as u64]);
        let u = self.directions.map(|w| SLOPE * dot(&w, &self.inputs[row]) - (-(1.0 - rng.uniform()).ln()).ln());
        (0..LABELS).max_by(|&a, &b| u[a].total_cmp(&u[b])).unwrap_or(0)
    }
}

pub fn dot(a: &[f64; INPUTS], b: &[f64; INPUTS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A random direction of length 1, at right angles to `other`.
pub fn direction(rng: &mut Rng, other: Option<&[f64; INPUTS]>) -> [f64; INPUTS] {
    let mut vector: [f64; INPUTS] = std::array::from_fn(|_| rng.normal());
    if let Some(other) = other {
        let along = dot(&vector, other);
        vector.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
    }
    let length = dot(&vector, &vector).sqrt();
    vector.map(|value| value / length)
}
