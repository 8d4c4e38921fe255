//! What judges an epoch's logits: the loss on the host, batch by batch, or its form on the device, of which nothing is read before the
//! epoch ends.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::TrainError;
use super::optimizer;
use super::step::diverged;
use crate::kernel::cells::{self, Cells, PART};
use crate::kernel::clip_scale;
use crate::model::Step;
use crate::strategy::loss::{Batch, Loss};

/// What an epoch's batches are judged by.
#[derive(Clone, Copy)]
pub struct Course<'a> {
    pub loss: &'a dyn Loss,
    /// Targets of all draws, row-major `[draws, labels]`.
    pub targets: &'a [u8],
    pub labels: usize,
    /// Draws of a batch; the last one may have fewer.
    pub batch: usize,
    pub seed: u64,
    /// From 0.
    pub epoch: usize,
}

impl Course<'_> {
    fn step(&self, step: usize) -> Step {
        Step { seed: self.seed, epoch: self.epoch, step }
    }
}

/// The loss of an epoch's batches, its gradient, and what they come to.
pub trait Meter {
    /// The gradient of the loss of the draws in `rows` by their `logits` (`[rows, labels]`), which are one batch of the course; the loss
    /// is added to the epoch's.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where loss or gradient are seen to be no numbers; Candle's.
    fn judge(&mut self, logits: &Tensor, rows: Range<usize>) -> Result<Tensor, TrainError>;

    /// Sees to it that the gradients of the batch that begins with row `start` have no larger norm than `limit`: scales them, or
    /// returns what the optimizer is to scale them with.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where the norm is seen to be no number; Candle's.
    fn clip(&mut self, gradients: &mut BTreeMap<&str, Tensor>, limit: f64, start: usize) -> Result<Option<Tensor>, TrainError>;

    /// The mean loss of the draws so far, as far as it is known: on a device that of the epoch before.
    fn mean(&self) -> f64;

    /// The mean loss of the epoch, once all is judged.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] of the first step that has come to no number; Candle's.
    fn close(&mut self) -> Result<f64, TrainError>;
}

/// The meter of `course`: on `device` where that is no CPU and the loss has a form. `before` is the mean loss of the epoch before.
///
/// # Errors
/// Candle's.
pub fn open<'a>(course: Course<'a>, device: &Device, before: f64) -> candle_core::Result<Box<dyn Meter + 'a>> {
    if !device.is_cpu()
        && let Some(meter) = OnDevice::new(course, device, before)?
    {
        return Ok(Box::new(meter));
    }
    Ok(Box::new(OnHost::new(course)))
}

/// Reads the logits of each batch.
pub struct OnHost<'a> {
    course: Course<'a>,
    sum: f64,
    done: usize,
}

impl<'a> OnHost<'a> {
    #[must_use]
    pub fn new(course: Course<'a>) -> Self {
        Self { course, sum: 0.0, done: 0 }
    }
}

impl Meter for OnHost<'_> {
    fn judge(&mut self, logits: &Tensor, rows: Range<usize>) -> Result<Tensor, TrainError> {
        let Course { loss, targets, labels, batch, epoch, .. } = self.course;
        let values = logits.flatten_all()?.to_vec1::<f32>()?;
        let targets = &targets[rows.start * labels..rows.end * labels];
        let mut gradient = vec![0.0; values.len()];
        let loss = loss.evaluate(Batch { labels, logits: &values, targets, epoch }, &mut gradient);
        if !loss.is_finite() || gradient.iter().any(|slope| !slope.is_finite()) {
            return Err(diverged(&format!("the loss is {loss}"), self.course.step(rows.start / batch)));
        }
        self.sum += loss * rows.len() as f64;
        self.done += rows.len();
        Ok(Tensor::from_vec(gradient, logits.shape(), &Device::Cpu)?.to_device(logits.device())?)
    }

    fn clip(&mut self, gradients: &mut BTreeMap<&str, Tensor>, limit: f64, start: usize) -> Result<Option<Tensor>, TrainError> {
        let norm = optimizer::clip(gradients, limit)?;
        if norm.is_finite() { Ok(None) } else { Err(no_norm(norm, self.course.step(start / self.course.batch))) }
    }

    fn mean(&self) -> f64 {
        self.sum / self.done.max(1) as f64
    }

    fn close(&mut self) -> Result<f64, TrainError> {
        Ok(self.mean())
    }
}

