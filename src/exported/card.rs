//! `model.json`: all that a program needs beside the parameters to use an exported model as `sweep` would. Its schema is
//! docs/model.schema.json, generated from these types.

use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::report::probabilities::link_of;
use imbalance::metric::calibration::{Isotonic, Line, Platt, logit};
use imbalance::threshold::{Policy, Rule};
use imbalance::{LabelCounts, PosWeight};
use plan::RunConfig;
use protocol::wire::Config;

/// Version of the file. A reader refuses others; keys that it does not know are ignored.
pub const FORMAT: u32 = 1;
/// Most bytes of it: those of ten thousand labels with long calibrations.
const MOST: u64 = 256 << 20;
/// Its name in an exported folder.
pub const CARD: &str = "model.json";

/// What an exported model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModelCard {
    /// 1.
    pub format: u32,
    pub model: Model,
    /// Names of the outputs, in their order.
    pub labels: Vec<String>,
    pub preprocessing: Preprocessing,
    pub thresholds: Thresholds,
    pub calibration: Calibration,
    /// How the model did, val first. Of a refit: how the model did that was trained on train alone.
    pub metrics: Vec<SplitMetrics>,
    pub provenance: Provenance,
}

/// The network. Its outputs are logits: a score is their sigmoid, in float32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Model {
    /// The file of its parameters and running statistics, beside this one; tensors have torchvision's names where torchvision has the
    /// network.
    pub file: String,
    /// blake3 of that file.
    pub blake3: String,
    /// `linear`, `mlp`, `cnn`, `densenet121`; of a head, the network that reads the backbone's features.
    pub arch: String,
    /// Units of the hidden layers of `mlp`, channels of the stages of `cnn`.
    pub hidden: Vec<usize>,
    /// The pretrained network whose features the head reads. Its parameters are not part of the export.
    pub backbone: Option<Backbone>,
    /// `f32` or `bf16`.
    pub precision: String,
}

/// A network that was not trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Backbone {
    pub arch: String,
    /// Where its parameters are: a path on the machine that trained, or `hf://owner/repository/file`.
    pub weights: String,
    /// blake3 of that file, where the run has recorded it.
    pub blake3: Option<String>,
    /// Features of an input.
    pub features: usize,
    /// `bf16`: its products are computed in it; absent: in f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
}

/// How an input becomes the numbers that the network reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Preprocessing {
    /// Turned as EXIF says, made `channels` channels, resized (bilinear with antialiasing), then (x / 255 - mean) / std per channel.
    Pictures {
        /// Edge of the square, in pixels.
        size: usize,
        /// 1 (grey) or 3 (RGB) as decoded; a backbone gets a grey channel three times.
        channels: usize,
        /// `stretch`: both sides to `size`. `crop`: the short side to `size`, then the centre.
        resize: String,
        /// Pixels that are not opaque: `drop` (their colour), or laid over `black` or `white`.
        transparency: String,
        /// The value of 16-bit pictures that becomes 255.
        white: u16,
        mean: Vec<f32>,
        std: Vec<f32>,
    },
    /// (x - mean) * scale, column by column, in float32; absent: as they are.
    Features {
        width: usize,
        mean: Option<Vec<f32>>,
        /// 1 / deviation; 0 where a column of train was constant.
        scale: Option<Vec<f32>>,
    },
}

/// How scores become decisions: a label is predicted where score >= threshold, compared in float32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Thresholds {
    /// The policy to use: the one asked for, else the best on val by macro F1 on rows that its thresholds had not seen.
    pub chosen: String,
    /// That F1.
    pub held_out_macro_f1: Option<f64>,
    /// Every policy that the run was evaluated under.
    pub policies: Vec<FittedThresholds>,
}

/// A policy, fitted on val.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FittedThresholds {
    pub policy: String,
    /// One per label.
    pub thresholds: Option<Vec<f32>>,
    /// Instead of thresholds: the labels with this many highest scores of each row, of equal ones the first.
    pub top: Option<usize>,
}

/// What turns scores into probabilities; chosen by the likelihood of val rows that it was not fitted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Calibration {
    /// Scores as they are: no map makes val likelier.
    None,
    /// The loss's own formula (docs/strategies.md), with the weights and counts of `provenance`.
    Link { loss: String },
    /// sigmoid(slope * logit(score) + intercept) per label; null: as it is.
    Platt { lines: Vec<Option<CalibrationLine>> },
    /// Linear between knots, constant beyond them, then clipped to low and high; null: as it is.
    Isotonic { steps: Vec<Option<CalibrationSteps>> },
}

