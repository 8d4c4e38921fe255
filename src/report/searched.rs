//! What a search of a sweep did, and what it may have hidden. Loading aside, pure.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::load::{Run, named};
use super::strategy_names;
use crate::error::Error;
use plan::{RunName, Search, SearchBudget, strategy_key};
use store::{Reader, SearchDecision, SweepId};

/// The search of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchView {
    pub search: Search,
    /// Strategies of the sweep, and of the grid that they were drawn from.
    pub strategies: usize,
    pub of: Option<usize>,
    /// Strategies that were compared and went on at every rung that they came to.
    pub through: usize,
    /// Strategies that were stopped, the closest to the cut first.
    pub stopped: Vec<StoppedStrategy>,
    /// Runs that did not begin before the time of the search was over.
    pub unbegun: usize,
    /// Of the strategies whose first run is complete: how the order at each rung and the order in the end go together.
    pub agreement: Vec<Agreement>,
    /// Gradient steps of the runs that are recorded, and of all others.
    pub steps_recorded: i64,
    pub steps_stopped: i64,
}

/// A strategy that a search has stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoppedStrategy {
    pub strategy: String,
    /// Its first run.
    pub run: String,
    /// Whether that run has a complete result nevertheless: it had converged, or had ended before it heard of it.
    pub complete: bool,
    pub decision: SearchDecision,
    /// How far below the cut it was.
    pub below: Option<f64>,
}

/// A rung and the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    pub evaluations: usize,
    /// Strategies with both values.
    pub strategies: usize,
    /// Spearman's rank correlation; `None` where one of the orders is all ties.
    pub correlation: Option<f64>,
}

/// The search of a sweep; `None`: it trains the whole grid.
///
/// # Errors
/// The database cannot be read.
pub async fn search(reader: &mut Reader, sweep: SweepId) -> Result<Option<SearchView>, Error> {
    let Some((search, of)) = reader.search(sweep).await? else { return Ok(None) };
    let runs = named(reader.sweep_runs(sweep).await?);
    let decisions = reader.search_decisions(sweep).await?;
    let finals = match &search.halving {
        Some(halving) => reader.best_values(sweep, halving.metric).await?.into_iter().collect(),
        None => HashMap::new(),
    };
    let (steps_recorded, steps_stopped) = reader.trained_steps(sweep).await?;
    let view = view(search, &runs, &decisions, &finals);
    Ok(Some(SearchView { of, steps_recorded, steps_stopped, ..view }))
}

fn view(search: Search, runs: &[Run], decisions: &[SearchDecision], finals: &HashMap<String, f64>) -> SearchView {
    let of_grid = || runs.iter().filter(|run| run.row.reference().is_none());
    let key = |run: &Run| {
        let row = &run.row;
        let params = run.params.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let (loss, pos_weight, sampler) = (row.loss.clone(), row.pos_weight.clone(), row.sampler.clone());
        strategy_key(&RunName { loss, pos_weight, gamma: row.gamma, sampler, seed: 0, params }, &[])
    };
    let strategies: HashSet<String> = of_grid().map(key).collect();
    let by_name: HashMap<&str, &Run> = runs.iter().map(|run| (&run.row.run[..], run)).collect();
    let mut out: HashSet<String> = HashSet::new();
    let mut stopped = Vec::new();
    let mut compared: HashSet<&str> = HashSet::new();
    for decision in decisions {
        compared.insert(&decision.run.0);
        let Some(run) = by_name.get(&decision.run.0[..]).filter(|_| !decision.goes_on) else { continue };
        out.insert(key(run));
        stopped.push(StoppedStrategy {
            strategy: strategy_name(run),
            run: run.row.run.clone(),
            complete: run.row.state == "succeeded",
            decision: decision.clone(),
            below: decision.cut.zip(decision.value).map(|(cut, value)| cut - value),
        });
    }
    let through = compared.len() - stopped.len();
    let far = |one: &StoppedStrategy| one.below.unwrap_or(f64::INFINITY);
    stopped.sort_by(|one, other| far(one).total_cmp(&far(other)));
    // The other seeds of a strategy that failed are left out too; what is left out of any other had no time.
    let failed: HashSet<String> = of_grid().filter(|run| run.row.state == "failed").map(key).collect();
    let unbegun = of_grid().filter(|run| run.row.left_out && !out.contains(&key(run)) && !failed.contains(&key(run))).count();
    let mut rungs: Vec<usize> = decisions.iter().map(|decision| decision.evaluations).collect();
    rungs.sort_unstable();
    rungs.dedup();
    let agreement = |evaluations: usize| {
        let at = decisions.iter().filter(|decision| decision.evaluations == evaluations);
        let both: Vec<(f64, f64)> = at.filter_map(|decision| decision.value.zip(finals.get(&decision.run.0).copied())).collect();
        Agreement { evaluations, strategies: both.len(), correlation: spearman(&both) }
    };
    let agreement = rungs.into_iter().map(agreement).collect();
    let (of, steps_recorded, steps_stopped) = (None, 0, 0);
    SearchView { search, strategies: strategies.len(), of, through, stopped, unbegun, agreement, steps_recorded, steps_stopped }
}

