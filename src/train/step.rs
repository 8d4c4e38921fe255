//! One training step: forward, loss, backward, update. What `sweep run` does with each batch, and what the benchmarks time.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::TrainError;
use super::optimizer::{self, Optimizer};
use crate::model::{Model, Step};
use crate::strategy::loss::{Batch, Loss};

/// What a step moves, and against what.
pub struct Trainer<'a> {
    pub model: &'a dyn Model,
    pub optimizer: &'a mut Optimizer,
    pub loss: &'a dyn Loss,
    /// The largest norm that all gradients together may have.
    pub grad_clip: Option<f64>,
}

/// What a loss or gradient that is no number ends a run with.
#[must_use]
pub fn diverged(what: &str, step: Step) -> TrainError {
    TrainError::Diverged(format!("{what} in step {} of epoch {}", step.step + 1, step.epoch + 1))
}

impl Trainer<'_> {
    /// Trains on one batch with learning rate `rate`; `targets` are `[batch, labels]`, row-major. Returns the batch's loss.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where loss or gradient are no numbers; Candle's.
    pub fn step(&mut self, inputs: &Tensor, targets: &[u8], step: Step, rate: f64) -> Result<f64, TrainError> {
        let logits = self.model.forward(inputs, Some(step))?;
        let labels = logits.dim(1)?;
        let values = logits.flatten_all()?.to_vec1::<f32>()?;
        let mut gradient = vec![0.0; values.len()];
        let loss = self.loss.evaluate(Batch { labels, logits: &values, targets, epoch: step.epoch }, &mut gradient);
        if !loss.is_finite() || gradient.iter().any(|slope| !slope.is_finite()) {
            return Err(diverged(&format!("the loss is {loss}"), step));
        }
        // d(sum of logits x g)/d(logits) is g: the loss's own gradient enters Candle's graph as a constant factor.
        let gradient = Tensor::from_vec(gradient, logits.shape(), &Device::Cpu)?.to_device(inputs.device())?;
        let store = (&logits * gradient)?.sum_all()?.backward()?;
        let parameters = &self.model.state().parameters;
        let named = parameters.iter().filter_map(|(name, var)| Some((name.as_str(), store.get(var.as_tensor())?.clone())));
        let mut gradients: BTreeMap<&str, Tensor> = named.collect();
        if let Some(limit) = self.grad_clip {
            let norm = optimizer::clip(&mut gradients, limit)?;
            if !norm.is_finite() {
                return Err(diverged(&format!("the gradient's norm is {norm}"), step));
            }
        }
        self.optimizer.step(&gradients, rate)?;
        Ok(loss)
    }
}
