//! Logistic regression: the flattened input is the features, all learning is the head's.

use candle_core::{Result, Tensor};

use super::network::Body;
use plan::InputShape;

/// A body without layers.
pub(super) struct NoLayers {
    width: usize,
}

impl NoLayers {
    pub(super) fn new(input: InputShape) -> Self {
        Self { width: super::input_width(input) }
    }
}

impl Body for NoLayers {
    fn features(&self, inputs: &Tensor, _train: bool) -> Result<Tensor> {
        inputs.flatten_from(1)
    }

    fn width(&self) -> usize {
        self.width
    }
}
