//! A bundle's heads on a device: batches are gathered there, losses with a form are evaluated there, and what the steps of an
//! epoch add up to is read when it ends. Of losses without a form the logits are read in each step.

use std::ops::Range;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{BundleEpoch, IdleHeads, Pulse, RunningHeads};
use crate::TrainError;
use crate::criterion::Account;
use crate::evaluate::LEAST_BATCH;
use crate::heads::device::DeviceHeads;
use crate::loader::{Batches, Loader};
use crate::model;
use crate::record::Learner;
use data::Dataset;
use imbalance::loss::form::Side;
use imbalance::loss::{Batch, Form};
use kernel::cells::{self, Cells, PART};

/// Heads between epochs.
pub struct IdleDeviceHeads<'a> {
    pub heads: DeviceHeads,
    pub data: &'a Dataset,
    pub loader: &'a Loader,
}

impl IdleHeads for IdleDeviceHeads<'_> {
    fn begin<'e>(&'e mut self, shared: BundleEpoch<'e>) -> Result<Box<dyn RunningHeads + 'e>, TrainError> {
        let batches = self.loader.draws(self.data, shared.draws, (shared.steps.seed, shared.steps.epoch))?;
        let criterion = BundleCriterion::new(shared, self.loader.device())?;
        Ok(Box::new(RunningDeviceHeads { heads: &mut self.heads, batches, criterion }))
    }

    fn store(&self, learners: &mut [&mut Learner]) -> Result<(), TrainError> {
        self.heads.store(learners)
    }

    fn logits(&self, rows: &[u32], batch: usize, beat: Pulse<'_>) -> Result<Vec<Vec<f32>>, TrainError> {
        let (batches, batch) = (self.loader.rows(self.data, rows)?, batch.max(LEAST_BATCH));
        let mut all = Vec::with_capacity(rows.len().div_ceil(batch));
        for start in (0..rows.len()).step_by(batch) {
            let x = batches.inputs(start..rows.len().min(start + batch))?.flatten_from(1)?;
            all.push(self.heads.logits(&x)?);
            beat()?;
        }
        if all.is_empty() {
            return Ok(vec![Vec::new(); self.heads.runs()]);
        }
        Ok(kernel::read(&upright(&Tensor::cat(&all, 2)?)?.flatten_from(1)?)?.to_vec2::<f32>()?)
    }
}

/// `[runs, labels, batch]` to `[runs, batch, labels]`, or back.
fn upright(logits: &Tensor) -> candle_core::Result<Tensor> {
    logits.transpose(1, 2)?.contiguous()
}

/// Heads in an epoch.
struct RunningDeviceHeads<'e> {
    heads: &'e mut DeviceHeads,
    batches: Box<dyn Batches + 'e>,
    criterion: BundleCriterion<'e>,
}

impl RunningHeads for RunningDeviceHeads<'_> {
    fn step(&mut self, at: usize, rates: &[f64]) -> Result<(), TrainError> {
        let Self { heads, batches, criterion } = self;
        let (steps, rows) = (criterion.shared.steps, criterion.shared.steps.rows(at));
        let mut x = batches.inputs(rows.clone())?.flatten_from(1)?;
        let features = heads.features()?;
        let mask = model::dropout_mask((rows.len(), features), criterion.shared.dropout, steps.name(at), x.device())?;
        let mask = match mask {
            Some(mask) if heads.is_linear() => {
                x = (x * mask)?;
                None
            }
            mask => mask.map(|mask| mask.t()?.contiguous()).transpose()?,
        };
        let gradients = heads.gradients(&x, mask.as_ref(), |logits| criterion.evaluate(logits, at))?;
        if let Some(norms) = heads.update(&gradients, rates)? {
            criterion.account.norms(at, &norms)?;
        }
        Ok(())
    }

    fn mean(&self) -> f64 {
        self.criterion.shared.before
    }

    fn close(self: Box<Self>) -> Result<Vec<Result<f64, TrainError>>, TrainError> {
        Ok(self.criterion.account.close()?)
    }
}

