//! The strategies of a page: their runs, labels and verdicts. Pure.

use std::collections::HashMap;

use super::super::columns::Layout;
use super::super::convergence::Convergence;
use super::super::group::PREPARED;
use super::super::load::Loaded;
use super::super::score::{Score, place};
use super::super::strategy_names;
use super::super::summary::{Row, Summary};
use super::super::text_grid::{NONE, text};
use super::board::{kind, strategy_key};
use super::model::{Ranking, RowKind, Run, Strategy};
use super::verdict::{Judged, Verdict};

/// Characters of a fingerprint that the page shows.
pub const SHORT: usize = 8;

/// A strategy, and its recorded runs (indices into [`Loaded::runs`]).
pub struct Known {
    pub strategy: Strategy,
    pub runs: Vec<usize>,
}

/// The strategies in the order of their best rows; the first `detailed` have their runs. The labels' AP is left open.
#[must_use]
pub fn strategies(summary: &Summary, loaded: &Loaded, verdict: Option<&Verdict>, detailed: usize) -> Vec<Known> {
    let naming = Naming::of(summary);
    let index: HashMap<&str, usize> = loaded.runs.iter().enumerate().map(|(at, run)| (run.row.run.as_str(), at)).collect();
    let (val, test) = (by_run(&loaded.val), by_run(&loaded.test));
    let judged: HashMap<&str, (&Judged, bool)> = verdict
        .iter()
        .flat_map(|verdict| &verdict.settings)
        .flat_map(|setting| setting.strategies.iter().map(move |judged| (judged, setting.baseline.is_some())))
        .flat_map(|(judged, compared)| judged.runs.iter().map(move |run| (run.as_str(), (judged, compared))))
        .collect();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut found: Vec<Known> = Vec::new();
    for row in summary.rows.iter().filter(|row| !row.baseline) {
        let key = strategy_key(row);
        let runs: Vec<usize> = row.runs.iter().filter_map(|run| index.get(run.as_str()).copied()).collect();
        if let Some(&at) = known.get(&key) {
            // A policy that was added later may have fewer runs.
            if runs.len() > found[at].runs.len() {
                found[at].runs = runs;
            }
            continue;
        }
        known.insert(key.clone(), found.len());
        found.push(Known { strategy: strategy(row, key, &runs, loaded, &naming, &judged), runs });
    }
    let metric = place(summary.metric);
    for Known { strategy, runs } in found.iter_mut().take(detailed) {
        strategy.runs = runs.iter().map(|&run| self::run(run, loaded, metric, val.get(&run), test.get(&run))).collect();
    }
    found
}

fn by_run(scores: &[Score]) -> HashMap<usize, Vec<&Score>> {
    let mut found: HashMap<usize, Vec<&Score>> = HashMap::new();
    scores.iter().for_each(|score| found.entry(score.run).or_default().push(score));
    found
}

fn strategy(
    row: &Row,
    key: String,
    runs: &[usize],
    loaded: &Loaded,
    naming: &Naming<'_>,
    judged: &HashMap<&str, (&Judged, bool)>,
) -> Strategy {
    let convergence = Convergence::of(runs.iter().map(|&run| &loaded.runs[run].row));
    let ranking = row.runs.iter().find_map(|run| judged.get(run.as_str())).filter(|(_, compared)| *compared);
    let ranking = ranking.map(|(judged, _)| Ranking { word: judged.ranking.clone(), change: judged.change });
    Strategy {
        key,
        name: name(row, runs, loaded, naming),
        kind: kind(row),
        data: row.data,
        rising: [convergence.rising, convergence.runs],
        ranking: ranking.filter(|ranking| !ranking.word.is_empty()),
        runs: Vec::new(),
        ap: Vec::new(),
    }
}

/// What names are made of.
struct Naming<'s> {
    layout: Layout<'s>,
    /// Whether rows are made of every part of a strategy.
    by_all: bool,
    /// Name and title of the axes that are not part of a strategy, where they differ.
    others: Vec<(String, String)>,
}

impl<'s> Naming<'s> {
    fn of(summary: &'s Summary) -> Self {
        let layout = Layout::of(summary);
        let is_other =
            |name: &str| ["data.", "model.", "train."].iter().any(|section| name.starts_with(section)) || name == PREPARED;
        let others =
            layout.columns().into_iter().filter(|(name, ..)| is_other(name)).map(|(name, title, _)| (name, title)).collect();
        let has = |name: &str| summary.group_by.iter().any(|other| other == name);
        Self { layout, by_all: ["loss", "pos_weight", "gamma", "sampler"].into_iter().all(has), others }
    }
}

/// The name of a strategy as `explain` has it, and the other axes in which it differs; where rows are made of fewer columns, those.
fn name(row: &Row, runs: &[usize], loaded: &Loaded, naming: &Naming<'_>) -> String {
    let Naming { layout, by_all, others } = naming;
    let Some(run) = runs.first().map(|&run| &loaded.runs[run]).filter(|_| *by_all && row.reference.is_none()) else {
        return layout.names(row).into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(", ");
    };
    let own = strategy_names::strategy(&run.row.loss, &run.row.pos_weight, run.row.gamma, &run.row.sampler, &run.params);
    let others = others.iter().map(|(name, title)| (title, text(row.strategy.get(name)))).filter(|(_, value)| value != NONE);
    let words: Vec<String> = std::iter::once(own).chain(others.map(|(title, value)| format!("{title} {value}"))).collect();
    words.join(", ")
}

fn run(run: usize, loaded: &Loaded, metric: usize, val: Option<&Vec<&Score>>, test: Option<&Vec<&Score>>) -> Run {
    let of = |scores: Option<&Vec<&Score>>, policy: usize, value: &dyn Fn(&Score) -> Option<f64>| {
        scores.and_then(|scores| scores.iter().find(|score| score.policy == policy)).and_then(|score| value(score))
    };
    let value = |score: &Score| score.values[metric];
    let ap = val.and_then(|scores| scores.iter().find_map(|score| score.values[place("macro_ap")]));
    Run {
        run: short(&loaded.runs[run].row.run),
        seed: loaded.runs[run].row.seed,
        ap,
        values: (0..loaded.policies.len())
            .map(|policy| [of(val, policy, &value), of(val, policy, &|score| score.held_out), of(test, policy, &value)])
            .collect(),
        scores: false,
    }
}

/// The start of a fingerprint.
#[must_use]
pub fn short(run: &str) -> String {
    run.get(..SHORT).unwrap_or(run).to_owned()
}

/// Whether a strategy is of the grid.
#[must_use]
pub fn of_grid(strategy: &Strategy) -> bool {
    strategy.kind == RowKind::Strategy
}
