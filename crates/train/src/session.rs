//! The loop of one run through Candle: epochs of steps, each epoch evaluated, recorded and checkpointed; at the end the best and
//! the last epoch on test.

use std::time::Instant;

use candle_core::Device;

use super::checkpoint::EpochFacts;
use super::criterion::Epoch;
use super::evaluate;
use super::loader::Loader;
use super::optimizer::Optimizer;
use super::record::{Learner, Record, Truth};
use super::stage::{Stage, Unit};
use super::step::Trainer;
use super::{Beat, Finish, Monitor, TrainError};
use crate::model::{self, Model, ModelError, Step};
use data::Dataset;
use imbalance::LabelCounts;
use imbalance::LabelMatrix;
use imbalance::loss::{self, Context, Loss};
use imbalance::sampler::{self, Sampler, Stream, Train, realised};
use plan::tensors::Known;
use plan::{Schedule, Start};
use protocol::{Job, SplitName};

/// A run under way.
struct Session<'a> {
    record: Record<'a>,
    data: &'a Dataset,
    loader: &'a Loader,
    monitor: &'a mut dyn Monitor,
    model: Box<dyn Model>,
    learner: Learner,
    schedule: Schedule,
    loss: Box<dyn Loss>,
    draws: Stream,
    truth: Truth,
    beat: Beat,
    /// Mean loss of the last epoch.
    mean: f64,
}

/// Trains the run of `job` on its prepared `data`, from its checkpoint if there is one; a reference run anew.
///
/// # Errors
/// [`TrainError`]; what was recorded before stays.
pub fn run(job: &Job, data: &Dataset, device: &Device, monitor: &mut dyn Monitor) -> Result<Finish, TrainError> {
    run_with(job, data, &Loader::new(data, device)?, monitor)
}

/// [`run`] with the batches of `data` that runs before it have used.
///
/// # Errors
/// As [`run`].
pub fn run_with(job: &Job, data: &Dataset, loader: &Loader, monitor: &mut dyn Monitor) -> Result<Finish, TrainError> {
    match job.config.reference() {
        Some(reference) => super::logistic::run(job, reference, data, monitor),
        None => train(job, data, loader, monitor).map_err(|error| error.in_batches_of(job.config.train.batch_size, 1)),
    }
}

fn train(job: &Job, data: &Dataset, loader: &Loader, monitor: &mut dyn Monitor) -> Result<Finish, TrainError> {
    let mut session = Session::new(job, data, loader, monitor)?;
    let stage = session.monitor.stage(job, "drawing the first epoch", None);
    let drawn = realised(&session.draws.first_pass(), &session.truth.train);
    drop(stage);
    let stage = session.monitor.stage(job, "looking for a checkpoint", None);
    session.record.resume(&mut session.learner, &session.truth, &drawn, session.monitor)?;
    drop(stage);
    while !session.record.is_over() {
        let epoch = session.record.done();
        if session.monitor.stopping() {
            session.record.keep_all(&session.learner)?;
            return Ok(Finish::Stopped);
        }
        if session.monitor.stopping_early(job) {
            session.record.keep_all(&session.learner)?;
            return Ok(Finish::StoppedEarly);
        }
        let start = Instant::now();
        let (train_loss, learning_rate, rows) = session.train(epoch)?;
        let steps = session.record.steps() + rows.div_ceil(job.config.train.batch_size) as u64;
        let images_per_s = rows as f64 / start.elapsed().as_secs_f64().max(1e-9);
        let logits = session.logits(SplitName::Val)?;
        let _stage = session.monitor.stage(job, "evaluating an epoch", None);
        let Session { record, learner, truth, loss, monitor, .. } = &mut session;
        let evaluated = record.evaluate(&logits, &**loss, &learner.state, &truth.val)?;
        let seconds = start.elapsed().as_secs_f64();
        let facts = |val_loss| EpochFacts { train_loss, val_loss, learning_rate, seconds, images_per_s, steps };
        record.tell(evaluated, facts, Some(&drawn), *monitor)?;
        record.keep(learner)?;
    }
    session.finish()?;
    Ok(Finish::Done)
}

