//! The loop of many runs in one pass: they share data, network, sampler, seed, batch size and length, so that they see the same
//! batches. Each is evaluated, recorded and checkpointed as if it were alone, and trains to the same last bit.

use std::time::Instant;

use candle_core::Device;
use rayon::prelude::*;

use super::checkpoint::EpochFacts;
use super::evaluate;
use super::heads::Heads;
use super::record::{Learner, Record, Truth};
use super::session::{loss_of, sampler_of, start};
use super::step::diverged;
use super::{Beat, Finish, Monitor, TrainError};
use crate::data::Dataset;
use crate::kernel::awake;
use crate::kernel::stacked::row_step;
use crate::model::{self, Step};
use crate::protocol::journal::JournalError;
use crate::protocol::{Event, Job, SplitName};
use crate::spec::Schedule;
use crate::strategy::loss::{Batch, Loss};
use crate::strategy::sampler::{Draw, Realised, realised};

/// Rows that are evaluated at once, and the numbers they may have together.
const ROWS: usize = 256;
const ROW_VALUES: usize = 1 << 22;

/// One run of the bundle.
struct Member<'a> {
    /// Its place among the jobs.
    place: usize,
    record: Record<'a>,
    learner: Learner,
    schedule: Schedule,
    loss: Box<dyn Loss>,
}

/// How a run ended.
pub type Outcome = Result<Finish, TrainError>;

/// Trains `jobs`, each from its checkpoint if there is one, on the CPU. What one of them ends with is its own, in their order.
///
/// # Errors
/// [`TrainError`] of something that is nobody's own; no job that is left out of the result has ended.
pub fn together(jobs: &[Job], data: &Dataset, monitor: &mut dyn Monitor) -> Result<Vec<Outcome>, TrainError> {
    let truth = Truth::of(data);
    let counts = truth.train.counts();
    let member = |(place, job)| -> Result<Member<'_>, TrainError> {
        let (_, learner) = start(job, data, &counts, &Device::Cpu)?;
        let (schedule, loss) = (Schedule::new(&job.config.train), loss_of(job, &counts)?);
        Ok(Member { place, record: Record::new(job)?, learner, schedule, loss })
    };
    let mut bundle = Bundle { data, truth, members: Vec::new(), outcomes: jobs.iter().map(|_| None).collect(), monitor };
    for (place, job) in jobs.iter().enumerate() {
        match member((place, job)) {
            Ok(member) => bundle.members.push(member),
            Err(error) => bundle.outcomes[place] = Some(Err(error)),
        }
    }
    bundle.train()?;
    Ok(bundle.outcomes.into_iter().map(|outcome| outcome.unwrap_or(Ok(Finish::Stopped))).collect())
}

/// The bundle under way.
struct Bundle<'a, 'm> {
    data: &'a Dataset,
    truth: Truth,
    /// Those that are not over.
    members: Vec<Member<'a>>,
    /// Of those that are.
    outcomes: Vec<Option<Outcome>>,
    monitor: &'m mut dyn Monitor,
}

/// Members that are over, and why.
type Failures = Vec<(usize, TrainError)>;

/// What a member's steps of an epoch came to.
#[derive(Clone, Copy, Default)]
struct Steps {
    /// Sum over draws.
    loss: f64,
    /// The last learning rate.
    rate: f64,
}

impl Bundle<'_, '_> {
    fn train(&mut self) -> Result<(), TrainError> {
        let Some(Member { record, .. }) = self.members.first() else { return Ok(()) };
        let (job, seed, epochs) = (record.job, record.job.config.seed, record.job.config.train.epochs);
        let sampler = sampler_of(job, self.data, &self.truth.train)?;
        let drawn = realised(&sampler.draws(seed, 0), &self.truth.train);
        let mut failures = Failures::new();
        for Member { place, record, learner, .. } in &mut self.members {
            failures.extend(record.resume(learner, &self.truth, &drawn, self.monitor).err().map(|error| (*place, error)));
        }
        self.part(failures)?;
        // Members that went on from a checkpoint join where they had been.
        let first = self.members.iter().map(|member| member.record.done()).min().unwrap_or(epochs);
        for epoch in first..epochs {
            if self.monitor.stopping() {
                return Ok(());
            }
            let failures = self.epoch(epoch, &sampler.draws(seed, epoch), &drawn)?;
            self.part(failures)?;
        }
        self.finish()
    }

