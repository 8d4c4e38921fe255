//! One select loop: signals of workers, of the user and of the clock go in, the machine's actions are carried out in order.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::ingest::{self, Journal};
use super::interrupt::Interrupts;
use super::progress::Progress;
use super::state::{Action, Event, Halt, Limits, News, Queued, State, Tally};
use crate::error::Error;
use crate::launcher::{Birth, Launcher, Signal, Slot, WorkerId};
use archive::Archive;
use plan::Fingerprint;
use protocol::{Event as Said, Job, MAX_JOB, Order, Outcome};
use store::{Missing, Writer};

/// How often journals are looked at although nobody has been woken.
const SLOW: Duration = Duration::from_secs(2);
/// How long killed workers may take to be gone when the sweep itself has to give up.
const GONE: Duration = Duration::from_secs(10);
/// Lines of a worker's log that are kept with a failure, and the bytes they are looked for in.
const LOG_LINES: usize = 40;
const LOG_BYTES: u64 = 16 * 1024;

/// How a sweep's runs ended.
#[derive(Clone, Debug)]
pub struct Summary {
    pub tally: Tally,
    /// Why it stopped before its end, if it did.
    pub halt: Option<Halt>,
    /// Runs that failed for good, and why.
    pub failures: Vec<(Fingerprint, Outcome, String)>,
    pub elapsed: Duration,
}

struct Live {
    journal: Journal,
    log: PathBuf,
    device: String,
}

/// The loop and what it carries.
pub struct Dispatcher<'a> {
    writer: &'a mut Writer,
    launcher: Box<dyn Launcher>,
    signals: mpsc::Receiver<Signal>,
    archive: &'a Archive,
    /// Part of the workers' names, unlike that of any other controller of this database.
    incarnation: String,
    slots: Vec<Slot>,
    jobs: Vec<Job>,
    state: State,
    workers: HashMap<WorkerId, Live>,
    progress: Progress,
    failures: Vec<(Fingerprint, Outcome, String)>,
    start: Instant,
}

impl<'a> Dispatcher<'a> {
    /// A dispatcher for what is missing.
    #[must_use]
    pub fn new(
        writer: &'a mut Writer,
        (launcher, signals): (Box<dyn Launcher>, mpsc::Receiver<Signal>),
        archive: &'a Archive,
        slots: Vec<Slot>,
        limits: Limits,
        missing: Vec<Missing>,
        progress: Progress,
    ) -> Self {
        let mut data = BTreeMap::new();
        let mut queued = Vec::with_capacity(missing.len());
        for Missing { job, failures, bundle, .. } in &missing {
            let fresh = data.len();
            let data = *data.entry(job.data.clone()).or_insert(fresh);
            // Runs that are tried again although they had failed for good get all their attempts.
            let failures = if *failures >= limits.attempts { 0 } else { *failures };
            let bundle = job.config.in_one_pass().then_some(*bundle);
            queued.push(Queued { run: job.run.clone(), attempt: job.attempt, failures, data, bundle });
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            writer,
            launcher,
            signals,
            archive,
            incarnation: format!("{:x}-{}", now.as_millis(), std::process::id()),
            state: State::new(limits, queued, slots.len()),
            slots,
            jobs: missing.into_iter().map(|missing| missing.job).collect(),
            workers: HashMap::new(),
            progress,
            failures: Vec::new(),
            start: Instant::now(),
        }
    }

    /// Trains until nothing is left or the sweep is stopped.
    ///
    /// # Errors
    /// The database or a journal cannot be used any more; the workers are gone by then.
    pub async fn run(mut self, interrupts: &mut Interrupts) -> Result<Summary, Error> {
        let result = self.serve(interrupts).await;
        self.progress.finish();
        if let Err(error) = result {
            self.abandon().await;
            return Err(error);
        }
        let halt = self.state.halt().cloned();
        Ok(Summary { tally: self.state.tally(), halt, failures: self.failures, elapsed: self.start.elapsed() })
    }

    async fn serve(&mut self, interrupts: &mut Interrupts) -> Result<(), Error> {
        let mut slow = interval(SLOW);
        slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.step(Event::Go).await?;
        while !self.state.finished() {
            let deadline = self.state.deadline();
            let wait = async {
                match deadline {
                    Some(deadline) => sleep_until((self.start + deadline).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = interrupts.next() => self.step(Event::Interrupt).await?,
                Some(signal) = self.signals.recv() => self.signalled(signal).await?,
                () = wait => self.step(Event::Tick).await?,
                _ = slow.tick() => {
                    for worker in self.workers.keys().copied().collect::<Vec<_>>() {
                        self.pull(worker).await?;
                    }
                    self.progress.tick(self.state.tally());
                }
            }
        }
        Ok(())
    }

    /// A signal and all that wait behind it: each journal is read once.
    async fn signalled(&mut self, first: Signal) -> Result<(), Error> {
        let mut woken = HashSet::new();
        let mut signal = Some(first);
        while let Some(now) = signal {
            match now {
                Signal::Wake(worker) => {
                    woken.insert(worker);
                }
                Signal::Exited(worker, exit) => {
                    woken.remove(&worker);
                    while self.pull(worker).await? {}
                    let last_words = self.workers.get(&worker).map(|live| tail(&live.log)).unwrap_or_default();
                    let last_words = last_words.lines().next_back().unwrap_or_default().to_owned();
                    self.step(Event::Exited(worker, exit, last_words)).await?;
                    if let Some(live) = self.workers.remove(&worker) {
                        // A journal may go once a power loss cannot take back what was stored of it.
                        self.writer.checkpoint().await?;
                        live.journal.remove(&live.log);
                    }
                }
            }
            signal = self.signals.try_recv().ok();
        }
        for worker in woken {
            self.pull(worker).await?;
        }
        Ok(())
    }

    /// Stores what a worker has written since, and lets the machine hear of it. False: there was nothing.
    async fn pull(&mut self, worker: WorkerId) -> Result<bool, Error> {
        let Some(live) = self.workers.get_mut(&worker) else { return Ok(false) };
        let pulled = live.journal.pull(self.writer).await?;
        let some = !pulled.is_empty();
        for event in pulled.events {
            self.step(Event::Record(worker, event)).await?;
        }
        if let Some((guilty, why)) = pulled.spoiled {
            self.step(Event::Spoiled(worker, guilty, why)).await?;
        }
        Ok(some)
    }

    /// Hands one event to the machine and does what it says. What fails at once becomes the next event.
    async fn step(&mut self, event: Event) -> Result<(), Error> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.state.handle(event, self.start.elapsed()) {
                events.extend(self.act(action).await?);
            }
        }
        Ok(())
    }

