//! The worker process: orders on stdin, records to a journal (docs/protocol.md). One process trains many runs. It never opens the
//! database.
//!
//! A failure of a run is recorded and the next order is taken. After a panic or an error of the device, whose state is unknown then,
//! the process ends and the controller starts another.

mod life;
mod orders;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use candle_core::Device;

use crate::predict::Scored;
use crate::stage::{Stage, Unit};
use crate::{Beat, Finish, Loader, Monitor, TrainError};
use archive::RunFolder;
use data::{DataError, Dataset};
use kernel::{give_freed_memory_back, is_exhausted, open_cuda};
use life::{BEAT, Life};
use orders::{Stops, Task};
use plan::tensors::Known;
use plan::{DataConfig, Fingerprint, ModelConfig};
use protocol::journal::{Journal, JournalError};
use protocol::{Event, Job, Outcome, Prediction, Request, VERSION, host};

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads.
    pub threads: usize,
    /// The journal to create.
    pub journal: PathBuf,
    /// The name of this worker in its journal.
    pub name: String,
}

/// Shows the log on stderr: warnings, or what `RUST_LOG` says. A second call changes nothing.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // Fails only where a subscriber is set already.
    let _ = tracing::subscriber::set_global_default(logs.without_time().with_target(false).finish());
}

/// What ends a worker early.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A device that does not exist, as a message.
    #[error("{0}")]
    Usage(String),
    /// A device that cannot be used, as a message.
    #[error("{0}")]
    Device(String),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl WorkerError {
    /// The exit code of the process (docs/protocol.md).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Device(_) => 1,
            Self::Usage(_) => 2,
            Self::Journal(_) => 74,
        }
    }
}

