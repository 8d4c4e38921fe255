//! Evaluates an epoch's logits: the loss on the host, batch by batch, or its form on the device, of which nothing is read back
//! before the epoch ends.

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

/// What an epoch's batches are evaluated with.
#[derive(Clone, Copy)]
pub struct Epoch<'a> {
    pub loss: &'a dyn Loss,
    /// Targets of all draws, row-major `[draws, labels]`.
    pub targets: &'a [u8],
    pub labels: usize,
    /// Draws of a batch; the last one may have fewer.
    pub batch: usize,
    pub seed: u64,
    /// From 0.
    pub number: usize,
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

impl Epoch<'_> {
    fn steps(&self) -> Steps {
        let Epoch { targets, labels, batch, seed, number, .. } = *self;
        Steps { draws: targets.len() / labels, labels, batch, seed, epoch: number }
    }

    fn step(&self, step: usize) -> Step {
        self.steps().name(step)
    }
}

/// The loss of an epoch's batches, its gradient, and their sums.
pub trait Criterion {
    /// The gradient of the loss of the draws in `rows` by their `logits` (`[rows, labels]`), which are one batch of the epoch;
    /// the loss is added to the epoch's.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where loss or gradient are known to be NaN or infinite; Candle errors.
    fn evaluate(&mut self, logits: &Tensor, rows: Range<usize>) -> Result<Tensor, TrainError>;

    /// Limits the norm of the gradients of the batch that begins with row `start` to `limit`: scales them, or
    /// returns what the optimizer is to scale them with.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where the norm is known to be NaN or infinite; Candle errors.
    fn clip(&mut self, gradients: &mut BTreeMap<&str, Tensor>, limit: f64, start: usize) -> Result<Option<Tensor>, TrainError>;

    /// The mean loss of the draws so far, as far as it is known: on a device that of the epoch before.
    fn mean(&self) -> f64;

    /// The mean loss of the epoch, once all batches are evaluated.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] of the first step whose loss or gradient is NaN or infinite; Candle errors.
    fn close(&mut self) -> Result<f64, TrainError>;
}

/// The criterion of `epoch`: on `device` where that is not a CPU and the loss has a form. `before` is the mean loss of the epoch
/// before.
///
/// # Errors
/// Propagates Candle errors.
pub fn open<'a>(epoch: Epoch<'a>, device: &Device, before: f64) -> candle_core::Result<Box<dyn Criterion + 'a>> {
    if !device.is_cpu()
        && let Some(criterion) = DeviceCriterion::new(epoch, device, before)?
    {
        return Ok(Box::new(criterion));
    }
    Ok(Box::new(HostCriterion::new(epoch)))
}

/// Reads the logits of each batch.
pub struct HostCriterion<'a> {
    epoch: Epoch<'a>,
    sum: f64,
    done: usize,
}

impl<'a> HostCriterion<'a> {
    #[must_use]
    pub fn new(epoch: Epoch<'a>) -> Self {
        Self { epoch, sum: 0.0, done: 0 }
    }
}

