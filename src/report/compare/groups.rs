//! Groups of runs against a first group: paired differences over seeds, with simultaneous intervals. Pure.
//!
//! Only seeds (or splits of the data) are independent: pairs of one seed that differ in other axes are averaged first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::difference::independent;
use super::super::load::Run;
use super::super::question::Split;
use super::super::score::lower_is_better;
use super::pairs::{Pairing, RunGroup};
use imbalance::metric::certainty::{Crossed, Observed, crossed, level};

/// Groups compared with the first; a difference is always the group's value minus the first's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupComparison {
    pub sweep: String,
    /// The group that the others are compared with, as typed.
    pub first: String,
    pub groups: Vec<Side>,
    /// Differences up to this mean nothing in practice.
    pub rope: f64,
    /// Nominal coverage of the intervals of a family together: the groups, on one metric and split. They are about other seeds, on the
    /// same rows.
    pub level: f64,
    pub families: Vec<Family>,
    pub notes: Vec<String>,
}

/// A group and its pairs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    pub group: String,
    pub pairs: Vec<Pair>,
}

/// Two runs that differ in what the groups name and in nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    pub first: String,
    pub run: String,
    pub seed: i64,
}

/// One metric on one split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Family {
    pub split: Split,
    pub metric: &'static str,
    /// `None` for metrics that need no threshold.
    pub policy: Option<String>,
    pub lower_is_better: bool,
    pub lines: Vec<Line>,
}

/// One group of a family.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub group: String,
    /// Means over the pairs for which both values are defined.
    pub first_mean: Option<f64>,
    pub mean: Option<f64>,
    /// The difference of each such pair, in the order of the pairs.
    pub differences: Vec<f64>,
    /// Over seeds, or over splits where there are several.
    pub difference: Option<Crossed>,
}

/// Values of one metric on one split under one policy: run → value.
pub struct Values {
    pub split: Split,
    pub metric: &'static str,
    pub policy: Option<String>,
    pub of_run: BTreeMap<usize, f64>,
}

/// What is independent among the runs.
pub struct Replicates<'a> {
    /// The data set of each run: one per split of the same rows.
    pub data: &'a [usize],
    /// Rows of val / rows of train, and rows of test / rows of train.
    pub overlap: [f64; 2],
}

/// The comparison, given the pairs of each group with the first and the values that are compared.
#[must_use]
pub fn compare(
    sweep: &str,
    runs: &[Run],
    first: &RunGroup,
    others: &[(RunGroup, Pairing)],
    values: &[Values],
    replicates: &Replicates<'_>,
    rope: f64,
) -> GroupComparison {
    let families: Vec<Family> = values.iter().map(|values| one_family(values, runs, others, replicates)).collect();
    let pair =
        |&(a, b): &(usize, usize)| Pair { first: runs[a].row.run.clone(), run: runs[b].row.run.clone(), seed: runs[b].row.seed };
    let side = |(group, pairing): &(RunGroup, Pairing)| Side {
        group: group.text.clone(),
        pairs: pairing.pairs.iter().map(pair).collect(),
    };
    GroupComparison {
        sweep: sweep.to_owned(),
        first: first.text.clone(),
        groups: others.iter().map(side).collect(),
        rope,
        level: level(others.len()),
        notes: notes(runs, first, others, &families),
        families,
    }
}

fn one_family(values: &Values, runs: &[Run], others: &[(RunGroup, Pairing)], replicates: &Replicates<'_>) -> Family {
    let both = |&(a, b): &(usize, usize)| Some((b, *values.of_run.get(&a)?, *values.of_run.get(&b)?));
    let pairs: Vec<Vec<(usize, f64, f64)>> =
        others.iter().map(|(_, pairing)| pairing.pairs.iter().filter_map(both).collect()).collect();
    let differences: Vec<Observed> = pairs.iter().map(|pairs| observed(pairs, values.split, runs, replicates)).collect();
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let lines = others.iter().zip(pairs).zip(crossed(&differences, others.len(), level(others.len())));
    Family {
        split: values.split,
        metric: values.metric,
        policy: values.policy.clone(),
        lower_is_better: lower_is_better(values.metric),
        lines: lines
            .map(|(((group, _), pairs), difference)| Line {
                group: group.text.clone(),
                first_mean: mean(pairs.iter().map(|pair| pair.1).collect()),
                mean: mean(pairs.iter().map(|pair| pair.2).collect()),
                differences: pairs.iter().map(|pair| pair.2 - pair.1).collect(),
                difference,
            })
            .collect(),
    }
}

/// The independent differences among `pairs` (run, the first group's value, its own): one per seed, or per split of the data.
fn observed(pairs: &[(usize, f64, f64)], split: Split, runs: &[Run], replicates: &Replicates<'_>) -> Observed {
    let splits: BTreeSet<usize> = pairs.iter().map(|(run, ..)| replicates.data[*run]).collect();
    let several = splits.len() > 1;
    let unit = |run: usize| if several { replicates.data[run] as i64 } else { runs[run].row.seed };
    let overlap = if several { replicates.overlap[usize::from(split == Split::Test)] } else { 0.0 };
    independent(pairs.iter().map(|(run, first, own)| (unit(*run), own - first)), None, overlap)
}

