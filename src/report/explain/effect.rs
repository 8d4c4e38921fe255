//! Differences between arms and their baseline under resampled rows, for runs of equal seed and averaged over seeds. Pure.

use rayon::prelude::*;

use super::super::difference::{LEVEL, resampling};
use super::super::kept_scores::{Evidence, KeptRows, RowGroups};
use super::super::question::Split;
use super::super::summary::Spread;
use super::measure::tuning;
use imbalance::metric::Rate;
use imbalance::metric::certainty::{Decided, Estimate, Estimates, Ranked, RankedMetric, Resampler, Statistic};

/// Differences between an arm's run and the baseline's of the same seed, resampled.
#[derive(Clone, Debug)]
pub struct Resampled {
    /// Macro AP on test, or on val where there is no test.
    pub ap: Estimate,
    /// AP of each label there.
    pub label_ap: Vec<Estimate>,
    /// Macro F1 there at 0.5 and at the thresholds tuned on val, held fixed.
    pub f1_half: Estimate,
    pub f1_tuned: Estimate,
    /// Macro AP on val, where strategies are chosen.
    pub val_ap: Estimate,
    /// (label, resample) pairs there without a positive.
    pub dropped: usize,
}

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Bounds {
    pub low: f64,
    pub high: f64,
}

/// The resamples of the rows of a setting, the same for all its runs.
pub struct Resamples {
    judged: Resampler,
    val: Resampler,
}

impl Resamples {
    /// Those of the rows of `evidence`.
    #[must_use]
    pub fn of(evidence: &Evidence, groups: Option<&RowGroups>, replicates: usize) -> Self {
        let of = |split: Split| {
            let rows = evidence.on(split).map_or(0, |rows| rows.truth.rows());
            let groups = groups.and_then(|groups| groups.of(split, rows));
            Resampler::new(&resampling(rows, groups, replicates))
        };
        let judged = if evidence.test.is_some() { Split::Test } else { Split::Val };
        Self { judged: of(judged), val: of(Split::Val) }
    }

    /// Whether they are of as many rows as `evidence` has.
    #[must_use]
    pub fn fit(&self, evidence: &Evidence) -> bool {
        self.judged.rows() == evidence.judged().truth.rows() && self.val.rows() == evidence.val.truth.rows()
    }
}

/// Each of `arms` against `baseline`, all under the same resamples of the rows.
#[must_use]
pub fn resample(baseline: &Evidence, arms: &[&Evidence], resamples: &Resamples) -> Vec<Resampled> {
    let all: Vec<&Evidence> = std::iter::once(baseline).chain(arms.iter().copied()).collect();
    let test = on_judged(&all, &resamples.judged);
    let val = on_val(&all, &resamples.val);
    let Some(([ap, half, tuned], first_val)) = test.first().zip(val.first()) else { return Vec::new() };
    let against = |(arm, arm_val): (&[Estimates; 3], &Estimates)| {
        let [arm_ap, arm_half, arm_tuned] = arm;
        Resampled {
            ap: arm_ap.mean.minus(&ap.mean),
            label_ap: arm_ap.labels.iter().zip(&ap.labels).map(|(ours, theirs)| ours.minus(theirs)).collect(),
            f1_half: arm_half.mean.minus(&half.mean),
            f1_tuned: arm_tuned.mean.minus(&tuned.mean),
            val_ap: arm_val.mean.minus(&first_val.mean),
            dropped: arm_ap.dropped,
        }
    };
    test.par_iter().zip(&val).skip(1).map(against).collect()
}

/// AP, F1 at 0.5 and F1 at tuned thresholds of every run, on the split that judges.
fn on_judged(all: &[&Evidence], resampler: &Resampler) -> Vec<[Estimates; 3]> {
    let judged: Vec<(Ranked, Decided, Decided)> = all
        .par_iter()
        .map(|evidence| {
            let (val, KeptRows { scores, truth }) = (&evidence.val, evidence.judged());
            let rule = tuning().fit(&val.scores, &val.truth);
            let half = vec![0.5f32; truth.names.len()];
            let decided = |rule: &dyn imbalance::metric::Decide| Decided::new(scores, truth, rule);
            (Ranked::new(scores, truth), decided(&half), decided(&rule))
        })
        .collect();
    let statistics: Vec<Box<dyn Statistic + '_>> = judged
        .iter()
        .flat_map(|(ranked, half, tuned)| -> [Box<dyn Statistic + '_>; 3] {
            let f1 = Rate::F(1.0);
            [Box::new(ranked.metric(RankedMetric::AveragePrecision)), Box::new(half.rate(f1)), Box::new(tuned.rate(f1))]
        })
        .collect();
    let mut found = run(resampler, &statistics).into_iter();
    let mut triples = Vec::new();
    while let (Some(ap), Some(half), Some(tuned)) = (found.next(), found.next(), found.next()) {
        triples.push([ap, half, tuned]);
    }
    triples
}

