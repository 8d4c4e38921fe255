//! The leaderboard of a page, from the same summary as the table of `sweep report`.

use std::collections::HashMap;

use serde_json::Value;

use super::super::columns::Layout;
use super::super::question::{Question, Split, columns};
use super::super::summary::{Row, Summary};
use super::super::{equal, load, rank};
use super::model::{BoardRow, Column, Model, RowKind, SCHEMA_VERSION, SweepHead};
use crate::error::Error;
use store::{Reader, SweepRow};

/// The model of the sweep's leaderboard.
///
/// # Errors
/// The database; an epoch or a column that the sweep does not have.
pub async fn board(reader: &mut Reader, sweep: SweepRow, question: &Question) -> Result<Model, Error> {
    let on_val = Question { split: Split::Val, ..question.clone() };
    let on_test = Question { split: Split::Test, ..question.clone() };
    let loaded = load::load(reader, sweep, &on_test).await?;
    let names = columns(&question.group_by, &loaded.keys)?;
    let mut summary = rank::rank(&loaded, &on_val, &names);
    let alike = equal::candidates(&summary);
    let places: Vec<usize> = alike.iter().flatten().copied().collect();
    let parts = load::labels(reader, &loaded, &on_val, &summary, &places).await?;
    equal::mark(&mut summary, &alike, &parts);
    let test = rank::rank(&loaded, &on_test, &names);
    Ok(model(&summary, &test))
}

fn model(summary: &Summary, test: &Summary) -> Model {
    let layout = Layout::of(summary);
    let on_test: HashMap<String, &Row> = test.rows.iter().map(|row| (key(row), row)).collect();
    let keys: Vec<String> = summary.rows.iter().map(key).collect();
    let row = |(row, key): (&Row, &String)| BoardRow {
        key: key.clone(),
        strategy: strategy_key(row),
        kind: match row {
            Row { baseline: true, .. } => RowKind::AllPositive,
            Row { reference: Some(_), .. } => RowKind::Reference,
            _ => RowKind::Strategy,
        },
        data: row.data,
        rank: row.rank,
        names: layout.names(row),
        policy: row.policy.clone(),
        n: row.n,
        of: row.of,
        val: row.val,
        held_out: row.held_out,
        test: on_test.get(key).and_then(|row| row.metrics.get(test.metric).copied()),
        ap: row.metrics.get("macro_ap").copied(),
        predicted: row.predicted_rate.map(|rate| rate.mean),
        steps: row.steps,
        equal_to: row.equal_to.iter().filter_map(|&other| keys.get(other).cloned()).collect(),
    };
    Model {
        schema_version: SCHEMA_VERSION,
        sweep: SweepHead { title: summary.sweep.clone(), state: summary.state.clone() },
        runs: summary.runs,
        metric: summary.metric.to_owned(),
        lower_is_better: summary.lower_is_better,
        epoch: summary.epoch.clone(),
        policies: summary.policies.clone(),
        columns: layout.columns().into_iter().map(|(name, title, numeric)| Column { name, title, numeric }).collect(),
        rows: summary.rows.iter().zip(&keys).map(row).collect(),
    }
}

/// A name for a row that stays the same when others come or go.
fn key(row: &Row) -> String {
    hash(&format!("{} {}", strategy_key(row), row.policy))
}

/// The same for the strategy of a row.
pub fn strategy_key(row: &Row) -> String {
    let name = if row.baseline { "all-positive" } else { row.reference.unwrap_or_default() };
    hash(&format!("{} {name} {}", row.data, Value::Object(row.strategy.clone())))
}

/// The start of the text's BLAKE3, as long as a short fingerprint and a half.
fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..12].to_owned()
}
