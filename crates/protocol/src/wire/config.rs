//! What decides a run's result, as an order carries it and the database keeps it. A key that a later version adds has a default here,
//! which is what the runs without it did.

use std::collections::BTreeMap;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use imbalance::threshold;

/// What decides the run's result, all defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Config {
    pub data: Data,
    pub model: Model,
    pub train: Training,
    pub loss: Choice,
    pub pos_weight: PosWeight,
    pub sampler: Choice,
    pub seed: u64,
}

/// Where the rows come from and how they are divided. Paths are the user's: workers read the prepared folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Data {
    #[serde(flatten)]
    pub source: Source,
    pub split: Division,
}

/// The kinds of data; `imported` scores are not trained on, so no order has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Source {
    Letters {
        samples: u64,
        /// (label, rate).
        label_rates: Vec<(String, f64)>,
        image_size: u32,
        signal: f64,
        seed: u64,
    },
    Images {
        root: String,
        labels: String,
        image: Image,
        columns: Columns,
    },
    Features {
        features: String,
        labels: String,
        columns: Columns,
        /// Subtract the train mean and divide by the train deviation (of the population), column by column.
        standardize: bool,
    },
    Imported {
        scores: String,
        labels: String,
        test_scores: Option<String>,
        test_labels: Option<String>,
        /// The files held logits.
        logits: bool,
        #[serde(default)]
        columns: Columns,
    },
}

/// How the CSV was read. Workers read the prepared folder, and of this `unknown` only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Columns {
    pub path: Option<String>,
    pub split: Option<String>,
    pub group: Option<String>,
    pub ignore: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// Column → what separates the label names in its cells.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_label: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub negative: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub positive: Vec<String>,
    #[serde(skip_serializing_if = "Unknown::is_default")]
    pub unknown: Unknown,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub group_duplicates: bool,
}

/// What a 2 in `labels.bin`, a cell that the CSV leaves open, is taken for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Unknown {
    /// Of labels that `labels` does not name.
    pub all: UnknownAs,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, UnknownAs>,
    /// In rows of train only; val and test leave it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub judge_known: bool,
}

impl Unknown {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What an unknown cell is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum UnknownAs {
    /// There is none.
    #[default]
    Error,
    /// Losses, counts and metrics leave it out.
    Ignore,
    Negative,
    Positive,
}

/// How a file became bytes, and how bytes become numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Image {
    /// Edge of the square, in pixels.
    pub size: u32,
    /// 1 (grey) or 3 (RGB).
    pub channels: u32,
    /// `stretch` or `crop`.
    pub resize: String,
    /// `none`, `half`, `imagenet` or `clip`.
    pub normalize: String,
    /// Mirror left-right with probability 1/2 in training.
    #[serde(default)]
    pub flip: bool,
    /// Pad by this many pixels in training and crop back at a random place.
    #[serde(default)]
    pub crop_padding: u32,
    /// `error` or `skip`.
    pub on_bad_image: String,
    pub max_pixels: u64,
    /// `drop`, `black` or `white`.
    #[serde(default = "over_black")]
    pub transparency: String,
    /// `full` or `used`.
    #[serde(default = "full")]
    pub pixel_range: String,
}

/// What a controller of a version without `transparency` prepared.
fn over_black() -> String {
    "black".to_owned()
}

/// What a controller of a version without `pixel_range` prepared.
fn full() -> String {
    "full".to_owned()
}

/// How rows are divided; names the file of the split in the prepared folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Division {
    pub train: f64,
    pub val: f64,
    pub test: f64,
    /// `iterative` or `random`.
    pub method: String,
    pub seed: u64,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Model {
    pub arch: String,
    #[serde(default)]
    pub hidden: Vec<u64>,
    #[serde(default)]
    pub dropout: f64,
    /// An absolute path or `hf://owner/repository/file`.
    #[serde(default)]
    pub weights: Option<String>,
    /// blake3 of the content of `weights`, if the plan has read them.
    #[serde(default)]
    pub weights_hash: Option<String>,
    /// What becomes of the head in `weights`, where a network is trained whole; absent: it is kept where it is for as many labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_head: Option<Head>,
    /// `backbone`: only a head is trained.
    #[serde(default)]
    pub freeze: Option<String>,
    /// `bf16`: what the products of a frozen backbone are computed in; absent: f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
}