    /// Parts with members that are over. What the monitor cannot keep ends all.
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

    /// An epoch of all members that have come to it.
    fn epoch(&mut self, epoch: usize, draws: &[Draw], drawn: &Realised) -> Result<Failures, TrainError> {
        let Self { data, truth, members, monitor, .. } = self;
        let start = Instant::now();
        let (mut learners, mut others) = (Vec::new(), Vec::new());
        for Member { place, record, learner, schedule, loss } in members.iter_mut().filter(|member| member.record.done() == epoch)
        {
            learners.push(learner);
            others.push((*place, record, &*schedule, &**loss));
        }
        let Some((_, first, ..)) = others.first() else { return Ok(Failures::new()) };
        let job = first.job;
        let clips = others.iter().map(|(_, record, ..)| record.job.config.train.grad_clip).collect();
        let mut heads = Heads::load(&learners, clips)?;
        let batch_size = job.config.train.batch_size;
        let mut sums = vec![Steps::default(); others.len()];
        let mut broken: Vec<Option<TrainError>> = others.iter().map(|_| None).collect();
        let mut x = Vec::new();
        let (steps, mut done) = (draws.len().div_ceil(batch_size), 0);
        let mut beat = Beat { epoch, step: 0, steps, loss: 0.0, images_per_s: 0.0 };
        awake(|| {
            for (at, draws) in draws.chunks(batch_size).enumerate() {
                let step = Step { seed: job.config.seed, epoch, step: at };
                evaluate::drawn_values(data, draws, (step.seed, step.epoch), row_step(heads.inputs()), &mut x);
                let targets: Vec<u8> = draws.iter().flat_map(|draw| draw.targets(&truth.train)).copied().collect();
                let losses = pass(&mut heads, &mut x, &targets, step, job.config.model.dropout, &others);
                let rates: Vec<f64> = others.iter().map(|(_, _, schedule, _)| schedule.rate(epoch, at, steps)).collect();
                for ((sum, broken), (&loss, &rate)) in sums.iter_mut().zip(&mut broken).zip(losses.iter().zip(&rates)) {
                    *sum = Steps { loss: sum.loss + loss * draws.len() as f64, rate };
                    if !loss.is_finite() && broken.is_none() {
                        *broken = Some(diverged(&format!("the loss is {loss}"), step));
                    }
                }
                for run in heads.update(&rates) {
                    broken[run].get_or_insert_with(|| diverged("the gradient's norm is no number", step));
                }
                done += draws.len();
                let images_per_s = done as f64 / start.elapsed().as_secs_f64().max(1e-9) * others.len() as f64;
                beat = Beat { step: at + 1, loss: sums[0].loss / done as f64, images_per_s, ..beat };
                monitor.beat(job, beat)?;
            }
            Ok::<_, TrainError>(())
        })?;
        heads.store(&mut learners)?;
        let trained = start.elapsed().as_secs_f64() / others.len() as f64;
        let logits = logits(&heads, data, SplitName::Val, || monitor.beat(job, beat))?;

        let ready = others.par_iter_mut().zip(&learners).zip(logits).zip(broken);
        let ready = ready.map(|((((_, record, _, loss), learner), logits), broken)| match broken {
            Some(error) => Err(error),
            None => record.evaluate(&logits, *loss, &learner.state, &truth.val),
        });
        let ready: Vec<_> = ready.collect();
        // Each member's share, so that the times of all runs add up to the time that passed.
        let seconds = start.elapsed().as_secs_f64() / others.len() as f64;
        let mut failures = Failures::new();
        let told = others.iter_mut().zip(ready).zip(&sums).map(|(((place, record, ..), ready), sum)| {
            let facts = |val_loss| EpochFacts {
                train_loss: sum.loss / done.max(1) as f64,
                val_loss,
                learning_rate: sum.rate,
                seconds,
                images_per_s: done as f64 / trained.max(1e-9),
            };
            let told = ready.and_then(|ready| record.tell(ready, facts, drawn, *monitor));
            told.inspect_err(|_| ()).map_err(|error| failures.push((*place, error))).is_ok()
        });
        let told: Vec<bool> = told.collect();
        let kept = others.par_iter().zip(&learners).zip(told).filter(|(_, told)| *told);
        let kept: Failures =
            kept.filter_map(|(((place, record, ..), learner), _)| Some((*place, record.keep(learner).err()?))).collect();
        failures.extend(kept);
        Ok(failures)
    }

