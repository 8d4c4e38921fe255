//! Statistics of weighted rows, [`LANES`] weightings at a time. Rankings and decisions have files of their own; here are means of rows.

use super::resampling::{Blocks, LANES, Weights};
use crate::LabelMatrix;
use crate::metric::curve::{every_cell, is_known};

/// What [`super::bootstrap()`] can resample.
pub trait Statistic: Sync {
    /// Labels it has a value for; 1 if it is one number for all.
    fn labels(&self) -> usize;

    /// The value of `label` under each weighting; NaN where it is undefined, which drops the label from that weighting's mean.
    fn lanes(&self, label: usize, weights: &Weights) -> [f64; LANES];

    /// The value of `label` without each of `blocks`, where that takes less than a pass over the rows for [`LANES`] of them; `None`
    /// has it computed by [`Self::lanes`].
    fn without(&self, _label: usize, _blocks: &Blocks) -> Option<Vec<f64>> {
        None
    }
}

/// A number per row and label, whose weighted mean is the statistic: Brier score, calibration gap, samples-F1.
#[derive(Clone, Debug)]
pub struct RowValues {
    /// `[label][row]`; NaN where a row has none, which leaves it out of the mean.
    pub labels: Vec<Vec<f64>>,
}

impl RowValues {
    /// `value(score, y)` of every known cell: `(q - y)²` is the Brier score, `q - y` the calibration gap.
    #[must_use]
    pub fn of_cells(scores: &[f32], truth: &LabelMatrix, value: impl Fn(f64, f64) -> f64) -> Self {
        let value = |cell: (f32, u8)| if is_known(&cell) { value(cell.0.into(), cell.1.into()) } else { f64::NAN };
        let of = |label: usize| every_cell(scores, truth, label).map(value).collect();
        Self { labels: (0..truth.names.len()).map(of).collect() }
    }
}

impl Statistic for RowValues {
    fn labels(&self) -> usize {
        self.labels.len()
    }

    fn lanes(&self, label: usize, weights: &Weights) -> [f64; LANES] {
        let (sum, without) = crate::vectorized(
            #[inline(always)]
            || weighted(&self.labels[label], &weights.rows),
        );
        std::array::from_fn(|lane| sum[lane] / (weights.totals[lane] - without[lane]) as f64)
    }
}

/// The weighted sum, and the weight of the rows without a value.
#[inline(always)]
fn weighted(values: &[f64], weights: &[[u8; LANES]]) -> ([f64; LANES], [u64; LANES]) {
    let (mut sum, mut without) = ([0.0; LANES], [0; LANES]);
    for (value, row) in values.iter().zip(weights) {
        if value.is_nan() {
            without.iter_mut().zip(row).for_each(|(without, &weight)| *without += u64::from(weight));
            continue;
        }
        for lane in 0..LANES {
            sum[lane] += value * f64::from(row[lane]);
        }
    }
    (sum, without)
}
