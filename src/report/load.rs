//! From the database (and, for a policy that no grid asked for, from kept scores) to values in memory. Computes only what
//! the views compute.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::kept_scores::{Rounded, SweepGroups};
use super::question::{Question, Split, column};
use super::refit;
use super::score::{LabelScore, Labels, Score, is_number, is_of_rankings, place};
use super::summary::Summary;
use super::tuning;
use crate::error::Error;
use imbalance::sampler::Realised;
use imbalance::threshold::Policy;
use plan::DataFacts;
use store::{At, Evaluated, LabelMeans, Reader, SweepRow, SweepRun};

/// One run of the sweep, recorded or not.
#[derive(Clone, Debug)]
pub struct Run {
    pub row: SweepRun,
    pub params: Map<String, Value>,
    /// Index into [`Loaded::data`].
    pub data: usize,
}

/// Everything a report needs, label rows aside.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub sweep: SweepRow,
    /// Names of the policies that are compared, in the order of the grid.
    pub policies: Vec<String>,
    pub data: Vec<DataFacts>,
    pub runs: Vec<Run>,
    /// Runs of candidates of `train.tune` that their strategies did not get.
    pub passed_over: Vec<Run>,
    /// The axes of `train.tune`, where each strategy has its best candidate only.
    pub tuned: Vec<String>,
    /// Axes beside loss, pos_weight, gamma, sampler and seed, sorted.
    pub keys: Vec<String>,
    /// Evaluations on val, which rank.
    pub val: Vec<Score>,
    /// Evaluations on test, where test is shown.
    pub test: Vec<Score>,
    /// Run → what its sampler drew, if it was recorded.
    pub drawn: HashMap<usize, Realised>,
    /// Runs that could not be evaluated under a new policy, and why.
    pub lost: Vec<(String, String)>,
    /// Runs whose fitted policies could not be judged on rows that they were not fitted on, and why.
    pub not_held_out: Vec<(String, String)>,
    /// Why rows of one group were dealt apart.
    pub ungrouped: Option<String>,
    /// Runs whose recorded AP is that of scores which float32 has rounded.
    pub rounded: Rounded,
}

impl Loaded {
    /// The evaluations on the split that is shown.
    #[must_use]
    pub fn shown(&self, split: Split) -> &[Score] {
        match split {
            Split::Val => &self.val,
            Split::Test => &self.test,
        }
    }
}

/// Reads what `question` needs.
///
/// # Errors
/// Database errors; an epoch that no run has; kept scores that can be read of no run.
pub async fn load(reader: &mut Reader, sweep: SweepRow, question: &Question) -> Result<Loaded, Error> {
    let policies: Vec<String> = match &question.policy {
        Some(policy) => vec![policy.to_string()],
        None => reader.policies(sweep.id).await?.iter().map(Policy::to_string).collect(),
    };
    let data = reader.data_facts(sweep.id).await?.into_iter().map(|(facts, _)| facts).collect();
    let runs = named(reader.sweep_runs(sweep.id).await?);
    if let At::Epoch(epoch) = question.at {
        let last = runs.iter().filter(|run| run.row.reference().is_none()).map(|run| run.row.epochs - 1).max().unwrap_or(0);
        if i64::from(epoch) > last {
            return Err(Error::Usage(format!("--epoch {epoch}: no run has it; there are best, last and 0 to {last}")));
        }
    }
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.params.keys()).collect();
    let keys: Vec<String> = keys.into_iter().cloned().collect();
    let (runs, passed_over, tuned) = tuned(&sweep, runs, question, &keys);
    let mut loaded = Loaded {
        sweep,
        policies,
        data,
        runs,
        passed_over,
        tuned,
        keys,
        val: vec![],
        test: vec![],
        drawn: HashMap::new(),
        lost: vec![],
        not_held_out: vec![],
        ungrouped: None,
        rounded: Rounded::default(),
    };
    let index = by_name(&loaded);
    let draws = reader.draws(loaded.sweep.id).await?.into_iter();
    loaded.drawn = draws.filter_map(|(run, drawn)| Some((*index.get(run.as_str())?, drawn))).collect();
    loaded.val = scores(reader, &loaded, Split::Val, question).await?;
    if question.split == Split::Test {
        loaded.test = scores(reader, &loaded, Split::Test, question).await?;
    }
    if let Some(policy) = &question.policy {
        refit::evaluate(&mut loaded, reader.path(), policy, question)?;
    }
    if loaded.val.iter().any(|score| score.held_out.is_none() && score.values[place(question.metric)].is_some()) {
        let groups = SweepGroups::read(reader, loaded.sweep.id).await?;
        refit::hold_out(&mut loaded, reader.path(), &groups, question);
    }
    let best = |run: &Run| Some(usize::try_from(run.row.best_epoch?).ok()?).filter(|_| run.row.state == "succeeded");
    let best: Vec<(&str, usize)> = loaded.runs.iter().filter_map(|run| Some((run.row.run.as_str(), best(run)?))).collect();
    loaded.rounded = Rounded::among(&archive::runs_folder(reader.path()), &best);
    Ok(loaded)
}

