//! The runs of a sweep as other programs list them, and everything that was measured of one as a list of values. Pure.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::names::{Distinct, part};
use crate::report::{axis_value, setting, strategy};
use store::{EpochPoint, ListedRun, METRICS, Points};

/// A run with its axes read.
pub struct NamedRun {
    pub row: ListedRun,
    /// What runs that differ in their seed have in common: strategy and setting.
    pub strategy: String,
    /// Every axis but the seed; those that a run does not have are not there.
    pub axes: BTreeMap<String, Value>,
}

impl NamedRun {
    pub fn new(row: ListedRun) -> Self {
        // The table's check admits JSON only, the writer writes objects only.
        let params: Map<String, Value> = serde_json::from_str(&row.params).unwrap_or_default();
        let name = strategy(&row.loss, &row.pos_weight, row.gamma, &row.sampler, &params);
        let setting = setting(&params, &[]).into_iter().map(|(key, value)| format!(", {key}={value}"));
        let strategy = std::iter::once(name).chain(setting).collect();
        let words = [("loss", &row.loss), ("pos_weight", &row.pos_weight), ("sampler", &row.sampler)];
        let mut axes: BTreeMap<String, Value> = params.into_iter().filter(|(_, value)| !value.is_null()).collect();
        axes.extend(words.map(|(key, word)| (key.to_owned(), word.as_str().into())));
        axes.extend(row.gamma.map(|gamma| ("gamma".to_owned(), gamma.into())));
        Self { row, strategy, axes }
    }

    /// Unix seconds.
    pub fn started(&self) -> f64 {
        self.row.started_at.unwrap_or(self.row.created_at)
    }

    /// The epoch whose weights are kept, of a run with a result.
    pub fn best_epoch(&self) -> Option<i64> {
        self.row.best_epoch.filter(|_| self.row.state == "succeeded")
    }
}

/// An axis as text.
pub fn text(value: &Value) -> String {
    axis_value(Some(value))
}

/// When the epochs of a run ended. Imported scores have no epochs: theirs ended with the import.
pub struct Clock {
    epochs: HashMap<i64, f64>,
    end: f64,
}

impl Clock {
    pub fn of(run: &NamedRun, epochs: &[EpochPoint]) -> Self {
        let end = run.row.finished_at.unwrap_or_else(|| run.started());
        Self { epochs: epochs.iter().map(|point| (point.epoch, point.finished_at)).collect(), end }
    }

    /// Unix seconds.
    pub fn at(&self, epoch: i64) -> f64 {
        self.epochs.get(&epoch).copied().unwrap_or(self.end)
    }
}

/// The names of the labels of a data set as parts of the names of metrics, each with the label where that is another text.
pub struct LabelNames {
    names: Vec<String>,
    changed: Vec<(String, String)>,
}

impl LabelNames {
    pub fn new(labels: Vec<String>) -> Self {
        let mut distinct = Distinct::default();
        let names: Vec<String> = labels.iter().map(|label| distinct.give(part(label))).collect();
        let changed = names.iter().cloned().zip(labels).filter(|(name, label)| name != label).collect();
        Self { names, changed }
    }

    pub fn get(&self, place: i64) -> Option<&str> {
        self.names.get(usize::try_from(place).ok()?).map(String::as_str)
    }

    /// Names with the labels that they stand for.
    pub fn changed(&self) -> &[(String, String)] {
        &self.changed
    }
}

/// One value.
pub struct Measured<'p> {
    pub epoch: i64,
    pub split: &'p str,
    /// `None` for what does not depend on a threshold.
    pub policy: Option<&'p str>,
    pub metric: &'static str,
    /// Whether the thresholds were fitted on other rows.
    pub held_out: bool,
    /// The place of a label; `None` over all labels.
    pub label: Option<i64>,
    pub value: f64,
}

/// What a value of the best epoch is called besides: programs that show the last value of a metric show that of the last epoch, and this one
/// counts. Val comes first, since strategies are chosen on it.
pub fn best(split: &str, rest: &str) -> String {
    if split == "val" { format!("best/{rest}") } else { format!("best_{split}/{rest}") }
}

/// All values of a run that are defined.
pub fn measured(points: &Points) -> Vec<Measured<'_>> {
    let mut all = Vec::new();
    for point in &points.rankings {
        let names = if point.label.is_some() { ["ap", "auc"] } else { ["macro_ap", "macro_auc"] };
        for (metric, value) in names.into_iter().zip([point.ap, point.auc]) {
            let value = value.map(|value| Measured {
                epoch: point.epoch,
                split: &point.split,
                policy: None,
                metric,
                held_out: false,
                label: point.label,
                value,
            });
            all.extend(value);
        }
    }
    for point in &points.policies {
        for (metric, value) in METRICS.into_iter().zip(point.metrics.0) {
            let value = value.map(|value| Measured {
                epoch: point.epoch,
                split: &point.split,
                policy: Some(&point.policy),
                metric,
                held_out: point.held_out,
                label: None,
                value,
            });
            all.extend(value);
        }
    }
    for point in &points.labels {
        let values = [
            ("f1", Some(point.f1)),
            ("precision", Some(point.precision)),
            ("recall", Some(point.recall)),
            ("f1", point.held_out_f1),
        ];
        for (place, (metric, value)) in values.into_iter().enumerate() {
            let value = value.map(|value| Measured {
                epoch: point.epoch,
                split: &point.split,
                policy: Some(&point.policy),
                metric,
                held_out: place == 3,
                label: Some(point.label),
                value,
            });
            all.extend(value);
        }
    }
    all
}