fn strategy_name(run: &Run) -> String {
    let row = &run.row;
    let name = strategy_names::strategy(&row.loss, &row.pos_weight, row.gamma, &row.sampler, &run.params);
    let setting: Map<String, Value> = run.params.clone();
    let setting = strategy_names::setting(&setting, &["data.split.seed".to_owned()]);
    setting.into_iter().fold(name, |name, (key, value)| format!("{name}, {key}={value}"))
}

/// Spearman's rank correlation, with mean ranks for ties; `None` for fewer than three pairs, or where all of one side are equal.
fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 {
        return None;
    }
    let ranks = |value: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        let rank = |one: &(f64, f64)| {
            let below = pairs.iter().filter(|other| value(other) < value(one)).count();
            let upto = pairs.iter().filter(|other| value(other) <= value(one)).count();
            (below + upto) as f64 / 2.0
        };
        pairs.iter().map(rank).collect()
    };
    let (a, b) = (ranks(|pair| pair.0), ranks(|pair| pair.1));
    let mean = pairs.len() as f64 / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum() };
    let norm = (product(&a, &a) * product(&b, &b)).sqrt();
    (norm > 0.0).then(|| product(&a, &b) / norm)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl SearchView {
    /// What every view of the results has to say: what they are not the whole of.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(of) = self.of.filter(|of| *of > self.strategies) {
            notes.push(format!(
                "the search has drawn {} of {of} strategies at random: the others were never trained",
                self.strategies
            ));
        }
        if self.unbegun > 0 {
            notes.push(format!("{} did not begin before the time of the search was over", counted(self.unbegun, "run")));
        }
        let complete = self.stopped.iter().filter(|one| one.complete).count();
        let of = self.strategies;
        let mut said = Vec::new();
        if self.stopped.len() > complete {
            let stopped = self.stopped.len() - complete;
            said.push(format!("{stopped} of {of} strategies were stopped early by the search and are compared with nothing"));
        }
        if complete > 0 {
            said.push(format!(
                "{complete} of {of} strategies fell behind in the search, but have a complete run: they appear with the runs that they have"
            ));
        }
        if !said.is_empty() {
            notes.push(format!("{}; `sweep report --stopped` lists them, and says what that may hide", said.join("; ")));
        }
        notes
    }

    /// What early stopping may have hidden, a sentence each.
    #[must_use]
    pub fn hidden(&self) -> Vec<String> {
        let mut said = Vec::new();
        let Some(halving) = &self.search.halving else {
            said.push("nothing was stopped early: strategies that were not drawn are unknown".to_owned());
            return said;
        };
        if let Some((closest, below)) = self.stopped.first().and_then(|closest| Some((closest, closest.below?))) {
            said.push(format!(
                "the closest call: {} was {below:.4} below the cut after {}",
                closest.strategy,
                counted(closest.decision.evaluations, "evaluation")
            ));
        }
        for Agreement { evaluations, strategies, correlation } in &self.agreement {
            said.push(match correlation {
                Some(correlation) => format!(
                    "{} after {} and the best of the whole run have a rank correlation of {correlation:.2} over the {strategies} strategies that \
                     were trained to the end (Spearman; among survivors orders agree less than among all)",
                    halving.metric.words(),
                    counted(*evaluations, "evaluation")
                ),
                None => format!(
                    "too few strategies ({strategies}) were trained to the end to say how well the order after {} foretells that in the end",
                    counted(*evaluations, "evaluation")
                ),
            });
        }
        if !self.stopped.is_empty() {
            said.push(
                "a strategy that rises late (slow losses, heavy weights, small learning rates) looks like a bad one at a rung and would have \
                 been missed; a larger search.min judges later, and `--set search.kind=grid` trains what was stopped to its end, from where \
                 it stopped"
                    .to_owned(),
            );
        }
        if self.steps_recorded + self.steps_stopped > 0 {
            said.push(format!(
                "gradient steps: {} in runs that are complete, {} in runs that are not",
                self.steps_recorded, self.steps_stopped
            ));
        }
        said
    }

    /// The first line: what the search was.
    #[must_use]
    pub fn title(&self) -> String {
        let budget = match self.search.budget {
            Some(SearchBudget::Runs(runs)) => format!(", budget {}", counted(runs, "run")),
            Some(SearchBudget::Seconds(seconds)) => format!(", budget {seconds:.0} s"),
            None => String::new(),
        };
        match &self.search.halving {
            None => format!("random search: {}{budget}", counted(self.strategies, "strategy").replace("strategys", "strategies")),
            Some(halving) => format!(
                "successive halving on {} (1 of {} goes on{budget}): {} of {} strategies were stopped, {} came through",
                halving.metric.words(),
                halving.reduction,
                self.stopped.len(),
                self.strategies,
                self.through
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_correlated() {
        assert_eq!(spearman(&[(1.0, 2.0), (2.0, 3.0)]), None);
        assert_eq!(spearman(&[(1.0, 1.0), (2.0, 5.0), (3.0, 7.0)]), Some(1.0));
        assert_eq!(spearman(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        // scipy.stats.spearmanr([1, 2, 2, 3], [1, 3, 2, 4])
        let tied = spearman(&[(1.0, 1.0), (2.0, 3.0), (2.0, 2.0), (3.0, 4.0)]).unwrap();
        assert!((tied - 0.948_683_298_050_513_8).abs() < 1e-12, "{tied}");
        assert_eq!(spearman(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
