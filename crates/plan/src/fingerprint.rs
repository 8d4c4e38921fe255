//! The canonical form of a configuration as text, and the hash that names per run.

use serde::Serialize;
use serde_json::Value as Json;

use super::{DataConfig, Fingerprint, Head, ModelConfig, Source, Start, TrainConfig};

/// JSON in which equal values are equal text: keys sorted, `1.0` and `1` both `1`, numbers in their shortest form.
pub(super) fn canonical(value: &Json) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// The canonical text of anything that serialises to JSON.
pub(super) fn canonical_of<T: Serialize>(value: &T) -> String {
    // Configurations have string keys and finite numbers only, so this cannot fail; null would still be a fixed text.
    canonical(&serde_json::to_value(value).unwrap_or(Json::Null))
}

fn write(value: &Json, text: &mut String) {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (at, (key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Json::from(key.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Json::Array(values) => {
            text.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        Json::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "checked: whole and within 2^53")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                text.push_str(&(float as i64).to_string());
            }
            _ => text.push_str(&number.to_string()),
        },
        other => text.push_str(&other.to_string()),
    }
}

/// What training depends on besides the data's content: how a row becomes a tensor. No paths.
pub(super) fn preprocessing(config: &DataConfig) -> String {
    let json = match &config.source {
        Source::Letters { .. } => serde_json::json!({ "kind": "letters" }),
        Source::Images { image, .. } => serde_json::json!({
            "kind": "images",
            "size": image.size,
            "channels": image.channels,
            "resize": image.resize,
            "normalize": image.normalize,
            "flip": image.flip,
            "crop_padding": image.crop_padding,
        }),
        Source::Features { standardize, .. } => serde_json::json!({ "kind": "features", "standardize": standardize }),
        Source::Imported { .. } => serde_json::json!({ "kind": "imported" }),
    };
    canonical(&json)
}

/// The model with the file of its weights replaced by the hash of what is in it; a frozen one with the version of its features.
/// `fits`: the file has a head for as many labels. Earlier versions kept such a head and
/// started with a new one otherwise: these have the names that they gave, and a new head in place of one that fits has another.
pub(super) fn model_text(model: &ModelConfig, weights: Option<&str>, fits: bool) -> String {
    let weights = weights.map(str::to_owned).or_else(|| model.weights.clone());
    let named = ModelConfig { weights, weights_hash: None, weights_head: None, ..model.clone() };
    let mut json = serde_json::to_value(&named).unwrap_or(Json::Null);
    if let Json::Object(keys) = &mut json {
        if model.freeze.is_some() {
            keys.insert("features".to_owned(), super::FEATURES.into());
        }
        if fits && model.weights_head == Some(Head::New) {
            keys.insert("head".to_owned(), "new".into());
        }
    }
    canonical(&json)
}

/// The training. What version 0.1 could say is said in its words, so that the runs it recorded keep their names: no `draws` and no
/// `stop`, and `prior_bias` for two of the starts.
pub(super) fn train_text(train: &TrainConfig) -> String {
    let mut json = serde_json::to_value(train).unwrap_or(Json::Null);
    if let Json::Object(keys) = &mut json {
        keys.retain(|key, value| !(value.is_null() && ["draws", "stop"].contains(&key.as_str())));
        if train.start != Start::Link {
            keys.remove("start");
            keys.insert("prior_bias".to_owned(), (train.start == Start::Prior).into());
        }
    }
    canonical(&json)
}

/// The canonical texts of all parts of a run, ready to be hashed.
pub(super) struct FingerprintParts<'a> {
    pub content: &'a str,
    pub preprocessing: &'a str,
    pub model: &'a str,
    /// [`super::numerics`] of its architecture and loss.
    pub format: u32,
    pub train: &'a str,
    pub loss: &'a str,
    /// Resolved: one number per label.
    pub pos_weight: &'a str,
    pub sampler: &'a str,
    pub seed: u64,
}

impl FingerprintParts<'_> {
    /// blake3 over one JSON object, cut to 32 hex digits.
    pub fn fingerprint(&self) -> Fingerprint {
        let Self { content, preprocessing, model, format, train, loss, pos_weight, sampler, seed } = self;
        let content = Json::from(*content);
        let text = format!(
            r#"{{"content":{content},"format":{format},"loss":{loss},"model":{model},"pos_weight":{pos_weight},"preprocessing":{preprocessing},"sampler":{sampler},"seed":{seed},"train":{train}}}"#
        );
        let mut digits = blake3::hash(text.as_bytes()).to_hex().to_string();
        digits.truncate(32);
        Fingerprint(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_change_the_text() {
        let one: Json = serde_json::from_str(r#"{"b": 1.0, "a": [2, -0.0, 1e-3]}"#).unwrap();
        let two: Json = serde_json::from_str(r#"{"a": [2.0, 0, 0.001], "b": 1}"#).unwrap();
        assert_eq!(canonical(&one), r#"{"a":[2,0,0.001],"b":1}"#);
        assert_eq!(canonical(&one), canonical(&two));
    }

    #[test]
    fn large_seeds_keep_every_digit() {
        assert_eq!(canonical(&Json::from(u64::MAX)), u64::MAX.to_string());
        assert_eq!(canonical(&Json::from(9_007_199_254_740_993_i64)), "9007199254740993");
    }
}