fn on_val(all: &[&Evidence], resampler: &Resampler) -> Vec<Estimates> {
    let ranked: Vec<Ranked> = all.par_iter().map(|evidence| Ranked::new(&evidence.val.scores, &evidence.val.truth)).collect();
    let statistics: Vec<Box<dyn Statistic + '_>> = ranked
        .iter()
        .map(|ranked| -> Box<dyn Statistic + '_> { Box::new(ranked.metric(RankedMetric::AveragePrecision)) })
        .collect();
    run(resampler, &statistics)
}

fn run(resampler: &Resampler, statistics: &[Box<dyn Statistic + '_>]) -> Vec<Estimates> {
    resampler.bootstrap(&statistics.iter().map(AsRef::as_ref).collect::<Vec<&dyn Statistic>>())
}

/// The resampled differences of an arm's runs, added up: its seeds share their resamples, so their estimates are averaged resample by
/// resample. The sums alone are kept, so that memory does not grow with the number of seeds.
#[derive(Clone, Debug, Default)]
pub struct Pooled {
    runs: usize,
    /// `None` without runs.
    sum: Option<Resampled>,
    /// `[label][run]`: differences of AP.
    points: Vec<Vec<f64>>,
}

/// An arm's mean differences over seeds, for these trainings and other rows. `None` where it is undefined.
#[derive(Clone, Debug, PartialEq)]
pub struct OverRows {
    pub ap: Option<Bounds>,
    pub f1_half: Option<Bounds>,
    pub f1_tuned: Option<Bounds>,
    pub val_ap: Option<Bounds>,
    /// The difference in AP of each label, mean over the runs that define it, and its bounds.
    pub labels: Vec<(Option<f64>, Option<Bounds>)>,
    /// As [`Resampled::dropped`], of all runs.
    pub dropped: usize,
}

impl Resampled {
    fn estimates(&mut self) -> impl Iterator<Item = &mut Estimate> {
        [&mut self.ap, &mut self.f1_half, &mut self.f1_tuned, &mut self.val_ap].into_iter().chain(&mut self.label_ap)
    }
}

impl Pooled {
    /// Adds a run.
    pub fn add(&mut self, mut run: Resampled) {
        self.runs += 1;
        self.points.resize(run.label_ap.len(), Vec::new());
        self.points.iter_mut().zip(&run.label_ap).for_each(|(points, label)| points.push(label.point));
        let Some(pool) = &mut self.sum else {
            self.sum = Some(run);
            return;
        };
        pool.dropped += run.dropped;
        for (sum, more) in pool.estimates().zip(run.estimates()) {
            sum.point += more.point;
            let all = sum.replicates.iter_mut().chain(&mut sum.jackknife).zip(more.replicates.iter().chain(&more.jackknife));
            all.for_each(|(sum, more)| *sum += more);
        }
    }

    /// The intervals of the means; `None` without runs.
    #[must_use]
    pub fn over_rows(self) -> Option<OverRows> {
        let (mut mean, runs) = (self.sum?, self.runs as f64);
        for sum in mean.estimates() {
            sum.point /= runs;
            sum.replicates.iter_mut().chain(&mut sum.jackknife).for_each(|sum| *sum /= runs);
        }
        let bounds = |mean: &Estimate| mean.interval(LEVEL).map(|interval| Bounds { low: interval.low, high: interval.high });
        let change = |points: Vec<f64>| Spread::of(points.into_iter().filter(|point| !point.is_nan())).map(|spread| spread.mean);
        Some(OverRows {
            ap: bounds(&mean.ap),
            f1_half: bounds(&mean.f1_half),
            f1_tuned: bounds(&mean.f1_tuned),
            val_ap: bounds(&mean.val_ap),
            labels: self.points.into_iter().map(change).zip(mean.label_ap.iter().map(bounds)).collect(),
            dropped: mean.dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::evidence;
    use super::*;
    use imbalance::loss::sigmoid;

    fn pooled(runs: &[&Resampled]) -> OverRows {
        let mut pool = Pooled::default();
        runs.iter().for_each(|run| pool.add((*run).clone()));
        pool.over_rows().unwrap()
    }

    #[test]
    fn a_moved_threshold_changes_decisions_and_not_the_ranking() {
        let plain = evidence(1, |_, u, _| sigmoid(u));
        let moved = evidence(1, |_, u, _| sigmoid(u + 2.0));
        let noisy = evidence(1, |_, u, noise| sigmoid(u + noise));
        let found: [Resampled; 2] = resample(&plain, &[&moved, &noisy], &Resamples::of(&plain, None, 200)).try_into().unwrap();
        assert_eq!((found[0].label_ap.len(), found[0].dropped), (2, 0));
        let [moved, noisy] = found.each_ref().map(|run| pooled(&[run]));
        let ap = moved.ap.unwrap();
        assert!(ap.low > -1e-4 && ap.high < 1e-4, "{ap:?}");
        assert!(moved.f1_half.unwrap().low > 0.02, "{moved:?}");
        assert!(noisy.ap.unwrap().high < -0.02 && noisy.val_ap.unwrap().high < -0.02, "{noisy:?}");
    }

    /// Means over seeds are taken resample by resample.
    #[test]
    fn runs_are_pooled_resample_by_resample() {
        let plain = evidence(1, |_, u, _| sigmoid(u));
        let noisy = evidence(1, |_, u, noise| sigmoid(u + noise));
        let worse = evidence(1, |_, u, noise| sigmoid(u - 2.0 * noise));
        let found = resample(&plain, &[&noisy, &worse], &Resamples::of(&plain, None, 200));
        assert_eq!(Pooled::default().over_rows(), None);
        let both = pooled(&[&found[0], &found[1]]);
        let mean = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect::<Vec<f64>>();
        let (a, b) = (&found[0].label_ap[1], &found[1].label_ap[1]);
        let by_hand = Estimate {
            point: (a.point + b.point) / 2.0,
            replicates: mean(&a.replicates, &b.replicates),
            jackknife: mean(&a.jackknife, &b.jackknife),
        };
        let interval = by_hand.interval(LEVEL).unwrap();
        assert_eq!(both.labels[1], (Some(by_hand.point), Some(Bounds { low: interval.low, high: interval.high })));
        assert!(both.ap.unwrap().high < 0.0 && both.ap != pooled(&[&found[0]]).ap);
    }
}
