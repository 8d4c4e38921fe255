//! The view model of a report: what every format renders, and what `--format json` prints as it is.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::explain::Why;
use super::question::Split;
use super::samplers::SamplerLine;
use super::searched::SearchView;
use store::{CurvePoint, SweepRun};

/// A mean over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Spread {
    pub mean: f64,
    /// Sample standard deviation (ddof = 1); `None` for one run.
    pub sd: Option<f64>,
    /// Runs for which the value is defined.
    pub n: usize,
}

impl Spread {
    /// `None` without values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let sd = (n > 1).then(|| (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt());
        (n > 0).then_some(Self { mean, sd, n })
    }
}

/// Version of [`Summary`].
pub const SCHEMA_VERSION: u32 = 1;

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Version of this form: it grows when a field changes its meaning or goes.
    pub schema_version: u32,
    pub sweep: String,
    /// `running`, `done`, `failed` or `interrupted`.
    pub state: String,
    pub metric: &'static str,
    pub lower_is_better: bool,
    /// The split whose values are shown; the order is always that of val.
    pub split: Split,
    /// `best`, `last` or a number.
    pub epoch: String,
    /// The columns that make a row, besides the policy.
    pub group_by: Vec<String>,
    pub policies: Vec<String>,
    pub runs: RunTally,
    pub data: Vec<DataSet>,
    /// Strategies before `--top`.
    pub strategies: usize,
    /// By data set, then best first.
    pub rows: Vec<Row>,
    /// What the samplers drew, by data set.
    pub samplers: Vec<SamplerLine>,
    /// Strategies of which no run is recorded.
    pub without_results: Vec<Absent>,
    /// What a search did instead of training the whole grid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchView>,
    /// Notes that a reader needs to understand the numbers.
    pub notes: Vec<String>,
    /// Which strategies rank alike, and what to choose; `None` where it was not asked for, where scores are not kept, or where it
    /// would take long.
    pub why: Option<Why>,
    /// Every epoch of every run, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curves: Option<Vec<CurvePoint>>,
}

/// The number of the sweep's runs by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunTally {
    pub total: usize,
    pub recorded: usize,
    pub failed: usize,
    /// Queued or running.
    pub left: usize,
    /// Stopped for good, on request or by a search.
    pub stopped_early: usize,
    /// A search does not train them.
    pub left_out: usize,
}

impl RunTally {
    /// Counts a run.
    pub fn count(&mut self, run: &SweepRun) {
        *match run.state.as_str() {
            "succeeded" => &mut self.recorded,
            _ if run.stopped_early => &mut self.stopped_early,
            _ if run.left_out => &mut self.left_out,
            "failed" => &mut self.failed,
            _ => &mut self.left,
        } += 1;
    }
}

/// Data sets with the same labels and counts: what is comparable.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataSet {
    /// Hashes of their content.
    pub content: Vec<String>,
    pub labels: Vec<String>,
    /// Rows of the split.
    pub rows: usize,
    /// Positives of each label in the split.
    pub positives: Vec<usize>,
    /// Rows of the split that do not know each label; empty where every cell is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<usize>,
    /// Share of positives among the known cells; where all are known, the mean over labels.
    pub prevalence: f64,
    /// Labels without a positive in a split: macro F1, precision and recall count them as 0, macro AP and AUC leave them out.
    pub without_positives: WithoutPositives,
}

/// Labels without a positive, by split.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WithoutPositives {
    pub val: Vec<String>,
    pub test: Vec<String>,
}

/// A strategy under one policy, averaged over its runs; or what it is to be held against: the all-positive baseline, a reference run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// From 1, among the strategies of its data set on val; equal values share it. The baseline and the reference runs have the rank
    /// that they would have and take none from a strategy. `None` where the metric is undefined.
    pub rank: Option<usize>,
    /// Index into [`Summary::data`].
    pub data: usize,
    /// The trivial baseline: every label predicted for every row.
    pub baseline: bool,
    /// The reference run that it is (`logistic`, `logistic_balanced`), always at the strength that val has chosen.
    pub reference: Option<&'static str>,
    /// Column → value, null where a strategy has none; empty for the baseline.
    pub strategy: Map<String, Value>,
    /// `all_positive` for the baseline.
    pub policy: String,
    /// Runs that were averaged, and runs of the sweep.
    pub n: usize,
    pub of: usize,
    /// Every metric that was asked for and is defined, on the split that is shown.
    pub metrics: BTreeMap<&'static str, Spread>,
    /// The ranking metric on val, on the rows that thresholds are fitted on.
    pub val: Option<Spread>,
    /// The same on val rows that they were not fitted on, which ranks; over the runs of which it is known. The value itself where nothing is
    /// fitted.
    pub held_out: Option<Spread>,
    pub predicted_rate: Option<Spread>,
    /// Fingerprints.
    pub runs: Vec<String>,
    /// The rows (places in [`Summary::rows`]) of other strategies with the same counts for every label under this policy, and the same
    /// values of the metrics that are shown, to the three digits of a table.
    pub equal_to: Vec<usize>,
    /// Gradient steps of its runs, median; `None` where they are not recorded.
    pub steps: Option<i64>,
    /// Means over the runs, one line per label; empty where labels were not asked for.
    pub labels: Vec<LabelLine>,
    /// Mean val macro_ap at each evaluation, where curves were asked for; of strategies only.
    #[serde(skip)]
    pub curve: Vec<Option<f64>>,
    /// Mean macro_ap on val, which orders equal rows.
    #[serde(skip)]
    pub val_ap: Option<f64>,
    /// Its evaluations, counted among those on the split that is shown.
    #[serde(skip)]
    pub members: Vec<usize>,
}

impl Row {
    /// What ranks it.
    #[must_use]
    pub fn ranked_by(&self) -> Option<Spread> {
        self.held_out.or(self.val)
    }

    /// Whether it is a strategy of the grid, which ranks are for.
    #[must_use]
    pub fn is_strategy(&self) -> bool {
        !self.baseline && self.reference.is_none()
    }
}

/// A label of a row: means over its runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LabelLine {
    pub label: String,
    /// `None` without positives.
    pub ap: Option<f64>,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub threshold: f64,
    /// Rows that know the label; `None` where all do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<usize>,
    pub prevalence: f64,
    pub predicted_rate: f64,
}

/// A strategy of which no run is recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Absent {
    pub strategy: Map<String, Value>,
    pub failed: usize,
    /// Queued or running.
    pub left: usize,
    /// Stopped early, or left out by a search.
    pub stopped: usize,
    /// Recorded, but without values on this split, epoch and policy.
    pub elsewhere: usize,
}
