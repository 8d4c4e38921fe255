//! The loop: epochs of steps, each epoch evaluated, recorded and checkpointed; at the end the best and the last epoch on test.

use std::time::Instant;

use candle_core::Device;

use super::checkpoint::{self, EpochFacts};
use super::evaluate::{self, Fitted};
use super::keep::Folder;
use super::optimizer::Optimizer;
use super::step::Learner;
use super::{Beat, Finish, Monitor, TrainError};
use crate::data::{Dataset, LabelMatrix};
use crate::model::{self, Model, Step};
use crate::protocol::{Event, Job, SplitName};
use crate::spec::Schedule;
use crate::strategy::LabelCounts;
use crate::strategy::loss::{self, Context, Loss};
use crate::strategy::sampler::{self, Draw, Sampler, Train, realised};

/// An epoch that took so many seconds is worth waiting for the disk: a power loss shall not cost it.
const WORTH_A_WAIT: f64 = 1.0;

/// A run under way.
struct Session<'a> {
    job: &'a Job,
    data: &'a Dataset,
    device: &'a Device,
    monitor: &'a mut dyn Monitor,
    folder: Folder,
    model: Box<dyn Model>,
    optimizer: Optimizer,
    schedule: Schedule,
    loss: Box<dyn Loss>,
    sampler: Box<dyn Sampler>,
    /// Labels of the train rows.
    truth: LabelMatrix,
    val: LabelMatrix,
    epochs: Vec<EpochFacts>,
    /// The epoch with the highest val macro AP, the earliest on ties.
    best: Option<Fitted>,
    last: Option<Fitted>,
    beat: Beat,
}

/// Trains the run of `job` on its prepared `data`, from its checkpoint if there is one.
///
/// # Errors
/// [`TrainError`]; what was recorded before stays.
pub fn run(job: &Job, data: &Dataset, device: &Device, monitor: &mut dyn Monitor) -> Result<Finish, TrainError> {
    let mut session = Session::new(job, data, device, monitor)?;
    session.resume()?;
    for epoch in session.epochs.len()..job.config.train.epochs {
        if session.monitor.stopping() {
            return Ok(Finish::Stopped);
        }
        session.epoch(epoch)?;
    }
    session.finish()?;
    Ok(Finish::Done)
}

/// logit of each label's prevalence: where a head that knows nothing should start (Lin et al. 2017, section 4.1; strategies.md M10).
fn prior_logits(train: &LabelCounts) -> Vec<f64> {
    let logit = |&positives: &usize| (positives as f64).ln() - ((train.rows - positives) as f64).ln();
    train.positives.iter().map(logit).collect()
}

impl<'a> Session<'a> {
    fn new(job: &'a Job, data: &'a Dataset, device: &'a Device, monitor: &'a mut dyn Monitor) -> Result<Self, TrainError> {
        let config = &job.config;
        let train = data.labels().select(&data.split().train);
        let counts = train.counts();
        let prior = config.train.prior_bias.then(|| prior_logits(&counts));
        let labels = train.names.len();
        let model = model::build(&config.model, data.shape(), labels, prior.as_deref(), config.seed, device)?;
        let context = Context { pos_weight: job.pos_weight.clone(), counts, epochs: config.train.epochs };
        let sampling = Train { labels: &train, batch_size: config.train.batch_size, features: &|| data.train_features() };
        Ok(Self {
            folder: Folder::open(&job.folder)?,
            optimizer: Optimizer::new(&config.train.optimizer, &model.state().parameters)?,
            schedule: Schedule::new(&config.train),
            loss: loss::build(&config.loss, &context)?,
            sampler: sampler::build(&config.sampler, &sampling)?,
            val: data.labels().select(&data.split().val),
            truth: train,
            epochs: Vec::new(),
            best: None,
            last: None,
            beat: Beat { epoch: 0, step: 0, steps: 0, loss: 0.0, images_per_s: 0.0 },
            model,
            job,
            data,
            device,
            monitor,
        })
    }