    async fn act(&mut self, action: Action) -> Result<Vec<Event>, Error> {
        match action {
            Action::Begin { run, attempt, worker } => {
                let device = self.workers.get(&worker).map_or("", |live| live.device.as_str());
                let given = self.writer.begin_attempt(&self.jobs[run].run, device).await?;
                if given != attempt {
                    let run = self.jobs[run].run.short();
                    return Err(Error::Unexpected(format!("run {run}: the database gives attempt {given} instead of {attempt}")));
                }
            }
            Action::End { run, attempt, worker, outcome, why, retry } => {
                let log = self.workers.get(&worker).map(|live| tail(&live.log)).unwrap_or_default();
                let run = &self.jobs[run].run;
                self.writer.end_attempt(run, attempt, outcome, &why, &log, retry).await?;
                if !retry {
                    self.failures.push((run.clone(), outcome, why));
                }
            }
            Action::Start { worker, slot } => return Ok(self.start_worker(worker, slot)?.into_iter().collect()),
            Action::Train { worker, runs } => {
                let (mut jobs, mut refused) = (Vec::with_capacity(runs.len()), Vec::new());
                for (run, attempt) in runs {
                    if let Some(live) = self.workers.get_mut(&worker) {
                        live.journal.order(&self.jobs[run].run, attempt);
                    }
                    let folder = self.archive.run(&self.jobs[run].run.0);
                    let job = Job { attempt, folder: folder.path().to_owned(), ..self.jobs[run].clone() };
                    if let Some(bytes) = job.too_long() {
                        let why = format!("the order has {bytes} bytes, may have {MAX_JOB}: too many labels or columns");
                        let end = Said::End { r: job.run, a: attempt, st: Outcome::Data, n: 0, why };
                        refused.push(Event::Record(worker, end));
                        continue;
                    }
                    folder.create().map_err(|source| Error::Io { path: job.folder.clone(), source })?;
                    jobs.push(job);
                }
                if jobs.is_empty() {
                    return Ok(refused);
                }
                let order = match <[Job; 1]>::try_from(jobs) {
                    Ok([only]) => Order::Train(Box::new(only)),
                    Err(jobs) => Order::Bundle { jobs },
                };
                self.launcher.send(worker, &order);
                return Ok(refused);
            }
            Action::Stop { worker } => self.launcher.send(worker, &Order::Stop),
            Action::Kill { worker } => self.launcher.kill(worker),
            Action::Tell(news) => self.tell(&news),
        }
        Ok(Vec::new())
    }

    fn start_worker(&mut self, id: WorkerId, slot: usize) -> Result<Option<Event>, Error> {
        let slot = self.slots[slot].clone();
        let name = format!("{}-{}", self.incarnation, id.0);
        let journal = self.archive.journals().join(format!("{name}.jsonl"));
        let log = ingest::log_of(&journal);
        let live = Live { journal: Journal::new(journal.clone()), log: log.clone(), device: slot.device.clone() };
        match self.launcher.start(Birth { id, name, slot, journal, log: log.clone() }) {
            Ok(()) => {
                self.workers.insert(id, live);
                Ok(None)
            }
            Err(source) if source.kind() == io::ErrorKind::StorageFull => Err(Error::Io { path: log, source }),
            Err(error) => Ok(Some(Event::SpawnFailed(id, error.to_string()))),
        }
    }

    fn tell(&mut self, news: &News) {
        let job = match news {
            News::Began { run, .. }
            | News::Epoch { run, .. }
            | News::Succeeded { run, .. }
            | News::Failed { run, .. }
            | News::Stopped { run, .. } => Some(&self.jobs[*run]),
            _ => None,
        };
        self.progress.tell(news, job, self.state.tally());
    }

    /// The sweep cannot go on: no worker may.
    async fn abandon(&mut self) {
        for &worker in self.workers.keys() {
            self.launcher.kill(worker);
        }
        let mut left = self.workers.len();
        let gone = async {
            while left > 0 {
                match self.signals.recv().await {
                    Some(Signal::Exited(..)) => left -= 1,
                    Some(Signal::Wake(_)) => {}
                    None => return,
                }
            }
        };
        if timeout(GONE, gone).await.is_err() {
            tracing::warn!("{left} workers are not gone yet");
        }
    }
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(tail(&path), "");
        let lines: Vec<_> = (0..10_000).map(|line| format!("line {line}")).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(tail(&path), lines[lines.len() - 40..].join("\n"));
    }
}
