//! `[search]`: how much of the grid is trained. Nothing in it changes a run.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::document::{Node, Value};
use super::schema::duration;
use super::typed::Keys;
use super::{Bundle, Plan, RunName, SpecError};
use imbalance::rng::Rng;

/// What is trained instead of the whole grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    pub budget: Option<SearchBudget>,
    /// Of the sample, and of the order in which strategies begin.
    pub seed: u64,
    /// Whether strategies are stopped on the way; `None`: a random sample is trained to its end.
    pub halving: Option<Halving>,
}

/// Where a search ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchBudget {
    /// So many runs at most: as many strategies are drawn as have room for all of their runs.
    Runs(usize),
    /// No run begins later than so many seconds of training.
    Seconds(f64),
}

/// Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020), by stopping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Halving {
    /// A column of the leaderboard that needs no threshold, on val.
    pub metric: SearchMetric,
    /// Of so many strategies that have come to a rung, one goes on.
    pub reduction: usize,
    /// Evaluations before the first rung; `None`: [`Self::rungs`] has the default.
    pub min: Option<usize>,
}

/// What strategies compete by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchMetric {
    MacroAp,
    MacroAuc,
}

impl SearchMetric {
    /// The column of the leaderboard.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::MacroAp => "macro_ap",
            Self::MacroAuc => "macro_auc",
        }
    }

    /// As reports call it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::MacroAp => "val macro AP",
            Self::MacroAuc => "val macro AUC",
        }
    }
}

/// Fewest evaluations before the default first rung: a single one says little.
const LEAST: usize = 2;
/// Rungs by default: the first one is that many steps of `reduction` below the end.
const RUNGS: u32 = 3;

impl Halving {
    /// After how many evaluations strategies of at most `epochs` evaluations are compared: `min`, then each time `reduction` times as many.
    #[must_use]
    pub fn rungs(&self, epochs: usize) -> Vec<usize> {
        let first = self.min.unwrap_or_else(|| epochs.div_ceil(self.reduction.saturating_pow(RUNGS)).max(LEAST));
        std::iter::successors(Some(first.max(1)), |rung| rung.checked_mul(self.reduction))
            .take_while(|&rung| rung < epochs)
            .collect()
    }
}

/// What a search takes of a grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Searched {
    pub search: Search,
    /// Strategies, runs and points of the whole grid.
    pub strategies: usize,
    pub runs: usize,
    pub points: usize,
    /// Strategies that were drawn: all of them where the budget has room.
    pub drawn: usize,
}

/// Another division of the rows is another look at the same strategy, as another seed is.
const SPLIT_SEED: &str = "data.split.seed";

/// Runs with equal keys are one strategy: they differ in their seeds only, or in what is tuned.
#[must_use]
pub fn strategy_key(name: &RunName, tuned: &[String]) -> String {
    let mut name = RunName { seed: 0, ..name.clone() };
    name.params.retain(|key, _| key != SPLIT_SEED && !tuned.contains(key));
    serde_json::to_string(&name).unwrap_or_default()
}

/// `count` strategies in random order.
#[must_use]
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    Rng::new(seed, "search", &[]).shuffle(&mut order);
    order
}

const KIND: &str = "search.kind";
const BUDGET: &str = "search.budget";
const METRIC: &str = "search.metric";
const SEED: &str = "search.seed";
const REDUCTION: &str = "search.reduction";
const MIN: &str = "search.min";
pub(super) const SEARCH: &[&str] = &[KIND, BUDGET, METRIC, SEED, REDUCTION, MIN];

/// `[search]`; `None`: the whole grid. `tuned`: whether the file has `train.tune`.
pub(super) fn search(keys: &Keys<'_>, tuned: bool) -> Result<Option<Search>, SpecError> {
    let kind = keys.one_of(KIND, "grid", &["grid", "random", "asha"])?;
    // What the other kinds read may stay where the kind is changed to this one.
    if kind == "grid" && keys.get(KIND).is_some() {
        return Ok(None);
    }
    let read: &[&str] = match kind.as_str() {
        "grid" => &[],
        "random" => &[BUDGET, SEED],
        _ => SEARCH,
    };
    for &key in SEARCH.iter().filter(|&&key| key != KIND && !read.contains(&key)) {
        if keys.get(key).is_some() {
            let why = if kind == "grid" {
                "needs `search.kind = \"random\"` or `\"asha\"`: without a kind the whole grid is trained"
            } else {
                "means nothing to kind = \"random\"; `\"asha\"` has it"
            };
            return Err(keys.place_fault(key, why));
        }
    }
    if kind == "grid" {
        return Ok(None);
    }
    let budget = keys.get(BUDGET).map(budget).transpose()?;
    if kind == "random" && budget.is_none() {
        let what = "how much of the grid is trained: a number of runs, or a time such as \"2h\"";
        return Err(super::document::fault(keys.place(KIND), format!("`{BUDGET}` is missing: {what}")));
    }
    let seed = keys.integer(SEED, 0, 0..=i64::MAX as u64)?;
    if kind == "random" {
        return Ok(Some(Search { budget, seed, halving: None }));
    }
    if tuned {
        let message = "\"asha\" stops strategies on the way, and `train.tune` chooses between complete runs; move the tuned keys into [grid], where \
                       asha chooses between their values as between strategies";
        return Err(keys.place_fault(KIND, message));
    }
    let reduction = keys.size(REDUCTION, 4, 2..=1000)?;
    let min = keys.get(MIN).map(|_| keys.size(MIN, 1, 1..=100_000)).transpose()?;
    Ok(Some(Search { budget, seed, halving: Some(Halving { metric: metric(keys)?, reduction, min }) }))
}

