//! The objective of all labels at once: one pass over the features gives value and gradient of each label that is still active.
//!
//! Rows are cut into parts by their number alone, and parts are summed in their order: no number of threads changes a bit.

use rayon::prelude::*;

use gemm::{Parallelism, gemm};

use imbalance::loss::{Pointwise, Term, sigmoid, softplus};
use imbalance::{LabelMatrix, UNKNOWN};
use plan::Reference;

/// Numbers of a block of rows: as many as stay in the cache of a core while two products read them.
const BLOCK: usize = 1 << 15;
/// Parts of the rows, each with its own sums: as many threads can work.
const PARTS: usize = 32;

/// Features of some rows as f32, row-major `[rows, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    pub values: &'a [f32],
    pub width: usize,
}

impl<'a> Features<'a> {
    fn rows(self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// The blocks of a range of rows: (first row, features).
    fn blocks(self, rows: std::ops::Range<usize>) -> impl Iterator<Item = (usize, &'a [f32])> {
        let size = (BLOCK / self.width.max(1)).max(8);
        let values = &self.values[rows.start * self.width..rows.end * self.width];
        values.chunks(size * self.width.max(1)).enumerate().map(move |(at, block)| (rows.start + at * size, block))
    }

    /// Logits of all rows, `[rows, labels]`, under `solutions`: `[labels, width + 1]`, the intercept last.
    #[must_use]
    pub fn logits(self, solutions: &[Vec<f64>]) -> Vec<f32> {
        let labels = solutions.len();
        let (weights, intercepts) = packed(solutions.iter().map(Vec::as_slice), self.width);
        let mut logits = vec![0.0f32; self.rows() * labels];
        let (mut wide, mut sums) = (Vec::new(), Vec::new());
        for (first, block) in self.blocks(0..self.rows()) {
            forward(block, self.width, &weights, &mut wide, &mut sums);
            for (at, sums) in sums.chunks_exact(labels).enumerate() {
                let row = (first + at) * labels;
                for (logit, (sum, intercept)) in logits[row..row + labels].iter_mut().zip(sums.iter().zip(&intercepts)) {
                    // The scores are f32 as those of any network.
                    *logit = (sum + intercept) as f32;
                }
            }
        }
        logits
    }
}

/// Solutions without intercept as one matrix `[labels, width]`, and their intercepts.
fn packed<'a>(solutions: impl Iterator<Item = &'a [f64]>, width: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut weights, mut intercepts) = (Vec::new(), Vec::new());
    for solution in solutions {
        weights.extend_from_slice(&solution[..width]);
        intercepts.push(solution[width]);
    }
    (weights, intercepts)
}

/// `wide` becomes the block in f64, `sums` its product with the weights, `[rows, labels]`.
fn forward(block: &[f32], width: usize, weights: &[f64], wide: &mut Vec<f64>, sums: &mut Vec<f64>) {
    wide.clear();
    wide.extend(block.iter().map(|&value| f64::from(value)));
    let (rows, labels) = (block.len() / width.max(1), weights.len() / width.max(1));
    sums.clear();
    sums.resize(rows * labels, 0.0);
    product((sums, labels, 1), (wide, width, 1), (weights, 1, width), (rows, labels, width), false);
}

/// A matrix with the steps between its rows and between its columns.
type Matrix<'a> = (&'a [f64], usize, usize);

/// `out = a b`, or `out += a b`, of the shapes `[m, k]` and `[k, n]`.
fn product(out: (&mut [f64], usize, usize), a: Matrix<'_>, b: Matrix<'_>, (m, n, k): (usize, usize, usize), add: bool) {
    let last = |rows: usize, columns: usize, (row, column): (usize, usize)| {
        if rows * columns == 0 { 0 } else { (rows - 1) * row + (columns - 1) * column + 1 }
    };
    assert!(out.0.len() >= last(m, n, (out.1, out.2)), "the product fits");
    assert!(a.0.len() >= last(m, k, (a.1, a.2)) && b.0.len() >= last(k, n, (b.1, b.2)), "the factors are whole");
    // Steps are below the length of a slice, which fits isize.
    let step = |step: usize| step as isize;
    // SAFETY: the asserts have checked that every element of the three matrices lies inside its slice.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.0.as_mut_ptr(),
            step(out.2),
            step(out.1),
            add,
            a.0.as_ptr(),
            step(a.2),
            step(a.1),
            b.0.as_ptr(),
            step(b.2),
            step(b.1),
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The cross-entropy with a weight per class: `l+ = s+ softplus(-z)`, `l- = s- softplus(z)`.
#[derive(Clone, Debug)]
pub struct ClassWeights {
    /// (s+, s-), one pair per label.
    weights: Vec<(f64, f64)>,
}

impl ClassWeights {
    /// Those of a reference on train; 1 for a label with one class.
    #[must_use]
    pub fn new(reference: Reference, train: &LabelMatrix) -> Self {
        let counts = train.counts();
        let of = |(label, &positives): (usize, &usize)| {
            if counts.has_both(label) { reference.class_weights(counts.known(label), positives) } else { (1.0, 1.0) }
        };
        Self { weights: counts.positives.iter().enumerate().map(of).collect() }
    }
}

impl Pointwise for ClassWeights {
    fn positive(&self, label: usize, z: f64) -> Term {
        Term { value: softplus(-z), slope: -sigmoid(-z) }.times(self.weights[label].0)
    }

    fn negative(&self, label: usize, z: f64) -> Term {
        Term { value: softplus(z), slope: sigmoid(z) }.times(self.weights[label].1)
    }
}

/// `1/n sum_i s_i logloss_i + |w|^2 / (2 C n)`, for each label: what scikit-learn's `LogisticRegression` minimises, divided by C n.
/// The intercept is not penalised; the sum and n are of the rows that know the label.
#[derive(Debug)]
pub struct Objective<'a> {
    train: Features<'a>,
    /// `[rows, labels]`.
    truth: &'a LabelMatrix,
    terms: &'a ClassWeights,
    /// Rows that know each label.
    known: Vec<usize>,
    parts: Vec<Part>,
}

