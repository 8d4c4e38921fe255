//! The bootstrap of the whole pipeline: thresholds are fitted again on resampled validation rows, so that the interval also holds
//! what another validation set would have chosen.

use rayon::prelude::*;

use super::bootstrap::{Estimates, estimates};
use super::resampling::{LANES, Plan, Resampling};
use crate::LabelMatrix;
use crate::metric::{Counts, Rate};
use crate::rng::Rng;

/// Scores of one split with their truth, `[rows, labels]` row-major.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    pub scores: &'a [f32],
    pub truth: &'a LabelMatrix,
    /// As in [`Resampling::groups`].
    pub groups: Option<&'a [u32]>,
}

impl Split<'_> {
    fn plan(&self, replicates: usize, seed: u64) -> Plan {
        Plan::new(&Resampling { rows: self.truth.rows(), groups: self.groups, replicates, seed, jackknife: 0 })
    }

    /// Rows repeated as often as they weigh.
    fn repeat(&self, weights: impl Iterator<Item = u8>) -> (Vec<f32>, LabelMatrix) {
        let labels = self.truth.names.len();
        let rows: Vec<u32> = weights.zip(0u32..).flat_map(|(weight, row)| std::iter::repeat_n(row, weight.into())).collect();
        let scores = rows.iter().flat_map(|&row| &self.scores[row as usize * labels..][..labels]).copied().collect();
        (scores, self.truth.select(&rows))
    }

    /// Counts of weighted rows under thresholds, one per label.
    fn counts(&self, weights: impl Iterator<Item = u8>, thresholds: &[f32]) -> Vec<Counts> {
        let labels = thresholds.len();
        let mut cells = vec![[0u64; 4]; labels];
        let rows = self.scores.chunks_exact(labels.max(1)).zip(self.truth.values.chunks_exact(labels.max(1)));
        for ((scores, truth), weight) in rows.zip(weights).filter(|(_, weight)| *weight > 0) {
            for (((score, threshold), &y), cells) in scores.iter().zip(thresholds).zip(truth).zip(&mut cells) {
                cells[usize::from(score >= threshold) << 1 | usize::from(y == 1)] += u64::from(weight);
            }
        }
        cells.into_iter().map(|[tn, fn_, fp, tp]| Counts { tp, fp, fn_, tn }).collect()
    }
}

/// Resamples `rate` on `test` under thresholds that `fit` (scores and truth in, one threshold per label out) chooses on resamples of
/// `val`. The test draws are those of [`super::bootstrap()`] under the same seed, so that the two intervals differ by the fit alone, and
/// two runs can be subtracted. Each replicate costs one fit: seconds for 1,000 of 20,000 rows.
#[must_use]
pub fn bootstrap_refitted(
    val: Split<'_>,
    test: Split<'_>,
    replicates: usize,
    seed: u64,
    rate: Rate,
    fit: impl Fn(&[f32], &LabelMatrix) -> Vec<f32> + Sync,
) -> Estimates {
    let plan = test.plan(replicates, seed);
    // A seed of its own: two splits of one size must not draw the same places.
    let val_plan = val.plan(replicates, Rng::new(seed, "refit", &[]).next_u64());
    let batches: Vec<Vec<Vec<f64>>> = (0..plan.batches())
        .into_par_iter()
        .map(|batch| {
            let (fitted_on, counted_on) = (val_plan.weights(batch), plan.weights(batch));
            let lanes = (0..LANES).filter(|lane| batch * LANES + lane < plan.weightings());
            let of_lane = |lane: usize| -> Vec<f64> {
                let (scores, truth) = val.repeat(fitted_on.rows.iter().map(|row| row[lane]));
                let counts = test.counts(counted_on.rows.iter().map(|row| row[lane]), &fit(&scores, &truth));
                let defined = |counts: &Counts| counts.support() > 0 || rate == Rate::PredictedRate;
                counts.iter().map(|counts| if defined(counts) { counts.rate(rate) } else { f64::NAN }).collect()
            };
            lanes.map(of_lane).collect()
        })
        .collect();
    let of_label = |label: usize| batches.iter().flatten().map(|labels| labels[label]).collect();
    estimates(&plan, (0..test.truth.names.len()).map(of_label).collect())
}