/// What becomes of the head in a file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Head {
    /// It is left out.
    New,
    /// It is kept; it must be for as many labels.
    Keep,
}

/// The training loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Training {
    /// Epochs at most; each ends with an evaluation on val.
    pub epochs: u64,
    /// Rows that the sampler draws in an epoch, going on where it was; absent: those of one of its passes.
    #[serde(default)]
    pub draws: Option<u64>,
    /// When the run may end before `epochs`; absent: never.
    #[serde(default)]
    pub stop: Option<Stop>,
    pub batch_size: u64,
    pub optimizer: Choice,
    pub learning_rate: f64,
    pub schedule: Choice,
    /// Largest L2 norm of the whole gradient.
    #[serde(default)]
    pub grad_clip: Option<f64>,
    /// Precision of the feature maps: `f32` or `bf16`.
    #[serde(default = "f32_")]
    pub precision: String,
    /// Where the head's bias starts. Absent in what version 0.1 wrote, which has `prior_bias`.
    #[serde(default)]
    pub start: Option<Start>,
    /// What version 0.1 wrote: `true` is `prior`, `false` is `zero`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prior_bias: bool,
}

/// A run is over once `patience` epochs have passed since the one with the highest val macro AP (the first of equal ones), and
/// `least` epochs are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Stop {
    pub patience: u64,
    pub least: u64,
}

/// Where the head's bias starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Start {
    /// Where the loss of the run, with its weights, is right about the prevalences of train.
    Link,
    /// At logit(prevalence in train), whatever the loss.
    Prior,
    /// At 0.
    Zero,
}

fn f32_() -> String {
    "f32".to_owned()
}

/// A named thing with parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Choice {
    pub kind: String,
    /// Every parameter that is not optional; the key is absent where there is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Setting>,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Setting {
    Number(f64),
    Word(String),
}

/// A formula, or one weight per label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum PosWeight {
    Explicit(Vec<f64>),
    Formula(Choice),
}

/// A threshold, or a rule fitted on val.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Policy {
    Fixed(#[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))] f64),
    Fitted(Choice),
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

impl From<&imbalance::Choice> for Choice {
    fn from(choice: &imbalance::Choice) -> Self {
        let setting = |setting: &imbalance::Setting| match setting {
            imbalance::Setting::Number(number) => Setting::Number(*number),
            imbalance::Setting::Word(word) => Setting::Word(word.clone()),
        };
        let params = choice.params.iter().map(|(name, value)| (name.clone(), setting(value))).collect();
        Self { kind: choice.kind.clone(), params }
    }
}

impl From<Choice> for imbalance::Choice {
    fn from(choice: Choice) -> Self {
        let setting = |setting| match setting {
            Setting::Number(number) => imbalance::Setting::Number(number),
            Setting::Word(word) => imbalance::Setting::Word(word),
        };
        let params = choice.params.into_iter().map(|(name, value)| (name, setting(value))).collect();
        Self { kind: choice.kind, params: std::sync::Arc::new(params) }
    }
}

impl From<&threshold::Policy> for Policy {
    fn from(policy: &threshold::Policy) -> Self {
        match policy {
            threshold::Policy::Fixed(number) => Self::Fixed(*number),
            threshold::Policy::Fitted(choice) => Self::Fitted(choice.into()),
        }
    }
}

impl From<Policy> for threshold::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Fixed(number) => Self::Fixed(number),
            Policy::Fitted(choice) => Self::Fitted(choice.into()),
        }
    }
}

impl From<&imbalance::PosWeight> for PosWeight {
    fn from(weight: &imbalance::PosWeight) -> Self {
        match weight {
            imbalance::PosWeight::Explicit(weights) => Self::Explicit(weights.clone()),
            imbalance::PosWeight::Formula(choice) => Self::Formula(choice.into()),
        }
    }
}

impl From<PosWeight> for imbalance::PosWeight {
    fn from(weight: PosWeight) -> Self {
        match weight {
            PosWeight::Explicit(weights) => Self::Explicit(weights),
            PosWeight::Formula(choice) => Self::Formula(choice.into()),
        }
    }
}