/// A line on the logits of a label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CalibrationLine {
    pub slope: f64,
    pub intercept: f64,
}

/// A rising step function of a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CalibrationSteps {
    /// (score, probability), both rising.
    pub knots: Vec<(f32, f64)>,
    pub low: f64,
    pub high: f64,
}

/// How a model did on one split, under the chosen policy. Intervals of 95 % are over rows (groups where the data has them), thresholds held
/// fixed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SplitMetrics {
    /// `val` or `test`. Thresholds were fitted on val, which flatters them there.
    pub split: String,
    pub rows: usize,
    pub macro_ap: Measured,
    pub macro_f1: Measured,
    pub macro_precision: Measured,
    pub macro_recall: Measured,
    pub labels: Vec<LabelMetrics>,
}

/// How a model did on one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LabelMetrics {
    pub label: String,
    /// Rows that know the label, and those that carry it.
    pub rows: usize,
    pub positives: usize,
    pub ap: Measured,
    pub precision: Measured,
    pub recall: Measured,
    pub f1: Measured,
}

/// A number with its interval; null where it is undefined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Measured {
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Provenance {
    /// Fingerprint of the run, and the sweeps that have it.
    pub run: String,
    pub sweeps: Vec<String>,
    /// The program that planned the run, and the one that exported it.
    pub version: String,
    pub exported_by: String,
    /// Unix seconds of the end of the training.
    pub trained_at: Option<f64>,
    /// The epoch that was kept, from 0: the best on val.
    pub epoch: usize,
    /// Hash of the data set and its division.
    pub data: String,
    pub train: Counts,
    pub val: Counts,
    pub test: Counts,
    /// The positive weights, one per label.
    pub pos_weight: Vec<f64>,
    /// Present where the parameters come from a training on train and val together.
    pub refit: Option<Refit>,
    /// What decided the training, as docs/protocol.schema.json has it (`#/$defs/Config`).
    #[cfg_attr(test, schemars(with = "serde_json::Value"))]
    pub config: Config,
}

/// The rows of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counts {
    pub rows: usize,
    /// Rows that carry each label.
    pub positives: Vec<usize>,
    /// Rows that do not know each label; empty where all are known.
    pub unknown: Vec<usize>,
}

/// A training on train and val together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Refit {
    /// Epochs, each with as many gradient steps as those of the run.
    pub epochs: usize,
    /// Rows of train and val together.
    pub rows: usize,
    /// What was kept as it was.
    pub note: String,
}

/// The bytes of a regular file, of whose length nobody can be sure.
fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let file = archive::file::open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("has more than {} MiB", MOST >> 20)));
    }
    Ok(bytes)
}

