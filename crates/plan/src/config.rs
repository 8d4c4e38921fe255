//! What decides a run's result, as typed values. Everything here is in canonical form: defaults filled in, unread keys folded
//! away.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Architecture, Stop};
use imbalance::stratification::SplitConfig;
use imbalance::{Choice, PosWeight};
use serde::{Deserialize, Serialize};

/// One run: one training. Its fingerprint is the hash of this, the data's content and [`super::FORMAT`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    pub data: DataConfig,
    pub model: ModelConfig,
    pub train: TrainConfig,
    pub loss: Choice,
    pub pos_weight: PosWeight,
    pub sampler: Choice,
    pub seed: u64,
}

impl RunConfig {
    /// Whether runs of this kind train in one pass with others of their bundle: heads and small networks on fixed inputs;
    /// not the reference runs, which have no steps to share.
    #[must_use]
    pub fn in_one_pass(&self) -> bool {
        if self.reference().is_some() {
            return false;
        }
        let one_pass = |arch: &str| Architecture::trained(arch).is_some_and(|trained| trained.one_pass);
        match self.model.head() {
            // the head of a frozen backbone, on its features
            Some((_, head)) => one_pass(&head.arch),
            None => one_pass(&self.model.arch) && self.model.freeze.is_none(),
        }
    }
}

/// Where the rows come from and how they are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataConfig {
    #[serde(flatten)]
    pub source: Source,
    pub split: SplitConfig,
}

/// The three kinds of data that a sweep file may name, and scores that `sweep import` brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// The built-in oracle data set.
    Letters {
        samples: usize,
        /// (label, P(label)) in the order of the file.
        label_rates: Vec<(String, f64)>,
        /// Edge of the square grey image, in pixels.
        image_size: u32,
        /// s of `y ~ Bern(sigmoid(s g + b))`: how much the image says about the label.
        signal: f64,
        seed: u64,
    },
    /// A folder of images and a CSV.
    Images { root: PathBuf, labels: PathBuf, image: ImageConfig, columns: Columns },
    /// A matrix of features and a CSV whose rows are in the same order.
    Features {
        features: PathBuf,
        labels: PathBuf,
        columns: Columns,
        /// Subtract the train mean and divide by the train deviation, column by column.
        standardize: bool,
    },
    /// Scores of a model that was trained elsewhere: nothing can be trained on them.
    Imported {
        scores: PathBuf,
        labels: PathBuf,
        test_scores: Option<PathBuf>,
        test_labels: Option<PathBuf>,
        /// The files held logits.
        logits: bool,
        /// How the CSVs were read; versions before 0.2 did not keep it.
        #[serde(default)]
        columns: Columns,
    },
}

impl Source {
    /// Whether a row is a picture.
    #[must_use]
    pub fn is_of_images(&self) -> bool {
        matches!(self, Self::Letters { .. } | Self::Images { .. })
    }
}

/// How the CSV is read: which of its columns are not labels, and what its cells mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Columns {
    /// The image's path or the row's id; the first column by default, [`NO_COLUMN`] for none.
    pub path: Option<String>,
    /// `train`, `val`, `test` (or `valid`, `validation`); a column named `split` by default, if there is one, [`NO_COLUMN`] for none.
    pub split: Option<String>,
    /// Rows that share a value never cross splits.
    pub group: Option<String>,
    /// Columns that are neither.
    pub ignore: Vec<String>,
    /// The labels; empty: every column that nothing else is said of.
    pub labels: Vec<String>,
    /// What stands between two cells, in ASCII; found by default.
    pub separator: Option<char>,
    /// Columns whose cells are lists of label names, and what separates the names.
    pub lists: BTreeMap<String, String>,
    /// Entries of lists that are no label: the row has none.
    pub no_label: Vec<String>,
    /// Cells that mean 0, and 1, besides numbers and `true` and `false`.
    pub negative: Vec<String>,
    pub positive: Vec<String>,
    /// What becomes of cells that are blank, NaN or -1.
    pub unknown: Unknown,
    /// Whether rows that show the same become one group; else the same path twice is refused.
    pub group_duplicates: bool,
}

/// The word in the place of a column's name that says that there is no such column.
pub const NO_COLUMN: &str = "none";

/// What becomes of the cells of labels that the CSV leaves open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unknown {
    /// In columns that `labels` does not name.
    pub all: UnknownAs,
    pub labels: BTreeMap<String, UnknownAs>,
    /// Whether val and test count known cells only, and `all` and `labels` are about train alone: where a grid compares them.
    pub judge_known: bool,
}

impl Unknown {
    /// What becomes of the unknown cells of `label`.
    #[must_use]
    pub fn of(&self, label: &str) -> UnknownAs {
        self.labels.get(label).copied().unwrap_or(self.all)
    }
}

/// What an unknown cell is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownAs {
    /// The data is refused.
    #[default]
    Error,
    /// Nothing: losses, counts and metrics leave it out (U-Ignore: Irvin et al., CheXpert, AAAI 2019).
    Ignore,
    /// 0 (U-Zeros).
    Negative,
    /// 1 (U-Ones).
    Positive,
}

impl UnknownAs {
    /// The words of the sweep file.
    pub const NAMES: [&str; 4] = ["error", "ignore", "negative", "positive"];

