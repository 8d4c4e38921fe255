//! The bootstrap over rows or groups (Efron 1979; Efron & Tibshirani 1993), thresholds held fixed: the interval is about the test
//! set, given the decisions.

use rayon::prelude::*;

use super::interval::Estimate;
use super::resampling::{LANES, Plan, Resampling};
use super::statistic::Statistic;

/// A statistic, resampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimates {
    /// Label by label; a replicate in which the label is undefined is NaN.
    pub labels: Vec<Estimate>,
    /// The mean over the labels that a weighting defines: the macro average.
    pub mean: Estimate,
    /// (label, replicate) pairs that were left out of the mean for want of positives (or of a class). Report it unless it is 0.
    pub dropped: usize,
}

/// Resamples every statistic under the same weightings, so that any two of them can be subtracted ([`Estimate::minus`]).
///
/// The point estimate is the same statistic of all rows once. It equals the plain metric wherever every label has a positive (a
/// macro rate of [`super::Decided`] leaves a label without any out, where `zero_division=0` would count it as 0). O(statistics ×
/// labels × rows × replicates / 16), in parallel.
#[must_use]
pub fn bootstrap(resampling: &Resampling<'_>, statistics: &[&dyn Statistic]) -> Vec<Estimates> {
    let plan = Plan::new(resampling);
    let batches: Vec<Vec<[f64; LANES]>> = (0..plan.batches())
        .into_par_iter()
        .map(|batch| {
            let weights = plan.weights(batch);
            let of = |statistic: &&dyn Statistic| (0..statistic.labels()).map(|label| statistic.lanes(label, &weights)).collect();
            statistics.iter().flat_map(|statistic| -> Vec<_> { of(statistic) }).collect()
        })
        .collect();
    let mut first = 0;
    let gather = |statistic: &&dyn Statistic| {
        let places = first..first + statistic.labels();
        first = places.end;
        let columns: Vec<Vec<f64>> = places.map(|place| batches.iter().flat_map(|batch| batch[place]).collect()).collect();
        estimates(&plan, columns)
    };
    statistics.iter().map(gather).collect()
}

/// `columns`: a label's values, weighting by weighting.
pub(super) fn estimates(plan: &Plan, columns: Vec<Vec<f64>>) -> Estimates {
    // NaN where no label is defined.
    let mean = |weighting: usize| {
        let defined = || columns.iter().map(|column| column[weighting]).filter(|value| !value.is_nan());
        defined().sum::<f64>() / defined().count() as f64
    };
    let estimate = |values| {
        let (point, replicates, jackknife) = plan.split(values);
        Estimate { point, replicates, jackknife }
    };
    let mean = estimate((0..plan.weightings()).map(mean).collect());
    let labels: Vec<Estimate> = columns.into_iter().map(estimate).collect();
    let dropped = labels.iter().flat_map(|label| &label.replicates).filter(|value| value.is_nan()).count();
    Estimates { labels, mean, dropped }
}