    /// Test, once: the last epoch of all, then the best one of those whose best is another.
    fn finish(&mut self) -> Result<(), TrainError> {
        let Self { data, truth, members, monitor, .. } = self;
        let Some(job) = members.first().map(|member| member.record.job) else { return Ok(()) };
        let beat = Beat { epoch: job.config.train.epochs.saturating_sub(1), step: 0, steps: 0, loss: 0.0, images_per_s: 0.0 };
        let mut test = |learners: &[&mut Learner]| -> Result<Vec<Vec<f32>>, TrainError> {
            let heads = Heads::load(learners, vec![None; learners.len()])?;
            logits(&heads, data, SplitName::Test, || monitor.beat(job, beat))
        };
        let last = test(&members.iter_mut().map(|member| &mut member.learner).collect::<Vec<_>>())?;
        let back = members.par_iter().map(|member| member.record.back_to_best(&member.learner.state)).collect::<Vec<_>>();
        let other = |back: &Result<bool, TrainError>| matches!(back, Ok(true));
        let again: Vec<_> =
            members.iter_mut().zip(&back).filter(|(_, back)| other(back)).map(|(member, _)| &mut member.learner).collect();
        let mut best = if again.is_empty() { Vec::new() } else { test(&again)? }.into_iter();
        let best: Vec<Option<Vec<f32>>> = back.iter().map(|back| if other(back) { best.next() } else { None }).collect();
        let ended = members.par_iter().zip(back).zip(last.par_iter().zip(best));
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

/// Waits for the disk, for all at once: a file system takes many waits together in the time of one.
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

/// What an epoch needs of a member besides its parameters: place, record, schedule and loss.
type Other<'m, 'a> = (usize, &'m mut Record<'a>, &'m Schedule, &'m dyn Loss);

/// One batch forward and backward. Returns each member's loss, NaN where loss or gradient is no number.
fn pass(heads: &mut Heads, x: &mut [f32], targets: &[u8], step: Step, dropout: f64, others: &[Other<'_, '_>]) -> Vec<f64> {
    let mask = model::dropout_mask(heads.batch(x) * heads.features(), dropout, step);
    if let Some(mask) = mask.as_ref().filter(|_| heads.is_linear()) {
        let rows = x.chunks_exact_mut(row_step(heads.inputs())).zip(mask.chunks_exact(heads.inputs()));
        rows.for_each(|(x, mask)| x.iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask));
    }
    let labels = targets.len() / heads.batch(x);
    let losses: Vec<&dyn Loss> = others.iter().map(|(.., loss)| *loss).collect();
    heads.gradients(x, mask.as_deref(), |run, logits, gradient| {
        let loss = losses[run].evaluate(Batch { labels, logits, targets, epoch: step.epoch }, gradient);
        if loss.is_finite() && gradient.iter().any(|slope| !slope.is_finite()) { f64::NAN } else { loss }
    })
}

/// Logits of a split's rows, row-major `[rows, labels]`, a run each.
fn logits(
    heads: &Heads,
    data: &Dataset,
    split: SplitName,
    mut beat: impl FnMut() -> Result<(), JournalError>,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let rows = if split == SplitName::Val { &data.split().val } else { &data.split().test };
    let width = data.shape().values();
    let (mut all, mut x): (Vec<Vec<f32>>, Vec<f32>) = (Vec::new(), Vec::new());
    for rows in rows.chunks((ROW_VALUES / width.max(1)).clamp(16, ROWS)) {
        let step = row_step(width);
        x.resize(rows.len() * step, 0.0);
        data.gather_apart(rows, None, step, &mut x);
        let batch = heads.logits(&x);
        all.resize_with(batch.len(), Vec::new);
        all.iter_mut().zip(batch).for_each(|(all, batch)| all.extend(batch));
        beat()?;
    }
    Ok(all)
}