impl Criterion for HostCriterion<'_> {
    fn evaluate(&mut self, logits: &Tensor, rows: Range<usize>) -> Result<Tensor, TrainError> {
        let Epoch { loss, targets, labels, batch, number, .. } = self.epoch;
        let values = kernel::read(&logits.flatten_all()?)?.to_vec1::<f32>()?;
        let targets = &targets[rows.start * labels..rows.end * labels];
        let mut gradient = vec![0.0; values.len()];
        let loss = loss.evaluate(Batch { labels, logits: &values, targets, epoch: number }, &mut gradient);
        if !loss.is_finite() || gradient.iter().any(|slope| !slope.is_finite()) {
            return Err(diverged(&format!("the loss is {loss}"), self.epoch.step(rows.start / batch)));
        }
        self.sum += loss * rows.len() as f64;
        self.done += rows.len();
        Ok(Tensor::from_vec(gradient, logits.shape(), &Device::Cpu)?.to_device(logits.device())?)
    }

    fn clip(&mut self, gradients: &mut BTreeMap<&str, Tensor>, limit: f64, start: usize) -> Result<Option<Tensor>, TrainError> {
        let norm = optimizer::clip(gradients, limit)?;
        if norm.is_finite() { Ok(None) } else { Err(no_norm(norm, self.epoch.step(start / self.epoch.batch))) }
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

/// Loss and gradient norm of each step of an epoch for each run, on the device until the epoch ends.
pub struct Account {
    steps: Steps,
    /// `[steps, runs, parts x PART]`: each step's loss in parts.
    losses: Tensor,
    /// `[steps, runs]`: each step's gradient norm, f64; zeros where nothing is clipped.
    norms: Tensor,
}

impl Account {
    /// An account for `runs` runs, whose losses are summed in `parts` parts.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn new(steps: Steps, runs: usize, parts: usize, device: &Device) -> candle_core::Result<Self> {
        let losses = Tensor::zeros((steps.count(), runs, parts * PART), DType::F32, device)?;
        Ok(Self { steps, losses, norms: Tensor::zeros((steps.count(), runs), DType::F64, device)? })
    }

    /// Parts that the losses of the batches of `steps` are summed in.
    #[must_use]
    pub fn parts(steps: Steps) -> usize {
        cells::parts(steps.batch * steps.labels)
    }

    /// Records the losses of a step, `[runs, parts x PART]`.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn losses(&self, step: usize, parts: &Tensor) -> candle_core::Result<()> {
        self.losses.slice_set(&parts.unsqueeze(0)?, 0, step)
    }

    /// Records the norms of a step's gradients, as many as there are runs.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn norms(&self, step: usize, norms: &Tensor) -> candle_core::Result<()> {
        self.norms.slice_set(&norms.reshape((1, norms.elem_count()))?, 0, step)
    }

    /// Reads the mean loss of each run's epoch, or the first step of it whose loss or gradient is NaN or infinite.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn close(&self) -> candle_core::Result<Vec<Result<f64, TrainError>>> {
        let (losses, norms) = (kernel::read(&self.losses)?.to_vec3::<f32>()?, kernel::read(&self.norms)?.to_vec2::<f64>()?);
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
pub struct DeviceCriterion<'a> {
    epoch: Epoch<'a>,
    cells: Cells,
    /// `[draws, labels]`
    targets: Tensor,
    /// `[draws]`: the numbers of the rows, where the form has a use for them.
    rows: Option<Tensor>,
    account: Account,
    before: f64,
}

impl<'a> DeviceCriterion<'a> {
    /// The criterion, where the loss has a form.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn new(epoch: Epoch<'a>, device: &Device, before: f64) -> candle_core::Result<Option<Self>> {
        let Epoch { loss, targets, labels, number, .. } = epoch;
        let Some(form) = loss.form(number) else { return Ok(None) };
        let (steps, parts) = (epoch.steps(), Account::parts(epoch.steps()));
        let numbers = loss.rows(labels, targets);
        let rows = if numbers.is_empty() { None } else { Some(Tensor::from_vec(numbers, steps.draws, device)?) };
        Ok(Some(Self {
            epoch,
            cells: Cells::new(vec![form], parts, device)?,
            targets: Tensor::from_slice(targets, (steps.draws, labels), device)?,
            rows,
            account: Account::new(steps, 1, parts, device)?,
            before,
        }))
    }
}

impl Criterion for DeviceCriterion<'_> {
    fn evaluate(&mut self, logits: &Tensor, rows: Range<usize>) -> Result<Tensor, TrainError> {
        let (start, count) = (rows.start, rows.len());
        let numbers = self.rows.as_ref().map(|rows| rows.narrow(0, start, count)).transpose()?;
        let (gradient, parts) = self.cells.evaluate(logits, &self.targets.narrow(0, start, count)?, numbers)?;
        self.account.losses(start / self.epoch.batch, &parts)?;
        Ok(gradient)
    }

    fn clip(&mut self, gradients: &mut BTreeMap<&str, Tensor>, limit: f64, start: usize) -> Result<Option<Tensor>, TrainError> {
        let Some(scale) = clip_scale(gradients.values(), limit)? else {
            return HostCriterion::new(self.epoch).clip(gradients, limit, start);
        };
        self.account.norms(start / self.epoch.batch, &scale.narrow(0, 1, 1)?)?;
        Ok(Some(scale))
    }

    fn mean(&self) -> f64 {
        self.before
    }

    fn close(&mut self) -> Result<f64, TrainError> {
        self.account.close()?.remove(0)
    }
}
