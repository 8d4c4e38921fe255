//! The loop of many runs in one pass: they share data, network, sampler, seed, batch size and length, so that they see the same
//! batches. Each is evaluated, recorded and checkpointed as if it were alone, and trains to the same last bit (on a device but
//! for the rounding of its matrix products). Where the heads lie is known to [`host`] and [`device`] only.

mod device;
mod host;

pub use host::rows_at_once;

use std::ops::Range;
use std::time::Instant;

use candle_core::Device;
use rayon::prelude::*;

use super::checkpoint::EpochFacts;
use super::criterion::Steps;
use super::evaluate;
use super::heads;
use super::loader::Loader;
use super::record::{Learner, Record, Truth};
use super::session::{fetch_weights, loss_of, note_weights, sampler_of, start};
use super::{Beat, Finish, Monitor, TrainError};
use data::Dataset;
use imbalance::loss::Loss;
use imbalance::sampler::{Draw, Realised, Stream, realised};
use imbalance::{LabelCounts, LabelMatrix};
use kernel::awake;
use plan::Schedule;
use protocol::journal::JournalError;
use protocol::{Event, Job, Outcome, SplitName};

/// Heads between epochs, wherever they lie.
trait IdleHeads {
    /// An epoch begins.
    fn begin<'e>(&'e mut self, shared: BundleEpoch<'e>) -> Result<Box<dyn RunningHeads + 'e>, TrainError>;

    /// Writes everything back to the learners that the heads were loaded from.
    fn store(&self, learners: &mut [&mut Learner]) -> Result<(), TrainError>;

    /// Logits of rows of the data set, row-major `[rows, labels]`, one matrix per run; a training batch has `batch` rows.
    fn logits(&self, rows: &[u32], batch: usize, beat: Pulse<'_>) -> Result<Vec<Vec<f32>>, TrainError>;
}

/// A sign of life.
type Pulse<'p> = &'p mut dyn FnMut() -> Result<(), JournalError>;

/// Heads in an epoch.
trait RunningHeads {
    /// Step number `at`: each run moves with its own learning rate. On a device it returns before the step is done.
    fn step(&mut self, at: usize, rates: &[f64]) -> Result<(), TrainError>;

    /// The first run's mean loss of the draws so far, as far as it is known: on a device that of the epoch before.
    fn mean(&self) -> f64;

    /// Each run's mean loss over all draws, or the error it has diverged with.
    fn close(self: Box<Self>) -> Result<Vec<Result<f64, TrainError>>, TrainError>;
}

/// What the runs of a bundle share in an epoch.
struct BundleEpoch<'e> {
    /// One per run.
    losses: Vec<&'e dyn Loss>,
    draws: &'e [Draw],
    /// Targets of all draws, row-major `[draws, labels]`.
    targets: &'e [u8],
    steps: Steps,
    dropout: f64,
    /// The first run's mean loss of the epoch before.
    before: f64,
}

impl BundleEpoch<'_> {
    fn targets(&self, rows: &Range<usize>) -> &[u8] {
        &self.targets[rows.start * self.steps.labels..rows.end * self.steps.labels]
    }
}

/// The inputs of a bundle: a data set, and where it lies.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    data: &'a Dataset,
    loader: &'a Loader,
}

impl<'a> Inputs<'a> {
    /// Whether the numbers lie on a device. A data set that was made resident on the CPU is for tests of the device's code.
    fn is_device(self) -> bool {
        !self.loader.device().is_cpu() || self.loader.is_resident()
    }

    /// The heads of `learners`; `clips` has the largest norms of their gradients.
    fn load(self, learners: &[&mut Learner], clips: Vec<Option<f64>>) -> Result<Box<dyn IdleHeads + 'a>, TrainError> {
        let Self { data, loader } = self;
        Ok(if self.is_device() {
            let heads = heads::device::DeviceHeads::load(learners, &clips, loader.device())?;
            Box::new(device::IdleDeviceHeads { heads, data, loader })
        } else {
            Box::new(host::IdleHostHeads { heads: heads::Heads::load(learners, clips)?, data })
        })
    }

    fn rows(self, split: SplitName) -> &'a [u32] {
        if split == SplitName::Val { &self.data.split().val } else { &self.data.split().test }
    }
}

/// One run of the bundle.
struct Member<'a> {
    /// Its place among the jobs.
    place: usize,
    record: Record<'a>,
    learner: Learner,
    schedule: Schedule,
    loss: Box<dyn Loss>,
}