/// The runs of the candidates that strategies get, the others, and the axes that are tuned. Who groups by such an axis compares its
/// values, and gets all runs.
fn tuned(sweep: &SweepRow, runs: Vec<Run>, question: &Question, keys: &[String]) -> (Vec<Run>, Vec<Run>, Vec<String>) {
    let mut tuned = tuning::keys(sweep);
    let asked = |key: &String| {
        let named = |name: &String| column(name, keys).is_ok_and(|column| column.name() == key);
        question.group_by.iter().any(named)
    };
    if tuned.iter().any(asked) {
        tuned.clear();
    }
    let mut chosen = tuning::chosen(&runs, &tuned).into_iter();
    let (runs, passed_over) = runs.into_iter().partition(|_| chosen.next().unwrap_or(true));
    (runs, passed_over, tuned)
}

/// Runs with their axes read and their data sets counted.
#[must_use]
pub fn named(rows: Vec<SweepRun>) -> Vec<Run> {
    let mut ids = Vec::new();
    let mut place = |id| {
        ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        })
    };
    rows.into_iter()
        .map(|row| {
            // The table's check admits JSON only, the writer writes objects only.
            let params = serde_json::from_str(&row.params).unwrap_or_default();
            Run { data: place(row.data), params, row }
        })
        .collect()
}

async fn scores(reader: &mut Reader, loaded: &Loaded, split: Split, question: &Question) -> Result<Vec<Score>, Error> {
    let index = by_name(loaded);
    let mut held_out = HashMap::new();
    if split == Split::Val {
        held_out = reader.held_out(loaded.sweep.id, question.at, question.metric).await?;
        if question.at != At::Best {
            // Reference runs stay at their best.
            held_out.extend(reader.held_out(loaded.sweep.id, At::Best, question.metric).await?);
        }
    }
    let score = |row: &Evaluated| {
        let policy = loaded.policies.iter().position(|name| *name == row.policy)?;
        let run = *index.get(row.run.as_str())?;
        Some(Score {
            run,
            policy,
            values: row.values,
            held_out: held_out.get(&row.evaluation).copied(),
            predicted_rate: row.predicted_rate,
            labels: Labels::Recorded(row.evaluation),
        })
    };
    let metrics = [question.metrics, &[question.metric]].concat();
    let reference = |score: &Score| loaded.runs[score.run].row.reference().is_some();
    let results = reader.results(loaded.sweep.id, split.name(), question.at, &metrics).await?;
    let mut scores: Vec<Score> = results.iter().filter_map(score).collect();
    // The epochs of a reference run are its strengths, of which val has chosen one.
    if question.at != At::Best && loaded.runs.iter().any(|run| run.row.reference().is_some()) {
        let chosen = reader.results(loaded.sweep.id, split.name(), At::Best, &metrics).await?;
        scores.retain(|score| !reference(score));
        scores.extend(chosen.iter().filter_map(score).filter(reference));
    }
    scores.sort_by_key(|score| (score.run, score.policy));
    for score in &mut scores {
        if is_number(&loaded.policies[score.policy]) || is_of_rankings(question.metric) {
            score.held_out = score.values[place(question.metric)];
        }
    }
    Ok(scores)
}

fn by_name(loaded: &Loaded) -> HashMap<&str, usize> {
    loaded.runs.iter().enumerate().map(|(at, run)| (run.row.run.as_str(), at)).collect()
}

/// A part of a row's evaluations.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub evaluations: usize,
    /// Their means: one entry per label, in the order of the data.
    pub labels: Vec<LabelScore>,
}

/// The labels of some of the summary's rows on the split that is shown: index of the row → the parts of it, one if all are recorded.
///
/// # Errors
/// The database.
pub async fn labels(
    reader: &mut Reader,
    loaded: &Loaded,
    question: &Question,
    summary: &Summary,
    places: &[usize],
) -> Result<HashMap<usize, Vec<Part>>, Error> {
    let mut parts: HashMap<usize, Vec<Part>> = HashMap::new();
    let shown = loaded.shown(question.split);
    let mut recorded = Vec::new();
    for &place in places {
        for &member in &summary.rows[place].members {
            match &shown[member].labels {
                Labels::Made(labels) => parts.entry(place).or_default().push(Part { evaluations: 1, labels: labels.clone() }),
                Labels::Recorded(evaluation) => recorded.push((*evaluation, place)),
            }
        }
    }
    let mut means: HashMap<(usize, String), LabelMeans> = HashMap::new();
    for mean in reader.label_means(&recorded).await? {
        // places were ours
        means.insert((usize::try_from(mean.place).unwrap_or(usize::MAX), mean.label.clone()), mean);
    }
    for (place, row) in places.iter().map(|&place| (place, &summary.rows[place])) {
        let found: Option<Vec<LabelMeans>> =
            summary.data[row.data].labels.iter().map(|label| means.remove(&(place, label.clone()))).collect();
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            let evaluations = usize::try_from(found[0].evaluations).unwrap_or(0);
            parts.entry(place).or_default().push(Part { evaluations, labels: found.iter().map(LabelScore::from).collect() });
        }
    }
    Ok(parts)
}