    /// The value of one of [`Self::NAMES`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "error" => Some(Self::Error),
            "ignore" => Some(Self::Ignore),
            "negative" => Some(Self::Negative),
            "positive" => Some(Self::Positive),
            _ => None,
        }
    }
}

/// How a file becomes a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Edge of the square the network sees, in pixels.
    pub size: u32,
    /// 1 (grey) or 3 (RGB).
    pub channels: u32,
    /// `stretch` (both sides to `size`) or `crop` (short side to `size`, then the centre).
    pub resize: String,
    /// `none` ([0, 1]), `half` ([-1, 1]), `imagenet` or `clip` (mean and deviation of torchvision's models, of OpenAI's).
    pub normalize: String,
    /// Train time: mirror left-right with probability 1/2.
    pub flip: bool,
    /// Train time: pad by this many pixels and crop back at a random place; 0 is off.
    pub crop_padding: u32,
    /// `error` or `skip`.
    pub on_bad_image: String,
    /// Larger images count as bad (decompression bombs).
    pub max_pixels: u64,
    /// How pixels that are not opaque are taken: `drop` (their colour, alpha ignored), or laid over `black` or `white`.
    #[serde(default = "over_black")]
    pub transparency: String,
    /// What is white in images of 16 bits: `full` (65535), or `used` (the data set's largest value, rounded up to 2^k - 1).
    #[serde(default = "full")]
    pub pixel_range: String,
}

/// What versions did that had no `transparency`.
fn over_black() -> String {
    "black".to_owned()
}

/// What versions did that had no `pixel_range`.
fn full() -> String {
    "full".to_owned()
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// `linear`, `mlp`, `cnn`, `densenet121`, or another of [`super::ARCHITECTURES`] where `freeze` says so.
    pub arch: String,
    /// `mlp` and the head of a frozen backbone: units of each hidden layer; `cnn`: channels of each stage. Empty elsewhere.
    pub hidden: Vec<usize>,
    /// Probability of dropping a unit before the head; 0 where the architecture has no dropout.
    pub dropout: f64,
    /// Local safetensors file or `hf://owner/repo@revision/file`.
    pub weights: Option<String>,
    /// blake3 of what is in that file; absent in runs that were recorded before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_hash: Option<String>,
    /// What becomes of the head in that file. `None` where there is nothing to decide (no file, or a frozen backbone), and in runs that
    /// were recorded before it could be said: these kept it where it is for as many labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_head: Option<Head>,
    /// `backbone`: only a head is trained, on features that are computed once ([`ModelConfig::head`]).
    pub freeze: Option<String>,
    /// `bf16`: the products of the frozen backbone are computed in it. `None`: in f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
}

/// What becomes of the head in a file of weights (`model.head`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// It is left out: the run starts with a new one.
    New,
    /// The run starts with it; it must be for as many labels.
    Keep,
}

impl ModelConfig {
    /// A network that is trained from scratch, without dropout.
    #[must_use]
    pub fn new(arch: impl Into<String>, hidden: impl Into<Vec<usize>>) -> Self {
        Self {
            arch: arch.into(),
            hidden: hidden.into(),
            dropout: 0.0,
            weights: None,
            weights_hash: None,
            weights_head: None,
            freeze: None,
            precision: None,
        }
    }

    /// Whether what is trained has feature maps, which `train.precision` is about.
    #[must_use]
    pub fn has_maps(&self) -> bool {
        self.freeze.is_none() && Architecture::trained(&self.arch).is_none_or(|trained| trained.images)
    }
}

/// The training loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Epochs at most; each ends with an evaluation on val.
    pub epochs: usize,
    /// Rows that the sampler draws in an epoch; `None`: those of one of its passes.
    #[serde(default)]
    pub draws: Option<usize>,
    /// When it may end before `epochs`; `None`: never.
    #[serde(default)]
    pub stop: Option<Stop>,
    pub batch_size: usize,
    /// `adam` (beta1, beta2, eps, weight_decay: L2), `adamw` and `adam_mini` (the same, decoupled), `sgd` (momentum, nesterov, weight_decay).
    pub optimizer: Choice,
    pub learning_rate: f64,
    /// `constant`, `step` (every (epochs), factor), `cosine` (final_factor); each with `warmup` (epochs).
    pub schedule: Choice,
    /// Largest L2 norm of the whole gradient; none by default.
    pub grad_clip: Option<f64>,
    /// `f32`, or `bf16` on CUDA: the type of the feature maps. Parameters, logits and sums are f32 in any case.
    pub precision: String,
    pub start: Start,
}

/// Where the head's bias starts (docs/strategies.md#start).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Where the loss of the run, with its weights, is right about the prevalences of train ([`imbalance::loss::start::link`]).
    Link,
    /// At logit(prevalence), whatever the loss: what `prior_bias = true` was.
    Prior,
    /// At 0: what `prior_bias = false` was.
    Zero,
}

impl Start {
    /// The names of the sweep file.
    pub const NAMES: [&str; 3] = ["link", "prior", "zero"];

    pub(super) fn named(name: &str) -> Self {
        match name {
            "prior" => Self::Prior,
            "zero" => Self::Zero,
            _ => Self::Link,
        }
    }

    /// What the key of version 0.1 stands for.
    #[must_use]
    pub fn of_prior_bias(prior_bias: bool) -> Self {
        if prior_bias { Self::Prior } else { Self::Zero }
    }
}

impl std::fmt::Display for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Prior => "prior",
            Self::Zero => "zero",
        })
    }
}
