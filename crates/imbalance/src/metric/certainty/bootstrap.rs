//! The bootstrap over rows or groups (Efron 1979; Efron & Tibshirani 1993), thresholds held fixed: the interval is about the test
//! set, given the decisions.

use std::borrow::Cow;

use rayon::prelude::*;

use super::interval::Estimate;
use super::resampling::{Blocks, LANES, Plan, Resampling, Weights};
use super::statistic::Statistic;

/// Statistics of a label that a thread takes at a time.
const TOGETHER: usize = 16;

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

/// Bytes of weights that a [`Resampler`] keeps.
const KEPT: usize = 1 << 26;

/// A [`Resampling`] made ready for several calls: where they are few, the weights of all replicates are drawn once and kept.
pub struct Resampler {
    plan: Plan,
    /// The rows that the jackknife leaves out.
    blocks: Blocks,
    /// One a batch of replicates; empty where they would take too much memory.
    weights: Vec<Weights>,
}

impl Resampler {
    /// Draws, in parallel.
    #[must_use]
    pub fn new(resampling: &Resampling<'_>) -> Self {
        let plan = Plan::new(resampling);
        let few = plan.drawn().div_ceil(LANES) * LANES * resampling.rows <= KEPT;
        let batches = if few { plan.drawn().div_ceil(LANES) } else { 0 };
        Self { blocks: plan.left_out(), weights: (0..batches).into_par_iter().map(|batch| plan.weights(batch)).collect(), plan }
    }

    /// The rows that are resampled.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.blocks.of.len()
    }

    /// As [`bootstrap()`].
    #[must_use]
    pub fn bootstrap(&self, statistics: &[&dyn Statistic]) -> Vec<Estimates> {
        let Self { plan, blocks, weights } = self;
        let places: Vec<(&dyn Statistic, usize)> =
            statistics.iter().flat_map(|statistic| (0..statistic.labels()).map(|label| (*statistic, label))).collect();
        let shorter = |(statistic, label): &(&dyn Statistic, usize)| {
            if plan.blocks == 0 { Some(Vec::new()) } else { statistic.without(*label, blocks) }
        };
        let without: Vec<Option<Vec<f64>>> = places.par_iter().map(shorter).collect();
        let drawn = plan.drawn().div_ceil(LANES);
        let all = if without.iter().all(Option::is_some) { drawn } else { plan.batches() };
        let batches: Vec<Vec<[f64; LANES]>> = (0..all)
            .into_par_iter()
            .map(|batch| {
                let weights = weights.get(batch).map_or_else(|| Cow::Owned(plan.weights(batch)), Cow::Borrowed);
                let lanes = |((statistic, label), without): (&(&dyn Statistic, usize), &Option<Vec<f64>>)| {
                    let needed = batch < drawn || without.is_none();
                    if needed { statistic.lanes(*label, &weights) } else { [f64::NAN; LANES] }
                };
                places.par_iter().zip(&without).with_min_len(TOGETHER).map(lanes).collect()
            })
            .collect();
        let column = |(place, without): (usize, Option<Vec<f64>>)| -> Vec<f64> {
            let mut values = Vec::with_capacity(plan.weightings() + LANES);
            batches.iter().for_each(|batch| values.extend_from_slice(&batch[place]));
            if let Some(without) = without {
                values.truncate(plan.drawn());
                values.extend(without);
            }
            values
        };
        let mut columns: Vec<Vec<f64>> = without.into_par_iter().enumerate().map(column).collect();
        let parts: Vec<Vec<Vec<f64>>> =
            statistics.iter().rev().map(|statistic| columns.split_off(columns.len() - statistic.labels())).collect();
        parts.into_par_iter().rev().map(|columns| estimates(plan, columns)).collect()
    }
}

/// Resamples every statistic under the same weightings, so that any two of them can be subtracted ([`Estimate::minus`]).
///
/// The point estimate is the same statistic of all rows once. It equals the plain metric wherever every label has a positive (a
/// macro rate of [`super::Decided`] leaves a label without any out, where `zero_division=0` would count it as 0). O(statistics ×
/// labels × rows × replicates / [`LANES`]), in parallel.
#[must_use]
pub fn bootstrap(resampling: &Resampling<'_>, statistics: &[&dyn Statistic]) -> Vec<Estimates> {
    Resampler::new(resampling).bootstrap(statistics)
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
