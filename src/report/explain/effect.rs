//! Differences between arms and their baseline under resampled rows, for the runs of one seed and averaged over seeds. Pure.

use super::super::difference::{LEVEL, resampling};
use super::super::kept_scores::{Evidence, KeptRows, RowGroups};
use super::super::question::Split;
use super::measure::tuning;
use imbalance::metric::Rate;
use imbalance::metric::certainty::{Decided, Estimate, Estimates, Ranked, RankedMetric, Statistic, bootstrap};

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

/// Each of `arms` against `baseline`, all under the same resamples of the rows.
#[must_use]
pub fn resample(baseline: &Evidence, arms: &[&Evidence], groups: Option<&RowGroups>, replicates: usize) -> Vec<Resampled> {
    let all: Vec<&Evidence> = std::iter::once(baseline).chain(arms.iter().copied()).collect();
    let test = on_judged(&all, groups, replicates);
    let val = on_val(&all, groups, replicates);
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
    test.iter().zip(&val).skip(1).map(against).collect()
}

/// AP, F1 at 0.5 and F1 at tuned thresholds of every run, on the split that judges.
fn on_judged(all: &[&Evidence], groups: Option<&RowGroups>, replicates: usize) -> Vec<[Estimates; 3]> {
    let judged: Vec<(Ranked, Decided, Decided)> = all
        .iter()
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
    let split = if all.first().is_some_and(|evidence| evidence.test.is_some()) { Split::Test } else { Split::Val };
    let mut found = run(all, split, groups, replicates, &statistics).into_iter();
    let mut triples = Vec::new();
    while let (Some(ap), Some(half), Some(tuned)) = (found.next(), found.next(), found.next()) {
        triples.push([ap, half, tuned]);
    }
    triples
}

fn on_val(all: &[&Evidence], groups: Option<&RowGroups>, replicates: usize) -> Vec<Estimates> {
    let ranked: Vec<Ranked> = all.iter().map(|evidence| Ranked::new(&evidence.val.scores, &evidence.val.truth)).collect();
    let statistics: Vec<Box<dyn Statistic + '_>> = ranked
        .iter()
        .map(|ranked| -> Box<dyn Statistic + '_> { Box::new(ranked.metric(RankedMetric::AveragePrecision)) })
        .collect();
    run(all, Split::Val, groups, replicates, &statistics)
}

fn run(
    all: &[&Evidence],
    split: Split,
    groups: Option<&RowGroups>,
    replicates: usize,
    statistics: &[Box<dyn Statistic + '_>],
) -> Vec<Estimates> {
    let rows = all.first().and_then(|evidence| evidence.on(split)).map_or(0, |rows| rows.truth.rows());
    let groups = groups.and_then(|groups| groups.of(split, rows));
    let references: Vec<&dyn Statistic> = statistics.iter().map(AsRef::as_ref).collect();
    bootstrap(&resampling(rows, groups, replicates), &references)
}

/// The interval of the mean difference over seeds, for these trainings and other rows: the seeds share their resamples, so their
/// estimates are averaged resample by resample. `None` without seeds, or where it is undefined.
#[must_use]
pub fn over_rows<'e>(seeds: impl Iterator<Item = &'e Estimate>) -> Option<Bounds> {
    let seeds: Vec<&Estimate> = seeds.collect();
    let first = seeds.first()?;
    let mean =
        |pick: fn(&Estimate) -> &[f64], at: usize| seeds.iter().map(|seed| pick(seed)[at]).sum::<f64>() / seeds.len() as f64;
    let all = |pick: fn(&Estimate) -> &[f64]| (0..pick(first).len()).map(|at| mean(pick, at)).collect();
    let pooled = Estimate {
        point: seeds.iter().map(|seed| seed.point).sum::<f64>() / seeds.len() as f64,
        replicates: all(|estimate| &estimate.replicates),
        jackknife: all(|estimate| &estimate.jackknife),
    };
    pooled.interval(LEVEL).map(|interval| Bounds { low: interval.low, high: interval.high })
}

#[cfg(test)]
mod tests {
    use super::super::testing::evidence;
    use super::*;
    use imbalance::loss::sigmoid;

    #[test]
    fn a_moved_threshold_changes_decisions_and_not_the_ranking() {
        let plain = evidence(1, |_, u, _| sigmoid(u));
        let moved = evidence(1, |_, u, _| sigmoid(u + 2.0));
        let noisy = evidence(1, |_, u, noise| sigmoid(u + noise));
        let found = resample(&plain, &[&moved, &noisy], None, 200);
        let ap = over_rows([&found[0].ap, &found[0].ap].into_iter()).unwrap();
        assert!(ap.low > -1e-4 && ap.high < 1e-4, "{ap:?}");
        let half = over_rows([&found[0].f1_half].into_iter()).unwrap();
        assert!(half.low > 0.02, "{half:?}");
        let worse = over_rows([&found[1].ap].into_iter()).unwrap();
        assert!(worse.high < -0.02 && over_rows([&found[1].val_ap].into_iter()).unwrap().high < -0.02, "{worse:?}");
        assert_eq!((found[0].label_ap.len(), found[0].dropped), (2, 0));
        assert!(over_rows(std::iter::empty()).is_none());
    }
}