fn notes(runs: &[Run], first: &RunGroup, others: &[(RunGroup, Pairing)], families: &[Family]) -> Vec<String> {
    let mut notes = Vec::new();
    for (group, pairing) in others {
        let seeds: BTreeSet<i64> = pairing.pairs.iter().map(|pair| runs[pair.1].row.seed).collect();
        let recorded = |at: &usize| runs[*at].row.state == "succeeded";
        let whole = pairing.pairs.iter().filter(|(a, b)| recorded(a) && recorded(b)).count();
        if whole < pairing.pairs.len() {
            notes.push(format!(
                "{}: {} of {} pairs have no result yet",
                group.text,
                pairing.pairs.len() - whole,
                pairing.pairs.len()
            ));
        }
        if !pairing.across.is_empty() {
            let (pairs, seeds, across) = (pairing.pairs.len(), seeds.len(), pairing.across.join(", "));
            notes.push(format!(
                "{}: {pairs} pairs are {seeds} seeds at every value of {across}; only seeds are independent, so the pairs of a seed are averaged",
                group.text
            ));
        }
        if pairing.alone > 0 {
            notes.push(format!("{} runs of {} or {} have no partner and are left out", pairing.alone, first.text, group.text));
        }
    }
    if families
        .iter()
        .any(|family| family.split == Split::Val && family.policy.as_deref().is_some_and(|p| p.parse::<f64>().is_err()))
    {
        notes.push("thresholds are fitted on val: val itself flatters every group, test tells".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::ask::Selector;
    use super::super::pairs::{pair, select};
    use super::*;
    use store::SweepRun;

    fn run(loss: &str, seed: i64, state: &str) -> Run {
        let row = SweepRun {
            run: format!("{loss}{seed}"),
            state: state.to_owned(),
            stopped_early: false,
            left_out: false,
            data: 1,
            epochs: 1,
            best_epoch: Some(0),
            loss: loss.to_owned(),
            pos_weight: "none".to_owned(),
            gamma: None,
            sampler: "shuffle".to_owned(),
            seed,
            params: "{}".to_owned(),
            format: plan::FORMAT,
            steps: None,
            rise: None,
            val_ap: None,
        };
        Run { row, params: serde_json::Map::new(), data: 0 }
    }

    /// bce, better (by .05 and a little) and worse (by .02) over `seeds`.
    fn compared(seeds: i64) -> GroupComparison {
        let runs: Vec<Run> = ["bce", "better", "worse"]
            .iter()
            .flat_map(|loss| (0..seeds).map(|seed| run(loss, seed, if seed == 99 { "failed" } else { "succeeded" })))
            .collect();
        let group = |text: &str| select(&runs, &[], &Selector::read(text).unwrap()).unwrap();
        let first = group("loss=bce");
        let others: Vec<(RunGroup, Pairing)> = ["loss=better", "loss=worse"]
            .map(|text| {
                let group = group(text);
                let pairing = pair(&runs, &[], &first, &group).unwrap();
                (group, pairing)
            })
            .into();
        let value = |(at, run): (usize, &Run)| {
            let shift = match run.row.loss.as_str() {
                "better" => 0.05 + 0.001 * run.row.seed as f64,
                "worse" => -0.02,
                _ => 0.0,
            };
            (at, 0.5 + 0.01 * run.row.seed as f64 + shift)
        };
        let of_run: BTreeMap<usize, f64> = runs.iter().enumerate().map(value).collect();
        let values = [Values { split: Split::Val, metric: "macro_f1", policy: Some("max_f1".to_owned()), of_run }];
        let data = vec![0; runs.len()];
        compare("hand", &runs, &first, &others, &values, &Replicates { data: &data, overlap: [0.2, 0.2] }, 0.01)
    }

    #[test]
    fn intervals_of_two_groups_hold_together() {
        let found = compared(9);
        let [better, worse] = &found.families[0].lines[..] else { panic!() };
        let difference = better.difference.unwrap();
        assert!((difference.mean - 0.054).abs() < 1e-12 && difference.runs == 9 && difference.low.unwrap() > 0.05);
        assert!((better.mean.unwrap() - better.first_mean.unwrap() - 0.054).abs() < 1e-12);
        assert!(difference.p.unwrap() < 1e-6 && worse.difference.unwrap().high.unwrap() < 0.0);
        assert!(found.notes.iter().any(|note| note.contains("fitted on val")), "{:?}", found.notes);
        let text = super::super::render(&super::super::Comparison::Groups(found.clone()), 120);
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let line = text.lines().find(|line| line.trim_start().starts_with("loss=better ")).unwrap();
        assert!(line.contains("+0.054") && line.contains("< 0.0001"), "{line}");
        assert_eq!(found.groups[0].pairs[3], Pair { first: "bce3".to_owned(), run: "better3".to_owned(), seed: 3 });
    }

    /// 60 pairs that are 3 seeds are 3 differences; splits of the data are corrected for the rows that they share.
    #[test]
    fn only_seeds_and_splits_are_independent() {
        let runs: Vec<Run> = (0..60).map(|at| run("focal", at % 3, "succeeded")).collect();
        let pairs: Vec<(usize, f64, f64)> =
            (0..60).map(|at| (at, 0.5, 0.5 + 0.01 * (1 + at % 3) as f64 + 1e-4 * (at / 3) as f64)).collect();
        let of = |data: &[usize]| {
            let observed = observed(&pairs, Split::Test, &runs, &Replicates { data, overlap: [0.1, 0.25] });
            crossed(&[observed], 1, level(1))[0].unwrap()
        };
        let seeds = of(&[0; 60]);
        assert_eq!((seeds.runs, seeds.df), (3, Some(2.0)));
        assert!(seeds.p.unwrap() > 0.05, "{seeds:?}");
        let splits = of(&(0..60).map(|at| at % 3).collect::<Vec<_>>());
        assert!((splits.se.unwrap() / seeds.se.unwrap() - ((1.0 / 3.0 + 0.25f64) * 3.0).sqrt()).abs() < 1e-9, "{splits:?}");
    }
}