/// The columns of the leaderboard that need a threshold.
const DECIDED: [&str; 8] =
    ["macro_f1", "micro_f1", "weighted_f1", "samples_f1", "macro_precision", "macro_recall", "hamming_loss", "subset_accuracy"];

fn metric(keys: &Keys<'_>) -> Result<SearchMetric, SpecError> {
    if let Some(node) = keys.get(METRIC)
        && let Value::Text(name) = &node.value
        && DECIDED.contains(&name.as_str())
    {
        let message = format!(
            "`{METRIC}` cannot be {}, which needs a threshold: strategies would be stopped for the threshold that they were given; allowed: \
             macro_ap, macro_auc",
            node.shown()
        );
        return Err(node.fault(message));
    }
    let name = keys.one_of(METRIC, "macro_ap", &["macro_ap", "macro_auc"])?;
    Ok(if name == "macro_auc" { SearchMetric::MacroAuc } else { SearchMetric::MacroAp })
}

/// `20` runs, or `"2h"`.
fn budget(node: &Node) -> Result<SearchBudget, SpecError> {
    let wrong = || {
        let message = format!(
            "`{BUDGET}` must be a number of runs of at least 1, or a time such as \"90s\", \"45m\", \"2h\", not {}",
            node.shown()
        );
        node.fault(message)
    };
    match &node.value {
        Value::Text(text) => {
            let seconds = duration(text).filter(|&seconds| Duration::try_from_secs_f64(seconds).is_ok() && seconds <= 1e9);
            seconds.map(SearchBudget::Seconds).ok_or_else(wrong)
        }
        _ => {
            let runs = node.integer(BUDGET, 1..=i64::MAX as u64).map_err(|_| wrong())?;
            Ok(SearchBudget::Runs(usize::try_from(runs).unwrap_or(usize::MAX)))
        }
    }
}

impl Plan {
    /// Leaves out what the search does not draw; `place` is where its budget stands. The reference runs come after it.
    pub(super) fn draw(&mut self, search: &Search, place: &str) -> Result<(), SpecError> {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut strategies: Vec<usize> = Vec::new();
        let of_run: Vec<usize> = self
            .runs
            .iter()
            .map(|run| {
                let next = numbers.len();
                let at = *numbers.entry(strategy_key(&run.name, &self.tuned)).or_insert(next);
                if at == strategies.len() {
                    strategies.push(0);
                }
                strategies[at] += 1;
                at
            })
            .collect();
        let (all, points) = (strategies.len(), self.points.len());
        let mut searched = Searched { search: search.clone(), strategies: all, runs: self.runs.len(), points, drawn: all };
        if let Some(SearchBudget::Runs(budget)) = search.budget {
            let mut room = budget;
            // As many as fit, in their random order: a strategy has all of its seeds or none.
            let taken = shuffled(all, search.seed).into_iter().take_while(|&at| {
                let fits = strategies[at] <= room;
                room -= if fits { strategies[at] } else { 0 };
                fits
            });
            let taken: HashSet<usize> = taken.collect();
            if taken.is_empty() && all > 0 {
                let plural = if budget == 1 { "" } else { "s" };
                let message = format!(
                    "`{BUDGET}` has no room for a single strategy: {budget} run{plural}, and a strategy has {} (each seed is one, so that strategies can \
                     be compared in pairs)",
                    strategies.iter().max().copied().unwrap_or(0)
                );
                return Err(SpecError { place: place.to_owned(), message });
            }
            searched.drawn = taken.len();
            let kept: Vec<bool> = of_run.iter().map(|at| taken.contains(at)).collect();
            self.keep(&kept);
        }
        self.search = Some(searched);
        Ok(())
    }

    /// Keeps some of the runs, with their points and bundles.
    fn keep(&mut self, kept: &[bool]) {
        let mut next = 0;
        let places: Vec<Option<usize>> = kept.iter().map(|&kept| kept.then(|| (next, next += 1).0)).collect();
        self.points = self.points.iter().filter_map(|&run| places[run]).collect();
        let mut bundles: HashMap<usize, usize> = HashMap::new();
        self.bundles.clear();
        let mut at = 0;
        self.runs.retain(|_| (kept[at], at += 1).0);
        for (place, run) in self.runs.iter_mut().enumerate() {
            let next = bundles.len();
            run.bundle = *bundles.entry(run.bundle).or_insert(next);
            if run.bundle == self.bundles.len() {
                self.bundles.push(Bundle { runs: Vec::new() });
            }
            self.bundles[run.bundle].runs.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halving(reduction: usize, min: Option<usize>) -> Halving {
        Halving { metric: SearchMetric::MacroAp, reduction, min }
    }

    #[test]
    fn rungs_grow_by_the_reduction_and_end_before_the_end() {
        assert_eq!(halving(3, None).rungs(120), [5, 15, 45]);
        assert_eq!(halving(3, None).rungs(16), [2, 6]);
        assert_eq!(halving(4, Some(1)).rungs(17), [1, 4, 16]);
        assert_eq!(halving(3, Some(9)).rungs(9), [0; 0], "at the end nothing is left to stop");
        assert_eq!(halving(3, None).rungs(2), [0; 0]);
        assert_eq!(halving(1000, None).rungs(100_000), [2, 2000]);
    }
}
