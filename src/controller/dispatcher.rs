//! One select loop: it passes signals of workers, the user and the clock to the machine and carries out its actions in order.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until, timeout};

use super::control::Mailbox;
use super::ingest::{self, Journal};
use super::interrupt::Interrupts;
use super::observer::{KnownRun, Observer};
use super::request::Request;
use super::search::Step;
use super::searching::{self, Searching};
use super::state::State;
use super::vocabulary::{Action, Event, Halt, Limits, News, Queued, RunIndex, Tally};
use crate::error::Error;
use crate::launcher::{Launcher, Signal, Standing, WorkerId, WorkerSpec};
use archive::Archive;
use plan::Fingerprint;
use protocol::{Event as Said, Job, MAX_JOB, Order, Outcome, SplitName};
use store::{Missing, Patience, Writer};

/// How often journals are read without a wake-up.
const SLOW: Duration = Duration::from_secs(2);
/// How often a wait for the database is checked.
const LOOK: Duration = Duration::from_millis(500);
/// How long to wait for killed workers to end when the sweep has to give up.
const GONE: Duration = Duration::from_secs(10);
/// Lines of a worker's log that are kept with a failure, and the bytes at the end of the log that are searched for them.
const LOG_LINES: usize = 40;
const LOG_BYTES: u64 = 16 * 1024;

/// How a sweep's runs ended.
#[derive(Clone, Debug)]
pub struct SweepSummary {
    pub tally: Tally,
    /// Why it stopped before its end, if it did.
    pub halt: Option<Halt>,
    /// Runs that failed for good, and why.
    pub failures: Vec<(Fingerprint, Outcome, String)>,
    pub elapsed: Duration,
}

struct LiveWorker {
    /// `None` while it is read.
    journal: Option<Journal>,
    log: PathBuf,
    device: String,
    gone: bool,
}

/// What the loop listens to.
pub struct Ears<'a> {
    pub signals: mpsc::Receiver<Signal>,
    pub interrupts: &'a mut Interrupts,
    pub requests: mpsc::UnboundedReceiver<Request>,
    /// Requests by files.
    pub mailbox: Mailbox,
}

/// The loop and what it carries.
pub struct Dispatcher<'a> {
    writer: &'a mut Writer,
    patience: Patience,
    launcher: Box<dyn Launcher>,
    ears: Ears<'a>,
    archive: &'a Archive,
    /// Part of the workers' names that no other controller of this database has.
    incarnation: String,
    jobs: Vec<Job>,
    state: State,
    workers: HashMap<WorkerId, LiveWorker>,
    observers: Vec<Box<dyn Observer>>,
    failures: Vec<(Fingerprint, Outcome, String)>,
    /// Interrupts that the machine has not received yet, because of a wait for the database.
    interrupts: u32,
    search: Option<Searching>,
    start: Instant,
    /// Waits for the database before the start.
    waited: Duration,
    /// One clock for all waits: a timer of its own for each write would wake the runtime each time.
    look: Interval,
}

