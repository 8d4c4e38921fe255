//! What a `predict` order points at: a model and the inputs that it is to score. One JSON file, since a folder of pictures has more
//! names than an order may be long.

use std::io;
use std::path::Path;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;

/// Version of the file.
pub const FORMAT: u32 = 1;

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Request {
    pub format: u32,
    /// How the model was trained: its network, and how inputs become numbers.
    pub config: Config,
    /// Labels of the model.
    pub labels: u64,
    /// The model's parameters, `.safetensors`.
    pub model: String,
    /// blake3 of that file.
    pub model_hash: String,
    /// What features are standardised by; absent where they are taken as they are, and of images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardize: Option<Standardize>,
    /// The value of 16-bit pictures that is white, where the data says `pixel_range = "used"`; 65,535 else.
    pub white: u16,
    pub inputs: Inputs,
}

/// (x - mean) * scale, column by column; scale is 0 where a column of train was constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Standardize {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
}

/// What is scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Inputs {
    /// Pictures.
    Pictures(Vec<Input>),
    /// A matrix of features, `.npy` or `.safetensors`.
    Features(Input),
}

/// A file that is scored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Input {
    /// Absolute.
    pub path: String,
    /// Its length and the time of its last change, by which the controller knows whether it is still the file that was scored.
    pub stamp: String,
}

impl Request {
    /// Reads the file of a request.
    ///
    /// # Errors
    /// A file that cannot be read or is no request of this version.
    pub fn read(path: &Path) -> io::Result<Self> {
        let request: Self = serde_json::from_slice(&std::fs::read(path)?)?;
        if request.format != FORMAT {
            return Err(io::Error::other(format!("is a request of format {}, this worker reads {FORMAT}", request.format)));
        }
        Ok(request)
    }
}