impl From<&plan::RunConfig> for Config {
    fn from(config: &plan::RunConfig) -> Self {
        let plan::RunConfig { data, model, train, loss, pos_weight, sampler, seed } = config;
        let plan::ModelConfig { arch, hidden, dropout, weights, weights_hash, weights_head, freeze, precision: features } =
            model.clone();
        let plan::TrainConfig {
            epochs,
            draws,
            stop,
            batch_size,
            optimizer,
            learning_rate,
            schedule,
            grad_clip,
            precision,
            start,
        } = train;
        Self {
            data: data.into(),
            model: Model {
                arch,
                hidden: hidden.into_iter().map(|units| units as u64).collect(),
                dropout,
                weights,
                weights_hash,
                weights_head: weights_head.map(|head| match head {
                    plan::Head::New => Head::New,
                    plan::Head::Keep => Head::Keep,
                }),
                freeze,
                precision: features,
            },
            train: Training {
                epochs: *epochs as u64,
                draws: draws.map(|draws| draws as u64),
                stop: stop.map(|stop| Stop { patience: stop.patience as u64, least: stop.least as u64 }),
                batch_size: *batch_size as u64,
                optimizer: optimizer.into(),
                learning_rate: *learning_rate,
                schedule: schedule.into(),
                grad_clip: *grad_clip,
                precision: precision.clone(),
                start: Some(match start {
                    plan::Start::Link => Start::Link,
                    plan::Start::Prior => Start::Prior,
                    plan::Start::Zero => Start::Zero,
                }),
                prior_bias: false,
            },
            loss: loss.into(),
            pos_weight: pos_weight.into(),
            sampler: sampler.into(),
            seed: *seed,
        }
    }
}

impl From<Config> for plan::RunConfig {
    fn from(config: Config) -> Self {
        let Config { data, model, train, loss, pos_weight, sampler, seed } = config;
        let Model { arch, hidden, dropout, weights, weights_hash, weights_head, freeze, precision: features } = model;
        let Training {
            epochs,
            draws,
            stop,
            batch_size,
            optimizer,
            learning_rate,
            schedule,
            grad_clip,
            precision,
            start,
            prior_bias,
        } = train;
        Self {
            data: data.into(),
            model: plan::ModelConfig {
                arch,
                hidden: hidden.into_iter().map(|units| units as usize).collect(),
                dropout,
                weights,
                weights_hash,
                weights_head: weights_head.map(|head| match head {
                    Head::New => plan::Head::New,
                    Head::Keep => plan::Head::Keep,
                }),
                freeze,
                precision: features,
            },
            train: plan::TrainConfig {
                epochs: epochs as usize,
                draws: draws.map(|draws| draws as usize),
                stop: stop.map(|stop| plan::Stop { patience: stop.patience as usize, least: stop.least as usize }),
                batch_size: batch_size as usize,
                optimizer: optimizer.into(),
                learning_rate,
                schedule: schedule.into(),
                grad_clip,
                precision,
                start: match start {
                    Some(Start::Link) => plan::Start::Link,
                    Some(Start::Prior) => plan::Start::Prior,
                    Some(Start::Zero) => plan::Start::Zero,
                    None => plan::Start::of_prior_bias(prior_bias),
                },
            },
            loss: loss.into(),
            pos_weight: pos_weight.into(),
            sampler: sampler.into(),
            seed,
        }
    }
}

impl From<&plan::Columns> for Columns {
    fn from(columns: &plan::Columns) -> Self {
        let plan::Columns {
            path,
            split,
            group,
            ignore,
            labels,
            separator,
            lists,
            no_label,
            negative,
            positive,
            unknown,
            group_duplicates,
        } = columns.clone();
        let unknown = unknown.into();
        Self { path, split, group, ignore, labels, separator, lists, no_label, negative, positive, unknown, group_duplicates }
    }
}

impl From<Columns> for plan::Columns {
    fn from(columns: Columns) -> Self {
        let Columns {
            path,
            split,
            group,
            ignore,
            labels,
            separator,
            lists,
            no_label,
            negative,
            positive,
            unknown,
            group_duplicates,
        } = columns;
        let unknown = unknown.into();
        Self { path, split, group, ignore, labels, separator, lists, no_label, negative, positive, unknown, group_duplicates }
    }
}

impl From<plan::Unknown> for Unknown {
    fn from(plan::Unknown { all, labels, judge_known }: plan::Unknown) -> Self {
        let labels = labels.into_iter().map(|(label, taken)| (label, taken.into())).collect();
        Self { all: all.into(), labels, judge_known }
    }
}