/// The losses of all runs, and their sums.
struct BundleCriterion<'e> {
    shared: BundleEpoch<'e>,
    cells: Cells,
    /// `[draws, labels]`
    targets: Tensor,
    /// `[runs, draws]`: the numbers of the rows, where a form has a use for them.
    rows: Option<Tensor>,
    account: Account,
    /// The runs whose loss has no form.
    formless: Vec<Range<usize>>,
}

impl<'e> BundleCriterion<'e> {
    fn new(shared: BundleEpoch<'e>, device: &Device) -> candle_core::Result<Self> {
        let BundleEpoch { ref losses, targets, steps, .. } = shared;
        let (runs, labels, draws, parts) = (losses.len(), steps.labels, steps.draws, Account::parts(steps));
        let forms: Vec<Option<Form>> = losses.iter().map(|loss| loss.form(steps.epoch)).collect();
        let without: Vec<usize> = (0..runs).filter(|&run| forms[run].is_none()).collect();
        let formless = without.chunk_by(|a, b| a + 1 == *b).map(|runs| runs[0]..runs[0] + runs.len()).collect();
        // What the device computes for those is overwritten.
        let free = || Form::new(Side::positive(0.0, vec![0.0; labels]), Side::negative(0.0, 0.0, labels));
        let forms = forms.into_iter().map(|form| form.unwrap_or_else(free)).collect();
        let numbers: Vec<Vec<f64>> = losses.iter().map(|loss| loss.rows(labels, targets)).collect();
        let rows = if numbers.iter().all(Vec::is_empty) {
            None
        } else {
            let all = numbers.into_iter().flat_map(|own| if own.is_empty() { vec![1.0; draws] } else { own });
            Some(Tensor::from_vec(all.collect::<Vec<f64>>(), (runs, draws), device)?)
        };
        Ok(Self {
            cells: Cells::new(forms, parts, device)?,
            targets: Tensor::from_slice(targets, (draws, labels), device)?,
            rows,
            account: Account::new(steps, runs, parts, device)?,
            formless,
            shared,
        })
    }

    /// The gradients of step number `at` by its logits, `[runs, labels, batch]`; the losses are recorded.
    fn evaluate(&mut self, logits: &Tensor, at: usize) -> Result<Tensor, TrainError> {
        let rows = self.shared.steps.rows(at);
        let (start, count) = (rows.start, rows.len());
        let numbers = self.rows.as_ref().map(|rows| rows.narrow(1, start, count)).transpose()?;
        let (gradient, parts) = self.cells.evaluate(logits, &self.targets.narrow(0, start, count)?, numbers)?;
        for runs in &self.formless {
            let (own, sums) = self.on_host(&logits.narrow(0, runs.start, runs.len())?, runs, &rows)?;
            gradient.slice_set(&own, 0, runs.start)?;
            parts.slice_set(&sums, 0, runs.start)?;
        }
        self.account.losses(at, &parts)?;
        Ok(gradient)
    }

    /// Gradients and parts of the losses of `runs`, whose logits are read.
    fn on_host(&self, logits: &Tensor, runs: &Range<usize>, rows: &Range<usize>) -> candle_core::Result<(Tensor, Tensor)> {
        let BundleEpoch { losses, steps, .. } = &self.shared;
        let (labels, targets, device) = (steps.labels, self.shared.targets(rows), logits.device());
        let values = kernel::read(&upright(logits)?.flatten_all()?)?.to_vec1::<f32>()?;
        let parts = Account::parts(*steps) * PART;
        let (mut gradient, mut sums) = (vec![0.0; values.len()], vec![0.0; runs.len() * parts]);
        let cells = targets.len();
        let each = gradient.par_chunks_exact_mut(cells).zip(sums.par_chunks_exact_mut(parts));
        each.zip(values.par_chunks_exact(cells)).zip(&losses[runs.clone()]).for_each(|(((gradient, sums), logits), loss)| {
            let loss = loss.evaluate(Batch { labels, logits, targets, epoch: steps.epoch }, gradient);
            let bad = gradient.iter().any(|slope| !slope.is_finite());
            sums[..PART].copy_from_slice(&cells::part(loss * cells as f64, bad));
        });
        let gradient = Tensor::from_vec(gradient, (runs.len(), rows.len(), labels), device)?;
        Ok((upright(&gradient)?, Tensor::from_vec(sums, (runs.len(), parts), device)?))
    }
}
