//! How much of a tuned F1 is luck: a threshold chosen for the largest F1 on validation also fits its noise
//! (docs/strategies.md#few-validation-rows: with 1,000 validation rows macro-F1 is .019 too high on average, with 200 .054).

use crate::LabelMatrix;
use crate::metric::average::{Average, average};
use crate::metric::{Counts, Decide, Rate, ZeroDivision, decide};
use crate::rng::Rng;

/// Counts under fitted thresholds, on the rows they were fitted on and on rows they were not.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossFit {
    /// Fitted and counted on all rows: what validation reports.
    pub in_sample: Vec<Counts>,
    /// Each fold counted under thresholds fitted on the others, folds summed.
    pub held_out: Vec<Counts>,
    /// `[fold][label]`: how far they scatter is how little the rows say about them; their mean is a steadier choice than either.
    pub thresholds: Vec<Vec<f32>>,
}

impl CrossFit {
    /// The optimism of a label's `rate`: in sample minus held out.
    #[must_use]
    pub fn of_label(&self, label: usize, rate: Rate) -> f64 {
        self.in_sample[label].rate(rate) - self.held_out[label].rate(rate)
    }

    /// The optimism of the average of `rate` over labels.
    #[must_use]
    pub fn optimism(&self, rate: Rate, how: Average) -> f64 {
        let of = |counts: &[Counts]| average(counts, rate, how, ZeroDivision::Zero).unwrap_or(0.0);
        of(&self.in_sample) - of(&self.held_out)
    }
}

/// Fits thresholds with `fit` (scores `[rows, labels]` row-major and truth in, a rule out) on all rows, and on each `folds` - 1
/// of `folds` parts, dealt at random under `seed`, groups whole. Held-out rates are unbiased for thresholds fitted on that
/// smaller share of rows, so the optimism is, if anything, a little overstated. `folds` is at least 2; 5 or 10 are usual.
#[must_use]
pub fn cross_fit<D: Decide>(
    scores: &[f32],
    truth: &LabelMatrix,
    groups: Option<&[u32]>,
    folds: usize,
    seed: u64,
    fit: impl Fn(&[f32], &LabelMatrix) -> D,
) -> CrossFit {
    let (labels, folds) = (truth.names.len(), folds.max(2));
    let fold = deal(truth.rows(), groups, folds, seed);
    let part = |keep: &dyn Fn(usize) -> bool| {
        let rows: Vec<u32> = (0..truth.rows()).filter(|&row| keep(fold[row])).map(|row| row as u32).collect();
        let scores = rows.iter().flat_map(|&row| &scores[row as usize * labels..][..labels]).copied().collect::<Vec<_>>();
        (scores, truth.select(&rows))
    };
    let mut held_out = vec![Counts::default(); labels];
    let mut thresholds = Vec::new();
    for held in 0..folds {
        let ((fit_scores, fit_truth), (scores, truth)) = (part(&|fold| fold != held), part(&|fold| fold == held));
        let fitted = fit(&fit_scores, &fit_truth);
        let counts = decide(&scores, &truth, &fitted).counts;
        held_out.iter_mut().zip(counts).for_each(|(sum, counts)| *sum = *sum + counts);
        thresholds.push(fitted.thresholds(labels));
    }
    CrossFit { in_sample: decide(scores, truth, &fit(scores, truth)).counts, held_out, thresholds }
}

/// The fold of each row, of `folds`: dealt at random under `seed`, groups whole.
#[must_use]
pub fn deal(rows: usize, groups: Option<&[u32]>, folds: usize, seed: u64) -> Vec<usize> {
    let mut names: Vec<u32> = groups.map_or_else(|| (0..rows as u32).collect(), <[u32]>::to_vec);
    let of: Vec<u32> = names.clone();
    names.sort_unstable();
    names.dedup();
    let mut fold: Vec<usize> = (0..names.len()).map(|unit| unit % folds).collect();
    Rng::new(seed, "cross_fit", &[]).shuffle(&mut fold);
    of.iter().map(|group| fold[names.partition_point(|name| name < group)]).collect()
}