impl<'a> Dispatcher<'a> {
    /// A dispatcher for what is missing, which a search may hold back.
    #[must_use]
    pub fn new(
        writer: &'a mut Writer,
        launcher: Box<dyn Launcher>,
        ears: Ears<'a>,
        archive: &'a Archive,
        limits: Limits,
        (mut missing, search): (Vec<Missing>, Option<Searching>),
        observers: Vec<Box<dyn Observer>>,
    ) -> Self {
        if let Some(search) = &search {
            missing.sort_by_key(|missing| search.place(&missing.job.run));
        }
        let mut data = BTreeMap::new();
        let mut queued = Vec::with_capacity(missing.len());
        for Missing { job, failures, bundle, .. } in &missing {
            let fresh = data.len();
            let data = *data.entry(job.data.clone()).or_insert(fresh);
            // Runs that had failed for good and are tried again get all their attempts.
            let failures = if *failures >= limits.attempts { 0 } else { *failures };
            let bundle = job.config.in_one_pass().then_some(*bundle);
            let held = search.as_ref().is_some_and(|search| search.holds(&job.run));
            queued.push(Queued { run: job.run.clone(), attempt: job.attempt, failures, data, bundle, held });
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let patience = writer.patience();
        patience.watch(true);
        Self {
            writer,
            waited: patience.waited(),
            patience,
            ears,
            archive,
            incarnation: format!("{:x}-{}", now.as_millis(), std::process::id()),
            state: State::new(limits, queued, launcher.places()),
            launcher,
            jobs: missing.into_iter().map(|missing| missing.job).collect(),
            workers: HashMap::new(),
            observers,
            failures: Vec::new(),
            interrupts: 0,
            search,
            start: Instant::now(),
            look: seldom(LOOK),
        }
    }

    /// Trains until nothing is left or the sweep is stopped.
    ///
    /// # Errors
    /// The database or a journal cannot be used, or the user has ended a wait for it; the workers are gone by then.
    pub async fn run(mut self) -> Result<SweepSummary, Error> {
        self.tell(News::Sweep { runs: self.jobs.iter().map(KnownRun::of).collect() });
        let result = self.serve().await;
        self.observers.clear();
        if result.is_err() {
            self.abandon().await;
        }
        self.patience.watch(false);
        result?;
        let halt = self.state.halt().cloned();
        Ok(SweepSummary { tally: self.state.tally(), halt, failures: self.failures, elapsed: self.start.elapsed() })
    }

    async fn serve(&mut self) -> Result<(), Error> {
        let mut slow = seldom(SLOW);
        self.step(Event::Go).await?;
        while !self.state.finished() {
            if self.interrupts > 0 {
                self.interrupts -= 1;
                self.step(Event::Interrupt).await?;
                continue;
            }
            let deadline = self.state.deadline().map(|deadline| self.start + self.paused() + deadline);
            let wait = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.ears.interrupts.next() => self.step(Event::Interrupt).await?,
                Some(signal) = self.ears.signals.recv() => self.signalled(signal).await?,
                Some(request) = self.ears.requests.recv() => self.requested(request).await?,
                () = wait => {
                    // Read the journals before judging silence: the controller itself may have been stopped (Ctrl-Z).
                    self.pull_all().await?;
                    self.step(Event::Tick).await?;
                }
                _ = slow.tick() => {
                    self.pull_all().await?;
                    for request in self.ears.mailbox.read() {
                        self.requested(request).await?;
                    }
                    if let Some(closing) = self.time_over().await? {
                        self.step(closing).await?;
                    }
                    self.tell(News::Pulse);
                }
            }
        }
        Ok(())
    }

    /// Time spent waiting for the database since the start. Workers were not heard meanwhile, so it counts against no deadline.
    fn paused(&self) -> Duration {
        self.patience.waited().saturating_sub(self.waited)
    }

    /// Handles a signal and all that are queued behind it, so that each journal is read once.
    async fn signalled(&mut self, first: Signal) -> Result<(), Error> {
        let mut woken = HashSet::new();
        let mut signal = Some(first);
        while let Some(now) = signal {
            match now {
                Signal::Wake(worker) => {
                    woken.insert(worker);
                }
                Signal::Stands(_, Standing::Queued) => {}
                Signal::Stands(worker, Standing::Starting | Standing::Running) => self.step(Event::Started(worker)).await?,
                Signal::Stands(worker, Standing::Gone(exit)) => {
                    woken.remove(&worker);
                    while self.pull(worker).await? {}
                    if let Some(live) = self.workers.get_mut(&worker) {
                        live.gone = true;
                        let last_words = tail(&live.log).lines().next_back().unwrap_or_default().to_owned();
                        self.step(Event::Gone(worker, exit, last_words)).await?;
                    }
                }
            }
            signal = self.ears.signals.try_recv().ok();
        }
        for worker in woken {
            self.pull(worker).await?;
        }
        Ok(())
    }

