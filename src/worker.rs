//! The process side: orders in on stdin, journal out (docs/protocol.md). Persistent: one process trains many runs. Never opens
//! the database.
//!
//! A run's failure is its own: it is recorded, and the next order is taken. After a panic or an error of the device, whose state
//! nobody knows then, the process ends and the controller starts another.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use candle_core::Device;

use crate::cli::Worker as Arguments;
use crate::data::Dataset;
use crate::error::Error;
use crate::protocol::journal::{Journal, JournalError};
use crate::protocol::{Event, Job, Order, Outcome, VERSION};
use crate::spec::DataConfig;
use crate::train::{self, Beat, Finish, Monitor, TrainError};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);

/// Works until it is told to stop, or its controller is gone.
///
/// # Errors
/// A device that cannot be used; a journal that cannot be written (exit code 74).
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    end_with_the_controller();
    // A pool that exists already is the one the launcher sized by RAYON_NUM_THREADS.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global();
    let device = device(&arguments.device)?;
    let mut worker = Worker { journal: Journal::create(&arguments.journal)?, data: None, features: None, device };
    worker.say(Event::Open {
        v: VERSION,
        worker: arguments.name.clone(),
        pid: std::process::id(),
        host: host(),
        device: arguments.device.clone(),
        threads: arguments.threads,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    let jobs = listen(Arc::clone(&stop));
    let mut why = "finished";
    while let Ok(job) = jobs.recv() {
        if worker.work(&job, &stop)? == Health::Broken {
            why = "the device or the program may be in a bad state";
            break;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    worker.say(Event::Close { why: why.to_owned() })?;
    Ok(())
}

/// The kernel kills this process when the thread that started it dies; the end of stdin tells the rest.
fn end_with_the_controller() {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

fn device(name: &str) -> Result<Device, Error> {
    let wrong = |what: String| Error::Usage(format!("device `{name}`: {what}"));
    match name.strip_prefix("cuda:") {
        None if name == "cpu" => Ok(Device::Cpu),
        None => Err(wrong("a device is cpu or cuda:N".to_owned())),
        Some(number) => {
            let number = number.parse().map_err(|_| wrong("a CUDA device is cuda:N, N = 0, 1, ...".to_owned()))?;
            Device::new_cuda(number).map_err(|error| Error::Unexpected(format!("device `{name}` cannot be used: {error}")))
        }
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Reads orders on a thread of its own, so that a `stop` is heard during a training. The channel ends with the last order; the
/// end of stdin without a `stop` means that the controller is gone, and ends the process.
fn listen(stop: Arc<AtomicBool>) -> Receiver<Box<Job>> {
    let (sender, jobs) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            match line.map(|line| serde_json::from_str::<Order>(&line)) {
                Ok(Ok(Order::Train(job))) => drop(sender.send(job)),
                Ok(Ok(Order::Stop)) => {
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
                Ok(Err(error)) => tracing::error!("an order that is none of protocol {VERSION}: {error}"),
                Err(_) => break,
            }
        }
        // Nobody would hear of a result any more, and the checkpoint is good.
        std::process::exit(0);
    });
    jobs
}

/// Whether the process can go on after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Broken,
}

struct Worker {
    journal: Journal,
    device: Device,
    /// The data set of the last run, kept open for the next.
    data: Option<(PathBuf, DataConfig, Dataset)>,
    /// Where the features of the last frozen backbone are, by its pictures, how they are read, the backbone and its weights.
    features: Option<(Pictures, PathBuf)>,
}

type Pictures = (PathBuf, DataConfig, String, Option<String>);

impl Worker {
    fn say(&mut self, event: Event) -> Result<(), JournalError> {
        say(&mut self.journal, [event])
    }

    /// Trains one run and records how it ended.
    fn work(&mut self, job: &Job, stop: &AtomicBool) -> Result<Health, JournalError> {
        if job.v != VERSION {
            let why = format!("the order is of protocol {}, this worker speaks {VERSION}", job.v);
            self.say(end(job, Outcome::Crashed, 0, why))?;
            return Ok(Health::Good);
        }
        let Self { journal, device, data, features } = self;
        let mut voice = Voice { journal, job, stop, log: log(job), spoke: None, results: 0 };
        voice.log(&format!("attempt {} of {}: {}", job.attempt, job.run, summary(job)));
        let trained = catch_unwind(AssertUnwindSafe(|| {
            let Some(job) = on_features(features, job, device, &mut voice)? else { return Ok(Finish::Stopped) };
            let data = open(data, &job)?;
            train::run(&job, data, device, &mut voice)
        }));
        let (outcome, why, health) = match trained {
            Ok(Ok(Finish::Done)) => (Outcome::Ok, String::new(), Health::Good),
            Ok(Ok(Finish::Stopped)) => (Outcome::Stopped, "asked to stop".to_owned(), Health::Good),
            Ok(Err(TrainError::Journal(error))) => return Err(error),
            Ok(Err(error)) => {
                let outcome = error.outcome();
                let health = if outcome == Outcome::Crashed { Health::Broken } else { Health::Good };
                (outcome, error.to_string(), health)
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
                let why = format!("the worker panicked: {}", text.unwrap_or("without a word"));
                (Outcome::Crashed, why, Health::Broken)
            }
        };
        if !why.is_empty() {
            voice.log(&why);
            tracing::info!("{}: {why}", job.run.short());
        }
        let results = voice.results;
        // What a data set or a model could not do once, it may not do again: nothing of a failed run is kept.
        if !matches!(outcome, Outcome::Ok | Outcome::Stopped) {
            self.data = None;
            self.features = None;
        }
        self.say(end(job, outcome, results, why))?;
        if outcome == Outcome::Ok {
            train::finished(&job.folder);
        }
        Ok(health)
    }
}

/// The job itself; one with a frozen backbone becomes the training of a head on the features, which are computed if nobody has done
/// so. `None`: asked to stop meanwhile.
fn on_features<'a>(
    known: &mut Option<(Pictures, PathBuf)>,
    job: &'a Job,
    device: &Device,
    voice: &mut Voice<'_>,
) -> Result<Option<Cow<'a, Job>>, TrainError> {
    let Some((_, head)) = job.config.model.head() else { return Ok(Some(Cow::Borrowed(job))) };
    let model = &job.config.model;
    let pictures = (job.data.clone(), job.config.data.clone(), model.arch.clone(), model.weights.clone());
    let folder = match known {
        Some((same, folder)) if *same == pictures => {
            voice.log(&format!("features of {}: those of the run before, in {}", model.arch, folder.display()));
            folder.clone()
        }
        _ => {
            let Some(found) = train::features::find(job, device, voice)? else { return Ok(None) };
            voice.log(&found.words);
            tracing::info!("{}: {}", job.run.short(), found.words);
            *known = Some((pictures, found.folder.clone()));
            found.folder
        }
    };
    let mut job = job.clone();
    job.data = folder;
    job.config.model = head;
    Ok(Some(Cow::Owned(job)))
}

/// The data set of `job`: the one that is open, or its own.
fn open<'a>(data: &'a mut Option<(PathBuf, DataConfig, Dataset)>, job: &Job) -> Result<&'a Dataset, TrainError> {
    let config = &job.config.data;
    if data.as_ref().is_none_or(|(folder, known, _)| *folder != job.data || known != config) {
        *data = None;
        *data = Some((job.data.clone(), config.clone(), Dataset::open(&job.data, config)?));
    }
    Ok(&data.as_ref().expect("it was filled just now").2)
}

