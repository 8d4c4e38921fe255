//! The leaderboard of a page, from the same summary as the table of `sweep report`. Pure.

use std::collections::HashMap;

use serde_json::Value;

use super::super::baseline::baseline;
use super::super::columns::Layout;
use super::super::group::data_sets;
use super::super::load::Loaded;
use super::super::question::Question;
use super::super::score::place;
use super::super::strategy_names::IMPORTED;
use super::super::summary::{Row, Spread, Summary};
use super::super::text_grid::text;
use super::model::{BoardRow, Column, DataSet, Label, RowKind};
use imbalance::LabelCounts;

/// The columns that name strategies.
#[must_use]
pub fn columns(summary: &Summary) -> Vec<Column> {
    let columns = Layout::of(summary).columns().into_iter();
    let columns: Vec<Column> = columns.map(|(name, title, numeric)| Column { name, title, numeric }).collect();
    // Where nothing differs, a row still has a name.
    let unnamed = || vec![Column { name: "loss".to_owned(), title: "strategy".to_owned(), numeric: false }];
    if columns.is_empty() { unnamed() } else { columns }
}

/// The rows, in the order of the summary of val, with what they come to on test.
#[must_use]
pub fn rows(summary: &Summary, loaded: &Loaded, on_test: &Question) -> Vec<BoardRow> {
    let layout = Layout::of(summary);
    let metric = place(summary.metric);
    let values: HashMap<(usize, usize), f64> =
        loaded.test.iter().filter_map(|score| Some(((score.run, score.policy), score.values[metric]?))).collect();
    let (sets, of_facts) = data_sets(&loaded.data, on_test.split);
    // The members of a row are its evaluations on val; the baseline follows from the prevalences.
    let tested = |row: &Row| {
        if row.baseline {
            let facts = &loaded.data[of_facts.iter().position(|&of| of == row.data)?];
            let tested = facts.test.rows > 0;
            return tested
                .then(|| baseline(row.data, &sets[row.data], facts, on_test).metrics.get(summary.metric).copied())
                .flatten();
        }
        let members = row.members.iter().map(|&member| &loaded.val[member]);
        Spread::of(members.filter_map(|score| values.get(&(score.run, score.policy)).copied()))
    };
    let keys: Vec<String> = summary.rows.iter().map(key).collect();
    let row = |(row, key): (&Row, &String)| BoardRow {
        key: key.clone(),
        strategy: strategy_key(row),
        kind: kind(row),
        data: row.data,
        rank: row.rank,
        names: match layout.names(row) {
            _ if row.baseline => vec![],
            names if names.is_empty() => vec![alone(row)],
            names => names,
        },
        policy: row.policy.clone(),
        n: row.n,
        of: row.of,
        val: row.val,
        held_out: row.held_out,
        test: tested(row),
        ap: row.metrics.get("macro_ap").copied(),
        predicted: row.predicted_rate.map(|rate| rate.mean),
        steps: row.steps,
        equal_to: row.equal_to.iter().filter_map(|&other| keys.get(other).cloned()).collect(),
    };
    summary.rows.iter().zip(&keys).map(row).collect()
}

/// The name of a row where nothing differs between strategies.
fn alone(row: &Row) -> String {
    match text(row.strategy.get("loss")) {
        loss if loss == "imported" => IMPORTED.to_owned(),
        loss => loss,
    }
}

/// The data sets of the summary, with the counts of their splits.
#[must_use]
pub fn data(summary: &Summary, loaded: &Loaded) -> Vec<DataSet> {
    let set = |set: &super::super::summary::DataSet| {
        let facts = loaded.data.iter().find(|facts| set.content.contains(&facts.content) && facts.labels == set.labels);
        let splits: Option<[&LabelCounts; 3]> = facts.map(|facts| [&facts.train, &facts.val, &facts.test]);
        let of = |count: &dyn Fn(&LabelCounts) -> usize| splits.map_or([0; 3], |splits| splits.map(count));
        let label = |(at, name): (usize, &String)| Label {
            name: name.clone(),
            positives: of(&|counts| counts.positives.get(at).copied().unwrap_or(0)),
            // A split without rows has no counts: imported scores know nothing of train.
            known: of(&|counts| if at < counts.positives.len() { counts.known(at) } else { 0 }),
        };
        let labels: Vec<Label> = set.labels.iter().enumerate().map(label).collect();
        let mut rarest: Vec<usize> = (0..labels.len()).collect();
        rarest.sort_by_key(|&at| labels[at].positives[1]);
        DataSet { content: set.content.clone(), rows: of(&|counts| counts.rows), labels, rarest }
    };
    summary.data.iter().map(set).collect()
}

/// What a row is.
#[must_use]
pub fn kind(row: &Row) -> RowKind {
    match row {
        Row { baseline: true, .. } => RowKind::AllPositive,
        Row { reference: Some(_), .. } => RowKind::Reference,
        _ => RowKind::Strategy,
    }
}

/// A name for a row that stays the same when others come or go.
fn key(row: &Row) -> String {
    hash(&format!("{} {}", strategy_key(row), row.policy))
}

/// The same for the strategy of a row.
#[must_use]
pub fn strategy_key(row: &Row) -> String {
    let name = if row.baseline { "all-positive" } else { row.reference.unwrap_or_default() };
    hash(&format!("{} {name} {}", row.data, Value::Object(row.strategy.clone())))
}

/// The start of the text's BLAKE3.
fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..10].to_owned()
}