    async fn requested(&mut self, request: Request) -> Result<(), Error> {
        match request {
            Request::Stop => self.step(Event::Stop).await,
            Request::StopRun(run) => match self.jobs.iter().position(|job| job.run == run) {
                Some(run) => self.step(Event::StopRun(run)).await,
                None => Ok(()),
            },
            Request::Key(key) => {
                self.tell(News::Key(key));
                Ok(())
            }
        }
    }

    async fn pull_all(&mut self) -> Result<(), Error> {
        for worker in self.workers.keys().copied().collect::<Vec<_>>() {
            self.pull(worker).await?;
        }
        Ok(())
    }

    /// Stores what a worker has written since and passes it to the machine. False: there was nothing new.
    async fn pull(&mut self, worker: WorkerId) -> Result<bool, Error> {
        let journal = self.workers.get_mut(&worker).and_then(|live| live.journal.take());
        let Some(mut journal) = journal else { return Ok(false) };
        let pulled = self.stored(async |writer| journal.pull(writer).await).await;
        if let Some(live) = self.workers.get_mut(&worker) {
            live.journal = Some(journal);
        }
        let pulled = pulled?;
        let some = !pulled.is_empty();
        for event in pulled.events {
            // What the search makes of it comes first: a worker that has nothing left to do is told to leave.
            for next in self.searched(&event).await? {
                self.step(next).await?;
            }
            self.step(Event::Record(worker, event)).await?;
        }
        if let Some((guilty, why)) = pulled.spoiled {
            self.step(Event::Spoiled(worker, guilty, why)).await?;
        }
        Ok(some)
    }

    /// Runs a write to the database, waiting as long as another program holds it; workers keep training meanwhile. The first
    /// interrupt during the wait reaches the workers at once and the machine later; the second one ends the wait.
    async fn stored<T, E: Into<Error>>(&mut self, what: impl AsyncFnOnce(&mut Writer) -> Result<T, E>) -> Result<T, Error> {
        let Self { writer, patience, ears, interrupts, launcher, workers, observers, state, look, .. } = self;
        let mut what = pin!(what(writer));
        loop {
            tokio::select! {
                biased;
                result = &mut what => return result.map_err(Into::into),
                () = ears.interrupts.next() => {
                    *interrupts += 1;
                    let before = matches!(state.halt(), Some(Halt::Interrupted | Halt::Killed));
                    match patience.waiting() {
                        true if before || *interrupts > 1 => return Err(Error::Interrupted),
                        true => workers.keys().for_each(|&worker| launcher.send(worker, &Order::Stop)),
                        false => {}
                    }
                }
                _ = look.tick() => if let Some(waited) = patience.word() {
                    let news = News::Locked { waited };
                    observers.iter_mut().for_each(|observer| observer.told(&news, &state.tally()));
                }
            }
        }
    }

    /// Passes one event to the machine and carries out its actions. An action that fails at once becomes the next event.
    async fn step(&mut self, event: Event) -> Result<(), Error> {
        let mut events = VecDeque::from([event]);
        if let Some(closing) = self.time_over().await? {
            events.push_front(closing);
        }
        while let Some(event) = events.pop_front() {
            let now = self.start.elapsed().saturating_sub(self.paused());
            for action in self.state.handle(event, now) {
                events.extend(self.act(action).await?);
            }
        }
        Ok(())
    }

    /// What follows for the search from a record.
    async fn searched(&mut self, said: &Said) -> Result<Vec<Event>, Error> {
        let Some((metric, competition)) = self.search.as_mut().and_then(|search| search.competition.as_mut()) else {
            return Ok(Vec::new());
        };
        match said {
            Said::Rank { r, epoch, split: SplitName::Val, ranking, .. } => {
                competition.evaluated(r, *epoch, searching::value(*metric, ranking));
            }
            Said::End { r, st: Outcome::Ok, .. } => competition.over(r),
            _ => return Ok(Vec::new()),
        }
        self.settled().await
    }