impl<'a> Member<'a> {
    fn new(place: usize, job: &'a Job, data: &Dataset, train: (&LabelMatrix, &LabelCounts)) -> Result<Self, TrainError> {
        let loss = loss_of(job, train.1)?;
        let (_, learner) = start(job, data, train, &*loss, &Device::Cpu)?;
        Ok(Self { place, record: Record::new(job)?, learner, schedule: Schedule::new(&job.config.train)?, loss })
    }

    /// The epoch that it trains next; `None` where it is over. A member that is over waits for the others.
    fn next(&self) -> Option<usize> {
        (!self.record.is_over()).then(|| self.record.done())
    }
}

/// How a run ended.
pub type RunResult = Result<Finish, TrainError>;

/// Trains `jobs`, each from its checkpoint if there is one, with the batches of their `data` on a device or on the CPU. The
/// outcome of each is its own, in the order of the jobs; a device without room ends all that are left.
///
/// # Errors
/// [`TrainError`] of something that does not belong to a single run; a job without an outcome has not ended.
pub fn together(jobs: &[Job], data: &Dataset, loader: &Loader, monitor: &mut dyn Monitor) -> Result<Vec<RunResult>, TrainError> {
    let truth = Truth::of(data);
    let counts = truth.train.counts();
    if let Some(job) = jobs.first() {
        fetch_weights(job, monitor)?;
    }
    for job in jobs {
        note_weights(job, data, counts.positives.len(), monitor);
    }
    let stage = jobs.first().map(|job| monitor.stage(job, "building the networks", None));
    let inputs = Inputs { data, loader };
    let mut members = Vec::new();
    let mut outcomes: Vec<Option<RunResult>> = jobs.iter().map(|_| None).collect();
    for (place, job) in jobs.iter().enumerate() {
        match Member::new(place, job, data, (&truth.train, &counts)) {
            Ok(member) => members.push(member),
            Err(error) => outcomes[place] = Some(Err(error)),
        }
    }
    drop(stage);
    let mut bundle = BundleTraining { inputs, truth, members, outcomes, monitor };
    // Without a form the logits are read in each step: those runs side by side are read at once.
    bundle.members.sort_by_key(|member| member.loss.form(0).is_none());
    if let Err(error) = bundle.train() {
        bundle.end_with(error)?;
    }
    Ok(bundle.outcomes.into_iter().map(|outcome| outcome.unwrap_or(Ok(Finish::Stopped))).collect())
}

/// The bundle under way.
struct BundleTraining<'a, 'm> {
    inputs: Inputs<'a>,
    truth: Truth,
    /// Members that have not ended.
    members: Vec<Member<'a>>,
    /// Of those members.
    outcomes: Vec<Option<RunResult>>,
    monitor: &'m mut dyn Monitor,
}

/// Where an epoch's time goes, for the log.
struct Phases {
    last: Instant,
    words: String,
}

impl Phases {
    fn since(last: Instant) -> Self {
        Self { last, words: String::new() }
    }

    /// The time since the last call was spent on `name`.
    fn end(&mut self, name: &str) {
        let now = Instant::now();
        self.words += &format!(" {name} {:.3}", (now - self.last).as_secs_f64() * 1e3);
        self.last = now;
    }
}

/// Members that have ended, and how.
type Failures = Vec<(usize, TrainError)>;

impl BundleTraining<'_, '_> {
    fn train(&mut self) -> Result<(), TrainError> {
        let Some(Member { record, .. }) = self.members.first() else { return Ok(()) };
        let job = record.job;
        let sampler = sampler_of(job, self.inputs.data, &self.truth.train, self.monitor)?;
        let stage = self.monitor.stage(job, "drawing the first epoch and looking for checkpoints", None);
        let mut stream = Stream::new(sampler, job.config.seed, job.config.train.draws);
        let drawn = realised(&stream.first_pass(), &self.truth.train);
        let mut failures = Failures::new();
        for Member { place, record, learner, .. } in &mut self.members {
            failures.extend(record.resume(learner, &self.truth, &drawn, self.monitor).err().map(|error| (*place, error)));
        }
        self.part(failures)?;
        drop(stage);
        // Members that went on from a checkpoint join where they had been.
        while let Some(epoch) = self.members.iter().filter_map(Member::next).min() {
            if self.monitor.stopping() {
                let each = self.members.par_iter_mut();
                let kept = each.filter_map(|member| Some((member.place, member.record.keep_all(&member.learner).err()?)));
                let failures = kept.collect();
                return self.part(failures);
            }
            self.part_early()?;
            let failures = self.epoch(epoch, &stream.epoch(epoch), &drawn)?;
            self.part(failures)?;
        }
        self.finish()
    }

