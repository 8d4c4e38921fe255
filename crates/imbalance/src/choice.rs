//! Named things with parameters, as values: what a sweep file chooses and a registry builds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A parameter's value: a number or a word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    Number(f64),
    Word(String),
}

impl From<f64> for Setting {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Setting {
    fn from(word: &str) -> Self {
        Self::Word(word.to_owned())
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// A named thing with parameters, as typed: `"focal"` or `{ kind = "focal", gamma = 2.0 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub kind: String,
    /// Shared by its copies: a plan may have a hundred thousand runs with the same few choices.
    #[serde(default, skip_serializing_if = "shared::is_empty", with = "shared")]
    pub params: Arc<BTreeMap<String, Setting>>,
}

/// Shared parameters are written and read as the map that they are.
mod shared {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Setting;

    type Params = Arc<BTreeMap<String, Setting>>;

    pub fn is_empty(params: &Params) -> bool {
        params.is_empty()
    }

    pub fn serialize<S: Serializer>(params: &Params, serializer: S) -> Result<S::Ok, S::Error> {
        (**params).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Params, D::Error> {
        BTreeMap::deserialize(deserializer).map(Arc::new)
    }
}

impl Choice {
    /// A choice without parameters.
    #[must_use]
    pub fn plain(kind: &str) -> Self {
        Self { kind: kind.to_owned(), params: Arc::default() }
    }

    /// The same choice with one more parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Setting>) -> Self {
        self.set(name, value.into());
        self
    }

    /// Gives a parameter a value.
    pub fn set(&mut self, name: &str, value: Setting) {
        Arc::make_mut(&mut self.params).insert(name.to_owned(), value);
    }

    /// The number `name`. The spec fills every parameter that is not optional, so a missing one is a bug of the caller.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.find(name).unwrap_or_else(|| panic!("{} has no number {name}: the spec fills all of them", self.kind))
    }

    /// The optional number `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<f64> {
        match self.params.get(name) {
            Some(Setting::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The word `name`; as [`Self::get`], a missing one is a bug of the caller.
    #[must_use]
    pub fn word(&self, name: &str) -> &str {
        match self.params.get(name) {
            Some(Setting::Word(word)) => word,
            _ => panic!("{} has no word {name}: the spec fills all of them", self.kind),
        }
    }
}

impl std::fmt::Display for Choice {
    /// `focal` or `focal(alpha=0.25,gamma=2)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        if !self.params.is_empty() {
            let params: Vec<_> = self.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(f, "({})", params.join(","))?;
        }
        Ok(())
    }
}

/// How the positives of each label are weighted in the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PosWeight {
    /// One weight per label, in the order of the labels.
    Explicit(Vec<f64>),
    /// A formula over the train split's counts.
    Formula(Choice),
}
