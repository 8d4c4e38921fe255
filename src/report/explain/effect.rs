//! Differences between arms and their baseline under resampled rows, for runs of equal seed and averaged over seeds. Pure.

use rayon::prelude::*;

use super::super::difference::resampling;
use super::super::kept_scores::{Evidence, KeptRows, RowGroups};
use super::super::question::Split;
use super::measure::tuning;
use imbalance::metric::Rate;
use imbalance::metric::certainty::{
    Decided, Estimate, Estimates, Ranked, RankedMetric, Resampler, Resampling, RowVariance, Statistic,
};

/// Differences between an arm's run and the baseline's of the same seed, resampled.
#[derive(Clone, Debug)]
pub struct Resampled {
    /// Macro AP on test, or on val where there is no test.
    pub ap: Estimate,
    /// Macro F1 there at 0.5 and at the thresholds tuned on val, held fixed.
    pub f1_half: Estimate,
    pub f1_tuned: Estimate,
    /// Macro AP on val, where strategies are chosen.
    pub val_ap: Estimate,
    /// Of each label there: AP, and F1 at tuned thresholds.
    pub label_ap: Vec<Estimate>,
    pub label_f1: Vec<Estimate>,
    /// AP there, mean over the labels of each group.
    pub group_ap: Vec<Estimate>,
    /// (label, resample) pairs there without a positive.
    pub dropped: usize,
}

/// The resamples of the rows of a split, the same for all runs on it.
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
            // Variances are read off the replicates: no jackknife.
            Resampler::new(&Resampling { jackknife: 0, ..resampling(rows, groups, replicates) })
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

/// Each of `arms` against `baseline`, all under the same resamples of the rows. `groups` are labels whose mean AP is compared, too.
#[must_use]
pub fn resample(baseline: &Evidence, arms: &[&Evidence], resamples: &Resamples, groups: &[Vec<usize>]) -> Vec<Resampled> {
    let all: Vec<&Evidence> = std::iter::once(baseline).chain(arms.iter().copied()).collect();
    let test = on_judged(&all, &resamples.judged);
    let val = on_val(&all, &resamples.val);
    let Some(([ap, half, tuned], first_val)) = test.first().zip(val.first()) else { return Vec::new() };
    let against = |(arm, arm_val): (&[Estimates; 3], &Estimates)| {
        let [arm_ap, arm_half, arm_tuned] = arm;
        let minus = |ours: &Estimates, theirs: &Estimates| -> Vec<Estimate> {
            ours.labels.iter().zip(&theirs.labels).map(|(ours, theirs)| ours.minus(theirs)).collect()
        };
        let label_ap = minus(arm_ap, ap);
        Resampled {
            ap: arm_ap.mean.minus(&ap.mean),
            f1_half: arm_half.mean.minus(&half.mean),
            f1_tuned: arm_tuned.mean.minus(&tuned.mean),
            val_ap: arm_val.mean.minus(&first_val.mean),
            group_ap: groups.iter().map(|labels| Estimate::mean_of(labels.iter().map(|&label| &label_ap[label]))).collect(),
            label_ap,
            label_f1: minus(arm_tuned, tuned),
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
            let (val, judged) = (&evidence.val, evidence.judged());
            let KeptRows { scores, truth, .. } = judged;
            let rule = tuning().fit(&val.scores, &val.truth);
            let half = vec![0.5f32; truth.names.len()];
            let decided = |rule: &dyn imbalance::metric::Decide| Decided::new(scores, truth, rule);
            (Ranked::new(judged.ranked(), truth), decided(&half), decided(&rule))
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
    let ranked: Vec<Ranked> = all.par_iter().map(|evidence| Ranked::new(evidence.val.ranked(), &evidence.val.truth)).collect();
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
    /// `None` without runs.
    sum: Option<Resampled>,
    /// Of each estimate: the runs that define it, and the sum of their variances over the resamples.
    runs: Vec<(usize, f64)>,
}

/// How one metric's differences vary with the rows: [`RowVariance`] without its units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OverRows {
    pub of_mean: f64,
    pub of_one: f64,
}

impl OverRows {
    /// The variances, carried by so many positives.
    #[must_use]
    pub fn of(self, units: usize) -> RowVariance {
        RowVariance { of_mean: self.of_mean, of_one: self.of_one, units }
    }
}

/// How an arm's differences from the baseline vary with the rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    pub ap: OverRows,
    pub f1_half: OverRows,
    pub f1_tuned: OverRows,
    pub val_ap: OverRows,
    /// As in [`Resampled`].
    pub label_ap: Vec<OverRows>,
    pub label_f1: Vec<OverRows>,
    pub group_ap: Vec<OverRows>,
    /// As [`Resampled::dropped`], of all runs.
    pub dropped: usize,
}

impl Resampled {
    fn estimates(&mut self) -> impl Iterator<Item = &mut Estimate> {
        let means = [&mut self.ap, &mut self.f1_half, &mut self.f1_tuned, &mut self.val_ap];
        means.into_iter().chain(&mut self.label_ap).chain(&mut self.label_f1).chain(&mut self.group_ap)
    }
}

