//! Groups of runs against a first group: paired differences over seeds (and whatever else pairs share), with tests. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::difference::{ALPHA, Difference, LEVEL, Power, family};
use super::super::load::Run;
use super::super::question::Split;
use super::super::score::lower_is_better;
use super::pairs::{Pairing, RunGroup};

/// Groups compared with the first; a difference is always the group's value minus the first's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupComparison {
    pub sweep: String,
    /// The group that the others are compared with, as typed.
    pub first: String,
    pub groups: Vec<Side>,
    /// Differences up to this mean nothing in practice.
    pub rope: f64,
    /// Nominal coverage of the intervals, which are Student's over pairs.
    pub level: f64,
    /// Error rate of a family of tests: the groups, on one metric and split.
    pub alpha: f64,
    /// Whether the tests could find any difference.
    pub power: Option<Power>,
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
    pub difference: Option<Difference>,
}

/// Values of one metric on one split under one policy: run → value.
pub struct Values {
    pub split: Split,
    pub metric: &'static str,
    pub policy: Option<String>,
    pub of_run: BTreeMap<usize, f64>,
}

/// The comparison, given the pairs of each group with the first and the values that are compared.
#[must_use]
pub fn compare(
    sweep: &str,
    runs: &[Run],
    first: &RunGroup,
    others: &[(RunGroup, Pairing)],
    values: &[Values],
    rope: f64,
) -> GroupComparison {
    let families: Vec<Family> = values.iter().map(|values| one_family(values, others, rope)).collect();
    let counts = |family: &Family| family.lines.iter().map(|line| line.differences.len()).collect::<Vec<_>>();
    let power = families.iter().filter_map(|family| Power::of(&counts(family))).min_by_key(|power| power.pairs);
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
        level: LEVEL,
        alpha: ALPHA,
        power,
        notes: notes(runs, first, others, &families),
        families,
    }
}

fn one_family(values: &Values, others: &[(RunGroup, Pairing)], rope: f64) -> Family {
    let lower_is_better = lower_is_better(values.metric);
    let defined = |pairing: &Pairing| -> Vec<(f64, f64)> {
        let both = |(a, b): &(usize, usize)| Some((*values.of_run.get(a)?, *values.of_run.get(b)?));
        pairing.pairs.iter().filter_map(both).collect()
    };
    let pairs: Vec<Vec<(f64, f64)>> = others.iter().map(|(_, pairing)| defined(pairing)).collect();
    let differences: Vec<Vec<f64>> = pairs.iter().map(|pairs| pairs.iter().map(|(a, b)| b - a).collect()).collect();
    let tested = family(&differences, rope, lower_is_better);
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let lines = others.iter().zip(pairs).zip(differences).zip(tested);
    Family {
        split: values.split,
        metric: values.metric,
        policy: values.policy.clone(),
        lower_is_better,
        lines: lines
            .map(|((((group, _), pairs), differences), difference)| Line {
                group: group.text.clone(),
                first_mean: mean(pairs.iter().map(|pair| pair.0).collect()),
                mean: mean(pairs.iter().map(|pair| pair.1).collect()),
                differences,
                difference,
            })
            .collect(),
    }
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
                "{}: {pairs} pairs are {seeds} seeds at every value of {across}; pairs of one seed are no independent evidence, so name one value for a strict test",
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
        compare("hand", &runs, &first, &others, &values, 0.01)
    }

    #[test]
    fn nine_seeds_decide_over_two_groups() {
        let found = compared(9);
        let [better, worse] = &found.families[0].lines[..] else { panic!() };
        let difference = better.difference.clone().unwrap();
        assert!((difference.effect.mean - 0.054).abs() < 1e-12 && difference.effect.runs == 9);
        assert!((better.mean.unwrap() - better.first_mean.unwrap() - 0.054).abs() < 1e-12);
        assert!(difference.posterior.unwrap().better > 0.99 && worse.difference.clone().unwrap().posterior.unwrap().worse > 0.99);
        // both have p = 1/256, Holm doubles the first and keeps the second above it
        assert_eq!(difference.tests.unwrap().sign_flip_holm, 1.0 / 128.0);
        assert_eq!(found.power.clone().unwrap().sentence, None);
        assert!(found.notes.iter().any(|note| note.contains("fitted on val")), "{:?}", found.notes);
        let text = super::super::render(&super::super::Comparison::Groups(found.clone()), 120);
        assert!(text.lines().all(|line| line.chars().count() <= 120) && !text.contains("cannot reject"), "{text}");
        let line = text.lines().find(|line| line.trim_start().starts_with("loss=better ")).unwrap();
        assert!(line.contains("+0.054") && line.matches("0.0078").count() == 2, "{line}");
        assert_eq!(found.groups[0].pairs[3], Pair { first: "bce3".to_owned(), run: "better3".to_owned(), seed: 3 });
    }

    #[test]
    fn two_seeds_cannot() {
        let found = compared(2);
        assert_eq!(found.families[0].lines[0].difference.clone().unwrap().tests, None);
        let sentence = found.power.unwrap().sentence.unwrap();
        assert!(sentence.contains("2 pairs give a smallest p of 0.5, 2 comparisons at 0.05 (Holm) need 7 pairs"), "{sentence}");
    }
}
