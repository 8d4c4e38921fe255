//! The view model of the page: the JSON that stands in it, and what its HTML is rendered from. docs/page.schema.json is generated from
//! these types. Lists whose items have a `key` are patched by key on a live page.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::samplers::SamplerLine;
use super::super::summary::{LabelLine, RunTally, Spread};
use super::axes::AxisShare;
use super::learning::Learning;
use super::mistakes::Pictures;
use super::provenance::Provenance;
use super::verdict::Verdict;

/// Version of [`Model`]: it grows when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that the page shows. What the reader moves is computed on val; test is what was frozen on val.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    pub data: Vec<DataSet>,
    /// `None` where it was not computed: `missing` says why.
    pub verdict: Option<Verdict>,
    /// By data set, then best first.
    pub rows: Vec<BoardRow>,
    /// In the order of their best rows.
    pub strategies: Vec<Strategy>,
    /// The thresholds at which counts are known.
    pub stops: Vec<f64>,
    /// Of the first strategies.
    pub evidence: Vec<Evidence>,
    pub learning: Vec<Learning>,
    pub axes: Vec<AxisShare>,
    /// The labels of the best rows, for readers without scripts.
    pub labels: Vec<RowLabels>,
    /// What the samplers drew, by data set.
    pub samplers: Vec<SamplerLine>,
    pub pictures: Option<Pictures>,
    pub running: Vec<Running>,
    pub failures: Vec<Failure>,
    /// How the numbers are to be read.
    pub notes: Vec<String>,
    /// What the page does not show, and why.
    pub missing: Vec<String>,
    pub provenance: Provenance,
}

/// Which sweep, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SweepHead {
    pub title: String,
    /// `running`, `done`, `failed` or `interrupted`.
    pub state: String,
}

/// A column of the leaderboard that names strategies.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Column {
    /// As `--group-by` takes it.
    pub name: String,
    pub title: String,
    pub numeric: bool,
}

/// Data sets with the same labels and counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DataSet {
    /// Hashes of their content.
    pub content: Vec<String>,
    /// Rows of train, val and test.
    pub rows: [usize; 3],
    /// In the order of the data.
    pub labels: Vec<Label>,
    /// The places of the labels, the rarest first.
    pub rarest: Vec<usize>,
}

/// A label of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Label {
    pub name: String,
    /// Positives in train, val and test.
    pub positives: [usize; 3],
    /// Rows of each that know the label.
    pub known: [usize; 3],
}

/// What a row of the leaderboard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub equal_to: Vec<String>,
}

/// The labels of a row of the leaderboard.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RowLabels {
    pub title: String,
    /// The rarest first.
    pub lines: Vec<LabelLine>,
}

/// A strategy: what was trained, whatever its policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Strategy {
    pub key: String,
    /// The values in which it differs from the others.
    pub name: String,
    pub kind: RowKind,
    /// Index into the data sets.
    pub data: usize,
    /// Runs whose best evaluation is their last and still rises, and runs with several evaluations.
    pub rising: [usize; 2],
    /// How it ranks against the baseline; `None` without a verdict.
    pub ranking: Option<Ranking>,
    /// Its recorded runs; empty for strategies beyond the first ones, as is `ap`.
    pub runs: Vec<Run>,
    /// AP on val of each label, mean over the runs; `None` without positives.
    pub ap: Vec<Option<f64>>,
}

/// How a strategy ranks rows, against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ranking {
    /// `baseline`, `better`, `same`, `worse`, `unknown` or `withheld`.
    pub word: String,
    /// Change of macro AP on the split that judges, with its interval.
    pub change: Option<[f64; 3]>,
}

/// A recorded run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Run {
    /// The start of its fingerprint.
    pub run: String,
    pub seed: i64,
    /// Macro AP on val.
    pub ap: Option<f64>,
    /// By policy: the metric on val, held out, and on test.
    pub values: Vec<[Option<f64>; 3]>,
    /// Whether its kept scores could be read: the sliders move with it.
    pub scores: bool,
}

/// Counts, curves and bins of a strategy, packed: docs/page.md#packed-counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evidence {
    /// Of the strategy.
    pub key: String,
    pub packed: String,
    /// Policy → for each label the middle 90 % of its threshold over resampled rows of val; empty where it was not computed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<String, Vec<Option<[f32; 2]>>>,
}

/// A run under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Running {
    /// The start of its fingerprint.
    pub key: String,
    pub name: String,
    pub seed: i64,
    pub device: String,
    /// Unix seconds.
    pub started_at: f64,
    /// Evaluations so far, at most so many, and gradient steps so far.
    pub evaluations: i64,
    pub of: i64,
    pub steps: Option<i64>,
    pub images_per_s: Option<f64>,
    /// Work without steps, such as the features of a frozen backbone, and how far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    /// Macro AP on val at each evaluation.
    pub ap: Vec<Option<f64>>,
}

/// A run that failed for good.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failure {
    pub key: String,
    pub name: String,
    pub seed: i64,
    pub attempts: i64,
    pub outcome: String,
    pub why: String,
}