/// Serves orders until it is told to stop or its controller is gone.
///
/// # Errors
/// A device that cannot be used; a journal that cannot be written (exit code 74).
pub fn run(options: &Options) -> Result<(), WorkerError> {
    end_with_the_controller();
    // This thread belongs to the pool: with one thread nothing is handed over and waited for, which takes half the time of a small
    // network. A thread outside the pool must not use rayon then, nor be waited for: with one thread it would never be served.
    // A pool that exists already is the one the launcher sized by RAYON_NUM_THREADS.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(options.threads).use_current_thread().build_global();
    let device = device(&options.device)?;
    let life = Life::begin(Journal::create(&options.journal)?)
        .map_err(|error| WorkerError::Device(format!("cannot start a thread: {error}")))?;
    // Never dropped: the process is about to end, and after an error that a device does not recover from, destroying its handles panics.
    let mut worker = ManuallyDrop::new(Worker { life, data: None, features: None, device });
    worker.say(Event::Open {
        v: VERSION,
        worker: options.name.clone(),
        pid: std::process::id(),
        host: host(),
        device: options.device.clone(),
        threads: options.threads,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    let (orders, stops) = orders::listen();
    let mut why = "finished";
    while let Some(order) = worker.next(&orders) {
        let health = match order {
            Task::Train(jobs) => worker.work(&jobs, &stops)?,
            Task::Refit(job, epochs) => worker.refit(*job, epochs, &stops)?,
            Task::Predict(prediction) => worker.predict(&prediction, &stops)?,
            Task::Refuse(attempts, why) => worker.refuse(attempts, &why)?,
        };
        if health == Health::Broken {
            why = "the device or the program may be in a bad state";
            break;
        }
        if stops.all() {
            break;
        }
    }
    worker.say(Event::Close { why: why.to_owned() })?;
    Ok(())
}

/// Asks the kernel to kill this process when the thread that started it dies; the end of stdin covers the other cases.
fn end_with_the_controller() {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// The device called `name`: `cpu` or `cuda:N`.
///
/// # Errors
/// Not a device name, or a device that this build or this machine does not have.
pub fn device(name: &str) -> Result<Device, WorkerError> {
    let wrong = |what: String| WorkerError::Usage(format!("device `{name}`: {what}"));
    match name.strip_prefix("cuda:") {
        None if name == "cpu" => Ok(Device::Cpu),
        None => Err(wrong("a device is cpu or cuda:N".to_owned())),
        Some(number) => {
            let number = number.parse().map_err(|_| wrong("a CUDA device is cuda:N, N = 0, 1, ...".to_owned()))?;
            open_cuda(number).map_err(|error| WorkerError::Device(format!("device `{name}` cannot be used: {error}")))
        }
    }
}

/// Whether the process can continue after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Broken,
}

struct Worker {
    life: Life,
    device: Device,
    /// The data set of the last run and its loader, kept open for the next.
    data: Option<Opened>,
    /// Where the features of the last frozen backbone are, by its images, how they are read, the backbone and its weights.
    features: Option<(Images, PathBuf)>,
}

/// A data set: its folder, its configuration, how it was opened, itself, and its loader.
type Opened = (PathBuf, DataConfig, OpenData, Dataset, Loader);

/// How a data set is opened: [`Dataset::open`] or [`Dataset::open_joined`].
type OpenData = fn(&Path, &DataConfig) -> Result<Dataset, DataError>;

type Images = (PathBuf, DataConfig, ModelConfig);

/// How the runs of an order ended.
type RunResults = Vec<Result<Finish, TrainError>>;

impl Worker {
    fn say(&self, event: Event) -> Result<(), JournalError> {
        self.life.say([event])
    }

    /// The next order. A worker that has none for a while gives back what its runs have left in the device's pool: others may need it.
    fn next(&self, orders: &Receiver<Task>) -> Option<Task> {
        match orders.recv_timeout(BEAT) {
            Err(RecvTimeoutError::Timeout) => {
                self.give_back();
                orders.recv().ok()
            }
            order => order.ok(),
        }
    }

    fn give_back(&self) {
        if let Err(error) = give_freed_memory_back(&self.device) {
            tracing::warn!("the device's memory: {error}");
        }
    }

    /// Ends attempts that cannot be made.
    fn refuse(&mut self, attempts: Vec<(Fingerprint, u32)>, why: &str) -> Result<Health, JournalError> {
        for (r, a) in attempts {
            self.say(Event::End { r, a, st: Outcome::Crashed, n: 0, why: why.to_owned() })?;
        }
        Ok(Health::Good)
    }

    /// Trains the runs of one order and records how each ended.
    fn work(&mut self, jobs: &[Job], stops: &Stops) -> Result<Health, JournalError> {
        if jobs.iter().all(|job| job.config.in_one_pass()) {
            let together = |jobs: &[Job], data: &Dataset, feed: &Loader, reporter: &mut Reporter<'_>| {
                crate::together(jobs, data, feed, reporter)
            };
            return self.attempt(jobs, Dataset::open, stops, together);
        }
        for job in jobs {
            let trained = self.attempt(std::slice::from_ref(job), Dataset::open, stops, |jobs, data, feed, reporter| {
                let mut results = RunResults::new();
                for job in jobs {
                    match crate::run_with(job, data, feed, reporter) {
                        Err(error @ TrainError::Journal(_)) => return Err(error),
                        result => results.push(result),
                    }
                }
                Ok(results)
            })?;
            if trained == Health::Broken {
                // The runs that were not begun are lost with this process; each is then tried alone.
                return Ok(Health::Broken);
            }
        }
        Ok(Health::Good)
    }

    /// Trains a run once more on train and val together.
    fn refit(&mut self, job: Job, epochs: usize, stops: &Stops) -> Result<Health, JournalError> {
        self.attempt(std::slice::from_ref(&job), Dataset::open_joined, stops, |jobs, data, feed, reporter| {
            jobs.iter().map(|job| Ok(Ok(crate::session::refit(job, data, feed, epochs, reporter)?))).collect()
        })
    }

    /// Scores the inputs of a request.
    fn predict(&mut self, order: &Prediction, stops: &Stops) -> Result<Health, JournalError> {
        let Prediction { run, attempt, request, from, .. } = order;
        let (r, a, mut told) = (run.clone(), *attempt, 0);
        let Self { life, device, .. } = self;
        let predicted = catch_unwind(AssertUnwindSafe(|| {
            let stage = life.stage(run, "loading the model", None);
            let read = Request::read(request).map_err(|source| TrainError::Io { path: request.clone(), source })?;
            life.say([Event::Begin { r: r.clone(), a, from: None }])?;
            crate::predict::predict(
                &read,
                *from,
                device,
                || drop(stage),
                |scored| {
                    let Scored { first, rows, logits, bad } = scored;
                    life.say([Event::Predicted { r: r.clone(), a, first, rows, logits, bad }])?;
                    told += 1;
                    Ok(!stops.all())
                },
            )
        }));
        let exhausted = || is_exhausted(device).unwrap_or(false);
        let (outcome, why) = match predicted {
            Ok(Err(TrainError::Journal(error))) => return Err(error),
            Ok(ended) => verdict(ended.map(|all| if all { Finish::Done } else { Finish::Stopped }), &exhausted),
            Err(panic) => (Outcome::Crashed, panicked(&*panic)),
        };
        self.say(end(r, a, outcome, told, why))?;
        Ok(if outcome == Outcome::Crashed { Health::Broken } else { Health::Good })
    }

    /// One attempt at `jobs`, whose data `open` opens and which `train` trains together.
    fn attempt(
        &mut self,
        jobs: &[Job],
        open_data: OpenData,
        stops: &Stops,
        train: impl FnOnce(&[Job], &Dataset, &Loader, &mut Reporter<'_>) -> Result<RunResults, TrainError>,
    ) -> Result<Health, JournalError> {
        let Self { life, device, data, features } = self;
        let told = jobs.iter().map(|job| (job.run.clone(), RunLog { log: log(job), results: 0 })).collect();
        let mut reporter = Reporter { life, stops, spoke: None, told };
        for job in jobs {
            reporter.log(job, &format!("attempt {} of {}: {}", job.attempt, job.run, summary(job)));
        }
        let trained = catch_unwind(AssertUnwindSafe(|| {
            let Some(jobs) = on_features(features, jobs, device, &mut reporter)? else {
                return Ok(jobs.iter().map(|_| Ok(Finish::Stopped)).collect());
            };
            let Some(first) = jobs.first() else { return Ok(RunResults::new()) };
            let (data, feed) = open(data, first, open_data, device, &mut reporter)?;
            for job in jobs.iter().filter(|_| !feed.words().is_empty()) {
                reporter.log(job, feed.words());
            }
            train(&jobs, data, feed, &mut reporter)
        }));
        let exhausted = || is_exhausted(device).unwrap_or(false);
        let ends: Vec<(Outcome, String)> = match trained {
            Ok(Ok(ends)) => ends.into_iter().map(|end| verdict(end, &exhausted)).collect(),
            Ok(Err(TrainError::Journal(error))) => return Err(error),
            Ok(Err(error)) => vec![verdict(Err(error), &exhausted); jobs.len()],
            Err(panic) => vec![(Outcome::Crashed, panicked(&*panic)); jobs.len()],
        };
        let mut told = std::mem::take(&mut reporter.told);
        let mut health = Health::Good;
        let (mut said, mut done) = (Vec::new(), Vec::new());
        for (job, (outcome, why)) in jobs.iter().zip(ends) {
            let RunLog { log, results } = told.entry(job.run.clone()).or_default();
            if !why.is_empty() {
                write_line(log, &why);
                tracing::info!("{}: {why}", job.run.short());
            }
            // A data set or model may be the cause of the failure: nothing of a failed run is kept.
            if !matches!(outcome, Outcome::Ok | Outcome::Stopped | Outcome::StoppedEarly) {
                self.data = None;
                self.features = None;
            }
            // The device itself is fine: smaller runs can still train, here and in other workers.
            if outcome == Outcome::OutOfMemory {
                self.give_back();
            }
            if outcome == Outcome::Crashed {
                health = Health::Broken;
            }
            said.push(end(job.run.clone(), job.attempt, outcome, *results, why));
            done.extend((outcome == Outcome::Ok).then_some(&job.folder));
        }
        // All ends in one flush, which waits for the disk once.
        self.life.say(said)?;
        done.into_iter().for_each(|folder| crate::finished(folder));
        Ok(health)
    }
}

/// The jobs themselves; those with a frozen backbone become the training of heads on the features, which are computed unless they
/// exist. Jobs of one order share images and backbone. `None`: asked to stop meanwhile.
fn on_features<'a>(
    known: &mut Option<(Images, PathBuf)>,
    jobs: &'a [Job],
    device: &Device,
    reporter: &mut Reporter<'_>,
) -> Result<Option<Cow<'a, [Job]>>, TrainError> {
    let Some(first) = jobs.first().filter(|job| job.config.model.head().is_some()) else { return Ok(Some(Cow::Borrowed(jobs))) };
    let model = &first.config.model;
    // All of the model but its head.
    let backbone = ModelConfig { hidden: Vec::new(), dropout: 0.0, ..model.clone() };
    let images = (first.data.clone(), first.config.data.clone(), backbone);
    let (folder, words) = match known {
        Some((same, folder)) if *same == images => {
            (folder.clone(), format!("features of {}: those of the run before, in {}", model.features(), folder.display()))
        }
        _ => {
            let Some(found) = crate::features::find(first, device, reporter)? else { return Ok(None) };
            tracing::info!("{}: {}", first.run.short(), found.words);
            *known = Some((images, found.folder.clone()));
            (found.folder, found.words)
        }
    };
    let on_them = |job: &Job| {
        let mut job = job.clone();
        job.data.clone_from(&folder);
        if let Some((_, head)) = job.config.model.head() {
            job.config.model = head;
        }
        job
    };
    for job in jobs {
        if let Some(words) = crate::model::weights_words(&job.config.model, Known::default()) {
            reporter.log(job, &words);
        }
        reporter.log(job, &words);
    }
    Ok(Some(Cow::Owned(jobs.iter().map(on_them).collect())))
}