impl Pooled {
    /// Adds a run.
    pub fn add(&mut self, mut run: Resampled) {
        self.runs.resize_with(run.estimates().count(), Default::default);
        for ((runs, variances), estimate) in self.runs.iter_mut().zip(run.estimates()) {
            if estimate.point.is_nan() {
                // A run that does not define it has no part in the mean.
                estimate.replicates.fill(0.0);
            } else {
                *runs += 1;
                *variances += estimate.variance();
            }
        }
        let Some(pool) = &mut self.sum else {
            self.sum = Some(run);
            return;
        };
        pool.dropped += run.dropped;
        for (sum, more) in pool.estimates().zip(run.estimates()) {
            sum.replicates.iter_mut().zip(&more.replicates).for_each(|(sum, more)| *sum += more);
        }
    }

    /// The variances; `None` without runs.
    #[must_use]
    pub fn effects(self) -> Option<Effects> {
        let mut sum = self.sum?;
        let (labels, groups, dropped) = (sum.label_ap.len(), sum.group_ap.len(), sum.dropped);
        let over_rows = |((runs, variances), sum): ((usize, f64), &mut Estimate)| {
            let n = runs.max(1) as f64;
            OverRows { of_mean: sum.variance() / (n * n), of_one: variances / n }
        };
        let mut all = self.runs.into_iter().zip(sum.estimates()).map(over_rows);
        let mut next = || all.next().unwrap_or_default();
        let (ap, f1_half, f1_tuned, val_ap) = (next(), next(), next(), next());
        let mut several = |count: usize| all.by_ref().take(count).collect::<Vec<_>>();
        let (label_ap, label_f1) = (several(labels), several(labels));
        Some(Effects { ap, f1_half, f1_tuned, val_ap, label_ap, label_f1, group_ap: several(groups), dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::evidence;
    use super::*;
    use imbalance::loss::sigmoid;

    fn pooled(runs: &[&Resampled]) -> Effects {
        let mut pool = Pooled::default();
        runs.iter().for_each(|run| pool.add((*run).clone()));
        pool.effects().unwrap()
    }

    #[test]
    fn a_moved_threshold_changes_decisions_and_not_the_ranking() {
        let plain = evidence(1, |_, u, _| sigmoid(u));
        let moved = evidence(1, |_, u, _| sigmoid(u + 2.0));
        let noisy = evidence(1, |_, u, noise| sigmoid(u + noise));
        let resamples = Resamples::of(&plain, None, 200);
        let found: [Resampled; 2] = resample(&plain, &[&moved, &noisy], &resamples, &[vec![0]]).try_into().unwrap();
        assert_eq!((found[0].label_ap.len(), found[0].label_f1.len(), found[0].dropped), (2, 2, 0));
        let clear = |point: &Estimate, effect: OverRows| point.point.abs() > 3.0 * effect.of_mean.sqrt();
        let [moved, noisy] = found.each_ref().map(|run| pooled(&[run]));
        assert!(found[0].ap.point.abs() < 1e-4 && moved.ap.of_mean < 1e-8, "{:?}", moved.ap);
        assert!(clear(&found[0].f1_half, moved.f1_half) && found[0].f1_half.point > 0.02, "{moved:?}");
        assert!(clear(&found[1].ap, noisy.ap) && found[1].ap.point < -0.02 && clear(&found[1].val_ap, noisy.val_ap), "{noisy:?}");
        assert_eq!((noisy.group_ap[0], noisy.ap.of_one), (noisy.label_ap[0], noisy.ap.of_mean));
    }

    /// Means over seeds are taken resample by resample; a run that does not define a label leaves the others' mean as it is.
    #[test]
    fn runs_are_pooled_resample_by_resample() {
        let plain = evidence(1, |_, u, _| sigmoid(u));
        let noisy = evidence(1, |_, u, noise| sigmoid(u + noise));
        let worse = evidence(1, |_, u, noise| sigmoid(u - 2.0 * noise));
        let mut found = resample(&plain, &[&noisy, &worse], &Resamples::of(&plain, None, 200), &[]);
        assert_eq!(Pooled::default().effects(), None);
        let both = pooled(&[&found[0], &found[1]]);
        let (a, b) = (&found[0].label_ap[1], &found[1].label_ap[1]);
        let mean: Vec<f64> = a.replicates.iter().zip(&b.replicates).map(|(a, b)| (a + b) / 2.0).collect();
        let mean = Estimate { point: 0.0, replicates: mean, jackknife: Vec::new() };
        assert!((both.label_ap[1].of_mean / mean.variance() - 1.0).abs() < 1e-9);
        assert!((both.label_ap[1].of_one / (0.5 * (a.variance() + b.variance())) - 1.0).abs() < 1e-9);
        let one = pooled(&[&found[0]]);
        found[1].label_ap[1].point = f64::NAN;
        assert_eq!(pooled(&[&found[0], &found[1]]).label_ap[1], one.label_ap[1]);
    }
}