impl ModelCard {
    /// Reads `model.json` of the folder `folder`.
    ///
    /// # Errors
    /// A file that is missing, no such file, or of another version.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(CARD);
        let bad = |message: String| Error::Data(data::DataError { place: path.display().to_string(), message });
        let text = whole(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => bad("is not there: `sweep export RUN --to DIR` writes it".to_owned()),
            _ => bad(format!("cannot be read: {error}")),
        })?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| bad(format!("is not the JSON of an exported model: {error}")))?;
        match value["format"].as_u64() {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => return Err(bad(format!("is of format {format}, and this sweep reads format {FORMAT}"))),
            None => return Err(bad("has no `format`: is it the model.json of an exported model?".to_owned())),
        }
        let card: Self = serde_json::from_value(value).map_err(|error| bad(format!("is not complete: {error}")))?;
        card.check().map_err(bad)?;
        Ok(card)
    }

    /// What was written by hand, or damaged, must not end in a panic.
    fn check(&self) -> Result<(), String> {
        let labels = self.labels.len();
        if labels == 0 {
            return Err("`labels` is empty".to_owned());
        }
        for FittedThresholds { policy, thresholds, top } in &self.thresholds.policies {
            match (thresholds, top) {
                (Some(thresholds), None) if thresholds.len() == labels => {}
                (None, Some(_)) => {}
                _ => {
                    return Err(format!(
                        "`thresholds` of {policy} must have one number for each of the {labels} labels, or `top`"
                    ));
                }
            }
        }
        let fitted = match &self.calibration {
            Calibration::None | Calibration::Link { .. } => labels,
            Calibration::Platt { lines } => lines.len(),
            Calibration::Isotonic { steps } => steps.len(),
        };
        if fitted != labels {
            return Err(format!("`calibration` must have one entry for each of the {labels} labels"));
        }
        match &self.preprocessing {
            Preprocessing::Features { width, mean, scale } => match (mean, scale) {
                (None, None) => Ok(()),
                (Some(mean), Some(scale)) if mean.len() == *width && scale.len() == *width => Ok(()),
                _ => Err(format!("`preprocessing` must have mean and scale of {width} features, or neither")),
            },
            Preprocessing::Pictures { .. } => Ok(()),
        }
    }

    /// The rule of a policy: the chosen one, or `asked`, which may be a number that the export does not have.
    ///
    /// # Errors
    /// A policy that has to be fitted, and is not here.
    pub fn rule(&self, asked: Option<&Policy>) -> Result<(String, Rule), Error> {
        let name = asked.map_or_else(|| self.thresholds.chosen.clone(), ToString::to_string);
        if let Some(found) = self.thresholds.policies.iter().find(|found| found.policy == name) {
            let rule = match (&found.thresholds, found.top) {
                (Some(thresholds), _) => Rule::Thresholds(thresholds.clone()),
                (None, top) => Rule::Top(top.unwrap_or(0)),
            };
            return Ok((name, rule));
        }
        match asked {
            Some(Policy::Fixed(number)) => Ok((name, Rule::Thresholds(vec![*number as f32; self.labels.len()]))),
            _ => {
                let names: Vec<&str> = self.thresholds.policies.iter().map(|found| found.policy.as_str()).collect();
                Err(Error::Usage(format!(
                    "--threshold {name}: the exported model has {}; a number can be asked for, too. A policy is fitted on val: \
                     `sweep export RUN --to DIR --threshold {name}` adds it",
                    names.join(", ")
                )))
            }
        }
    }

    /// Scores as probabilities.
    ///
    /// # Errors
    /// The formula of a loss that this version does not know.
    pub fn calibrated(&self, scores: &[f32]) -> Result<Vec<f32>, Error> {
        let labels = self.labels.len();
        let cells = scores.iter().enumerate().map(|(cell, &score)| (cell % labels, score));
        Ok(match &self.calibration {
            Calibration::None => scores.to_vec(),
            Calibration::Platt { lines } => {
                let map = |(label, score)| match lines[label] {
                    Some(CalibrationLine { slope, intercept }) => Platt(Line { slope, intercept }).apply(score) as f32,
                    None => score,
                };
                cells.map(map).collect()
            }
            Calibration::Isotonic { steps } => {
                let steps: Vec<_> = steps
                    .iter()
                    .map(|steps| steps.as_ref().map(|steps| (Isotonic { knots: steps.knots.clone() }, steps.low, steps.high)))
                    .collect();
                let map = |(label, score): (usize, f32)| match &steps[label] {
                    Some((steps, low, high)) => steps.apply(score).max(*low).min(*high) as f32,
                    None => score,
                };
                cells.map(map).collect()
            }
            Calibration::Link { loss } => {
                let Provenance { config, pos_weight, train, .. } = &self.provenance;
                let Counts { rows, positives, unknown } = train.clone();
                let found = link_of(&RunConfig::from(config.clone()), pos_weight, &LabelCounts { rows, positives, unknown });
                let loss =
                    found.ok_or_else(|| Error::Usage(format!("--calibrated: this sweep does not know the formula of {loss}")))?;
                let map = |(label, score): (usize, f32)| {
                    loss.implied_probability(label, logit(score)).map_or(score, |probability| probability as f32)
                };
                cells.map(map).collect()
            }
        })
    }

    /// The strategy in a few words: `bce, sqrt, shuffle`.
    #[must_use]
    pub fn strategy(&self) -> String {
        let config = RunConfig::from(self.provenance.config.clone());
        let weight = match &config.pos_weight {
            PosWeight::Formula(choice) => choice.to_string(),
            PosWeight::Explicit(_) => "weights of its own".to_owned(),
        };
        format!("{}, {weight}, {}", config.loss, config.sampler)
    }
}

#[cfg(test)]
mod schema {
    use super::*;
    use schemars::generate::SchemaSettings;
    use serde_json::json;

    #[test]
    fn the_schema_is_that_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/model.schema.json");
        let mut schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<ModelCard>();
        schema.insert("title".to_owned(), json!("model.json of an exported model"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "docs/model.schema.json is not that of the types: UPDATE_SCHEMA=1 cargo test --lib schema");
    }
}
