//! `train.tune` in an explanation: what each candidate gave, whether the order of strategies survives them, and what choosing one on
//! val costs. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::compare::table::signed;
use super::super::difference::SEED;
use super::super::kept_scores::KeptRows;
use super::super::lint::listed;
use super::super::summary::Spread;
use super::super::text_grid::number;
use super::super::tuning::{self, Candidate};
use super::arms::{Case, SettingRuns};
use imbalance::metric::average::mean_defined;
use imbalance::metric::certainty::deal;
use imbalance::metric::rank;

/// Parts of val.
const FOLDS: usize = 5;

/// The strategies under each candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidates {
    /// The axes of `train.tune`.
    pub keys: Vec<String>,
    /// The values of each candidate, in the order of the plan.
    pub values: Vec<String>,
    /// As [`super::view::Setting::arms`].
    pub arms: Vec<ArmCandidates>,
    /// Pairs of strategies of which each is better than the other beyond the rope under some candidate.
    pub reversed: usize,
    /// Sentences, most important first.
    pub sentences: Vec<String>,
}

/// A strategy under each candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmCandidates {
    pub arm: String,
    /// Index into [`Candidates::values`].
    pub chosen: usize,
    /// Val macro AP, mean over seeds; `None` without recorded runs.
    pub val_ap: Vec<Option<f64>>,
    /// Its difference from the baseline's under the same candidate.
    pub change: Vec<Option<f64>>,
    /// How much of its val macro AP is owed to the choice by the same rows: cross-fitted.
    pub cost: f64,
}

/// Val macro AP of a run without each part of the rows, and on that part alone.
#[derive(Clone, Debug)]
pub struct Parts {
    without: Vec<Option<f64>>,
    alone: Vec<Option<f64>>,
}

/// Divides val as all runs of a setting do. `groups` are those of its rows.
#[must_use]
pub fn parts(val: &KeptRows, groups: Option<&[u32]>) -> Parts {
    let labels = val.truth.names.len();
    let fold = deal(val.truth.rows(), groups, FOLDS, SEED);
    let ap = |keep: &dyn Fn(usize) -> bool| {
        let rows: Vec<u32> = (0..val.truth.rows()).filter(|&row| keep(fold[row])).map(|row| row as u32).collect();
        let scores: Vec<f32> = rows.iter().flat_map(|&row| &val.ranked()[row as usize * labels..][..labels]).copied().collect();
        mean_defined(&rank(&scores, &val.truth.select(&rows)).ap).map(|mean| mean.mean)
    };
    Parts {
        without: (0..FOLDS).map(|held| ap(&|fold| fold != held)).collect(),
        alone: (0..FOLDS).map(|held| ap(&|fold| fold == held)).collect(),
    }
}

