//! Architectures on Candle: one file each, with the paper on top; parameter names as torchvision's.

pub mod backbone;
mod cnn;
mod densenet;
mod layers;
mod linear;
mod mlp;
mod network;
mod precision;
mod state;
mod weights;

use candle_core::{Device, Tensor};

pub use network::{dropout_factors, dropout_mask};
pub use precision::at_precision;
pub use state::{Contents, State, assign_state, load_state, load_tensors, parse_tensors, save, save_tensors, serialize_tensors};
pub use weights::words as weights_words;

use layers::Init;
use network::{Body, Network};
use plan::InputShape;
use plan::ModelConfig;
use plan::tensors::Known;

/// A network: parameters by name, and a forward pass.
pub trait Model: Send + Sync {
    /// Logits `[batch, labels]`. `train` uses batch statistics and dropout, and updates running statistics; without it nothing is
    /// recorded for a backward pass.
    ///
    /// # Errors
    /// Propagates Candle errors.
    fn forward(&self, inputs: &Tensor, train: Option<Step>) -> candle_core::Result<Tensor>;

    /// Trained parameters and buffers (running statistics) by torchvision's names.
    fn state(&self) -> &State;
}

/// Names the random draws of one training step (dropout).
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub seed: u64,
    pub epoch: usize,
    pub step: usize,
}

/// A model that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Weights that do not fit, with the keys; kept ones that cannot be read.
    #[error("{0}")]
    Weights(String),
    /// Weights that this machine does not have now, or not those of the plan: nothing is wrong with the run.
    #[error("{0}")]
    Gone(String),
    /// An architecture that cannot take this input, or does not exist.
    #[error("{0}")]
    Input(String),
    /// A file that cannot be written.
    #[error("{path}: cannot write: {source}", path = .path.display())]
    Write { path: std::path::PathBuf, source: std::io::Error },
    /// Propagates Candle errors.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Makes the layers below the head: initial weights, input, `model.hidden`.
type MakeBody = fn(&mut Init, InputShape, &[usize]) -> Result<Box<dyn Body>, ModelError>;

/// The constructor of every architecture that is trained whole: the rows of [`plan::ARCHITECTURES`] by name.
const BODIES: &[(&str, MakeBody)] = &[
    ("linear", |_, input, _| Ok(Box::new(linear::NoLayers::new(input)))),
    ("mlp", |init, input, hidden| Ok(Box::new(mlp::Mlp::new(init, input, hidden)?))),
    ("cnn", |init, input, hidden| Ok(Box::new(cnn::Cnn::new(init, input, hidden)?))),
    ("densenet121", |init, input, _| Ok(Box::new(densenet::DenseNet::new(init, input)?))),
];

/// Builds the network of `config` with weights from its file or from `seed`; the head's bias starts at `head_bias` (one logit per
/// label), unless the run keeps the head of that file.
///
/// # Errors
/// [`ModelError`]
pub fn build(
    config: &ModelConfig,
    input: InputShape,
    labels: usize,
    head_bias: Option<&[f64]>,
    seed: u64,
    device: &Device,
) -> Result<Box<dyn Model>, ModelError> {
    let mut init = Init::new(seed, device);
    let Some((_, body)) = BODIES.iter().find(|(name, _)| *name == config.arch) else {
        let names: Vec<&str> = BODIES.iter().map(|(name, _)| *name).collect();
        return Err(ModelError::Input(format!("`{}` cannot be trained; these can: {}", config.arch, names.join(", "))));
    };
    let body = body(&mut init, input, &config.hidden)?;
    let network = Network::new(init, body, config, labels, head_bias)?;
    if let Some(source) = &config.weights {
        weights::load(source, config, Known { input: Some(input), labels: Some(labels) }, network.state())?;
    }
    Ok(Box::new(network))
}

/// Sets the weights of a `linear` model that no file brings to 0, so that it starts with the same scores for every row: its loss is
/// convex, and what random weights add is noise, which rows of few non-zero features take long to unlearn.
///
/// # Errors
/// Propagates Candle errors.
pub fn without_opinion(config: &ModelConfig, state: &State) -> candle_core::Result<()> {
    let weight = state.get("classifier.weight").filter(|_| config.arch == "linear" && config.weights.is_none());
    weight.map_or(Ok(()), |weight| weight.set(&weight.zeros_like()?))
}

/// Channels, height and width of an image input.
fn image(arch: &str, input: InputShape) -> Result<(usize, usize, usize), ModelError> {
    match input {
        InputShape::Image { channels, height, width } => Ok((channels, height, width)),
        InputShape::Features { width } => Err(ModelError::Input(format!(
            "{arch} needs images, but the data has {width} features per row: use `linear` or `mlp`"
        ))),
    }
}

/// Numbers in one row of the input.
fn input_width(input: InputShape) -> usize {
    match input {
        InputShape::Image { channels, height, width } => channels * height * width,
        InputShape::Features { width } => width,
    }
}

#[cfg(test)]
mod tests;
