//! Points → distinct runs → bundles: what a sweep file asks for, once the data's facts are known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataConfig, ModelConfig, RunConfig, Searched, trained_macs};
use imbalance::LabelCounts;
use imbalance::threshold::Policy;

/// The name of a run everywhere: blake3 over canonical configuration, data content and [`super::FORMAT`], as 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

/// Ends the name of a training that is to replace a recorded run.
const AGAIN: &str = "-again";

impl Fingerprint {
    /// The first eight digits, as shown on screens.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }

    /// Whether it is of ASCII letters, digits and `-`, as every run's name is. Files and folders are called after runs, so a name from
    /// a foreign journal or database that is not must not be followed.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    }

    /// The name of the training that is to replace this recorded run.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(format!("{}{AGAIN}", self.0))
    }

    /// The recorded run that the training of this name is to replace; `None` for a name of any other form.
    #[must_use]
    pub fn replaced(&self) -> Option<Self> {
        self.0.strip_suffix(AGAIN).map(|name| Self(name.to_owned()))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a plan must know about one data configuration: all of it comes from the prepared data set (`data::prepare`).
/// Imported scores have no inputs (`Features` of width 0) and no folder; splits that nobody knows of have 0 rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Hash of the rows' content, labels and split; paths and times do not enter.
    pub content: String,
    pub labels: Vec<String>,
    pub input: crate::InputShape,
    pub train: LabelCounts,
    pub val: LabelCounts,
    pub test: LabelCounts,
    /// Folder of the prepared data set, for workers; not part of any fingerprint.
    pub folder: std::path::PathBuf,
}

/// A distinct training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedRun {
    pub fingerprint: Fingerprint,
    pub config: RunConfig,
    /// Index into [`Plan::data`].
    pub data: usize,
    /// Resolved positive weights, one per label; empty where they are undefined ([`super::Sweep::outline`]).
    pub pos_weight: Vec<f64>,
    /// How this sweep names it: the columns of the views.
    pub name: RunName,
    /// Index into [`Plan::bundles`].
    pub bundle: usize,
}

/// The identifying columns of the views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunName {
    /// `bce`, `focal`, `asl(clip=0.05)`: the kind, with the parameters that were typed inline.
    pub loss: String,
    pub pos_weight: String,
    /// `None` where the loss has none.
    pub gamma: Option<f64>,
    pub sampler: String,
    pub seed: u64,
    /// Every other axis: dotted key → value.
    pub params: BTreeMap<String, serde_json::Value>,
}

/// Points that did not become a run of their own, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Merged {
    /// One sentence: "`gamma` means nothing to bce", "`focal` with gamma 0 and no alpha is bce", "threshold does not train", ...
    pub reason: String,
    pub points: usize,
}

/// Most runs of a bundle: more do not share the passes over the inputs noticeably better.
pub const TOGETHER: usize = 128;
/// Bytes that the parameters of a bundle take, with their gradients and the optimizer's two means of each.
pub const BUNDLE_BYTES: usize = 256 << 20;

/// How many runs of `model` a bundle has at most.
#[must_use]
pub fn most_together(model: &ModelConfig, facts: &DataFacts) -> usize {
    let bytes = 16 * trained_macs(model, facts.input, facts.labels.len()) as usize;
    (BUNDLE_BYTES / bytes.max(1)).clamp(1, TOGETHER)
}

/// Runs that can train together: same data, backbone, batch order (sampler, seed, batch size) and epochs; as many as
/// [`most_together`] allows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bundle {
    /// Indices into [`Plan::runs`].
    pub runs: Vec<usize>,
}

/// What a sweep file comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub name: String,
    /// Size of the full product, before `exclude` and `include`.
    pub product: usize,
    /// Points dropped by `exclude`: (the rule as typed, points).
    pub excluded: Vec<(String, usize)>,
    pub included: usize,
    /// The run of each combination of the grid's values: an index into `runs`.
    pub points: Vec<usize>,
    /// What the search takes of the grid; `None`: all of it.
    pub search: Option<Searched>,
    /// The axes of `train.tune`: each strategy gets their best value.
    pub tuned: Vec<String>,
    /// Those of the points, then the reference runs.
    pub runs: Vec<PlannedRun>,
    pub merged: Vec<Merged>,
    pub bundles: Vec<Bundle>,
    /// The grid's threshold policies: every run is evaluated under each.
    pub policies: Vec<Policy>,
    /// The distinct data configurations of the grid, in order of first use, and their facts.
    pub data: Vec<(DataConfig, DataFacts)>,
}

impl Plan {
    /// The runs of the grid's points, without the reference runs.
    pub fn of_grid(&self) -> impl Iterator<Item = &PlannedRun> {
        self.runs.iter().filter(|run| run.config.reference().is_none())
    }

    /// The number of reference runs.
    #[must_use]
    pub fn references(&self) -> usize {
        self.runs.len() - self.of_grid().count()
    }
}
