//! Multi-layer perceptron: fully connected layers with rectifiers.

use candle_core::{Result, Tensor};

use super::layers::{Init, Linear};
use super::network::Body;
use plan::InputShape;

/// `hidden.0`, `hidden.1`, ...
pub(super) struct Mlp {
    layers: Vec<Linear>,
    width: usize,
}

impl Mlp {
    pub(super) fn new(init: &mut Init, input: InputShape, hidden: &[usize]) -> Result<Self> {
        let mut width = super::input_width(input);
        let mut layers = Vec::with_capacity(hidden.len());
        for (i, &units) in hidden.iter().enumerate() {
            layers.push(Linear::hidden(init, &format!("hidden.{i}"), width, units)?);
            width = units;
        }
        Ok(Self { layers, width })
    }
}

impl Body for Mlp {
    fn features(&self, inputs: &Tensor, train: bool) -> Result<Tensor> {
        let input = inputs.flatten_from(1)?;
        self.layers.iter().try_fold(input, |x, layer| kernel::relu(&layer.forward(&x, train)?))
    }

    fn width(&self) -> usize {
        self.width
    }
}
