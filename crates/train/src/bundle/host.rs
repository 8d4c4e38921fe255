//! A bundle's heads on the CPU: batches are gathered once for all of them, losses are evaluated side by side.

use super::{BundleEpoch, IdleHeads, Pulse, RunningHeads};
use crate::TrainError;
use crate::evaluate;
use crate::heads::Heads;
use crate::model;
use crate::record::Learner;
use crate::step::diverged;
use data::Dataset;
use imbalance::loss::{Batch, Loss};
use kernel::stacked::{Losses, row_step};

/// Rows that are evaluated at once, and the numbers they may have together.
const ROWS: usize = 256;
const ROW_VALUES: usize = 1 << 22;

/// Rows of `width` numbers that are evaluated together.
#[must_use]
pub fn rows_at_once(width: usize) -> usize {
    (ROW_VALUES / width.max(1)).clamp(16, ROWS)
}

/// Heads between epochs.
pub struct IdleHostHeads<'a> {
    pub heads: Heads,
    pub data: &'a Dataset,
}

impl IdleHeads for IdleHostHeads<'_> {
    fn begin<'e>(&'e mut self, shared: BundleEpoch<'e>) -> Result<Box<dyn RunningHeads + 'e>, TrainError> {
        let sums = vec![0.0; shared.losses.len()];
        let broken = shared.losses.iter().map(|_| None).collect();
        // Logits of hidden layers are each run's own.
        let lanes =
            |loss: &&dyn Loss| loss.form(shared.steps.epoch).and_then(|form| form.lanes()).filter(|_| self.heads.is_linear());
        let losses = Losses::new(&shared.losses.iter().map(lanes).collect::<Vec<_>>(), shared.steps.labels);
        let (heads, data) = (&mut self.heads, self.data);
        Ok(Box::new(RunningHostHeads { heads, data, shared, losses, x: Vec::new(), done: 0, sums, broken }))
    }

    fn store(&self, learners: &mut [&mut Learner]) -> Result<(), TrainError> {
        self.heads.store(learners)
    }

    fn logits(&self, rows: &[u32], _: usize, beat: Pulse<'_>) -> Result<Vec<Vec<f32>>, TrainError> {
        let width = self.data.shape().values();
        let (mut all, mut x): (Vec<Vec<f32>>, Vec<f32>) = (Vec::new(), Vec::new());
        for rows in rows.chunks(rows_at_once(width)) {
            let step = row_step(width);
            x.resize(rows.len() * step, 0.0);
            self.data.gather_apart(rows, None, step, &mut x);
            let batch = self.heads.logits(&x);
            all.resize_with(batch.len(), Vec::new);
            all.iter_mut().zip(batch).for_each(|(all, batch)| all.extend(batch));
            beat()?;
        }
        Ok(all)
    }
}

/// Heads in an epoch.
struct RunningHostHeads<'e> {
    heads: &'e mut Heads,
    data: &'e Dataset,
    shared: BundleEpoch<'e>,
    /// Those that are evaluated side by side.
    losses: Losses,
    x: Vec<f32>,
    /// Draws so far.
    done: usize,
    /// Each run's loss, summed over draws.
    sums: Vec<f64>,
    broken: Vec<Option<TrainError>>,
}

impl RunningHeads for RunningHostHeads<'_> {
    fn step(&mut self, at: usize, rates: &[f64]) -> Result<(), TrainError> {
        let Self { heads, data, shared, losses, x, .. } = self;
        let (step, rows) = (shared.steps.name(at), shared.steps.rows(at));
        evaluate::drawn_values(data, &shared.draws[rows.clone()], (step.seed, step.epoch), row_step(heads.inputs()), x);
        let mask = model::dropout_factors(rows.len() * heads.features(), shared.dropout, step);
        if let Some(mask) = mask.as_ref().filter(|_| heads.is_linear()) {
            let rows = x.chunks_exact_mut(row_step(heads.inputs())).zip(mask.chunks_exact(heads.inputs()));
            rows.for_each(|(x, mask)| x.iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask));
        }
        let (labels, targets) = (shared.steps.labels, shared.targets(&rows));
        let (losses, stuck) = heads.step(x, mask.as_deref(), (losses, targets), rates, |run, logits, gradient| {
            let loss = shared.losses[run].evaluate(Batch { labels, logits, targets, epoch: step.epoch }, gradient);
            if loss.is_finite() && gradient.iter().any(|slope| !slope.is_finite()) { f64::NAN } else { loss }
        });
        for ((sum, broken), loss) in self.sums.iter_mut().zip(&mut self.broken).zip(losses) {
            *sum += loss * rows.len() as f64;
            if !loss.is_finite() && broken.is_none() {
                *broken = Some(diverged(&format!("the loss is {loss}"), step));
            }
        }
        for run in stuck {
            self.broken[run].get_or_insert_with(|| diverged("the gradient's norm is NaN or infinite", step));
        }
        self.done += rows.len();
        Ok(())
    }

    fn mean(&self) -> f64 {
        self.sums[0] / self.done.max(1) as f64
    }

    fn close(self: Box<Self>) -> Result<Vec<Result<f64, TrainError>>, TrainError> {
        let done = self.done.max(1) as f64;
        Ok(self.broken.into_iter().zip(self.sums).map(|(broken, sum)| broken.map_or(Ok(sum / done), Err)).collect())
    }
}
