//! What a run keeps and records of each epoch, alone or in a bundle: scores, evaluation, the best epoch's model, checkpoint, records.

use std::time::Instant;

use super::checkpoint::{self, EpochFacts};
use super::evaluate::{self, Fitted};
use super::keep::Folder;
use super::optimizer::Optimizer;
use super::{Monitor, TrainError};
use crate::model::State;
use data::Dataset;
use imbalance::LabelMatrix;
use imbalance::evaluation::probabilities;
use imbalance::loss::Loss;
use imbalance::sampler::Realised;
use protocol::{Event, Job, SplitName};

/// After an epoch of this many seconds the files are synced to the disk, so that a power loss does not cost it.
const WORTH_A_WAIT: f64 = 1.0;
/// After this many seconds of training a checkpoint is written, so that a kill does not cost them.
const WORTH_A_FILE: f64 = 1.0;

/// The labels of each split, which all runs on it share.
pub struct Truth {
    pub train: LabelMatrix,
    pub val: LabelMatrix,
    pub test: LabelMatrix,
    /// The group of each val row, where the data has groups.
    pub val_groups: Option<Vec<u32>>,
}

impl Truth {
    /// The labels of `data` by its split.
    #[must_use]
    pub fn of(data: &Dataset) -> Self {
        let (labels, split) = (data.labels(), data.split());
        let val_groups = data.groups().map(|groups| split.val.iter().map(|&row| groups[row as usize]).collect());
        Self { train: labels.select(&split.train), val: labels.select(&split.val), test: labels.select(&split.test), val_groups }
    }
}

/// The training state: parameters and the optimizer's state.
pub struct Learner {
    pub state: State,
    pub optimizer: Optimizer,
}

/// The recorded course of a run so far.
pub struct Record<'a> {
    pub job: &'a Job,
    folder: Folder,
    epochs: Vec<EpochFacts>,
    /// The epoch with the highest val macro AP, the earliest on ties.
    best: Option<Fitted>,
    last: Option<Fitted>,
    /// Epochs in the newest checkpoint, and when it was written or training began.
    kept: (usize, Instant),
}

/// An epoch that is evaluated and whose files are written, but which is not recorded yet.
pub struct Evaluated {
    val_loss: f64,
    events: Vec<Event>,
}

