//! The view model of the page: the JSON that stands in it, and what its HTML is rendered from. docs/page.schema.json is generated from
//! these types. Lists whose items have a `key` are patched by key on a live page.

use serde::Serialize;

use super::super::summary::{RunTally, Spread};

/// Version of [`Model`]: it grows when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that the page shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    pub schema_version: u32,
    pub sweep: SweepHead,
    pub runs: RunTally,
    /// The metric that ranks; what it is on val rows that thresholds were not fitted on decides the order.
    pub metric: String,
    pub lower_is_better: bool,
    /// `best`, `last` or a number.
    pub epoch: String,
    /// In the order of the grid.
    pub policies: Vec<String>,
    /// The axes in which strategies differ.
    pub columns: Vec<Column>,
    /// By data set, then best first.
    pub rows: Vec<BoardRow>,
}

/// Which sweep, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepHead {
    pub title: String,
    /// `running`, `done`, `failed` or `interrupted`.
    pub state: String,
}

/// A column of the leaderboard that names strategies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// As `--group-by` takes it.
    pub name: String,
    pub title: String,
    pub numeric: bool,
}

/// What a row of the leaderboard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// A strategy of the grid under a policy.
    Strategy,
    /// A logistic regression on the same features.
    Reference,
    /// Every label predicted for every row.
    AllPositive,
}

/// A row of the leaderboard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoardRow {
    /// Of the strategy and the policy.
    pub key: String,
    /// Key of the strategy.
    pub strategy: String,
    pub kind: RowKind,
    /// Index into the data sets.
    pub data: usize,
    /// From 1 within the data set; `None` where the metric is undefined.
    pub rank: Option<usize>,
    /// One value for each of [`Model::columns`].
    pub names: Vec<String>,
    pub policy: String,
    /// Runs with a result, and runs of the sweep.
    pub n: usize,
    pub of: usize,
    /// The metric on the val rows that thresholds were fitted on, and on those that they were not.
    pub val: Option<Spread>,
    pub held_out: Option<Spread>,
    /// The metric on test, under the thresholds of val.
    pub test: Option<Spread>,
    /// Macro AP on val.
    pub ap: Option<Spread>,
    /// Share of cells of val that are predicted.
    pub predicted: Option<f64>,
    /// Median over the runs.
    pub steps: Option<i64>,
    /// Keys of rows with the same counts for every label.
    pub equal_to: Vec<String>,
}