fn no_norm(norm: f64, step: Step) -> TrainError {
    diverged(&format!("the gradient's norm is {norm}"), step)
}

/// Keeps the account of each step on the device until the epoch ends.
pub struct OnDevice<'a> {
    course: Course<'a>,
    cells: Cells,
    /// `[draws, labels]`
    targets: Tensor,
    /// `[draws]`: the numbers of the rows, where the form has a use for them.
    rows: Option<Tensor>,
    /// `[steps, parts x PART]`: each step's loss in parts.
    losses: Tensor,
    /// `[steps]`: each step's gradient norm, f64; zeros where nothing is clipped.
    norms: Tensor,
    parts: usize,
    before: f64,
}

impl<'a> OnDevice<'a> {
    /// The meter, where the loss has a form.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(course: Course<'a>, device: &Device, before: f64) -> candle_core::Result<Option<Self>> {
        let Course { loss, targets, labels, batch, epoch, .. } = course;
        let Some(form) = loss.form(epoch) else { return Ok(None) };
        let draws = targets.len() / labels;
        let (steps, parts) = (draws.div_ceil(batch), cells::parts(batch * labels));
        let numbers = loss.rows(labels, targets);
        let rows = if numbers.is_empty() { None } else { Some(Tensor::from_vec(numbers, draws, device)?) };
        Ok(Some(Self {
            course,
            cells: Cells::new(form, parts, device)?,
            targets: Tensor::from_slice(targets, (draws, labels), device)?,
            rows,
            losses: Tensor::zeros((steps, parts * PART), DType::F32, device)?,
            norms: Tensor::zeros(steps, DType::F64, device)?,
            parts,
            before,
        }))
    }
}

impl Meter for OnDevice<'_> {
    fn judge(&mut self, logits: &Tensor, rows: Range<usize>) -> Result<Tensor, TrainError> {
        let step = rows.start / self.course.batch;
        let (start, count) = (rows.start, rows.len());
        let numbers = self.rows.as_ref().map(|rows| rows.narrow(0, start, count)).transpose()?;
        let (gradient, parts) = self.cells.evaluate(logits, &self.targets.narrow(0, start, count)?, numbers)?;
        self.losses.slice_set(&parts.reshape((1, self.parts * PART))?, 0, step)?;
        Ok(gradient)
    }

    fn clip(&mut self, gradients: &mut BTreeMap<&str, Tensor>, limit: f64, start: usize) -> Result<Option<Tensor>, TrainError> {
        let step = start / self.course.batch;
        let Some(scale) = clip_scale(gradients.values(), limit)? else {
            return OnHost::new(self.course).clip(gradients, limit, start);
        };
        self.norms.slice_set(&scale.narrow(0, 1, 1)?, 0, step)?;
        Ok(Some(scale))
    }

    fn mean(&self) -> f64 {
        self.before
    }

    fn close(&mut self) -> Result<f64, TrainError> {
        let Course { batch, labels, targets, .. } = self.course;
        let draws = targets.len() / labels;
        let mut sum = 0.0;
        let losses = self.losses.to_vec2::<f32>()?;
        for (step, (parts, norm)) in losses.iter().zip(self.norms.to_vec1::<f64>()?).enumerate() {
            let rows = batch.min(draws - step * batch);
            let (total, finite) = cells::total(parts);
            let loss = total / (rows * labels) as f64;
            if !loss.is_finite() || !finite {
                return Err(diverged(&format!("the loss is {loss}"), self.course.step(step)));
            }
            if !norm.is_finite() {
                return Err(no_norm(norm, self.course.step(step)));
            }
            sum += loss * rows as f64;
        }
        Ok(sum / draws.max(1) as f64)
    }
}