/// What choosing costs each run of a chosen candidate: on each part, its val macro AP less that of the candidate which the other
/// parts would have chosen, mean over the parts (Stone, "Cross-validatory choice", 1974). `cases` are all runs of one strategy,
/// `parts` those of the recorded ones.
#[must_use]
pub fn costs(cases: &[Case<'_>], of: &[usize], chosen: &[bool], parts: &BTreeMap<usize, Parts>) -> BTreeMap<usize, f64> {
    let mut candidates: Vec<(&Candidate, Vec<usize>)> = Vec::new();
    for &case in of.iter().filter(|case| parts.contains_key(case)) {
        let own = &cases[case].candidate;
        match candidates.iter_mut().find(|(known, _)| *known == own) {
            Some((_, runs)) => runs.push(case),
            None => candidates.push((own, vec![case])),
        }
    }
    let without = |runs: &[usize], held: usize| {
        let ap: Vec<f64> = runs.iter().filter_map(|run| parts[run].without[held]).collect();
        ap.iter().sum::<f64>() / ap.len().max(1) as f64
    };
    let picked = |held: usize| {
        let best = tuning::best(candidates.iter().map(|(_, runs)| (runs.len(), without(runs, held))));
        best.map(|best| &candidates[best].1)
    };
    let picks: Vec<Option<&Vec<usize>>> = (0..FOLDS).map(picked).collect();
    let cost = |case: usize| {
        let differences = picks.iter().enumerate().filter_map(|(held, pick)| {
            let other = pick.as_ref()?.iter().find(|&&other| cases[other].config.seed == cases[case].config.seed)?;
            Some(parts[&case].alone[held]? - parts[other].alone[held]?)
        });
        let differences: Vec<f64> = differences.collect();
        differences.iter().sum::<f64>() / differences.len().max(1) as f64
    };
    of.iter().copied().filter(|case| chosen[*case] && parts.contains_key(case)).map(|case| (case, cost(case))).collect()
}

/// The view of a setting whose strategies were tuned; `all` has the runs of every candidate. `None` where nothing was.
#[must_use]
pub fn candidates(
    all: &SettingRuns,
    cases: &[Case<'_>],
    chosen: &[bool],
    costs: &BTreeMap<usize, f64>,
    rope: f64,
) -> Option<Candidates> {
    let keys: Vec<String> = cases[*all.arms.first()?.cases.first()?].candidate.iter().map(|(key, _)| key.clone()).collect();
    if keys.is_empty() {
        return None;
    }
    let words = |case: usize| {
        let candidate = &cases[case].candidate;
        let values: Vec<String> = match candidate.as_slice() {
            [(_, value)] => vec![value.clone()],
            several => several.iter().map(|(key, value)| format!("{key} {value}")).collect(),
        };
        values.join(", ")
    };
    let mut values: Vec<String> = Vec::new();
    for case in all.arms.iter().flat_map(|arm| &arm.cases) {
        let own = words(*case);
        if !values.contains(&own) {
            values.push(own);
        }
    }
    let mean = |numbers: Vec<f64>| Spread::of(numbers).map(|spread| spread.mean);
    let ap = |arm: usize| -> Vec<Option<f64>> {
        let of = |value: &String| {
            mean(
                all.arms[arm]
                    .cases
                    .iter()
                    .filter(|&&case| words(case) == *value)
                    .filter_map(|&case| cases[case].val_ap)
                    .collect(),
            )
        };
        values.iter().map(of).collect()
    };
    let first = all.baseline.map(|baseline| baseline.arm);
    let base = first.map(ap);
    let order = first.into_iter().chain((0..all.arms.len()).filter(|arm| Some(*arm) != first));
    let arm = |arm: usize| -> Option<ArmCandidates> {
        let own = &all.arms[arm];
        let val_ap = ap(arm);
        let from = |(at, ap): (usize, &Option<f64>)| Some((*ap)? - base.as_ref().filter(|_| Some(arm) != first)?[at]?);
        let change = val_ap.iter().enumerate().map(from).collect();
        let picked = own.cases.iter().copied().find(|&case| chosen[case])?;
        let cost = mean(own.cases.iter().filter_map(|case| costs.get(case)).copied().collect()).unwrap_or(0.0);
        let chosen = values.iter().position(|value| *value == words(picked))?;
        Some(ArmCandidates { arm: own.name.clone(), chosen, val_ap, change, cost })
    };
    let arms: Vec<ArmCandidates> = order.filter_map(arm).collect();
    let reversed = reversed(&arms, rope);
    let mut found = Candidates { keys, values, arms, reversed: reversed.len(), sentences: Vec::new() };
    found.sentences = sentences(&found, &reversed, rope);
    Some(found)
}

/// Two strategies, and candidates under which the first is better and worse, with the differences.
type Reversal = ([usize; 2], [(usize, f64); 2]);

fn reversed(arms: &[ArmCandidates], rope: f64) -> Vec<Reversal> {
    let mut found = Vec::new();
    for first in 0..arms.len() {
        for second in first + 1..arms.len() {
            let pairs = arms[first].val_ap.iter().zip(&arms[second].val_ap).enumerate();
            let differences: Vec<(usize, f64)> = pairs.filter_map(|(at, (a, b))| Some((at, (*a)? - (*b)?))).collect();
            let most = differences.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
            let least = differences.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
            if let (Some(most), Some(least)) = (most, least)
                && most.1 > rope
                && least.1 < -rope
            {
                found.push(([first, second], [most, least]));
            }
        }
    }
    found.sort_by(|a, b| f64::min(b.1[0].1, -b.1[1].1).total_cmp(&f64::min(a.1[0].1, -a.1[1].1)));
    found
}

fn sentences(found: &Candidates, reversed: &[Reversal], rope: f64) -> Vec<String> {
    let Candidates { keys, values, arms, .. } = found;
    let (keys, n) = (keys.join(" and "), values.len());
    let mut sentences = vec![match reversed.first() {
        None => format!(
            "No two strategies change places by more than {rope} from one {keys} to another: their order survives the choice among {n}."
        ),
        Some(([a, b], [(above, up), (below, down)])) => format!(
            "The order of the strategies depends on {keys}: {} of {} pairs change places by more than {rope} on either side. The largest \
             change: {} is {} from {} under {}, and {} under {}.",
            reversed.len(),
            arms.len() * (arms.len() - 1) / 2,
            arms[*a].arm,
            signed(*up),
            arms[*b].arm,
            values[*above],
            signed(*down),
            values[*below],
        ),
    }];
    let ends: Vec<String> = arms
        .iter()
        .filter(|arm| n > 1 && (arm.chosen == 0 || arm.chosen == n - 1))
        .map(|arm| format!("{} ({})", arm.arm, values[arm.chosen]))
        .collect();
    if !ends.is_empty() && found.keys.len() == 1 {
        sentences
            .push(format!("The best value is an end of the list for {}: a longer list may have a better one.", listed(&ends)));
    }
    let cost = arms.iter().map(|arm| arm.cost).fold(0.0, f64::max);
    sentences.push(format!(
        "Choosing by the same val rows flatters val AP by up to {} (cross-fitted over {FOLDS} parts), which is taken off where val decides; \
         test is never looked at.",
        number(cost)
    ));
    sentences
}

impl ArmCandidates {
    /// Under how many candidates its difference from the baseline has the sign of `change` and is beyond `rope`, of how many.
    #[must_use]
    pub fn holds(&self, change: f64, rope: f64) -> (usize, usize) {
        let known = self.change.iter().flatten();
        (known.clone().filter(|own| **own * change.signum() > rope).count(), known.count())
    }
}

#[cfg(test)]
mod tests {
    use super::super::arms::settings;
    use super::super::testing;
    use super::*;

    /// bce and focal under two learning rates and two seeds; AP by (loss, rate).
    fn cases(ap: impl Fn(&str, &str) -> f64) -> Vec<Case<'static>> {
        let plan =
            testing::plan("loss = ['bce', 'focal']\nseed = [0, 1]\n[train]\ntune = { 'train.learning_rate' = [0.001, 0.01] }");
        // For as long as the tests run.
        let plan = Box::leak(Box::new(plan));
        let of = |run: &'static plan::PlannedRun| {
            let case = Case { epoch: Some(0), ..Case::planned(run, &plan.tuned) };
            Case { val_ap: Some(ap(&run.config.loss.kind, &case.candidate[0].1)), ..case }
        };
        plan.runs.iter().map(of).collect()
    }

    #[test]
    fn the_order_of_strategies_is_held_against_every_candidate() {
        let cases = cases(|loss, rate| match (loss, rate) {
            ("bce", "0.001") => 0.5,
            ("bce", _) => 0.6,
            (_, "0.001") => 0.55,
            _ => 0.57,
        });
        let settings = settings(&cases);
        assert_eq!((settings.len(), settings[0].arms.len(), settings[0].arms[0].cases.len()), (1, 2, 4));
        let chosen: Vec<bool> = cases.iter().map(|case| case.candidate[0].1 == "0.01").collect();
        let found = candidates(&settings[0], &cases, &chosen, &BTreeMap::new(), 0.005).unwrap();
        assert_eq!(found.values, ["0.001", "0.01"]);
        assert_eq!((found.arms[0].arm.as_str(), found.arms[0].chosen, found.reversed), ("bce", 1, 1));
        assert!(
            (found.arms[1].change[0].unwrap() - 0.05).abs() < 1e-12 && (found.arms[1].change[1].unwrap() + 0.03).abs() < 1e-12
        );
        assert_eq!((found.arms[1].holds(-0.03, 0.005), found.arms[1].holds(0.05, 0.005)), ((1, 2), (1, 2)));
        let words = found.sentences.join(" ");
        assert!(words.contains("bce is +0.030 from focal(gamma=2) under 0.01, and -0.050 under 0.001"), "{words}");
        assert!(words.contains("1 of 1 pairs"), "{words}");
        let level = candidates(&settings[0], &cases, &chosen, &BTreeMap::new(), 0.06).unwrap();
        assert!(level.sentences[0].starts_with("No two strategies change places by more than 0.06"), "{:?}", level.sentences);
    }

    /// Equally good candidates whose scores are noise: the best of many is flattered by the rows that chose it, and the cost says by
    /// how much; a candidate that is better everywhere costs nothing.
    #[test]
    fn choosing_is_paid_for() {
        let rates: Vec<String> = (1..=12).map(|at| format!("{at}e-3")).collect();
        let plan =
            testing::plan(&format!("loss = ['bce']\n[train]\ntune = {{ 'train.learning_rate' = [{}] }}", rates.join(", ")));
        let cases: Vec<Case<'_>> =
            plan.runs.iter().map(|run| Case { epoch: Some(0), ..Case::planned(run, &plan.tuned) }).collect();
        let all: Vec<usize> = (0..cases.len()).collect();
        let cost = |score: &dyn Fn(usize, f64, f64) -> f64| {
            let rows = |case: usize| {
                let whole = testing::evidence(case as u64 + 1, |_, u, noise| score(case, u, noise)).val;
                let truth = whole.truth.select(&(0..300).collect::<Vec<u32>>());
                KeptRows::of(whole.scores[..600].to_vec(), truth)
            };
            let parts: BTreeMap<usize, Parts> = all.iter().map(|&case| (case, parts(&rows(case), None))).collect();
            let whole = |case: usize| mean_defined(&rank(&rows(case).scores, &rows(case).truth).ap).unwrap().mean;
            let best = all.iter().copied().max_by(|&a, &b| whole(a).total_cmp(&whole(b))).unwrap();
            let chosen: Vec<bool> = all.iter().map(|&case| case == best).collect();
            costs(&cases, &all, &chosen, &parts)[&best]
        };
        let noise = cost(&|_, _, noise| imbalance::loss::sigmoid(noise));
        assert!(noise > 0.01, "{noise}");
        let clear = cost(&|case, u, noise| imbalance::loss::sigmoid(if case == 3 { u } else { 0.1 * u + noise }));
        assert!(clear.abs() < 1e-12, "{clear}");
    }
}