    /// Records what the search has decided by now, and says what follows for the machine.
    async fn settled(&mut self) -> Result<Vec<Event>, Error> {
        let Some(search) = &mut self.search else { return Ok(Vec::new()) };
        let Some((_, competition)) = &mut search.competition else { return Ok(Vec::new()) };
        let (sweep, closed) = (search.sweep, search.time == Some(Duration::ZERO));
        let (mut decisions, mut left_out, mut released, mut stopped) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for step in competition.settle() {
            match step {
                Step::Decide(decision) => decisions.push(decision),
                Step::Stop(run) => stopped.push(run),
                Step::Release(runs) if !closed => released.extend(runs),
                Step::Release(runs) | Step::LeaveOut(runs) => left_out.extend(runs),
            }
        }
        if decisions.is_empty() && left_out.is_empty() && released.is_empty() && stopped.is_empty() {
            return Ok(Vec::new());
        }
        self.stored(async |writer| writer.decide(sweep, &decisions, &left_out).await).await?;
        let stopped = self.numbers(&stopped).into_iter().map(Event::Cut);
        Ok(stopped.chain([Event::LeaveOut(self.numbers(&left_out)), Event::Release(self.numbers(&released))]).collect())
    }

    /// The numbers of those of these runs that are trained here.
    fn numbers(&self, runs: &[Fingerprint]) -> Vec<RunIndex> {
        runs.iter().filter_map(|run| self.jobs.iter().position(|job| job.run == *run)).collect()
    }

    /// Leaves out what has not begun, once the time of the search is over.
    async fn time_over(&mut self) -> Result<Option<Event>, Error> {
        let now = self.start.elapsed();
        let Some(search) = self.search.as_mut().filter(|search| search.time.is_some_and(|time| !time.is_zero() && now >= time))
        else {
            return Ok(None);
        };
        search.time = Some(Duration::ZERO);
        let sweep = search.sweep;
        let waiting: Vec<RunIndex> = self.state.waiting().collect();
        if waiting.is_empty() {
            return Ok(None);
        }
        let names: Vec<Fingerprint> = waiting.iter().map(|&run| self.jobs[run].run.clone()).collect();
        self.stored(async |writer| writer.decide(sweep, &[], &names).await).await?;
        self.tell(News::TimeOver { left_out: names.len() });
        Ok(Some(Event::LeaveOut(waiting)))
    }

    async fn act(&mut self, action: Action) -> Result<Vec<Event>, Error> {
        match action {
            Action::Begin { worker, runs } => {
                let device = self.workers.get(&worker).map_or_else(String::new, |live| live.device.clone());
                let names: Vec<Fingerprint> = runs.iter().map(|&(run, _)| self.jobs[run].run.clone()).collect();
                let given = self.stored(async |writer| writer.begin_attempts(&names, &device).await).await?;
                for ((run, given), (_, attempt)) in names.iter().zip(given).zip(runs) {
                    if given != attempt {
                        let run = run.short();
                        return Err(Error::Unexpected(format!(
                            "run {run}: the database gives attempt {given} instead of {attempt}"
                        )));
                    }
                }
            }
            Action::End { run, attempt, worker, outcome, why, retry } => {
                let log = self.workers.get(&worker).map(|live| tail(&live.log)).unwrap_or_default();
                let run = self.jobs[run].run.clone();
                let end = async |writer: &mut Writer| writer.end_attempt(&run, attempt, outcome, &why, &log, retry).await;
                self.stored(end).await?;
                if let Some((_, competition)) = self.search.as_mut().and_then(|search| search.competition.as_mut()) {
                    match retry {
                        false => competition.failed(&run),
                        true if !outcome.goes_on() => competition.late(&run),
                        true => {}
                    }
                }
                if !retry && outcome != Outcome::StoppedEarly {
                    self.failures.push((run, outcome, why));
                }
                return self.settled().await;
            }
            Action::Start { worker, place } => self.start_worker(worker, place),
            Action::Train { worker, runs } => return self.train(worker, &runs),
            Action::StopRun { worker, run, attempt } => {
                let run = self.jobs[run].run.clone();
                if let Some(journal) = self.workers.get_mut(&worker).and_then(|live| live.journal.as_mut()) {
                    journal.stop(&run, attempt);
                }
                self.launcher.send(worker, &Order::StopRun { run, attempt });
            }
            Action::Stop { worker } => self.launcher.send(worker, &Order::Stop),
            Action::Kill { worker } => self.launcher.kill(worker),
            Action::Release { worker } => {
                self.launcher.released(worker);
                if let Some(LiveWorker { journal: Some(journal), log, .. }) = self.workers.remove(&worker) {
                    // A journal is removed only after a checkpoint: a power loss cannot undo what was stored then.
                    self.stored(async |writer| writer.checkpoint().await).await?;
                    journal.remove(&log);
                }
            }
            Action::Tell(news) => self.tell(news),
        }
        Ok(Vec::new())
    }

