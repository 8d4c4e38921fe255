//! A model's scores on a split, and the records about them.

use candle_core::{Device, Tensor};

use super::TrainError;
use super::loader::Loader;
use super::record::Truth;
use crate::model::Model;
use data::Dataset;
use imbalance::evaluation::{self, FittedPolicy};
use imbalance::loss::{Batch, Loss};
use imbalance::metric;
use imbalance::sampler::Draw;
use imbalance::{LabelMatrix, UNKNOWN};
use plan::InputShape;
use protocol::journal::JournalError;
use protocol::{Evaluated, Event, Job, SplitName};

/// Rows of one forward pass at least: without gradients there is room for more than a training batch.
pub const LEAST_BATCH: usize = 64;

/// The inputs of `rows` as a tensor: `[batch, channels, height, width]` or `[batch, width]`.
///
/// # Errors
/// Propagates Candle errors.
pub fn inputs(data: &Dataset, rows: &[u32], augment: Option<(u64, usize)>, device: &Device) -> candle_core::Result<Tensor> {
    let mut values = vec![0.0; rows.len() * data.shape().values()];
    data.gather(rows, augment, &mut values);
    tensor(data, values, device)
}

/// The inputs of `draws` (indices into the train split) as [`inputs`] gives them, blends mixed.
///
/// # Errors
/// Propagates Candle errors.
pub fn drawn(data: &Dataset, draws: &[Draw], augment: (u64, usize), device: &Device) -> candle_core::Result<Tensor> {
    let mut values = Vec::new();
    drawn_values(data, draws, augment, data.shape().values(), &mut values);
    tensor(data, values, device)
}

/// The numbers of [`drawn`] into `values`, rows `step` apart.
pub fn drawn_values(data: &Dataset, draws: &[Draw], augment: (u64, usize), step: usize, values: &mut Vec<f32>) {
    let (train, width) = (&data.split().train, data.shape().values());
    let rows: Vec<u32> = draws.iter().map(|draw| train[draw.row as usize]).collect();
    values.resize(rows.len() * step, 0.0);
    data.gather_apart(&rows, Some(augment), step, values);
    let mut partner = vec![0.0; width];
    for (draw, input) in draws.iter().zip(values.chunks_exact_mut(step)) {
        if let Some(blend) = draw.blend {
            data.gather(&[train[blend.partner as usize]], Some(augment), &mut partner);
            blend.mix(&mut input[..width], &partner);
        }
    }
}

fn tensor(data: &Dataset, values: Vec<f32>, device: &Device) -> candle_core::Result<Tensor> {
    let rows = values.len() / data.shape().values();
    match data.shape() {
        InputShape::Image { channels, height, width } => {
            Tensor::from_vec(values, (rows, channels, height, width), &Device::Cpu)?.to_device(device)
        }
        InputShape::Features { width } => Tensor::from_vec(values, (rows, width), &Device::Cpu)?.to_device(device),
    }
}

/// Logits of `rows`, row-major `[rows, labels]`; they are read once, when all are computed.
///
/// # Errors
/// Candle errors; errors of `beat`, which is called after each batch.
pub fn logits(
    model: &dyn Model,
    data: &Dataset,
    loader: &Loader,
    rows: &[u32],
    batch: usize,
    mut beat: impl FnMut() -> Result<(), JournalError>,
) -> Result<Vec<f32>, TrainError> {
    let (batches, batch) = (loader.rows(data, rows)?, batch.max(LEAST_BATCH));
    let mut all = Vec::with_capacity(rows.len().div_ceil(batch));
    for start in (0..rows.len()).step_by(batch) {
        let inputs = batches.inputs(start..rows.len().min(start + batch))?;
        all.push(model.forward(&inputs, None)?.flatten_all()?);
        beat()?;
    }
    Ok(if all.is_empty() { Vec::new() } else { kernel::read(&Tensor::cat(&all, 0)?)?.to_vec1::<f32>()? })
}

/// Probabilities of logits; an error where one is NaN or infinite.
///
/// # Errors
/// [`TrainError::Diverged`].
pub fn scores(logits: &[f32], split: SplitName, epoch: usize) -> Result<Vec<f32>, TrainError> {
    if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
        let split = if split == SplitName::Val { "val" } else { "test" };
        return Err(TrainError::Diverged(format!("a {split} logit is {} after epoch {}", logits[at], epoch + 1)));
    }
    Ok(evaluation::probabilities(logits))
}

/// What makes a loss that is a mean over all cells of `targets` one over their known cells, for the record: gradients are those of all
/// cells. 1 of a loss that is no mean over cells.
#[must_use]
pub fn per_known_cell(loss: &dyn Loss, targets: &[u8]) -> f64 {
    let known = targets.iter().filter(|y| **y != UNKNOWN).count();
    if loss.is_over_cells() && known > 0 { targets.len() as f64 / known as f64 } else { 1.0 }
}

