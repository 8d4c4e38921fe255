//! What the JSON columns hold: types of their own, each with a version, so that the types the program computes with may change. An unknown
//! key is ignored; a key that an older version did not write has a default.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use imbalance::LabelCounts;
use plan::{DataFacts, InputShape, RunConfig};
use protocol::wire;

/// Version of what is written here. Readers of other versions read it all the same and ignore what they do not know.
const VERSION: u32 = 2;

/// The first version had no number.
fn first() -> u32 {
    1
}

/// `runs.config`.
#[derive(Serialize)]
struct Config {
    v: u32,
    #[serde(flatten)]
    config: wire::Config,
}

/// `datasets.facts`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Facts {
    content: String,
    labels: Vec<String>,
    input: Input,
    train: Rows,
    val: Rows,
    test: Rows,
    #[serde(default)]
    folder: PathBuf,
    #[serde(default = "first")]
    v: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Input {
    Image { channels: usize, height: usize, width: usize },
    Features { width: usize },
}

/// A split's rows, the positives of each label among them, and the rows that do not know it, where there are some.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Rows {
    rows: usize,
    positives: Vec<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<usize>,
}

/// The text of a configuration.
pub(crate) fn config_text(config: &RunConfig) -> String {
    crate::json(&Config { v: VERSION, config: config.into() })
}

/// The configuration of a column. Parameters that its strategies did not have when it was written get their defaults; those of
/// unknown strategies stay as they were written.
pub(crate) fn config(row: &SqliteRow, column: usize) -> Result<RunConfig, sqlx::Error> {
    let config: wire::Config = crate::reader::parse(row, column)?;
    let config = RunConfig::from(config);
    Ok(config.clone().admitted().unwrap_or(config))
}

/// The text of a data set's facts; its folder is kept elsewhere.
pub(crate) fn facts_text(facts: &DataFacts) -> String {
    let rows = |LabelCounts { rows, positives, unknown }: &LabelCounts| Rows {
        rows: *rows,
        positives: positives.clone(),
        unknown: unknown.clone(),
    };
    let input = match facts.input {
        InputShape::Image { channels, height, width } => Input::Image { channels, height, width },
        InputShape::Features { width } => Input::Features { width },
    };
    crate::json(&Facts {
        content: facts.content.clone(),
        labels: facts.labels.clone(),
        input,
        train: rows(&facts.train),
        val: rows(&facts.val),
        test: rows(&facts.test),
        folder: PathBuf::new(),
        v: VERSION,
    })
}

/// The facts in a text.
///
/// # Errors
/// Text that no version has written.
pub(crate) fn facts_of(text: &str) -> Result<DataFacts, serde_json::Error> {
    let Facts { content, labels, input, train, val, test, folder, .. } = serde_json::from_str(text)?;
    let counts = |Rows { rows, positives, unknown }| LabelCounts::new(rows, positives).with_unknown(unknown);
    let input = match input {
        Input::Image { channels, height, width } => InputShape::Image { channels, height, width },
        Input::Features { width } => InputShape::Features { width },
    };
    Ok(DataFacts { content, labels, input, train: counts(train), val: counts(val), test: counts(test), folder })
}

/// The facts in a column.
pub(crate) fn facts(row: &SqliteRow, column: usize) -> Result<DataFacts, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    facts_of(text).map_err(|source| sqlx::Error::ColumnDecode { index: column.to_string(), source: source.into() })
}

/// The policy in a column.
pub(crate) fn policy(row: &SqliteRow, column: usize) -> Result<imbalance::threshold::Policy, sqlx::Error> {
    crate::reader::parse::<wire::Policy>(row, column).map(Into::into)
}

/// The text of a policy.
pub(crate) fn policy_text(policy: &imbalance::threshold::Policy) -> String {
    crate::json(&wire::Policy::from(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts are read as they were written; those of data without unknown cells have no key for them.
    #[test]
    fn facts_keep_unknown_cells() {
        let known = crate::tests::fixture::facts();
        let partly = DataFacts { test: known.test.clone().with_unknown(vec![0, 7, 150, 1]), ..known.clone() };
        for facts in [known, partly] {
            let text = facts_text(&facts);
            let read = facts_of(&text).unwrap();
            assert_eq!((&read.train, &read.val, &read.test), (&facts.train, &facts.val, &facts.test));
            assert_eq!(text.contains("unknown"), !facts.test.unknown.is_empty(), "{text}");
        }
    }
}