fn end(job: &Job, st: Outcome, n: u64, why: String) -> Event {
    Event::End { r: job.run.clone(), a: job.attempt, st, n, why }
}

/// Appends, writes, and wakes the controller.
fn say(journal: &mut Journal, events: impl IntoIterator<Item = Event>) -> Result<(), JournalError> {
    events.into_iter().try_for_each(|event| journal.append(event))?;
    journal.flush()?;
    // One byte on the wake pipe. A controller that no longer listens is gone, which stdin tells.
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(b".").and_then(|()| stdout.flush());
    Ok(())
}

fn log(job: &Job) -> Option<File> {
    std::fs::create_dir_all(&job.folder).ok()?;
    OpenOptions::new().append(true).create(true).open(job.folder.join("log.txt")).ok()
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

/// What a training says, into the journal and the run's own log.
struct Voice<'a> {
    journal: &'a mut Journal,
    job: &'a Job,
    stop: &'a AtomicBool,
    log: Option<File>,
    spoke: Option<Instant>,
    /// Epoch, Drawn, Rank and Eval records so far.
    results: u64,
}

impl Voice<'_> {
    /// A line of the run's log. A log that cannot be written fails no run.
    fn log(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            let _ = writeln!(log, "{line}");
        }
    }
}

impl Monitor for Voice<'_> {
    fn begin(&mut self, from: Option<usize>) -> Result<(), JournalError> {
        if let Some(epochs) = from {
            self.log(&format!("continues after {epochs} epochs"));
        }
        say(self.journal, [Event::Begin { r: self.job.run.clone(), a: self.job.attempt, from }])
    }

    fn beat(&mut self, beat: Beat) -> Result<(), JournalError> {
        if self.spoke.is_some_and(|spoke| spoke.elapsed() < BEAT) {
            return Ok(());
        }
        self.spoke = Some(Instant::now());
        let Beat { epoch, step, steps, loss, images_per_s } = beat;
        say(self.journal, [Event::Hb { r: Some(self.job.run.clone()), epoch, step, steps, loss, images_per_s }])
    }

    fn record(&mut self, events: Vec<Event>) -> Result<(), JournalError> {
        self.results += events.len() as u64;
        for event in &events {
            if let Event::Epoch { epoch, train_loss, val_loss, learning_rate, seconds, .. } = event {
                self.log(&format!(
                    "epoch {}: loss {train_loss:.6}, val loss {val_loss:.6}, learning rate {learning_rate:e}, {seconds:.1} s",
                    epoch + 1
                ));
            }
        }
        say(self.journal, events)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