    /// Orders a worker to train. Runs whose orders exceed the limit of a line end at once.
    fn train(&mut self, worker: WorkerId, runs: &[(RunIndex, u32)]) -> Result<Vec<Event>, Error> {
        let (mut jobs, mut refused) = (Vec::with_capacity(runs.len()), Vec::new());
        for &(run, attempt) in runs {
            let known = &self.jobs[run];
            if let Some(journal) = self.workers.get_mut(&worker).and_then(|live| live.journal.as_mut()) {
                journal.order(&known.run, attempt);
            }
            let folder = self.archive.run(&known.run.0);
            let job = Job { attempt, folder: folder.path().to_owned(), ..known.clone() };
            if let Some(bytes) = job.too_long() {
                let why = format!("the order has {bytes} bytes, may have {MAX_JOB}: too many labels or columns");
                let end = Said::End { r: job.run, a: attempt, st: Outcome::Data, n: 0, why };
                refused.push(Event::Record(worker, end));
                continue;
            }
            folder.claim().map_err(|source| Error::Io { path: job.folder.clone(), source })?;
            jobs.push(job);
        }
        if !jobs.is_empty() {
            let order = match <[Job; 1]>::try_from(jobs) {
                Ok([only]) => Order::Train(Box::new(only)),
                Err(jobs) => Order::Bundle { jobs },
            };
            self.launcher.send(worker, &order);
        }
        Ok(refused)
    }

    fn start_worker(&mut self, id: WorkerId, place: usize) {
        let name = format!("{}-{}", self.incarnation, id.0);
        let journal = self.archive.journals().join(format!("{name}.jsonl"));
        let log = ingest::log_of(&journal);
        let device = self.launcher.device(place).to_owned();
        let live = LiveWorker { journal: Some(Journal::new(journal.clone())), log: log.clone(), device, gone: false };
        self.workers.insert(id, live);
        self.launcher.start(WorkerSpec { id, name, place, journal, log });
    }

    fn tell(&mut self, news: News) {
        let tally = self.state.tally();
        self.observers.iter_mut().for_each(|observer| observer.told(&news, &tally));
    }

    /// Ends all workers, because the sweep cannot continue.
    async fn abandon(&mut self) {
        let living: Vec<WorkerId> = self.workers.iter().filter(|(_, live)| !live.gone).map(|(&worker, _)| worker).collect();
        living.iter().for_each(|&worker| self.launcher.kill(worker));
        let mut left = living.len();
        let gone = async {
            while left > 0 {
                match self.ears.signals.recv().await {
                    Some(Signal::Stands(_, Standing::Gone(_))) => left -= 1,
                    Some(_) => {}
                    None => return,
                }
            }
        };
        if timeout(GONE, gone).await.is_err() {
            tracing::warn!("{left} workers are not gone yet");
        }
    }
}

/// Ticks that are not made up for when nobody has waited for them.
fn seldom(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The last lines of a log.
#[must_use]
pub fn tail(path: &Path) -> String {
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
