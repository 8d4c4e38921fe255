//! A small convolutional network: a stage is a 3x3 convolution, batch norm, a rectifier and 2x2 max pooling.
//!
//! The last maps are averaged to at most 4x4 and flattened, not averaged to one value: in images whose objects have their
//! own places, the position of a pattern tells what it is.

use candle_core::{Result, Tensor};

use super::layers::{BatchNorm, Conv, EPS, Init};
use super::network::Body;
use super::{ModelError, image};
use kernel::Stage;
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
        let stage = |(conv, norm): &(Conv, BatchNorm)| Stage { conv: conv.weight(), norm: norm.affine() };
        let stages: Vec<Stage> = self.stages.iter().map(stage).collect();
        if !train {
            let statistics: Vec<_> = self.stages.iter().map(|(_, norm)| norm.running()).collect();
            return kernel::stages_eval(inputs, &stages, &statistics, CNN_GRID, EPS);
        }
        let (features, seen) = kernel::stages_train(inputs, &stages, CNN_GRID, EPS)?;
        for ((_, norm), batch) in self.stages.iter().zip(&seen) {
            norm.absorb(batch)?;
        }
        Ok(features)
    }

    fn width(&self) -> usize {
        self.width
    }
}