/// Trains the run of `job` on `data`, in which val is part of train, for `epochs` epochs and keeps the model; a refit that was stopped goes
/// on where it was. Nothing is evaluated: no row is left that could judge.
///
/// # Errors
/// [`TrainError`]; a reference run, which is chosen by val.
pub fn refit(job: &Job, data: &Dataset, loader: &Loader, epochs: usize, monitor: &mut dyn Monitor) -> Result<Finish, TrainError> {
    if job.config.reference().is_some() {
        return Err(ModelError::Input("a reference run cannot be refitted: its strength is chosen by val".to_owned()).into());
    }
    let mut session = Session::new(job, data, loader, monitor)?;
    session.record.resume_refit(&mut session.learner, epochs, session.monitor)?;
    while session.record.done() < epochs {
        if session.monitor.stopping() {
            session.record.keep_all(&session.learner)?;
            return Ok(Finish::Stopped);
        }
        let start = Instant::now();
        let (train_loss, learning_rate, rows) = session.train(session.record.done())?;
        let steps = session.record.steps() + rows.div_ceil(job.config.train.batch_size) as u64;
        let seconds = start.elapsed().as_secs_f64();
        let images_per_s = rows as f64 / seconds.max(1e-9);
        session.monitor.note(job, &format!("refit: epoch {} of {epochs}, loss {train_loss:.6}", session.record.done() + 1));
        session.record.add(EpochFacts { train_loss, val_loss: 0.0, learning_rate, seconds, images_per_s, steps });
        session.record.keep(&session.learner)?;
    }
    let _stage = session.monitor.stage(job, "keeping the model", None);
    session.record.finish_refit(&session.learner.state)?;
    Ok(Finish::Done)
}

/// Fetches the weights that the network of `job` starts with, where they are elsewhere.
///
/// # Errors
/// Weights that cannot be fetched.
pub fn fetch_weights(job: &Job, monitor: &mut dyn Monitor) -> Result<(), TrainError> {
    let Some(source) = &job.config.model.weights else { return Ok(()) };
    let mut stage: Option<(Option<Unit>, Stage)> = None;
    let found = data::weights::find(source, &mut |done, total| {
        let (doing, unit) = match total {
            0 => ("waiting for another download of the weights", None),
            _ => ("downloading weights", Some(Unit::Bytes)),
        };
        if stage.as_ref().is_none_or(|(before, _)| *before != unit) {
            stage = Some((unit, monitor.stage(job, doing, unit)));
        }
        if let Some((_, stage)) = &stage {
            stage.at(done as u64, total as u64);
        }
    });
    found.map(drop).map_err(|error| ModelError::Gone(error.to_string()).into())
}

/// Notes how the file of weights that `job` starts with was fitted, and with which head.
pub fn note_weights(job: &Job, data: &Dataset, labels: usize, monitor: &mut dyn Monitor) {
    let known = Known { input: Some(data.shape()), labels: Some(labels) };
    if let Some(words) = model::weights_words(&job.config.model, known) {
        monitor.note(job, &words);
    }
}

/// The network of `job` where its training with `loss` starts, and an optimizer without state.
///
/// # Errors
/// A network that cannot be built.
pub fn start(
    job: &Job,
    data: &Dataset,
    (train, counts): (&LabelMatrix, &LabelCounts),
    loss: &dyn Loss,
    device: &Device,
) -> Result<(Box<dyn Model>, Learner), TrainError> {
    let config = &job.config;
    let bias = match config.train.start {
        Start::Link => Some(loss::start::link(loss, train, counts, config.train.batch_size)),
        Start::Prior => Some(loss::start::prior(counts)),
        Start::Zero => None,
    };
    let model = model::build(&config.model, data.shape(), counts.positives.len(), bias.as_deref(), config.seed, device)?;
    if config.train.start == Start::Link {
        model::without_opinion(&config.model, model.state())?;
    }
    let model = model::at_precision(model, &config.model, &config.train.precision, device)?;
    let optimizer = Optimizer::new(&config.train.optimizer, &model.state().parameters)?;
    let state = model.state().clone();
    Ok((model, Learner { state, optimizer }))
}

/// The loss of `job`.
///
/// # Errors
/// One that cannot be built for these counts.
pub fn loss_of(job: &Job, counts: &LabelCounts) -> Result<Box<dyn Loss>, TrainError> {
    let context = Context { pos_weight: job.pos_weight.clone(), counts: counts.clone(), epochs: job.config.train.epochs };
    Ok(loss::build(&job.config.loss, &context)?)
}

/// The sampler of `job`.
///
/// # Errors
/// One that cannot be built for these labels.
pub fn sampler_of(
    job: &Job,
    data: &Dataset,
    train: &LabelMatrix,
    monitor: &mut dyn Monitor,
) -> Result<Box<dyn Sampler>, TrainError> {
    let counted = sampler::counts_rows(&job.config.sampler).then_some(Unit::Rows);
    let doing = if counted.is_some() { "mixing rows (mlsmote)" } else { "building the sampler" };
    let stage = monitor.stage(job, doing, counted);
    let progress = |done: usize, total: usize| stage.at(done as u64, total as u64);
    let (batch_size, features) = (job.config.train.batch_size, &|| data.train_features());
    let sampling = Train { labels: train, batch_size, features, progress: &progress };
    Ok(sampler::build(&job.config.sampler, &sampling)?)
}