    /// Ends all runs with an error: runs that the device has no room for end as out of memory, each to be tried alone.
    ///
    /// # Errors
    /// [`TrainError`] of something that does not belong to a single run.
    fn end_with(&mut self, error: TrainError) -> Result<(), TrainError> {
        if error.outcome() != Outcome::OutOfMemory {
            return Err(error);
        }
        let (words, runs) = (error.to_string(), self.members.len());
        for Member { place, record, .. } in self.members.drain(..) {
            let error = TrainError::Candle(candle_core::Error::Msg(words.clone()));
            self.outcomes[place] = Some(Err(error.in_batches_of(record.job.config.train.batch_size, runs)));
        }
        Ok(())
    }

    /// Removes members that have ended. An error of the monitor ends all.
    fn part(&mut self, failures: Failures) -> Result<(), TrainError> {
        for (place, error) in failures {
            if matches!(error, TrainError::Journal(_)) {
                return Err(error);
            }
            self.members.retain(|member| member.place != place);
            self.outcomes[place] = Some(Err(error));
        }
        Ok(())
    }

    /// Parts with members that are to be stopped for good.
    fn part_early(&mut self) -> Result<(), TrainError> {
        let (mut failures, mut over) = (Failures::new(), Vec::new());
        for Member { place, record, learner, .. } in &mut self.members {
            if self.monitor.stopping_early(record.job) {
                match record.keep_all(learner) {
                    Ok(()) => over.push(*place),
                    Err(error) => failures.push((*place, error)),
                }
            }
        }
        for place in over {
            self.members.retain(|member| member.place != place);
            self.outcomes[place] = Some(Ok(Finish::StoppedEarly));
        }
        self.part(failures)
    }

    /// Trains one epoch of all members that have reached it.
    fn epoch(&mut self, epoch: usize, draws: &[Draw], drawn: &Realised) -> Result<Failures, TrainError> {
        let Self { inputs, truth, members, monitor, .. } = self;
        let start = Instant::now();
        let (mut learners, mut others) = (Vec::new(), Vec::new());
        for Member { place, record, learner, schedule, loss } in members.iter_mut().filter(|member| member.next() == Some(epoch))
        {
            learners.push(learner);
            others.push((*place, record, &*schedule, &**loss));
        }
        let Some((_, first, ..)) = others.first() else { return Ok(Failures::new()) };
        let job = first.job;
        let (batch, seed) = (job.config.train.batch_size, job.config.seed);
        let clips = others.iter().map(|(_, record, ..)| record.job.config.train.grad_clip).collect();
        let stage = monitor.stage(job, "preparing an epoch", None);
        let mut heads = inputs.load(&learners, clips)?;
        let targets: Vec<u8> = draws.iter().flat_map(|draw| draw.targets(&truth.train)).copied().collect();
        let shared = BundleEpoch {
            losses: others.iter().map(|(.., loss)| *loss).collect(),
            draws,
            targets: &targets,
            steps: Steps { draws: draws.len(), labels: truth.train.names.len(), batch, seed, epoch },
            dropout: job.config.model.dropout,
            before: first.mean(),
        };
        let shared_steps = shared.steps;
        let steps = shared_steps.count();
        let mut beat = Beat { epoch, step: 0, steps, loss: 0.0, images_per_s: 0.0 };
        let mut rates = vec![0.0; others.len()];
        let mut training = heads.begin(shared)?;
        drop(stage);
        let mut all_steps = || {
            for at in 0..steps {
                rates = others.iter().map(|(_, _, schedule, _)| schedule.rate(epoch, at, steps)).collect();
                training.step(at, &rates)?;
                let done = shared_steps.rows(at).end;
                let images_per_s = done as f64 / start.elapsed().as_secs_f64().max(1e-9) * others.len() as f64;
                beat = Beat { step: at + 1, loss: training.mean(), images_per_s, ..beat };
                monitor.beat(job, beat)?;
            }
            Ok::<_, TrainError>(())
        };
        let mut phases = Phases::since(start);
        phases.end("begun");
        if inputs.is_device() { all_steps() } else { awake(all_steps) }?;
        phases.end("stepped");
        let losses = training.close()?;
        phases.end("closed");
        heads.store(&mut learners)?;
        phases.end("stored");
        let trained = start.elapsed().as_secs_f64() / others.len() as f64;
        let logits = heads.logits(inputs.rows(SplitName::Val), batch, &mut || monitor.beat(job, beat))?;
        phases.end("logits");
        let _stage = monitor.stage(job, "evaluating an epoch", None);

        let partly = truth.train.has_unknown();
        let ready = others.par_iter_mut().zip(&learners).zip(logits).zip(losses).with_max_len(1);
        let ready = ready.map(|((((_, record, _, loss), learner), logits), train_loss)| {
            let known = if partly { evaluate::per_known_cell(*loss, &targets) } else { 1.0 };
            let train_loss = train_loss? * known;
            Ok((train_loss, record.evaluate(&logits, *loss, &learner.state, &truth.val)?))
        });
        let ready: Vec<Result<_, TrainError>> = ready.collect();
        phases.end("judged");
        // Each member's share, so that the times of all runs add up to the time that passed.
        let seconds = start.elapsed().as_secs_f64() / others.len() as f64;
        let mut failures = Failures::new();
        let images_per_s = draws.len() as f64 / trained.max(1e-9);
        let told = others.iter_mut().zip(ready).zip(&rates).map(|(((place, record, ..), ready), &learning_rate)| {
            let told = ready.and_then(|(train_loss, ready)| {
                let steps = record.steps() + steps as u64;
                let facts = |val_loss| EpochFacts { train_loss, val_loss, learning_rate, seconds, images_per_s, steps };
                record.tell(ready, facts, Some(drawn), *monitor)
            });
            told.inspect_err(|_| ()).map_err(|error| failures.push((*place, error))).is_ok()
        });
        let told: Vec<bool> = told.collect();
        phases.end("told");
        let kept = others.par_iter_mut().zip(&learners).zip(told).with_max_len(1).filter(|(_, told)| *told);
        let kept: Failures =
            kept.filter_map(|(((place, record, ..), learner), _)| Some((*place, record.keep(learner).err()?))).collect();
        failures.extend(kept);
        phases.end("kept");
        tracing::debug!("epoch {epoch} of {} runs, ms:{}", rates.len(), phases.words);
        Ok(failures)
    }

