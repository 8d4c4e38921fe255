//! `sweep compare`: differences between two runs or between groups of runs, with their certainty. Load, compute (pure), render.

mod ask;
mod groups;
mod pairs;
mod runs;
mod statistics;
pub(super) mod table;

use std::collections::BTreeMap;

use serde::Serialize;

pub use ask::{CompareOptions, Selector, Subject};
pub use groups::GroupComparison;
pub use runs::RunComparison;
pub use statistics::Judged;
pub use table::render;

use super::difference::{LEVEL, overlap};
use super::kept_scores::{self, Evidence};
use super::load::{self, Loaded, Run};
use super::question::{Question, Split};
use super::score::{is_of_rankings, place};
use super::splits::{undefined, unknown, without_positives};
use crate::error::Error;
use archive::runs_folder;
use imbalance::threshold::Policy;
use plan::RunConfig;
use store::{At, Reader, RunRow};

/// What `sweep compare --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Comparison {
    Runs(RunComparison),
    Groups(GroupComparison),
}

/// Compares as `ask` says.
///
/// # Errors
/// The database; runs, groups or columns that do not exist; runs without results or on other rows; scores that cannot be read.
pub async fn compare(reader: &mut Reader, ask: &CompareOptions) -> Result<Comparison, Error> {
    match &ask.subject {
        Subject::Runs(first, second) => two_runs(reader, first, second, ask).await.map(Comparison::Runs),
        Subject::Groups(selectors) => groups_of_runs(reader, selectors, ask).await.map(Comparison::Groups),
    }
}

async fn two_runs(reader: &mut Reader, first: &str, second: &str, ask: &CompareOptions) -> Result<RunComparison, Error> {
    let rows = [reader.find_run(first).await?, reader.find_run(second).await?];
    let [first, second] = &rows;
    if first.fingerprint == second.fingerprint {
        return Err(Error::Usage(format!("both are the run {}", first.fingerprint.short())));
    }
    let folder = runs_folder(reader.path());
    let [a, b] = [kept(&folder, first)?, kept(&folder, second)?];
    if first.facts.labels != second.facts.labels || !a.same_rows(&b) {
        return Err(Error::Usage(format!(
            "{} and {} are on different data sets or splits: only runs that were judged on the same rows can be paired",
            first.fingerprint.short(),
            second.fingerprint.short()
        )));
    }
    let mut notes = Vec::new();
    let groups = kept_scores::RowGroups::read(&first.folder, &first.config.data, &first.facts.content).unwrap_or_else(|why| {
        notes.push(format!("rows of a group are taken for independent, so the intervals are too short: {why}"));
        None
    });
    notes.extend(store::mixed_formats(&[first.format, second.format]));
    let mut rounded = kept_scores::Rounded::default();
    [(first, &a), (second, &b)].into_iter().for_each(|(run, evidence)| rounded.add(&run.fingerprint.0, evidence));
    notes.extend(rounded.sentence());
    if first.facts.content != second.facts.content {
        notes.push("the runs see other inputs, but the labels of their rows are the same, one by one".to_owned());
    }
    if ask.policies.iter().any(|policy| matches!(policy, Policy::Fitted(_))) && ask.splits.contains(&Split::Val) {
        notes.push("thresholds are fitted on val: val itself flatters both runs, test tells".to_owned());
    }
    let splits: Vec<runs::SplitComparison> =
        ask.splits.iter().filter_map(|&split| runs::on_split(split, &a, &b, groups.as_ref(), ask)).collect();
    if splits.len() < ask.splits.len() {
        let untested = [(first, &a), (second, &b)].into_iter().filter(|(_, evidence)| evidence.test.is_none());
        let untested: Vec<&str> = untested.map(|(run, _)| run.fingerprint.short()).collect();
        let has = if untested.len() > 1 { "have" } else { "has" };
        let why = format!("{} {has} no test scores", untested.join(" and "));
        if splits.is_empty() {
            return Err(Error::Usage(format!("{why}: --split val compares the two on validation")));
        }
        notes.push(format!("{why}: the two are compared on val alone, where strategies and thresholds were chosen"));
    }
    notes.extend(splits.iter().filter_map(|found| undefined(&first.facts, found.split)));
    notes.extend(splits.iter().filter_map(|found| unknown(&first.facts, found.split)));
    Ok(RunComparison {
        without_positives: without_positives(&first.facts),
        first: named(first),
        second: named(second),
        differ: differ(&first.config, &second.config),
        labels: first.facts.labels.clone(),
        level: LEVEL,
        replicates: ask.replicates,
        splits,
        notes,
    })
}

/// A run's scores at its best epoch.
fn kept(folder: &std::path::Path, run: &RunRow) -> Result<Evidence, Error> {
    let name = run.fingerprint.short();
    let best = run.best_epoch.filter(|_| run.state == "succeeded").and_then(|epoch| usize::try_from(epoch).ok());
    let epoch = best.ok_or_else(|| Error::Usage(format!("run {name} has no result: it is {}", run.state)))?;
    Evidence::read(&folder.join(&run.fingerprint.0), epoch)
        .map_err(|source| Error::KeptScores { run: run.fingerprint.clone(), source })
}

fn named(run: &RunRow) -> runs::Named {
    let RunConfig { loss, sampler, seed, .. } = &run.config;
    let weight = flat(&run.config)["pos_weight"].clone();
    let name = format!("{loss}, {weight}, {sampler}, seed {seed}");
    runs::Named { run: run.fingerprint.0.clone(), name, seed: *seed }
}