    /// Goes on from the checkpoint, if there is a good one with all that belongs to it. Its epochs are recorded again, so that an
    /// attempt's journal holds a run's whole story, whatever became of earlier ones.
    fn resume(&mut self) -> Result<(), TrainError> {
        let kept = checkpoint::read(&self.folder, &self.job.run).and_then(|checkpoint| {
            let scores = |epoch| self.folder.kept_scores(epoch, self.val.values.len());
            let scores = (0..checkpoint.epochs.len()).map(scores).collect::<Option<Vec<_>>>()?;
            self.folder.model().exists().then_some((checkpoint, scores))
        });
        let Some((checkpoint, scores)) = kept else { return self.begin() };
        if !checkpoint.restore(self.model.state(), &mut self.optimizer)? {
            return self.begin();
        }
        self.monitor.begin(Some(scores.len()))?;
        for (epoch, (facts, scores)) in checkpoint.epochs.iter().zip(&scores).enumerate() {
            let (fitted, events) = evaluate::on_val(self.job, epoch, scores, &self.val);
            self.report(epoch, *facts, events)?;
            self.ranked(fitted);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), TrainError> {
        self.monitor.begin(None)?;
        self.folder.truth("val", &self.val)?;
        self.folder.truth("test", &self.data.labels().select(&self.data.split().test))
    }

    /// Records an epoch.
    fn report(&mut self, epoch: usize, facts: EpochFacts, events: Vec<Event>) -> Result<(), TrainError> {
        let EpochFacts { train_loss, val_loss, learning_rate, seconds, images_per_s } = facts;
        let (r, a) = (self.job.run.clone(), self.job.attempt);
        // Drawn once more for the record: nothing beside an epoch of training.
        let drawn = (epoch == 0).then(|| {
            let drawn = realised(&self.sampler.draws(self.job.config.seed, epoch), &self.truth);
            Event::Drawn { r: r.clone(), a, drawn }
        });
        let mut all = vec![Event::Epoch { r, a, epoch, train_loss, val_loss, learning_rate, seconds, images_per_s }];
        all.extend(drawn);
        all.extend(events);
        self.monitor.record(all)?;
        self.epochs.push(facts);
        Ok(())
    }

    /// Remembers an epoch's place; true where it is the best so far.
    fn ranked(&mut self, fitted: Fitted) -> bool {
        // Without any positive in val no epoch has an AP, and the first one counts as the best.
        let above = |best: &Fitted| fitted.macro_ap > best.macro_ap;
        let better = self.best.as_ref().is_none_or(above);
        if better {
            self.best = Some(fitted.clone());
        }
        self.last = Some(fitted);
        better
    }

    fn epoch(&mut self, epoch: usize) -> Result<(), TrainError> {
        let start = Instant::now();
        let (train_loss, learning_rate, rows) = self.train(epoch)?;
        let images_per_s = rows as f64 / start.elapsed().as_secs_f64().max(1e-9);
        let logits = self.logits(SplitName::Val)?;
        let scores = evaluate::scores(&logits, SplitName::Val, epoch)?;
        let val_loss = evaluate::loss(&*self.loss, &logits, &self.val, epoch)?;
        let (fitted, events) = evaluate::on_val(self.job, epoch, &scores, &self.val);
        // The order is what makes a kill at any moment harmless: files that a record stands for come before the record, and the
        // checkpoint, which makes the epoch done, comes last. An epoch that is done again gives the same files and records, and an
        // attempt that goes on from a checkpoint records the epochs before it again.
        self.folder.scores("val", epoch, self.val.names.len(), &scores)?;
        if self.ranked(fitted) {
            self.folder.keep_model(self.model.state(), epoch)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        self.report(epoch, EpochFacts { train_loss, val_loss, learning_rate, seconds, images_per_s }, events)?;
        checkpoint::save(&self.folder, &self.job.run, self.model.state(), &self.optimizer, &self.epochs)?;
        if seconds > WORTH_A_WAIT { self.folder.settle() } else { Ok(()) }
    }

    /// The steps of an epoch: mean loss over its draws, the last learning rate, and how many draws there were.
    fn train(&mut self, epoch: usize) -> Result<(f64, f64, usize), TrainError> {
        let config = &self.job.config.train;
        let seed = self.job.config.seed;
        let draws = self.sampler.draws(seed, epoch);
        let steps = draws.len().div_ceil(config.batch_size);
        let (start, mut sum, mut done, mut rate) = (Instant::now(), 0.0, 0, 0.0);
        for (step, draws) in draws.chunks(config.batch_size).enumerate() {
            rate = self.schedule.rate(epoch, step, steps);
            let loss = self.step(draws, Step { seed, epoch, step }, rate)?;
            sum += loss * draws.len() as f64;
            done += draws.len();
            let images_per_s = done as f64 / start.elapsed().as_secs_f64().max(1e-9);
            self.beat = Beat { epoch, step: step + 1, steps, loss: sum / done as f64, images_per_s };
            self.monitor.beat(self.beat)?;
        }
        Ok((sum / done.max(1) as f64, rate, done))
    }

    /// One step; returns the batch's loss.
    fn step(&mut self, draws: &[Draw], step: Step, rate: f64) -> Result<f64, TrainError> {
        let inputs = evaluate::drawn(self.data, draws, (step.seed, step.epoch), self.device)?;
        let targets: Vec<u8> = draws.iter().flat_map(|draw| draw.targets(&self.truth)).copied().collect();
        let grad_clip = self.job.config.train.grad_clip;
        let (model, loss) = (&*self.model, &*self.loss);
        Learner { model, optimizer: &mut self.optimizer, loss, grad_clip }.step(&inputs, &targets, step, rate)
    }

    fn logits(&mut self, split: SplitName) -> Result<Vec<f32>, TrainError> {
        let rows = if split == SplitName::Val { &self.data.split().val } else { &self.data.split().test };
        let batch = self.job.config.train.batch_size;
        evaluate::logits(&*self.model, self.data, rows, batch, self.device, (self.beat, self.monitor))
    }

    /// Test, once: the last epoch with the model at hand, the best one with the model that was kept.
    fn finish(&mut self) -> Result<(), TrainError> {
        let (Some(best), Some(last)) = (self.best.clone(), self.last.clone()) else { return Ok(()) };
        let truth = self.data.labels().select(&self.data.split().test);
        let labels = truth.names.len();
        let mut events = Vec::new();
        let mut ends = vec![&last];
        if best.epoch != last.epoch {
            ends.push(&best);
        }
        for fitted in ends {
            if fitted.epoch != last.epoch {
                self.folder.load_model(self.model.state(), fitted.epoch)?;
            }
            let scores = evaluate::scores(&self.logits(SplitName::Test)?, SplitName::Test, fitted.epoch)?;
            self.folder.scores("test", fitted.epoch, labels, &scores)?;
            events.extend(evaluate::on_test(self.job, fitted, &scores, &truth));
            if fitted.epoch == best.epoch {
                self.folder.best_scores("test", labels, &scores)?;
            }
        }
        let val = self.folder.kept_scores(best.epoch, self.val.values.len());
        let val = val.ok_or_else(|| TrainError::Io {
            path: self.folder.model(),
            source: std::io::Error::other("the val scores beside it were changed by somebody else"),
        })?;
        self.folder.best_scores("val", labels, &val)?;
        self.folder.settle()?;
        self.monitor.record(events)?;
        Ok(())
    }
}