impl<'a> Record<'a> {
    /// Begins the record of `job`, in its folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(job: &'a Job) -> Result<Self, TrainError> {
        Ok(Self {
            job,
            folder: Folder::open(&job.folder)?,
            epochs: Vec::new(),
            best: None,
            last: None,
            kept: (0, Instant::now()),
        })
    }

    /// Number of epochs that are done.
    #[must_use]
    pub fn done(&self) -> usize {
        self.epochs.len()
    }

    /// Whether the run has no epoch left: it has all, or val has not got better for as long as its patience.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let train = &self.job.config.train;
        let converged = |best: &Fitted| train.stop.is_some_and(|stop| stop.over(self.done(), best.epoch));
        self.done() >= train.epochs || self.best.as_ref().is_some_and(converged)
    }

    /// The best epoch so far.
    #[must_use]
    pub fn best(&self) -> Option<usize> {
        self.best.as_ref().map(|best| best.epoch)
    }

    /// Gradient steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.epochs.last().map_or(0, |epoch| epoch.steps)
    }

    /// The mean training loss of the last epoch; 0 before the first.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.epochs.last().map_or(0.0, |epoch| epoch.train_loss)
    }

    /// Continues from the checkpoint if it and all files that belong to it are undamaged. Its epochs are recorded again, so that an
    /// attempt's journal is complete without the journals of earlier attempts. `drawn`: see [`Self::report`].
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn resume(
        &mut self,
        learner: &mut Learner,
        truth: &Truth,
        drawn: &Realised,
        monitor: &mut dyn Monitor,
    ) -> Result<(), TrainError> {
        let Some(checkpoint) = checkpoint::read(&self.folder, &self.job.run) else { return self.begin(truth, monitor) };
        self.folder.seals.clone_from(&checkpoint.seals);
        let logits = |epoch| self.folder.kept_logits(epoch).filter(|logits| logits.len() == truth.val.values.len());
        let logits = (0..checkpoint.epochs.len()).map(logits).collect::<Option<Vec<_>>>();
        let Some(logits) = logits.filter(|_| self.folder.has_model()) else { return self.begin(truth, monitor) };
        if !checkpoint.restore(&learner.state, &mut learner.optimizer)? {
            return self.begin(truth, monitor);
        }
        self.keep_truth(truth)?;
        monitor.begin(self.job, Some(logits.len()))?;
        for (epoch, (facts, logits)) in checkpoint.epochs.iter().zip(&logits).enumerate() {
            let (fitted, events) = evaluate::on_val(self.job, epoch, (logits, &probabilities(logits)), &truth.val)?;
            self.ranked(fitted);
            self.report(*facts, events, Some(drawn), monitor)?;
        }
        self.kept = (self.done(), Instant::now());
        Ok(())
    }

    /// Continues a refit of `epochs` epochs from its checkpoint, if there is one that is undamaged.
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn resume_refit(&mut self, learner: &mut Learner, epochs: usize, monitor: &mut dyn Monitor) -> Result<(), TrainError> {
        if let Some(checkpoint) = checkpoint::read(&self.folder, &self.job.run)
            && checkpoint.epochs.len() <= epochs
            && checkpoint.restore(&learner.state, &mut learner.optimizer)?
        {
            self.epochs = checkpoint.epochs;
            self.kept = (self.done(), Instant::now());
            return Ok(monitor.begin(self.job, Some(self.done()))?);
        }
        monitor.begin(self.job, None)?;
        self.folder.unseal()
    }

    /// Counts an epoch that is not evaluated.
    pub fn add(&mut self, facts: EpochFacts) {
        self.epochs.push(facts);
    }

    /// Keeps the model of a refit as its only result.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn finish_refit(&mut self, state: &State) -> Result<(), TrainError> {
        self.folder.keep_model(state, self.done() - 1)?;
        self.folder.write_model()?;
        self.folder.seal()?;
        self.settle()
    }

    /// Begins from nothing.
    ///
    /// # Errors
    /// Files that cannot be written; errors of the monitor.
    pub fn begin(&mut self, truth: &Truth, monitor: &mut dyn Monitor) -> Result<(), TrainError> {
        monitor.begin(self.job, None)?;
        self.folder.unseal()?;
        self.keep_truth(truth)
    }

    fn keep_truth(&mut self, truth: &Truth) -> Result<(), TrainError> {
        self.folder.truth("val", &truth.val)?;
        self.folder.truth("test", &truth.test)
    }

    /// Evaluates the val `logits` of the next epoch and writes the files that belong to its record.
    ///
    /// This order makes a kill at any moment harmless: the files of a record are written before the record, and the checkpoint, which
    /// completes the epochs, last. An epoch that is trained again gives the same files and records, and an attempt that continues
    /// from a checkpoint records the epochs before it again.
    ///
    /// # Errors
    /// Logits or a loss that are NaN or infinite; files that cannot be written.
    pub fn evaluate(
        &mut self,
        logits: &[f32],
        loss: &dyn Loss,
        state: &State,
        val: &LabelMatrix,
    ) -> Result<Evaluated, TrainError> {
        let epoch = self.done();
        let scores = evaluate::scores(logits, SplitName::Val, epoch)?;
        let val_loss = evaluate::loss(loss, logits, val, epoch)?;
        let (fitted, events) = evaluate::on_val(self.job, epoch, (logits, &scores), val)?;
        self.folder.logits("val", epoch, val.names.len(), logits)?;
        if self.ranked(fitted) {
            self.folder.keep_model(state, epoch)?;
        }
        Ok(Evaluated { val_loss, events })
    }

    /// Records an epoch that was evaluated; `facts` makes its facts from the val loss.
    ///
    /// # Errors
    /// Propagates the errors of the monitor.
    pub fn tell(
        &mut self,
        evaluated: Evaluated,
        facts: impl FnOnce(f64) -> EpochFacts,
        drawn: Option<&Realised>,
        monitor: &mut dyn Monitor,
    ) -> Result<(), TrainError> {
        self.report(facts(evaluated.val_loss), evaluated.events, drawn, monitor)
    }

    /// Writes a checkpoint of the recorded epochs once it saves a noticeable amount of training: hundreds of short runs would otherwise
    /// wait for files that are never read.
    ///
    /// # Errors
    /// The checkpoint cannot be written.
    pub fn keep(&mut self, learner: &Learner) -> Result<(), TrainError> {
        if self.kept.1.elapsed().as_secs_f64() < WORTH_A_FILE { Ok(()) } else { self.keep_all(learner) }
    }

    /// Writes a checkpoint in any case, because the run stops here.
    ///
    /// # Errors
    /// The errors of [`Self::keep`].
    pub fn keep_all(&mut self, learner: &Learner) -> Result<(), TrainError> {
        if self.kept.0 == self.done() {
            return Ok(());
        }
        self.kept = (self.done(), Instant::now());
        self.folder.write_model()?;
        checkpoint::save(&self.folder, &self.job.run, &learner.state, &learner.optimizer, &self.epochs)?;
        if self.epochs.last().is_some_and(|epoch| epoch.seconds > WORTH_A_WAIT) { self.folder.settle() } else { Ok(()) }
    }

    /// `drawn` is what the sampler showed in the first epoch; `None` without a sampler.
    fn report(
        &mut self,
        facts: EpochFacts,
        events: Vec<Event>,
        drawn: Option<&Realised>,
        monitor: &mut dyn Monitor,
    ) -> Result<(), TrainError> {
        let EpochFacts { train_loss, val_loss, learning_rate, seconds, images_per_s, steps } = facts;
        let (r, a, epoch) = (self.job.run.clone(), self.job.attempt, self.done());
        let drawn = drawn.filter(|_| epoch == 0).map(|drawn| Event::Drawn { r: r.clone(), a, drawn: drawn.clone() });
        let steps = Some(steps);
        let mut all = vec![Event::Epoch { r, a, epoch, train_loss, val_loss, learning_rate, seconds, images_per_s, steps }];
        all.extend(drawn);
        all.extend(events);
        monitor.record(self.job, all)?;
        self.epochs.push(facts);
        Ok(())
    }

    /// Compares an epoch with the best one; true where it is the best so far.
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

    /// Restores `state` as it was after the best epoch. False, with nothing changed, where that is the last one.
    ///
    /// # Errors
    /// The file is missing, damaged or of another epoch.
    pub fn back_to_best(&self, state: &State) -> Result<bool, TrainError> {
        match (&self.best, &self.last) {
            (Some(best), Some(last)) if best.epoch != last.epoch => {
                self.folder.load_model(state, best.epoch)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Evaluates test, once: `last` are the logits of the last epoch, `best` those of the best one where that is another; and fitted policies
    /// on val rows that they were not fitted on, at the same epochs: at every epoch that would take longer than all else that is
    /// evaluated. Writes files only and returns what is to be recorded.
    ///
    /// # Errors
    /// Logits that are NaN or infinite; files that cannot be read or written.
    pub fn finish(&mut self, last: &[f32], best: Option<&[f32]>, truth: &Truth) -> Result<Vec<Event>, TrainError> {
        let Self { folder, best: best_so_far, last: newest, .. } = self;
        let (Some(best_epoch), Some(last_epoch)) = (&*best_so_far, &*newest) else { return Ok(Vec::new()) };
        let labels = truth.test.names.len();
        let mut events = Vec::new();
        for (fitted, logits) in [(last_epoch, Some(last)), (best_epoch, best)] {
            let Some(logits) = logits else { continue };
            let scores = evaluate::scores(logits, SplitName::Test, fitted.epoch)?;
            folder.logits("test", fitted.epoch, labels, logits)?;
            events.extend(evaluate::on_test(self.job, fitted, (logits, &scores), &truth.test));
            if fitted.epoch == best_epoch.epoch {
                folder.best("test", fitted.epoch, labels, &scores)?;
            }
        }
        let mut epochs = vec![last_epoch.epoch, best_epoch.epoch];
        epochs.dedup();
        for epoch in epochs {
            let val = folder.kept_logits(epoch).ok_or_else(|| TrainError::Io {
                path: folder.model(),
                source: std::io::Error::other("the val logits beside it were changed by somebody else"),
            })?;
            let val = probabilities(&val);
            events.extend(evaluate::held_out(self.job, epoch, &val, truth)?);
            if epoch == best_epoch.epoch {
                folder.best("val", epoch, labels, &val)?;
            }
        }
        folder.write_model()?;
        folder.seal()?;
        Ok(events)
    }

    /// Waits until all files are on the disk: the next record relies on them.
    ///
    /// # Errors
    /// I/O errors of the run folder.
    pub fn settle(&self) -> Result<(), TrainError> {
        self.folder.settle()
    }
}
