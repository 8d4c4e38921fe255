//! Reference runs ([`plan::Reference`]): one L2 logistic regression per label on fixed features, converged in f64 at each strength of
//! [`plan::STRENGTHS`], from strong to weak regularisation, each from the solution before it. A strength is an epoch of the run: it is
//! evaluated and recorded as one, the best epoch is the strength with the highest val macro AP (the stronger of equal ones), and the run
//! ends as any other once val gets no better. Each label is fitted on the rows that know it.
//!
//! It is short, so there is no checkpoint: an attempt that is interrupted begins anew.

mod lbfgs;
mod objective;

use std::time::Instant;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::checkpoint::EpochFacts;
use super::record::{Record, Truth};
use super::{Beat, Finish, Monitor, TrainError};
use crate::model::{self, ModelError, State};
use data::Dataset;
use imbalance::{LabelCounts, LabelMatrix};
use lbfgs::{Ending, Lbfgs, Limits};
use objective::{ClassWeights, Features, Objective};
use plan::{InputShape, Reference, STRENGTHS};
use protocol::Job;

/// Labels that advance together: with more, what they remember would fill the memory.
const TOGETHER: usize = 64;
/// Evaluations of a label at one strength. Real data needs tens to hundreds.
const MOST_EVALUATIONS: usize = 5000;

/// Trains the reference run of `job` on its prepared `data`, on the CPU whatever the worker's device is.
///
/// # Errors
/// [`TrainError`]; what was recorded before stays.
pub fn run(job: &Job, reference: Reference, data: &Dataset, monitor: &mut dyn Monitor) -> Result<Finish, TrainError> {
    let InputShape::Features { width } = data.shape() else {
        let words = format!("{} needs features, and the data has images", reference.name());
        return Err(ModelError::Input(words).into());
    };
    let truth = Truth::of(data);
    let mut record = Record::new(job)?;
    record.begin(&truth, monitor)?;
    let stage = monitor.stage(job, "reading the features", None);
    let inputs = |rows: &[u32]| {
        let mut values = vec![0.0; rows.len() * width];
        data.gather(rows, None, &mut values);
        values
    };
    let [train, val, test] = [&data.split().train, &data.split().val, &data.split().test].map(|rows| inputs(rows));
    let [train, val, test] = [&train, &val, &test].map(|values| Features { values, width });
    let terms = ClassWeights::new(reference, &truth.train);
    let model = model::build(&job.config.model, data.shape(), truth.train.names.len(), None, 0, &Device::Cpu)?;
    drop(stage);
    let mut path = Path::new(train, &truth.train, &terms, limits(job));
    let mut best: Option<Vec<Vec<f64>>> = None;
    while !record.is_over() {
        let (epoch, start) = (record.done(), Instant::now());
        let strength = STRENGTHS[epoch];
        let mut watch = |evaluations: usize, loss: f64| {
            let images_per_s = (evaluations * truth.train.rows()) as f64 / start.elapsed().as_secs_f64().max(1e-9);
            monitor.beat(job, Beat { epoch, step: evaluations, steps: evaluations, loss, images_per_s })?;
            Ok(match (monitor.stopping(), monitor.stopping_early(job)) {
                (true, _) => Some(Finish::Stopped),
                (_, true) => Some(Finish::StoppedEarly),
                _ => None,
            })
        };
        let Step { train_loss, unfinished, evaluations } = match path.advance(strength, &mut watch)? {
            Advance::Solved(step) => step,
            Advance::Ended(finish) => return Ok(finish),
        };
        if unfinished > 0 {
            let words = format!("C = {strength}: {unfinished} labels have not converged after {MOST_EVALUATIONS} evaluations");
            monitor.note(job, &words);
        }
        let images_per_s = (evaluations * truth.train.rows()) as f64 / start.elapsed().as_secs_f64().max(1e-9);
        let steps = record.steps() + evaluations as u64;
        let _stage = monitor.stage(job, "evaluating a strength", None);
        assign(model.state(), &path.solutions)?;
        let evaluated = record.evaluate(&val.logits(&path.solutions), &terms, model.state(), &truth.val)?;
        if record.best() == Some(epoch) {
            best = Some(path.solutions.clone());
        }
        let (seconds, learning_rate) = (start.elapsed().as_secs_f64(), job.config.train.learning_rate);
        let facts = |val_loss| EpochFacts { train_loss, val_loss, learning_rate, seconds, images_per_s, steps };
        record.tell(evaluated, facts, None, monitor)?;
    }
    let stage = monitor.stage(job, "evaluating test and keeping the results", None);
    let best = best.filter(|_| record.best() != Some(record.done() - 1)).map(|best| test.logits(&best));
    let events = record.finish(&test.logits(&path.solutions), best.as_deref(), &truth)?;
    record.settle()?;
    monitor.record(job, events)?;
    drop(stage);
    if let Some(epoch) = record.best() {
        let (first, tried) = (STRENGTHS[0], STRENGTHS[record.done() - 1]);
        monitor
            .note(job, &format!("chosen by val macro AP: C = {} (epoch {}) of {first} to {tried}", STRENGTHS[epoch], epoch + 1));
    }
    Ok(Finish::Done)
}

