//! What each sampler drew in the first epoch, beside what train holds: resampling rows for one label moves the
//! others too. Pure.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::load::Loaded;
use super::summary::{Spread, Summary};
use super::text_grid::{Grid, Head, number, percent, text};
use imbalance::shown::cut;

/// Labels that have a column; JSON has all. Of more, half are those whose prevalence changed by the largest factor, half by the largest
/// difference.
const LABELS: usize = 8;
/// Characters of their names.
const NAME: usize = 20;

/// One sampler on one data set: means over its runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SamplerLine {
    /// Index into [`Summary::data`].
    pub data: usize,
    pub sampler: String,
    /// Axes that are parameters of it.
    pub params: Map<String, Value>,
    pub runs: usize,
    /// Rows that an epoch shows, and rows of train.
    pub draws: f64,
    pub rows: usize,
    /// What the network saw of each label, and what train holds.
    pub prevalence: Vec<f64>,
    pub train_prevalence: Vec<f64>,
    /// Mean over the labels of the absolute difference between the two.
    pub shift: f64,
    /// Share of the draws that had been drawn before in the epoch.
    pub duplicates: f64,
    /// Share of the train rows that were not drawn.
    pub never_drawn: f64,
    /// Share of the draws with an input or labels that no row has.
    pub made_up: f64,
}

/// Data set, sampler, its parameters, runs.
type SamplerGroup<'a> = (usize, &'a str, Map<String, Value>, Vec<usize>);

/// The samplers of the runs that recorded what they drew, in the order of the plan; `of_facts` as [`super::group::data_sets`] gives it.
#[must_use]
pub fn lines(loaded: &Loaded, of_facts: &[usize]) -> Vec<SamplerLine> {
    let mut known: HashMap<(usize, String), usize> = HashMap::new();
    let mut groups: Vec<SamplerGroup<'_>> = Vec::new();
    for (at, run) in loaded.runs.iter().enumerate().filter(|(at, _)| loaded.drawn.contains_key(at)) {
        let params: Map<String, Value> = run
            .params
            .iter()
            .filter(|(key, _)| key.starts_with("sampler."))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let data = of_facts.get(run.data).copied().unwrap_or(0);
        let name = format!("{} {}", run.row.sampler, Value::Object(params.clone()));
        let group = *known.entry((data, name)).or_insert_with(|| {
            groups.push((data, &run.row.sampler, params, Vec::new()));
            groups.len() - 1
        });
        groups[group].3.push(at);
    }
    let line = |(data, sampler, params, runs): (usize, &str, Map<String, Value>, Vec<usize>)| {
        let drawn = || runs.iter().filter_map(|run| loaded.drawn.get(run));
        let mean = |values: &mut dyn Iterator<Item = f64>| Spread::of(values).map_or(0.0, |spread| spread.mean);
        let train = &loaded.data[loaded.runs[runs[0]].data].train;
        let prevalence = |label: usize| mean(&mut drawn().filter_map(|drawn| drawn.prevalence.get(label).copied()));
        SamplerLine {
            data,
            sampler: sampler.to_owned(),
            params,
            runs: runs.len(),
            draws: mean(&mut drawn().map(|drawn| drawn.draws as f64)),
            rows: train.rows,
            prevalence: (0..train.positives.len()).map(prevalence).collect(),
            train_prevalence: (0..train.positives.len()).map(|label| train.prevalence(label)).collect(),
            shift: mean(&mut drawn().map(|drawn| drawn.shift)),
            duplicates: mean(&mut drawn().map(|drawn| drawn.duplicates)),
            never_drawn: mean(&mut drawn().map(|drawn| drawn.never_drawn)),
            made_up: mean(&mut drawn().map(|drawn| drawn.made_up)),
        }
    };
    groups.into_iter().map(line).collect()
}

/// The samplers of one data set as a table; `None` where none does more than shuffle.
#[must_use]
pub fn grid(summary: &Summary, data: usize) -> Option<Grid> {
    let lines: Vec<&SamplerLine> = summary.samplers.iter().filter(|line| line.data == data).collect();
    if lines.iter().all(|line| line.sampler == "shuffle") {
        return None;
    }
    let labels = moved(&lines);
    let mut heads = vec![Head::new("sampler", false), Head::new("draws", true)];
    heads.extend(labels.iter().map(|&label| Head::new(cut(&summary.data[data].labels[label], NAME), true)));
    heads.extend(["shift", "drawn again", "never drawn", "made up"].map(|title| Head::new(title, true)));
    let row = |name: String, draws: f64, prevalence: &[f64], shares: [String; 4]| {
        let prevalences = labels.iter().map(|&label| percent(prevalence.get(label).copied().unwrap_or(0.0)));
        [name, format!("{draws:.0}")].into_iter().chain(prevalences).chain(shares).collect::<Vec<_>>()
    };
    let first = lines.first()?;
    let none = || String::new();
    let mut rows = vec![row("(train)".to_owned(), first.rows as f64, &first.train_prevalence, [none(), none(), none(), none()])];
    rows.extend(lines.iter().map(|line| {
        let params =
            line.params.iter().map(|(key, value)| format!(" {}={}", key.trim_start_matches("sampler."), text(Some(value))));
        let shares = [number(line.shift), percent(line.duplicates), percent(line.never_drawn), percent(line.made_up)];
        row(format!("{}{}", line.sampler, params.collect::<String>()), line.draws, &line.prevalence, shares)
    }));
    Some(Grid { heads, rows })
}

/// The labels that are shown, the rarest first: all if they are few, otherwise those that the samplers moved most.
fn moved(lines: &[&SamplerLine]) -> Vec<usize> {
    let Some(train) = lines.first().map(|line| &line.train_prevalence) else { return Vec::new() };
    let most = |change: fn(f64, f64) -> f64| {
        let of = |label: usize| {
            let shown = lines.iter().filter_map(|line| line.prevalence.get(label));
            shown.map(|&shown| change(shown, train[label])).fold(0.0, f64::max)
        };
        let mut labels: Vec<usize> = (0..train.len()).collect();
        labels.sort_by(|&a, &b| of(b).total_cmp(&of(a)));
        labels
    };
    // A label that is not shown at all has changed by any factor.
    let factor = most(|shown, train| if train > 0.0 { (shown.max(1e-12) / train).ln().abs() } else { 0.0 });
    let mut labels: Vec<usize> = factor.into_iter().take(if train.len() > LABELS { LABELS / 2 } else { LABELS }).collect();
    for label in most(|shown, train| (shown - train).abs()) {
        if labels.len() < LABELS && !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels.sort_by(|&a, &b| train[a].total_cmp(&train[b]));
    labels
}

/// The line above that table.
pub const TITLE: &str =
    "what the samplers showed in an epoch: prevalence of the labels that they moved most, and how often the same rows";