/// The data set of `job`: the one that is open, or its own.
fn open<'a>(
    data: &'a mut Option<Opened>,
    job: &Job,
    open_data: OpenData,
    device: &Device,
    reporter: &mut Reporter<'_>,
) -> Result<(&'a Dataset, &'a Loader), TrainError> {
    let config = &job.config.data;
    // What a refit opens is not what others train on.
    let same =
        |(folder, known, how, ..): &Opened| *folder == job.data && known == config && std::ptr::fn_addr_eq(*how, open_data);
    if !data.as_ref().is_some_and(same) {
        let _stage = reporter.stage(job, "opening the data", None);
        *data = None;
        let opened = open_data(&job.data, config)?;
        // A refit has no val.
        if !opened.split().val.is_empty() {
            opened.trainable(config)?;
        }
        let feed = Loader::new(&opened, device)?;
        *data = Some((job.data.clone(), config.clone(), open_data, opened, feed));
    }
    let (.., data, feed) = data.as_ref().expect("it was filled just now");
    Ok((data, feed))
}

/// Most characters of a reason, which has to fit a record.
const REASON: usize = 4000;

/// What a panic says.
fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the worker panicked: {}", text.unwrap_or("without a word"))
}

fn end(r: Fingerprint, a: u32, st: Outcome, n: u64, mut why: String) -> Event {
    if let Some((cut, _)) = why.char_indices().nth(REASON) {
        why.truncate(cut);
        why.push_str(" ...");
    }
    Event::End { r, a, st, n, why }
}

