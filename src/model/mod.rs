//! Architectures on Candle: one file each, with the paper on top; parameter names as torchvision's.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use crate::data::InputShape;
use crate::spec::ModelConfig;

/// A network: parameters by name, and a forward pass.
pub trait Model: Send {
    /// Logits `[batch, labels]`. `train` uses batch statistics and dropout, and updates running statistics.
    ///
    /// # Errors
    /// Candle's.
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

/// The tensors of a model by name, in one fixed order.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Trained; frozen ones are left out.
    pub parameters: BTreeMap<String, Var>,
    /// Saved but not trained: running statistics, frozen parameters.
    pub buffers: BTreeMap<String, Var>,
}

/// A model that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Weights that do not fit, a file that is missing, ... with the keys.
    #[error("{0}")]
    Weights(String),
    /// Candle's own word.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Builds the network of `config` with weights from its file or from `seed`; the head's bias starts at `head_bias` (one logit a label).
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
    let _ = (config, input, labels, head_bias, seed, device);
    todo!()
}

/// Multiply-adds of one forward pass of one row: for time estimates. No Candle needed.
#[must_use]
pub fn forward_macs(config: &ModelConfig, input: InputShape, labels: usize) -> u64 {
    let _ = (config, input, labels);
    todo!()
}