fn limits(job: &Job) -> Limits {
    let of = |name: &str| job.config.train.optimizer.find(name);
    Limits {
        memory: of("memory").map_or(10, |memory| memory.max(1.0) as usize),
        tolerance: of("tolerance").unwrap_or(1e-8),
        evaluations: MOST_EVALUATIONS,
    }
}

/// The solution as the parameters of a linear network.
fn assign(state: &State, solutions: &[Vec<f64>]) -> Result<(), TrainError> {
    let width = solutions.first().map_or(0, |solution| solution.len() - 1);
    let weights: Vec<f32> = solutions.iter().flat_map(|solution| &solution[..width]).map(|&value| value as f32).collect();
    let intercepts: Vec<f32> = solutions.iter().map(|solution| solution[width] as f32).collect();
    for (name, values) in [("classifier.weight", weights), ("classifier.bias", intercepts)] {
        let Some(var) = state.get(name) else {
            return Err(ModelError::Input(format!("a linear network has no {name}")).into());
        };
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
    }
    Ok(())
}

/// The solutions of all labels on their way from strong to weak regularisation.
struct Path<'a> {
    objective: Objective<'a>,
    limits: Limits,
    /// Of each label weights and, last, the intercept.
    solutions: Vec<Vec<f64>>,
    /// Labels with both classes; the others have a constant score.
    trained: Vec<usize>,
    /// Sum of the losses of the others, each times its share of known rows.
    constant: f64,
    counts: LabelCounts,
}

/// The share of the rows that know a label.
fn known_share(counts: &LabelCounts, label: usize) -> f64 {
    counts.known(label) as f64 / counts.rows.max(1) as f64
}

/// What a strength came to.
struct Step {
    /// Weighted cross-entropy on the known cells of train, without the penalty.
    train_loss: f64,
    /// Labels that have not converged.
    unfinished: usize,
    /// Passes over train.
    evaluations: usize,
}

enum Advance {
    Solved(Step),
    Ended(Finish),
}

/// Hears of each evaluation and its mean value; may end the run.
type Watch<'w> = dyn FnMut(usize, f64) -> Result<Option<Finish>, TrainError> + 'w;

impl<'a> Path<'a> {
    fn new(train: Features<'a>, truth: &'a LabelMatrix, terms: &'a ClassWeights, limits: Limits) -> Self {
        let counts = truth.counts();
        let (mut solutions, mut trained, mut constant) = (Vec::new(), Vec::new(), 0.0);
        for (label, &positives) in counts.positives.iter().enumerate() {
            let mut solution = vec![0.0; train.width + 1];
            if counts.has_both(label) {
                trained.push(label);
            } else {
                // The optimum is at infinity: half a row of each class more (Jeffreys's prior) makes it finite.
                let share = (positives as f64 + 0.5) / (counts.known(label) as f64 + 1.0);
                solution[train.width] = (share / (1.0 - share)).ln();
                constant -= known_share(&counts, label) * if positives == 0 { (1.0 - share).ln() } else { share.ln() };
            }
            solutions.push(solution);
        }
        Self { objective: Objective::new(train, truth, terms), limits, solutions, trained, constant, counts }
    }

    /// Solves all labels for C = `strength`, from where they are.
    fn advance(&mut self, strength: f64, watch: &mut Watch<'_>) -> Result<Advance, TrainError> {
        let Self { objective, limits, solutions, trained, counts, .. } = self;
        let (mut loss, mut unfinished, mut evaluations) = (self.constant, 0, 0);
        for labels in trained.chunks(TOGETHER) {
            let mut machines: Vec<Lbfgs> =
                labels.iter().map(|&label| Lbfgs::new(std::mem::take(&mut solutions[label]), *limits)).collect();
            loop {
                let open = labels.iter().zip(&mut machines).filter(|(_, machine)| machine.ending().is_none());
                let (active, mut open): (Vec<usize>, Vec<&mut Lbfgs>) = open.unzip();
                if open.is_empty() {
                    break;
                }
                let points: Vec<&[f64]> = open.iter().map(|machine| machine.trial()).collect();
                let found = objective.evaluate(&active, &points, strength);
                let mean = found.iter().map(|(value, _)| value).sum::<f64>() / found.len() as f64;
                open.par_iter_mut().zip(found).for_each(|(machine, (value, gradient))| machine.tell(value, &gradient));
                evaluations += 1;
                if let Some(finish) = watch(evaluations, mean)? {
                    return Ok(Advance::Ended(finish));
                }
            }
            for (&label, machine) in labels.iter().zip(&machines) {
                let point = machine.point().to_vec();
                let square: f64 = point[..point.len() - 1].iter().map(|weight| weight * weight).sum();
                let penalty = 0.5 * square / (strength * counts.known(label) as f64);
                loss += known_share(counts, label) * (machine.value().unwrap_or(f64::NAN) - penalty);
                unfinished += usize::from(machine.ending() == Some(Ending::TooLong));
                solutions[label] = point;
            }
        }
        let known: f64 = (0..solutions.len()).map(|label| known_share(counts, label)).sum();
        let train_loss = if known > 0.0 { loss / known } else { 0.0 };
        Ok(Advance::Solved(Step { train_loss, unfinished, evaluations }))
    }
}

#[cfg(test)]
mod tests;
