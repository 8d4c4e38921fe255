//! One training step: forward, loss, backward, update. It is what `sweep run` does with each batch, and what the benchmarks time.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;

use super::TrainError;
use super::criterion::Criterion;
use super::optimizer::Optimizer;
use crate::model::{Model, Step};
use kernel::{awake, backward};

/// The parameters that a step updates, and its settings.
pub struct Trainer<'a> {
    pub model: &'a dyn Model,
    pub optimizer: &'a mut Optimizer,
    pub criterion: &'a mut dyn Criterion,
    /// The largest norm that all gradients together may have.
    pub grad_clip: Option<f64>,
}

/// The error of a loss or gradient that is NaN or infinite.
#[must_use]
pub fn diverged(what: &str, step: Step) -> TrainError {
    TrainError::Diverged(format!("{what} in step {} of epoch {}", step.step + 1, step.epoch + 1))
}

impl Trainer<'_> {
    /// Trains on one batch with learning rate `rate`; `rows` are its place among the draws that the criterion knows. On a device it
    /// returns before the step is done.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where loss or gradient are known to be NaN or infinite; Candle errors.
    pub fn step(&mut self, inputs: &Tensor, rows: Range<usize>, step: Step, rate: f64) -> Result<(), TrainError> {
        if inputs.device().is_cpu() {
            awake(|| self.moved(inputs, rows, step, rate))
        } else {
            self.moved(inputs, rows, step, rate)
        }
    }

    fn moved(&mut self, inputs: &Tensor, rows: Range<usize>, step: Step, rate: f64) -> Result<(), TrainError> {
        let logits = self.model.forward(inputs, Some(step))?;
        let start = rows.start;
        let gradient = self.criterion.evaluate(&logits, rows)?;
        // d(sum of logits x g)/d(logits) is g: the loss's own gradient enters Candle's graph as a constant factor.
        let all = backward(&(&logits * gradient)?.sum_all()?)?;
        let mut gradients: BTreeMap<&str, Tensor> = BTreeMap::new();
        for (name, var) in &self.model.state().parameters {
            if let Some(gradient) = all.get(var)? {
                gradients.insert(name, gradient);
            }
        }
        let scale = match self.grad_clip {
            Some(limit) => self.criterion.clip(&mut gradients, limit, start)?,
            None => None,
        };
        self.optimizer.step(&gradients, rate, scale.as_ref())?;
        Ok(())
    }
}