fn log(job: &Job) -> Option<File> {
    RunFolder::at(&job.folder).log().inspect_err(|error| tracing::warn!("{}: {error}", job.folder.display())).ok()
}

/// `densenet121, focal(gamma=2), sqrt, shuffle, seed 0, 4 epochs`.
fn summary(job: &Job) -> String {
    let config = &job.config;
    let weights: Vec<_> = job.pos_weight.iter().map(|weight| format!("{weight:.4}")).collect();
    format!(
        "{}, {}, pos_weight [{}], {}, seed {}, {} epochs",
        config.model.arch,
        config.loss,
        weights.join(", "),
        config.sampler,
        config.seed,
        config.train.epochs
    )
}

/// Outcome and reason of a training's end. A library of the device that has failed while the memory was `exhausted` had no room for
/// itself: without it cuBLAS and cuDNN cannot load their code, and say something else.
fn verdict(end: Result<Finish, TrainError>, exhausted: &dyn Fn() -> bool) -> (Outcome, String) {
    match end {
        Ok(Finish::Done) => (Outcome::Ok, String::new()),
        Ok(Finish::Stopped) => (Outcome::Stopped, "asked to stop".to_owned()),
        Ok(Finish::StoppedEarly) => (Outcome::StoppedEarly, "asked to stop for good".to_owned()),
        Err(error) if error.is_a_librarys() && exhausted() => {
            (Outcome::OutOfMemory, format!("the device has no memory left for its libraries: {error}"))
        }
        Err(error) => (error.outcome(), error.to_string()),
    }
}

