//! A search of a sweep, ready to be carried out: what is known of its runs becomes candidates, what was decided before is kept.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::search::{Candidate, Competition, Step};
use crate::error::Error;
use imbalance::metric::Ranking;
use imbalance::{Choice, PosWeight, loss};
use plan::{Fingerprint, Halving, Search, SearchBudget, SearchMetric};
use store::{SearchDecision, SearchRun, SweepId, Writer};

/// What the dispatcher needs of a search.
#[derive(Debug)]
pub struct Searching {
    pub sweep: SweepId,
    /// Which runs come first.
    order: HashMap<Fingerprint, usize>,
    /// Runs that wait for what becomes of their strategies.
    held: HashSet<Fingerprint>,
    pub competition: Option<(SearchMetric, Competition)>,
    /// No run begins later.
    pub time: Option<Duration>,
}

impl Searching {
    /// The place of a run among those that are to be trained.
    #[must_use]
    pub fn place(&self, run: &Fingerprint) -> usize {
        self.order.get(run).copied().unwrap_or(0)
    }

    /// Whether a run is not to begin yet.
    #[must_use]
    pub fn holds(&self, run: &Fingerprint) -> bool {
        self.held.contains(run)
    }
}

/// Begins or continues the search of a sweep: what follows from what is recorded is decided, and recorded. `None`: the whole grid.
/// `failed`: runs that failed for good are tried again.
///
/// # Errors
/// The database cannot be used.
pub async fn prepare(
    writer: &mut Writer,
    sweep: SweepId,
    search: Option<(&Search, Option<usize>)>,
    failed: bool,
) -> Result<Option<Searching>, Error> {
    writer.begin_search(sweep, search).await?;
    let Some((search, _)) = search else { return Ok(None) };
    let runs: Vec<SearchRun> =
        writer.search_runs(sweep).await?.into_iter().filter(|run| run.config.reference().is_none()).collect();
    let strategies = strategies(&runs, search);
    // A strategy's runs follow its first one: who comes through is completed before others begin.
    let order = strategies.iter().flatten().enumerate().map(|(place, &run)| (runs[run].run.clone(), place + 1)).collect();
    let mut searching = Searching { sweep, order, held: HashSet::new(), competition: None, time: None };
    let mut left_out = Vec::new();
    if let Some(halving) = &search.halving {
        let decisions = writer.search_decisions(sweep).await?;
        let mut competition = Competition::new(halving, candidates(&runs, &strategies), &decisions);
        for (run, epoch, value) in writer.search_values(sweep, halving.metric).await? {
            competition.evaluated(&run, epoch, value);
        }
        for SearchRun { run, state, failures, .. } in &runs {
            match state.as_str() {
                "succeeded" => competition.over(run),
                "failed" if !failed => competition.failed(run),
                _ if *failures > 0 => competition.late(run),
                _ => {}
            }
        }
        searching.held =
            strategies.iter().flat_map(|strategy| strategy.iter().skip(1)).map(|&run| runs[run].run.clone()).collect();
        // Those that were stopped, but whose workers were gone before they had heard of it, end with the decision.
        let mut made: Vec<SearchDecision> = decisions.into_iter().filter(|decision| !decision.goes_on).collect();
        for step in competition.settle() {
            match step {
                Step::Decide(decision) => made.push(decision),
                Step::Stop(_) => {}
                Step::Release(released) => searching.held.retain(|run| !released.contains(run)),
                Step::LeaveOut(runs) => left_out.extend(runs),
            }
        }
        writer.decide(sweep, &made, &left_out).await?;
        searching.competition = Some((halving.metric, competition));
    }
    if let Some(SearchBudget::Seconds(seconds)) = search.budget {
        let left = seconds - writer.search_seconds(sweep).await?;
        searching.time = Some(Duration::try_from_secs_f64(left).unwrap_or_default());
        if left <= 0.0 {
            let all: Vec<Fingerprint> = writer.missing(sweep, false).await?.into_iter().map(|missing| missing.job.run).collect();
            writer.decide(sweep, &[], &all).await?;
        }
    }
    Ok(Some(searching))
}

/// Strategies in the order of the search, each with its runs in the order of the plan. Strategies whose first runs train together stand
/// together: nobody waits for another bundle then.
fn strategies(runs: &[SearchRun], search: &Search) -> Vec<Vec<usize>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut strategies: Vec<Vec<usize>> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let place = *places.entry(plan::strategy_key(&run.name, &[])).or_insert(strategies.len());
        if place == strategies.len() {
            strategies.push(Vec::new());
        }
        strategies[place].push(at);
    }
    let mut shuffled: Vec<Vec<usize>> =
        plan::shuffled(strategies.len(), search.seed).into_iter().map(|at| std::mem::take(&mut strategies[at])).collect();
    let mut bundles: HashMap<usize, usize> = HashMap::new();
    shuffled.sort_by_cached_key(|strategy| {
        let first = &runs[strategy[0]];
        let next = bundles.len();
        if first.config.in_one_pass() { *bundles.entry(first.bundle).or_insert(next) } else { usize::MAX }
    });
    shuffled
}

fn candidates(runs: &[SearchRun], strategies: &[Vec<usize>]) -> Vec<Candidate> {
    let mut data: Vec<i64> = Vec::new();
    let mut pool = |id: i64| {
        data.iter().position(|known| *known == id).unwrap_or_else(|| {
            data.push(id);
            data.len() - 1
        })
    };
    let candidate = |strategy: &Vec<usize>| {
        let first = &runs[strategy[0]];
        let (config, epochs) = (&first.config, first.config.train.epochs);
        let unweighted = matches!(&config.pos_weight, PosWeight::Formula(formula) if formula.kind == "none");
        let change = loss::last_change(&config.loss, epochs);
        Candidate {
            first: first.run.clone(),
            others: strategy.iter().skip(1).map(|&run| runs[run].run.clone()).collect(),
            pool: pool(first.data),
            epochs,
            // What comes after the change has to show first.
            opens: if change == 0 { 0 } else { change + 2 },
            spared: config.loss == Choice::plain("bce") && unweighted && config.sampler.kind == "shuffle",
        }
    };
    strategies.iter().map(candidate).collect()
}

/// The value that strategies compete by.
#[must_use]
pub fn value(metric: SearchMetric, ranking: &Ranking) -> Option<f64> {
    let of_labels = match metric {
        SearchMetric::MacroAp => &ranking.ap,
        SearchMetric::MacroAuc => &ranking.auc,
    };
    // As the store takes the mean.
    let defined: Vec<f64> = of_labels.iter().copied().flatten().collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}

/// What a plan says of its halving: `rungs after 5, 15 and 45 of 120 evaluations`.
#[must_use]
pub fn rungs_in_words(halving: &Halving, epochs: usize) -> String {
    let rungs: Vec<String> = halving.rungs(epochs).iter().map(usize::to_string).collect();
    match &rungs[..] {
        [] => format!("no rung before the end: runs have {epochs} evaluations at most, too few to stop one"),
        [one] => format!("a rung after {one} of at most {epochs} evaluations"),
        [some @ .., last] => format!("rungs after {} and {last} of at most {epochs} evaluations", some.join(", ")),
    }
}