impl<'a> Session<'a> {
    fn new(job: &'a Job, data: &'a Dataset, loader: &'a Loader, monitor: &'a mut dyn Monitor) -> Result<Self, TrainError> {
        let truth = Truth::of(data);
        let counts = truth.train.counts();
        fetch_weights(job, monitor)?;
        note_weights(job, data, counts.positives.len(), monitor);
        let stage = monitor.stage(job, "building the network", None);
        let loss = loss_of(job, &counts)?;
        let (model, learner) = start(job, data, (&truth.train, &counts), &*loss, loader.device())?;
        drop(stage);
        let sampler = sampler_of(job, data, &truth.train, monitor)?;
        Ok(Self {
            record: Record::new(job)?,
            schedule: Schedule::new(&job.config.train)?,
            loss,
            draws: Stream::new(sampler, job.config.seed, job.config.train.draws),
            beat: Beat { epoch: 0, step: 0, steps: 0, loss: 0.0, images_per_s: 0.0 },
            truth,
            model,
            learner,
            data,
            mean: 0.0,
            loader,
            monitor,
        })
    }

    /// The steps of an epoch: mean loss over the known cells of its draws, the last learning rate, and how many draws there were.
    fn train(&mut self, epoch: usize) -> Result<(f64, f64, usize), TrainError> {
        let job = self.record.job;
        let (batch_size, seed) = (job.config.train.batch_size, job.config.seed);
        let stage = self.monitor.stage(job, "drawing an epoch", None);
        let draws = self.draws.epoch(epoch);
        let targets: Vec<u8> = draws.iter().flat_map(|draw| draw.targets(&self.truth.train)).copied().collect();
        let labels = self.truth.train.names.len();
        let batches = self.loader.draws(self.data, &draws, (seed, epoch))?;
        let whole = Epoch { loss: &*self.loss, targets: &targets, labels, batch: batch_size, seed, number: epoch };
        let mut criterion = self.loader.criterion(whole, self.mean)?;
        let steps = draws.len().div_ceil(batch_size);
        let (start, mut rate) = (Instant::now(), 0.0);
        drop(stage);
        for step in 0..steps {
            let rows = step * batch_size..draws.len().min((step + 1) * batch_size);
            rate = self.schedule.rate(epoch, step, steps);
            let done = rows.end;
            let grad_clip = job.config.train.grad_clip;
            let (model, optimizer) = (&*self.model, &mut self.learner.optimizer);
            let mut trainer = Trainer { model, optimizer, criterion: &mut *criterion, grad_clip };
            trainer.step(&batches.inputs(rows.clone())?, rows, Step { seed, epoch, step }, rate)?;
            let images_per_s = done as f64 / start.elapsed().as_secs_f64().max(1e-9);
            self.beat = Beat { epoch, step: step + 1, steps, loss: criterion.mean(), images_per_s };
            self.monitor.beat(job, self.beat)?;
        }
        self.mean = criterion.close()?;
        let known = if self.truth.train.has_unknown() { evaluate::per_known_cell(&*self.loss, &targets) } else { 1.0 };
        Ok((self.mean * known, rate, draws.len()))
    }

    fn logits(&mut self, split: SplitName) -> Result<Vec<f32>, TrainError> {
        let rows = if split == SplitName::Val { &self.data.split().val } else { &self.data.split().test };
        let job = self.record.job;
        let (model, data, loader, beat) = (&*self.model, self.data, self.loader, self.beat);
        evaluate::logits(model, data, loader, rows, job.config.train.batch_size, || self.monitor.beat(job, beat))
    }

    /// Test, once: the last epoch with the model at hand, the best one with the model that was kept.
    fn finish(&mut self) -> Result<(), TrainError> {
        let last = self.logits(SplitName::Test)?;
        let best = if self.record.back_to_best(&self.learner.state)? { Some(self.logits(SplitName::Test)?) } else { None };
        let _stage = self.monitor.stage(self.record.job, "evaluating test and keeping the results", None);
        let events = self.record.finish(&last, best.as_deref(), &self.truth)?;
        self.record.settle()?;
        self.monitor.record(self.record.job, events)?;
        Ok(())
    }
}
