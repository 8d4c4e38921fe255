//! A small convolutional network: a stage is a 3x3 convolution, batch norm, a rectifier and 2x2 max pooling.
//!
//! The last maps are averaged to at most 4x4 and flattened, not averaged to one value: in images whose objects have their
//! own places, the position of a pattern tells what it is.

use candle_core::{Result, Tensor};

use super::layers::{BatchNorm, Conv, Init};
use super::network::Body;
use super::{ModelError, image};
use plan::InputShape;
use plan::macs::{CNN_GRID, cnn_sizes};

/// `stages.0.conv`, `stages.0.norm`, `stages.1.conv`, ...
pub(super) struct Cnn {
    stages: Vec<(Conv, BatchNorm)>,
    width: usize,
}

impl Cnn {
    pub(super) fn new(init: &mut Init, input: InputShape, hidden: &[usize]) -> std::result::Result<Self, ModelError> {
        let (mut channels, height, width) = image("cnn", input)?;
        let mut stages = Vec::with_capacity(hidden.len());
        for (i, &outputs) in hidden.iter().enumerate() {
            let conv = Conv::new(init, &format!("stages.{i}.conv"), (channels, outputs), 3, 1, 1)?;
            stages.push((conv, BatchNorm::new(init, &format!("stages.{i}.norm"), outputs)?));
            channels = outputs;
        }
        let (rows, cols) = cnn_sizes(height, width, hidden.len()).last().copied().unwrap_or((height, width));
        Ok(Self { stages, width: channels * rows.min(CNN_GRID) * cols.min(CNN_GRID) })
    }
}

impl Body for Cnn {
    fn features(&self, inputs: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = kernel::enter(inputs)?;
        for (conv, norm) in &self.stages {
            x = norm.forward(&conv.forward(&x, train)?, train)?;
            let (height, width) = kernel::map_size(&x)?;
            if height.min(width) >= 2 {
                x = kernel::max_pool2d(&x, 2, 2, 0)?;
            }
        }
        kernel::flatten(&kernel::adaptive_avg_pool2d(&x, CNN_GRID)?)
    }

    fn width(&self) -> usize {
        self.width
    }
}