    /// Test, once: the last epoch of all, then the best one of those whose best is another.
    fn finish(&mut self) -> Result<(), TrainError> {
        let Self { inputs, truth, members, monitor, .. } = self;
        let Some(job) = members.first().map(|member| member.record.job) else { return Ok(()) };
        let beat = Beat { epoch: job.config.train.epochs.saturating_sub(1), step: 0, steps: 0, loss: 0.0, images_per_s: 0.0 };
        let mut test = |learners: &[&mut Learner]| -> Result<Vec<Vec<f32>>, TrainError> {
            let heads = inputs.load(learners, vec![None; learners.len()])?;
            heads.logits(inputs.rows(SplitName::Test), job.config.train.batch_size, &mut || monitor.beat(job, beat))
        };
        let last = test(&members.iter_mut().map(|member| &mut member.learner).collect::<Vec<_>>())?;
        let back = members.par_iter().map(|member| member.record.back_to_best(&member.learner.state)).collect::<Vec<_>>();
        let other = |back: &Result<bool, TrainError>| matches!(back, Ok(true));
        let again: Vec<_> =
            members.iter_mut().zip(&back).filter(|(_, back)| other(back)).map(|(member, _)| &mut member.learner).collect();
        let mut best = if again.is_empty() { Vec::new() } else { test(&again)? }.into_iter();
        let best: Vec<Option<Vec<f32>>> = back.iter().map(|back| if other(back) { best.next() } else { None }).collect();
        let _stage = monitor.stage(job, "evaluating test and keeping the results", None);
        let ended = members.par_iter_mut().zip(back).zip(last.par_iter().zip(best)).with_max_len(1);
        let ended =
            ended.map(|((member, back), (last, best))| back.and_then(|_| member.record.finish(last, best.as_deref(), truth)));
        let mut ended: Vec<Result<Vec<Event>, TrainError>> = ended.collect();
        settle(members, &mut ended);
        for (member, events) in self.members.drain(..).zip(ended) {
            let told = events.and_then(|events| Ok(self.monitor.record(member.record.job, events)?));
            if let Err(error @ TrainError::Journal(_)) = told {
                return Err(error);
            }
            self.outcomes[member.place] = Some(told.map(|()| Finish::Done));
        }
        Ok(())
    }
}

/// Syncs the files of all runs together: a file system does many syncs at once in the time of one.
fn settle(members: &[Member<'_>], ended: &mut [Result<Vec<Event>, TrainError>]) {
    std::thread::scope(|scope| {
        for (member, ended) in members.iter().zip(ended).filter(|(_, ended)| ended.is_ok()) {
            let record = &member.record;
            scope.spawn(move || {
                if let Err(error) = record.settle() {
                    *ended = Err(error);
                }
            });
        }
    });
}
