//! What judges an epoch's logits: the loss on the host, batch by batch, or its form on the device, of which nothing is read before the
//! epoch ends.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::TrainError;
use super::optimizer;
use super::step::diverged;
use crate::model::Step;
use imbalance::loss::{Batch, Loss};
use kernel::cells::{self, Cells, PART};
use kernel::clip_scale;

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

/// How the draws of an epoch are divided into steps.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    pub draws: usize,
    pub labels: usize,
    /// Draws of a step; the last one may have fewer.
    pub batch: usize,
    pub seed: u64,
    /// From 0.
    pub epoch: usize,
}

impl Steps {
    /// Steps of the epoch.
    #[must_use]
    pub fn count(&self) -> usize {
        self.draws.div_ceil(self.batch)
    }

    /// The draws of step number `step`.
    #[must_use]
    pub fn rows(&self, step: usize) -> Range<usize> {
        step * self.batch..self.draws.min((step + 1) * self.batch)
    }

    /// The name of step number `step`.
    #[must_use]
    pub fn name(&self, step: usize) -> Step {
        Step { seed: self.seed, epoch: self.epoch, step }
    }
}

impl Course<'_> {
    fn steps(&self) -> Steps {
        let Course { targets, labels, batch, seed, epoch, .. } = *self;
        Steps { draws: targets.len() / labels, labels, batch, seed, epoch }
    }

    fn step(&self, step: usize) -> Step {
        self.steps().name(step)
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

/// What each step of an epoch has come to for each run, on the device until the epoch ends.
pub struct Account {
    steps: Steps,
    /// `[steps, runs, parts x PART]`: each step's loss in parts.
    losses: Tensor,
    /// `[steps, runs]`: each step's gradient norm, f64; zeros where nothing is clipped.
    norms: Tensor,
}

impl Account {
    /// An account of `runs` runs, whose losses are summed in `parts` parts.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(steps: Steps, runs: usize, parts: usize, device: &Device) -> candle_core::Result<Self> {
        let losses = Tensor::zeros((steps.count(), runs, parts * PART), DType::F32, device)?;
        Ok(Self { steps, losses, norms: Tensor::zeros((steps.count(), runs), DType::F64, device)? })
    }

    /// Parts that the losses of the batches of `steps` are summed in.
    #[must_use]
    pub fn parts(steps: Steps) -> usize {
        cells::parts(steps.batch * steps.labels)
    }

    /// Puts down the losses of a step, `[runs, parts x PART]`.
    ///
    /// # Errors
    /// Candle's.
    pub fn losses(&self, step: usize, parts: &Tensor) -> candle_core::Result<()> {
        self.losses.slice_set(&parts.unsqueeze(0)?, 0, step)
    }

    /// Puts down the norms of a step's gradients, as many as there are runs.
    ///
    /// # Errors
    /// Candle's.
    pub fn norms(&self, step: usize, norms: &Tensor) -> candle_core::Result<()> {
        self.norms.slice_set(&norms.reshape((1, norms.elem_count()))?, 0, step)
    }

    /// Reads the mean loss of each run's epoch, or the first step of it that has come to no number.
    ///
    /// # Errors
    /// Candle's.
    pub fn close(&self) -> candle_core::Result<Vec<Result<f64, TrainError>>> {
        let (losses, norms) = (self.losses.to_vec3::<f32>()?, self.norms.to_vec2::<f64>()?);
        let runs = self.norms.dim(1)?;
        Ok((0..runs).map(|run| self.mean(losses.iter().zip(&norms).map(|(parts, norm)| (&parts[run][..], norm[run])))).collect())
    }

    /// A run's mean loss over the draws from the parts and norms of its steps.
    fn mean<'p>(&self, steps: impl Iterator<Item = (&'p [f32], f64)>) -> Result<f64, TrainError> {
        let mut sum = 0.0;
        for (step, (parts, norm)) in steps.enumerate() {
            let rows = self.steps.rows(step).len();
            let (total, finite) = cells::total(parts);
            let loss = total / (rows * self.steps.labels) as f64;
            if !loss.is_finite() || !finite {
                return Err(diverged(&format!("the loss is {loss}"), self.steps.name(step)));
            }
            if !norm.is_finite() {
                return Err(no_norm(norm, self.steps.name(step)));
            }
            sum += loss * rows as f64;
        }
        Ok(sum / self.steps.draws.max(1) as f64)
    }
}

/// Keeps the account of each step on the device until the epoch ends.
pub struct OnDevice<'a> {
    course: Course<'a>,
    cells: Cells,
    /// `[draws, labels]`
    targets: Tensor,
    /// `[draws]`: the numbers of the rows, where the form has a use for them.
    rows: Option<Tensor>,
    account: Account,
    before: f64,
}

impl<'a> OnDevice<'a> {
    /// The meter, where the loss has a form.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(course: Course<'a>, device: &Device, before: f64) -> candle_core::Result<Option<Self>> {
        let Course { loss, targets, labels, epoch, .. } = course;
        let Some(form) = loss.form(epoch) else { return Ok(None) };
        let (steps, parts) = (course.steps(), Account::parts(course.steps()));
        let numbers = loss.rows(labels, targets);
        let rows = if numbers.is_empty() { None } else { Some(Tensor::from_vec(numbers, steps.draws, device)?) };
        Ok(Some(Self {
            course,
            cells: Cells::new(vec![form], parts, device)?,
            targets: Tensor::from_slice(targets, (steps.draws, labels), device)?,
            rows,
            account: Account::new(steps, 1, parts, device)?,
            before,
        }))
    }
}

impl Meter for OnDevice<'_> {
    fn judge(&mut self, logits: &Tensor, rows: Range<usize>) -> Result<Tensor, TrainError> {
        let (start, count) = (rows.start, rows.len());
        let numbers = self.rows.as_ref().map(|rows| rows.narrow(0, start, count)).transpose()?;
        let (gradient, parts) = self.cells.evaluate(logits, &self.targets.narrow(0, start, count)?, numbers)?;
        self.account.losses(start / self.course.batch, &parts)?;
        Ok(gradient)
    }

    fn clip(&mut self, gradients: &mut BTreeMap<&str, Tensor>, limit: f64, start: usize) -> Result<Option<Tensor>, TrainError> {
        let Some(scale) = clip_scale(gradients.values(), limit)? else {
            return OnHost::new(self.course).clip(gradients, limit, start);
        };
        self.account.norms(start / self.course.batch, &scale.narrow(0, 1, 1)?)?;
        Ok(Some(scale))
    }

    fn mean(&self) -> f64 {
        self.before
    }

    fn close(&mut self) -> Result<f64, TrainError> {
        self.account.close()?.remove(0)
    }
}