/// A configuration as flat keys and texts; strategies, optimizer and schedule are one text each.
fn flat(config: &RunConfig) -> BTreeMap<String, String> {
    fn add(key: &str, value: &serde_json::Value, flat: &mut BTreeMap<String, String>) {
        match value {
            serde_json::Value::Object(entries) if entries.contains_key("kind") && key != "data" => {
                let choice: Option<imbalance::Choice> = serde_json::from_value(value.clone()).ok();
                flat.insert(key.to_owned(), choice.map_or_else(|| value.to_string(), |choice| choice.to_string()));
            }
            serde_json::Value::Object(entries) => {
                for (name, value) in entries {
                    add(&if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, flat);
                }
            }
            value => {
                flat.insert(key.to_owned(), super::text_grid::text(Some(value)));
            }
        }
    }
    let mut found = BTreeMap::new();
    // Numbers, strings and maps of them can always be serialised.
    add("", &serde_json::to_value(config).unwrap_or_default(), &mut found);
    found
}

fn differ(first: &RunConfig, second: &RunConfig) -> Vec<[String; 3]> {
    let (first, second) = (flat(first), flat(second));
    let keys: std::collections::BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let text = |side: &BTreeMap<String, String>, key: &String| side.get(key).cloned().unwrap_or_else(|| "nothing".to_owned());
    let pairs = keys.into_iter().map(|key| [key.clone(), text(&first, key), text(&second, key)]);
    pairs.filter(|[_, first, second]| first != second).collect()
}

async fn groups_of_runs(reader: &mut Reader, selectors: &[Selector], ask: &CompareOptions) -> Result<GroupComparison, Error> {
    let sweep = reader.find_sweep(&ask.sweep).await?;
    let split = if ask.splits.contains(&Split::Test) { Split::Test } else { Split::Val };
    let (mut loaded, mut left_out): (Vec<(&Policy, Loaded)>, Vec<Error>) = (Vec::new(), Vec::new());
    for policy in &ask.policies {
        let question = Question { split, at: At::Best, policy: Some(policy.clone()), ..Question::default() };
        match load::load(reader, sweep.clone(), &question).await {
            Ok(found) => loaded.push((policy, found)),
            Err(error @ Error::NotEvaluated { .. }) if !ask.policies_asked => left_out.push(error),
            Err(error) => return Err(error),
        }
    }
    let Some((_, all)) = loaded.first() else {
        return Err(left_out.pop().unwrap_or_else(|| Error::Unexpected("no policy can be compared".to_owned())));
    };
    let tested = all.data.iter().any(|facts| facts.test.rows > 0);
    let splits: Vec<Split> = ask.splits.iter().copied().filter(|split| tested || *split == Split::Val).collect();
    if splits.is_empty() {
        return Err(Error::Usage(format!("`{}` has no test scores: --split val compares its groups on validation", sweep.title)));
    }
    // Comparable data sets count as one: same labels, same numbers of rows and positives.
    let (_, of_facts) = super::group::data_sets(&all.data, split);
    let runs: Vec<Run> = all.runs.iter().map(|run| Run { data: of_facts[run.data], ..run.clone() }).collect();
    let groups = selectors.iter().map(|selector| pairs::select(&runs, &all.keys, selector)).collect::<Result<Vec<_>, _>>()?;
    let (first, others) = groups.split_first().ok_or_else(|| Error::Usage("name at least two groups".to_owned()))?;
    let paired = |group: &pairs::RunGroup| Ok((group.clone(), pairs::pair(&runs, &all.keys, first, group)?));
    let others = others.iter().map(paired).collect::<Result<Vec<_>, Error>>()?;
    let mut values = Vec::new();
    for &split in &splits {
        for &metric in &ask.metrics {
            let ranking = is_of_rankings(metric);
            for (policy, loaded) in loaded.iter().take(if ranking { 1 } else { usize::MAX }) {
                let value = |score: &super::score::Score| Some((score.run, score.values[place(metric)]?));
                let of_run = loaded.shown(split).iter().filter_map(value).collect();
                let policy = (!ranking).then(|| policy.to_string());
                values.push(groups::Values { split, metric, policy, of_run });
            }
        }
    }
    let data: Vec<usize> = all.runs.iter().map(|run| run.data).collect();
    let overlap = all.data.first().map_or([0.0; 2], |facts| [Split::Val, Split::Test].map(|split| overlap(facts, split)));
    let replicates = groups::Replicates { data: &data, overlap };
    let mut found = groups::compare(&sweep.title, &runs, first, &others, &values, &replicates, ask.rope);
    let recorded = runs.iter().filter(|run| run.row.state == "succeeded");
    found.notes.extend(store::mixed_formats(&recorded.map(|run| run.row.format).collect::<Vec<_>>()));
    found.notes.extend(all.search.iter().flat_map(super::searched::SearchView::notes));
    found.notes.extend(all.rounded.sentence());
    if splits.len() < ask.splits.len() {
        found.notes.push(
            "there are no test scores: the groups are compared on val alone, where strategies and thresholds were chosen"
                .to_owned(),
        );
    }
    found.notes.extend(left_out.iter().map(ToString::to_string));
    for (_, loaded) in &loaded {
        if let Some((run, why)) = loaded.lost.first() {
            let run = run.get(..8).unwrap_or(run);
            found.notes.push(format!(
                "{} runs are missing, for their kept scores cannot be read; the first is {run}: {why}",
                loaded.lost.len()
            ));
        }
    }
    Ok(found)
}
