//! From the database (and, for a policy that no grid asked for, from kept scores) to values in memory. Computes only what
//! the views compute.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::kept_scores::Rounded;
pub use super::loading::{Kept, refresh};
use super::question::{Question, Split, column};
use super::score::{LabelScore, Labels, Score};
use super::searched::SearchView;
use super::summary::Summary;
use super::tuning;
use crate::error::Error;
use imbalance::sampler::Realised;
use plan::DataFacts;
use store::{LabelMeans, Reader, SweepRow, SweepRun};

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
    /// The search of the sweep, if it has one.
    pub search: Option<SearchView>,
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
    refresh(&mut None, reader, sweep, question).await
}

/// Whether each run is of the candidate that its strategy gets, and the axes that are tuned. Who groups by such an axis compares its
/// values, and gets all runs.
pub(super) fn tuned(sweep: &SweepRow, runs: &[Run], question: &Question, keys: &[String]) -> (Vec<bool>, Vec<String>) {
    let mut tuned = tuning::keys(sweep);
    let asked = |key: &String| {
        let named = |name: &String| column(name, keys).is_ok_and(|column| column.name() == key);
        question.group_by.iter().any(named)
    };
    if tuned.iter().any(asked) {
        tuned.clear();
    }
    (tuning::chosen(runs, &tuned), tuned)
}

/// Runs with their axes read and their data sets counted.
#[must_use]
pub fn named(rows: Vec<SweepRun>) -> Vec<Run> {
    named_among(rows, &mut Vec::new())
}

/// The same, where the row ids of some data sets are known.
pub(super) fn named_among(rows: Vec<SweepRun>, ids: &mut Vec<i64>) -> Vec<Run> {
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
