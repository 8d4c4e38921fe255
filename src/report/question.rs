//! The options of a report as checked values, and the columns that its rows may have.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::Error;
use imbalance::nearest;
use imbalance::threshold::Policy;
use store::{At, METRICS, SweepRun};

/// The splits that are reported. Strategies are ranked on val, whichever is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Val,
    Test,
}

impl Split {
    /// As the database names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// The labels of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChoice {
    /// All where they are few; otherwise the rarest, and those that are predicted worst.
    Rare,
    All,
    /// As typed: a label, or several with commas between them.
    Named(String),
}

impl LabelChoice {
    /// What `--labels` says.
    #[must_use]
    pub fn read(typed: &str) -> Self {
        match typed {
            "rare" => Self::Rare,
            "all" => Self::All,
            names => Self::Named(names.to_owned()),
        }
    }

    /// The places of the labels that are named among `labels`, each once, and the names that none of them has; `None` if no names are
    /// given. A name with a comma is found if it is the only one.
    #[must_use]
    pub fn find<'t>(&'t self, labels: &[String]) -> Option<(Vec<usize>, Vec<&'t str>)> {
        let Self::Named(typed) = self else { return None };
        let place = |name: &str| labels.iter().position(|label| label == name);
        if let Some(whole) = place(typed) {
            return Some((vec![whole], vec![]));
        }
        let (mut places, mut unknown) = (Vec::new(), Vec::new());
        for name in typed.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match place(name) {
                Some(place) if places.contains(&place) => {}
                Some(place) => places.push(place),
                None => unknown.push(name),
            }
        }
        Some((places, unknown))
    }
}

/// A question to one sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// One of [`METRICS`].
    pub metric: &'static str,
    /// Those of [`METRICS`] that are shown beside it.
    pub metrics: &'static [&'static str],
    pub split: Split,
    pub at: At,
    /// The only policy, or those of the grid.
    pub policy: Option<Policy>,
    /// Columns as typed; empty: every identifying column but the seed.
    pub group_by: Vec<String>,
    /// Rows that are shown; all by default.
    pub top: Option<usize>,
    /// Shown rows that get their labels.
    pub detailed: usize,
    /// Which labels they get; all, in the order of the data, if it is not said.
    pub labels: Option<LabelChoice>,
    /// Whether to say why in brief.
    pub why: bool,
    /// Whether to read the learning curves.
    pub curves: bool,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            metric: "macro_f1",
            metrics: &METRICS,
            split: Split::Val,
            at: At::Best,
            policy: None,
            group_by: Vec::new(),
            top: None,
            detailed: usize::MAX,
            labels: None,
            why: true,
            curves: false,
        }
    }
}

impl Question {
    /// Whether smaller values of the metric are better.
    #[must_use]
    pub fn lower_is_better(&self) -> bool {
        super::score::lower_is_better(self.metric)
    }
}

/// The error for an unknown value `typed` of `what`: the allowed ones and the nearest.
#[must_use]
pub fn unknown(what: &str, typed: &str, allowed: &[&str]) -> Error {
    let hint = nearest(typed, allowed.iter().copied()).map_or_else(String::new, |known| format!(" (did you mean `{known}`?)"));
    Error::Usage(format!("{what} has no `{typed}`{hint}; there are {}", allowed.join(", ")))
}

/// An identifying column of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Loss,
    PosWeight,
    Gamma,
    Sampler,
    Seed,
    /// Any other axis: its dotted key.
    Param(String),
}

impl Column {
    /// As the views name it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Loss => "loss",
            Self::PosWeight => "pos_weight",
            Self::Gamma => "gamma",
            Self::Sampler => "sampler",
            Self::Seed => "seed",
            Self::Param(key) => key,
        }
    }

    /// The run's value, null where it has none.
    #[must_use]
    pub fn value(&self, run: &SweepRun, params: &Map<String, Value>) -> Value {
        match self {
            Self::Loss => run.loss.as_str().into(),
            Self::PosWeight => run.pos_weight.as_str().into(),
            Self::Gamma => run.gamma.into(),
            Self::Sampler => run.sampler.as_str().into(),
            Self::Seed => run.seed.into(),
            Self::Param(key) => params.get(key).cloned().unwrap_or_default(),
        }
    }
}

/// The columns that make a row: those of `--group-by`, or all but the seed. `keys` are the sweep's other axes. The policy is not
/// among them because it always makes a row: averaging over policies would count each run several times.
///
/// # Errors
/// [`Error::Usage`] for a column that the sweep does not have.
pub fn columns(typed: &[String], keys: &[String]) -> Result<Vec<Column>, Error> {
    let own = [Column::Loss, Column::PosWeight, Column::Gamma, Column::Sampler];
    if typed.is_empty() {
        return Ok(own.into_iter().chain(keys.iter().cloned().map(Column::Param)).collect());
    }
    let mut found = Vec::new();
    for name in typed.iter().filter(|name| !["policy", "threshold"].contains(&name.as_str())) {
        let column = column(name, keys).map_err(|mut names| {
            names.push("policy".to_owned());
            unknown("--group-by", name, &names.iter().map(String::as_str).collect::<Vec<_>>())
        })?;
        if !found.contains(&column) {
            found.push(column);
        }
    }
    Ok(found)
}

/// Every column of a sweep's runs; `keys` are its axes without a column of their own.
#[must_use]
pub fn every_column(keys: &[String]) -> Vec<Column> {
    let own = [Column::Loss, Column::PosWeight, Column::Gamma, Column::Sampler, Column::Seed];
    own.into_iter().chain(keys.iter().cloned().map(Column::Param)).collect()
}

/// The column `name`; `learning_rate` will do for `train.learning_rate` where no other key ends so.
///
/// # Errors
/// No such column; the error lists those that exist.
pub fn column(name: &str, keys: &[String]) -> Result<Column, Vec<String>> {
    let every = every_column(keys);
    let mut ending = every.iter().filter(|column| column.name().rsplit('.').next() == Some(name));
    let exact = every.iter().find(|column| column.name() == name);
    let found = exact.or_else(|| ending.next().filter(|_| ending.next().is_none()));
    found.cloned().ok_or_else(|| every.iter().map(|column| column.name().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_their_names() {
        let labels = ["A", "b, c", "D"].map(str::to_owned);
        let find = |typed: &'static str| LabelChoice::Named(typed.to_owned()).find(&labels).map(|(places, _)| places);
        assert_eq!([find("D, A,D"), find("b, c"), find("")], [Some(vec![2, 0]), Some(vec![1]), Some(vec![])]);
        assert_eq!(LabelChoice::read("A,X").find(&labels).unwrap(), (vec![0], vec!["X"]));
        assert!(["all", "rare"].map(LabelChoice::read).iter().all(|choice| choice.find(&labels).is_none()));
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let keys = ["data.seed".to_owned(), "train.learning_rate".to_owned()];
        let names = |typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(ToString::to_string).collect();
            columns(&typed, &keys).map(|found| found.iter().map(|column| column.name().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["loss", "pos_weight", "gamma", "sampler", "data.seed", "train.learning_rate"]);
        assert_eq!(names(&["learning_rate", "loss", "loss", "threshold"]).unwrap(), ["train.learning_rate", "loss"]);
        // the run's own seed, not the data's
        assert_eq!(names(&["seed"]).unwrap(), ["seed"]);
        assert_eq!(names(&["policy"]).unwrap(), [""; 0]);
        let error = names(&["samplr"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `sampler`?") && error.ends_with("train.learning_rate, policy"), "{error}");
    }
}