/// The sums of a part of the rows, and room for its blocks.
#[derive(Debug, Default)]
struct Part {
    values: Vec<f64>,
    /// `[active, width]`.
    gradients: Vec<f64>,
    intercepts: Vec<f64>,
    wide: Vec<f64>,
    sums: Vec<f64>,
    slopes: Vec<f64>,
}

impl<'a> Objective<'a> {
    /// The objective on train.
    #[must_use]
    pub fn new(train: Features<'a>, truth: &'a LabelMatrix, terms: &'a ClassWeights) -> Self {
        let (counts, parts) = (truth.counts(), (0..PARTS).map(|_| Part::default()).collect());
        let known = (0..counts.positives.len()).map(|label| counts.known(label)).collect();
        Self { train, truth, terms, known, parts }
    }

    /// Value and gradient (`[width + 1]`, the intercept last) of each label of `active` at its point, for strength C.
    pub fn evaluate(&mut self, active: &[usize], points: &[&[f64]], strength: f64) -> Vec<(f64, Vec<f64>)> {
        let Self { train, truth, terms, known, parts } = self;
        let (rows, width) = (train.rows(), train.width);
        let (weights, intercepts) = packed(points.iter().copied(), width);
        let size = rows.div_ceil(PARTS).max(1);
        parts.par_iter_mut().enumerate().for_each(|(at, part)| {
            let range = (at * size).min(rows)..((at + 1) * size).min(rows);
            part.evaluate(*train, range, (truth, *terms, active), (&weights, &intercepts));
        });
        let sum = |(place, point): (usize, &&[f64])| {
            let rows = known[active[place]];
            let penalty = 1.0 / (strength * rows as f64);
            let (mut value, mut gradient) = (0.0, vec![0.0; width + 1]);
            for part in &*parts {
                value += part.values[place];
                let own = &part.gradients[place * width..(place + 1) * width];
                gradient.iter_mut().zip(own.iter().chain([&part.intercepts[place]])).for_each(|(sum, own)| *sum += own);
            }
            let mut square = 0.0;
            for (derivative, weight) in gradient.iter_mut().zip(&point[..width]) {
                *derivative = *derivative / rows as f64 + penalty * weight;
                square += weight * weight;
            }
            gradient[width] /= rows as f64;
            (value / rows as f64 + 0.5 * penalty * square, gradient)
        };
        points.par_iter().enumerate().map(sum).collect()
    }
}

impl Part {
    fn evaluate(
        &mut self,
        train: Features<'_>,
        rows: std::ops::Range<usize>,
        (truth, terms, active): (&LabelMatrix, &ClassWeights, &[usize]),
        (weights, intercepts): (&[f64], &[f64]),
    ) {
        let (width, labels, all) = (train.width, active.len(), truth.names.len());
        let Self { values, gradients, intercepts: sums_of_slopes, wide, sums, slopes } = self;
        for (sums, length) in [(&mut *values, labels), (&mut *gradients, labels * width), (&mut *sums_of_slopes, labels)] {
            sums.clear();
            sums.resize(length, 0.0);
        }
        for (first, block) in train.blocks(rows) {
            forward(block, width, weights, wide, sums);
            slopes.clear();
            for (at, logits) in sums.chunks_exact(labels).enumerate() {
                let truth = &truth.values[(first + at) * all..(first + at + 1) * all];
                for (place, (&label, logit)) in active.iter().zip(logits).enumerate() {
                    let z = logit + intercepts[place];
                    let term = match truth[label] {
                        1 => terms.positive(label, z),
                        UNKNOWN => Term { value: 0.0, slope: 0.0 },
                        _ => terms.negative(label, z),
                    };
                    values[place] += term.value;
                    sums_of_slopes[place] += term.slope;
                    slopes.push(term.slope);
                }
            }
            let rows = slopes.len() / labels;
            product((gradients, width, 1), (slopes, 1, labels), (wide, width, 1), (labels, width, rows), true);
        }
    }
}