impl From<Unknown> for plan::Unknown {
    fn from(Unknown { all, labels, judge_known }: Unknown) -> Self {
        let labels = labels.into_iter().map(|(label, taken)| (label, taken.into())).collect();
        Self { all: all.into(), labels, judge_known }
    }
}

impl From<plan::UnknownAs> for UnknownAs {
    fn from(taken: plan::UnknownAs) -> Self {
        match taken {
            plan::UnknownAs::Error => Self::Error,
            plan::UnknownAs::Ignore => Self::Ignore,
            plan::UnknownAs::Negative => Self::Negative,
            plan::UnknownAs::Positive => Self::Positive,
        }
    }
}

impl From<UnknownAs> for plan::UnknownAs {
    fn from(taken: UnknownAs) -> Self {
        match taken {
            UnknownAs::Error => Self::Error,
            UnknownAs::Ignore => Self::Ignore,
            UnknownAs::Negative => Self::Negative,
            UnknownAs::Positive => Self::Positive,
        }
    }
}

impl From<&plan::DataConfig> for Data {
    fn from(data: &plan::DataConfig) -> Self {
        let source = match &data.source {
            plan::Source::Letters { samples, label_rates, image_size, signal, seed } => Source::Letters {
                samples: *samples as u64,
                label_rates: label_rates.clone(),
                image_size: *image_size,
                signal: *signal,
                seed: *seed,
            },
            plan::Source::Images { root, labels, image, columns } => {
                let plan::ImageConfig {
                    size,
                    channels,
                    resize,
                    normalize,
                    flip,
                    crop_padding,
                    on_bad_image,
                    max_pixels,
                    transparency,
                    pixel_range,
                } = image.clone();
                let image = Image {
                    size,
                    channels,
                    resize,
                    normalize,
                    flip,
                    crop_padding,
                    on_bad_image,
                    max_pixels,
                    transparency,
                    pixel_range,
                };
                Source::Images { root: text(root), labels: text(labels), image, columns: columns.into() }
            }
            plan::Source::Features { features, labels, columns, standardize } => Source::Features {
                features: text(features),
                labels: text(labels),
                columns: columns.into(),
                standardize: *standardize,
            },
            plan::Source::Imported { scores, labels, test_scores, test_labels, logits, columns } => Source::Imported {
                scores: text(scores),
                labels: text(labels),
                test_scores: test_scores.as_deref().map(text),
                test_labels: test_labels.as_deref().map(text),
                logits: *logits,
                columns: columns.into(),
            },
        };
        let imbalance::stratification::SplitConfig { train, val, test, method, seed } = data.split.clone();
        Self { source, split: Division { train, val, test, method, seed } }
    }
}

impl From<Data> for plan::DataConfig {
    fn from(data: Data) -> Self {
        let source = match data.source {
            Source::Letters { samples, label_rates, image_size, signal, seed } => {
                plan::Source::Letters { samples: samples as usize, label_rates, image_size, signal, seed }
            }
            Source::Images { root, labels, image, columns } => {
                let Image {
                    size,
                    channels,
                    resize,
                    normalize,
                    flip,
                    crop_padding,
                    on_bad_image,
                    max_pixels,
                    transparency,
                    pixel_range,
                } = image;
                let image = plan::ImageConfig {
                    size,
                    channels,
                    resize,
                    normalize,
                    flip,
                    crop_padding,
                    on_bad_image,
                    max_pixels,
                    transparency,
                    pixel_range,
                };
                plan::Source::Images { root: root.into(), labels: labels.into(), image, columns: columns.into() }
            }
            Source::Features { features, labels, columns, standardize } => {
                plan::Source::Features { features: features.into(), labels: labels.into(), columns: columns.into(), standardize }
            }
            Source::Imported { scores, labels, test_scores, test_labels, logits, columns } => plan::Source::Imported {
                scores: scores.into(),
                labels: labels.into(),
                test_scores: test_scores.map(Into::into),
                test_labels: test_labels.map(Into::into),
                logits,
                columns: columns.into(),
            },
        };
        let Division { train, val, test, method, seed } = data.split;
        Self { source, split: imbalance::stratification::SplitConfig { train, val, test, method, seed } }
    }
}
