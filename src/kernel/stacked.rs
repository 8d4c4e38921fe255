//! The first layer of many networks over the same inputs: their weights stand below each other, `[all outputs, inputs]`, so that one
//! pass over the inputs serves all of them.
//!
//! Rows are taken in stripes of a fixed height, and the last one is filled up with rows that nobody reads: an output is computed in the
//! same order of additions wherever it stands and whatever stands around it, so that a network among others gives the same bits as
//! alone.

use rayon::prelude::*;

use super::matrix::{Matrix, SharedMatrix};

/// Rows of a stripe: 8 heads of 4 labels. Narrower ones would use the vector units badly.
pub const STRIPE: usize = 32;
/// Columns that one task computes of a stripe.
const TASK: usize = 128;

/// Rows of the stacked weights that hold `outputs` outputs.
#[must_use]
pub fn padded(outputs: usize) -> usize {
    outputs.next_multiple_of(STRIPE)
}

/// `weight [outputs, inputs]` times `x [batch, inputs]`, transposed: `out [outputs, batch]`, without bias. `outputs` is a multiple of
/// [`STRIPE`].
pub fn forward(weight: &[f32], x: &[f32], inputs: usize, out: &mut [f32]) {
    let (batch, outputs) = (x.len() / inputs.max(1), weight.len() / inputs.max(1));
    stripes(Matrix::new(weight, outputs, inputs), Matrix::new(x, batch, inputs).t(), out);
}

/// The gradient of `weight`: `dz [outputs, batch]` times `x [batch, inputs]`.
pub fn weight_gradient(dz: &[f32], x: &[f32], inputs: usize, dweight: &mut [f32]) {
    let (batch, outputs) = (x.len() / inputs.max(1), dweight.len() / inputs.max(1));
    stripes(Matrix::new(dz, outputs, batch), Matrix::new(x, batch, inputs), dweight);
}

/// `out = a b`, a stripe of `a` and [`TASK`] columns of `b` at a time.
fn stripes(a: Matrix, b: Matrix, out: &mut [f32]) {
    assert_eq!(a.rows % STRIPE, 0, "stacked weights come in whole stripes");
    let (rows, cols) = (a.rows, b.cols);
    let shared = SharedMatrix::new(out, rows, cols);
    let across = cols.div_ceil(TASK);
    (0..rows / STRIPE * across).into_par_iter().for_each(|task| {
        let (row, col) = (task / across * STRIPE, task % across * TASK);
        let width = TASK.min(cols - col);
        // SAFETY: the tiles of this loop do not overlap, and nobody else has `out`.
        unsafe { shared.product(row, col, a.block(row, STRIPE, 0, a.cols), b.block(0, b.rows, col, width), false) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn values(name: u64, count: usize) -> Vec<f32> {
        let mut rng = Rng::new(name, "stacked", &[]);
        (0..count).map(|_| rng.normal() as f32).collect()
    }

    /// Both products against sums in f64, and to the last bit the same with other rows around.
    #[test]
    fn rows_are_right_and_do_not_depend_on_their_neighbours() {
        for (batch, inputs) in [(1, 1), (7, 5), (33, 300), (256, 1024), (200, 2051)] {
            let (x, weight) = (values(1, batch * inputs), values(2, 96 * inputs));
            let mut all = vec![0.0; 96 * batch];
            forward(&weight, &x, inputs, &mut all);
            for (n, b) in [(0, 0), (95, batch - 1), (40, batch / 2)] {
                let exact: f64 = (0..inputs).map(|d| f64::from(weight[n * inputs + d]) * f64::from(x[b * inputs + d])).sum();
                assert!((f64::from(all[n * batch + b]) - exact).abs() < 1e-6 * (inputs as f64) + 1e-5);
            }
            let mut dweight = vec![0.0; 96 * inputs];
            weight_gradient(&all, &x, inputs, &mut dweight);
            for (n, d) in [(0, 0), (95, inputs - 1), (40, inputs / 2)] {
                let exact: f64 = (0..batch).map(|b| f64::from(all[n * batch + b]) * f64::from(x[b * inputs + d])).sum();
                assert!((f64::from(dweight[n * inputs + d]) - exact).abs() < 1e-4 * (1.0 + exact.abs()));
            }
            // row 41 alone, at the top of a stripe of zeros
            let mut alone = vec![0.0; STRIPE * inputs];
            alone[..inputs].copy_from_slice(&weight[41 * inputs..42 * inputs]);
            let mut out = vec![0.0; STRIPE * batch];
            forward(&alone, &x, inputs, &mut out);
            assert_eq!(out[..batch], all[41 * batch..42 * batch], "{batch} x {inputs}");
            let mut dz = vec![0.0; STRIPE * batch];
            dz[5 * batch..6 * batch].copy_from_slice(&all[41 * batch..42 * batch]);
            let mut gradient = vec![0.0; STRIPE * inputs];
            weight_gradient(&dz, &x, inputs, &mut gradient);
            assert_eq!(gradient[5 * inputs..6 * inputs], dweight[41 * inputs..42 * inputs], "{batch} x {inputs}");
        }
    }
}