/// The loss over the known cells of a whole split.
///
/// # Errors
/// [`TrainError::Diverged`] where it is NaN or infinite.
pub fn loss(loss: &dyn Loss, logits: &[f32], truth: &LabelMatrix, epoch: usize) -> Result<f64, TrainError> {
    let mut gradient = vec![0.0; logits.len()];
    let value = loss.evaluate(Batch { labels: truth.names.len(), logits, targets: &truth.values, epoch }, &mut gradient);
    if value.is_finite() {
        Ok(value * per_known_cell(loss, &truth.values))
    } else {
        Err(TrainError::Diverged(format!("the val loss is {value} after epoch {}", epoch + 1)))
    }
}

/// The scores of one epoch on val, and the policies fitted on them.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub epoch: usize,
    policies: Vec<FittedPolicy>,
    pub macro_ap: Option<f64>,
}

/// The records of one epoch's val logits and their probabilities, `scores`, with the policies fitted on these.
///
/// # Errors
/// [`TrainError::Strategy`]: a policy that this version does not know.
pub fn on_val(
    job: &Job,
    epoch: usize,
    (logits, scores): (&[f32], &[f32]),
    truth: &LabelMatrix,
) -> Result<(Fitted, Vec<Event>), TrainError> {
    let ranking = metric::rank_logits(logits, scores, truth);
    let macro_ap = metric::average::mean_defined(&ranking.ap).map(|mean| mean.mean);
    let fitted = Fitted { epoch, policies: evaluation::fit(&job.policies, scores, truth)?, macro_ap };
    let events = records(job, &fitted, SplitName::Val, ranking, scores, truth);
    Ok((fitted, events))
}

/// The records of the test logits of the same epoch and of their probabilities, under thresholds that were fitted before test was
/// looked at.
#[must_use]
pub fn on_test(job: &Job, fitted: &Fitted, (logits, scores): (&[f32], &[f32]), truth: &LabelMatrix) -> Vec<Event> {
    records(job, fitted, SplitName::Test, metric::rank_logits(logits, scores, truth), scores, truth)
}

/// The records of fitted policies on val rows that they were not fitted on.
///
/// # Errors
/// As [`on_val`].
pub fn held_out(job: &Job, epoch: usize, scores: &[f32], truth: &Truth) -> Result<Vec<Event>, TrainError> {
    let evaluated = Evaluated { run: &job.run, attempt: job.attempt, epoch, split: SplitName::Val };
    Ok(evaluated.held_out(&job.policies, scores, &truth.val, truth.val_groups.as_deref())?)
}

fn records(
    job: &Job,
    fitted: &Fitted,
    split: SplitName,
    ranking: metric::Ranking,
    scores: &[f32],
    truth: &LabelMatrix,
) -> Vec<Event> {
    let evaluated = Evaluated { run: &job.run, attempt: job.attempt, epoch: fitted.epoch, split };
    let mut events = vec![evaluated.ranking(ranking)];
    events.extend(evaluated.under(&fitted.policies, scores, truth));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::loss::{Context, REGISTRY, build};

    /// The recorded loss of a loss over cells is that of the known cells alone; a loss over rows or labels says what it is.
    #[test]
    fn recorded_losses_are_means_over_known_cells() {
        let known = LabelMatrix { names: ["a".to_owned()].into(), values: vec![1, 0, 0, 1] };
        let partly = LabelMatrix { values: vec![1, UNKNOWN, 0, 0, UNKNOWN, 1, UNKNOWN], ..known.clone() };
        let (own, all) = ([0.3, -1.0, 2.0, 0.5], [0.3, 9.0, -1.0, 2.0, -9.0, 0.5, 1.0]);
        let context = Context { pos_weight: vec![2.0], counts: partly.counts(), epochs: 3 };
        for entry in REGISTRY {
            let over = build(&imbalance::parse(REGISTRY, "loss", entry.kind).unwrap(), &context).unwrap();
            let [alone, recorded] =
                [(&own[..], &known), (&all[..], &partly)].map(|(logits, truth)| loss(&*over, logits, truth, 0).unwrap());
            let is_over_cells = !["soft_f1", "two_way", "zlpr"].contains(&entry.kind);
            assert_eq!(over.is_over_cells(), is_over_cells, "{}", entry.kind);
            assert!(!is_over_cells || (alone - recorded).abs() < 1e-12 * alone, "{}: {recorded} is not {alone}", entry.kind);
            assert_eq!(per_known_cell(&*over, &known.values), 1.0);
        }
    }
}