/// The records of a run so far.
#[derive(Default)]
struct RunLog {
    log: Option<File>,
    /// Epoch, Drawn, Rank and Eval records so far.
    results: u64,
}

/// A line of a run's log. A log that cannot be written fails no run.
fn write_line(log: &mut Option<File>, line: &str) {
    if let Some(log) = log {
        let _ = writeln!(log, "{line}");
    }
}

/// Writes what trainings report into the journal and the logs of the runs.
struct Reporter<'a> {
    life: &'a Life,
    stops: &'a Stops,
    spoke: Option<Instant>,
    told: HashMap<Fingerprint, RunLog>,
}

impl Reporter<'_> {
    fn log(&mut self, job: &Job, line: &str) {
        write_line(&mut self.told.entry(job.run.clone()).or_default().log, line);
    }
}

impl Monitor for Reporter<'_> {
    fn begin(&mut self, job: &Job, from: Option<usize>) -> Result<(), JournalError> {
        if let Some(epochs) = from {
            self.log(job, &format!("continues after {epochs} epochs"));
        }
        self.life.say([Event::Begin { r: job.run.clone(), a: job.attempt, from }])
    }

    fn beat(&mut self, job: &Job, beat: Beat) -> Result<(), JournalError> {
        if self.spoke.is_some_and(|spoke| spoke.elapsed() < BEAT) {
            return Ok(());
        }
        self.spoke = Some(Instant::now());
        let Beat { epoch, step, steps, loss, images_per_s } = beat;
        self.life.say([Event::Hb { r: Some(job.run.clone()), epoch, step, steps, loss, images_per_s, doing: None }])
    }

    fn record(&mut self, job: &Job, events: Vec<Event>) -> Result<(), JournalError> {
        let results = events.len() as u64;
        for event in &events {
            if let Event::Epoch { epoch, train_loss, val_loss, learning_rate, seconds, .. } = event {
                let strength = job.config.strength(*epoch).map_or_else(String::new, |strength| format!(", C = {strength}"));
                let epoch = epoch + 1;
                self.log(
                    job,
                    &format!("epoch {epoch}{strength}: loss {train_loss:.6}, val loss {val_loss:.6}, learning rate {learning_rate:e}, {seconds:.1} s"),
                );
            }
        }
        self.life.say(events)?;
        self.told.entry(job.run.clone()).or_default().results += results;
        Ok(())
    }

    fn note(&mut self, job: &Job, words: &str) {
        self.log(job, words);
    }

    fn stopping(&self) -> bool {
        self.stops.all()
    }

    fn stopping_early(&self, job: &Job) -> bool {
        self.stops.attempt(job)
    }

    fn stage(&mut self, job: &Job, doing: &str, unit: Option<Unit>) -> Stage {
        self.life.stage(&job.run, doing, unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(words: &str, exhausted: bool) -> Outcome {
        let error = TrainError::Candle(candle_core::Error::Msg(words.to_owned()));
        let (outcome, why) = verdict(Err(error), &|| exhausted);
        assert!(why.contains(words), "{why}");
        outcome
    }

    #[test]
    fn a_library_that_fails_on_a_full_device_had_no_room() {
        for words in ["CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_EXECUTION_FAILED", "CURAND_STATUS_INITIALIZATION_FAILED"] {
            assert_eq!(ended(words, true), Outcome::OutOfMemory, "{words}");
            assert_eq!(ended(words, false), Outcome::Crashed, "{words}");
        }
        for words in
            ["CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", "CUDA_ERROR_OUT_OF_MEMORY"]
        {
            assert_eq!(ended(words, false), Outcome::OutOfMemory, "{words}");
        }
        assert_eq!(ended("CUDA_ERROR_ILLEGAL_ADDRESS", true), Outcome::Crashed);
    }
}
