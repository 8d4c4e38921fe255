//! A task on its node: makes the runs of one slice, one after the other on each device that the task was granted.
//!
//! The workers are those of this machine ([`crate::launcher::Local`]), with orders from the submission instead of a controller, which need
//! not be there. A worker that ends, however, is noted and replaced by another for the runs that are left; whether its own run is tried
//! again is up to the controller. A task that finds that another copy of it works on its slice ends.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::files::{JournalName, Killed, Note, Owner, Shared, nonce};
use super::{Pace, path_error};
use crate::error::Error;
use crate::launcher::{self, Launcher, Local, Signal, Standing, WorkerId, WorkerSpec};
use plan::Fingerprint;
use protocol::journal;
use protocol::{Event, Job, Order, Outcome};

/// Workers in a row that end before they are ready.
const MISSES: u32 = 3;

/// Which slice a task makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub root: PathBuf,
    pub submission: String,
    pub slice: usize,
    /// How often Slurm has started the task again.
    pub restart: u32,
    /// CPUs that the task was granted; `None`: those that this process may use.
    pub cpus: Option<usize>,
}

/// A worker at its place.
struct Child {
    id: WorkerId,
    name: JournalName,
    offset: u64,
    next: u64,
    opened: bool,
    /// The runs of its order that have not ended.
    going: HashSet<Fingerprint>,
    since: Instant,
    limit: Option<Duration>,
    killed: Option<Killed>,
    told: bool,
}

/// The task.
struct Task {
    shared: Shared,
    options: Options,
    owner: Owner,
    launcher: Local,
    orders: VecDeque<Order>,
    timeout: Option<Duration>,
    children: BTreeMap<usize, Child>,
    started: u32,
    misses: u32,
    /// Begins nothing more.
    draining: bool,
    fenced: bool,
    stopped: HashSet<Fingerprint>,
}

/// Makes the runs of a slice that no earlier start of the task has ended.
///
/// # Errors
/// A submission that is not to be seen within two minutes (exit code 75); another copy of the task (76); files that cannot be written (74);
/// devices that are not there; workers that do not come up.
pub async fn run(options: Options) -> Result<(), Error> {
    let pace = Pace::from_environment();
    let shared = Shared::at(&options.root);
    let (id, slice) = (options.submission.clone(), options.slice);
    let seen = Instant::now();
    while !shared.sees(&id) {
        if seen.elapsed() > pace.grace {
            let what = format!("submission {id} is not to be seen in {}", options.root.display());
            return Err(Error::Task { code: 75, what });
        }
        tokio::time::sleep(Duration::from_millis(500).min(pace.grace)).await;
    }
    let (terms, orders) = shared.slice(&id, slice).map_err(path_error)?;
    let owner = Owner { restart: options.restart, nonce: nonce() };
    if let Some(other) = shared.owner(&id, slice).map_err(path_error)?.filter(|other| other.restart > owner.restart) {
        return Err(Error::Task { code: 76, what: format!("start {} of this task works on slice {slice}", other.restart) });
    }
    shared.own(&id, slice, &owner).map_err(path_error)?;
    shared.shard(slice).map_err(path_error)?;
    let over = over(&shared, &id, slice)?;
    let orders: VecDeque<Order> = orders.into_iter().filter_map(|order| without(order, &over)).collect();
    if orders.is_empty() {
        return Ok(());
    }
    let cores = options.cpus.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let places = launcher::places_of(&terms.devices, terms.per_device, cores)?;
    let places: Vec<_> = places.into_iter().take(orders.len()).collect();
    let (signals, mut heard) = launcher::channel();
    let launcher = Local::new(places, None, signals).map_err(|error| Error::Unexpected(format!("sweep: {error}")))?;
    let timeout = terms.timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let mut task = Task {
        shared,
        options,
        owner,
        launcher,
        orders,
        timeout,
        children: BTreeMap::new(),
        started: 0,
        misses: 0,
        draining: false,
        fenced: false,
        stopped: HashSet::new(),
    };
    task.serve(&mut heard, pace).await
}

/// The runs of a slice that earlier starts of the task have ended, or that have ended an earlier worker.
fn over(shared: &Shared, id: &str, slice: usize) -> Result<HashSet<Fingerprint>, Error> {
    let mut over = HashSet::new();
    let noted = shared.noted(Some(slice)).map_err(path_error)?;
    for name in shared.siblings(id, slice).map_err(path_error)? {
        let mut open: HashSet<Fingerprint> = HashSet::new();
        let scanned = journal::scan(&shared.journal(&name), |record| {
            match record.event {
                Event::Begin { r, .. } => drop(open.insert(r)),
                Event::End { r, st, .. } => {
                    open.remove(&r);
                    if !st.goes_on() {
                        over.insert(r);
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        // What cannot be read (yet) is made again.
        drop(scanned);
        // It died with them, and not because somebody asked it to: the controller judges that.
        let died = noted.contains(&name.stem())
            && shared.read_note(&name).is_some_and(|note| {
                note.killed.is_none_or(|killed| killed == Killed::Timeout)
                    && crate::controller::failure::verdict(&note.exit()).0 != Outcome::Lost
            });
        if died {
            over.extend(open);
        }
    }
    Ok(over)
}

/// The jobs of an order.
fn jobs(order: &Order) -> &[Job] {
    match order {
        Order::Train(job) => std::slice::from_ref(job),
        Order::Bundle { jobs } => jobs,
        _ => &[],
    }
}

/// An order of these jobs.
pub(super) fn order_of(mut jobs: Vec<Job>) -> Option<Order> {
    match jobs.len() {
        0 => None,
        1 => jobs.pop().map(|job| Order::Train(Box::new(job))),
        _ => Some(Order::Bundle { jobs }),
    }
}

/// The order without the runs in `over`; `None`: nothing is left.
fn without(order: Order, over: &HashSet<Fingerprint>) -> Option<Order> {
    order_of(jobs(&order).iter().filter(|job| !over.contains(&job.run)).cloned().collect())
}

impl Task {
    async fn serve(&mut self, heard: &mut mpsc::Receiver<Signal>, pace: Pace) -> Result<(), Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::Unexpected(format!("cannot listen to signals: {error}")));
        let mut asked =
            [listen(SignalKind::user_defined1())?, listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?];
        let mut tick = tokio::time::interval(pace.look);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.fill()?;
        while !self.children.is_empty() {
            tokio::select! {
                biased;
                warned = any(&mut asked) => self.asked(warned),
                Some(signal) = heard.recv() => self.signalled(signal)?,
                _ = tick.tick() => self.look()?,
            }
            self.fill()?;
        }
        if self.fenced {
            return Err(Error::Task { code: 76, what: "another copy of this task works on its slice".to_owned() });
        }
        if self.misses >= MISSES {
            return Err(Error::Unexpected("no worker comes up: their logs are in the folder `log`".to_owned()));
        }
        Ok(())
    }

    /// A signal: at first the workers are to write a checkpoint after their current epoch; a second request to end kills them. A warning
    /// (SIGUSR1) may come before either.
    fn asked(&mut self, warning: bool) {
        if self.draining && !warning {
            return self.kill_all(Killed::Told);
        }
        self.drain();
    }

    fn drain(&mut self) {
        if self.draining {
            return;
        }
        tracing::info!("told to end: the workers stop after their current epoch");
        self.draining = true;
        for child in self.children.values_mut() {
            child.told = true;
            self.launcher.send(child.id, &Order::Stop);
        }
    }

    fn kill_all(&mut self, why: Killed) {
        for child in self.children.values_mut() {
            child.killed.get_or_insert(why);
            self.launcher.kill(child.id);
        }
    }

    /// Whether the slice is still this task's.
    fn is_owner(&mut self) -> Result<bool, Error> {
        let owner = self.shared.owner(&self.options.submission, self.options.slice).map_err(path_error)?;
        // Gone: the sweep is over or was removed, and nothing of this is wanted.
        if owner.as_ref() == Some(&self.owner) {
            return Ok(true);
        }
        if !self.fenced {
            tracing::warn!("another copy of this task works on its slice: this one ends");
            (self.fenced, self.draining) = (true, true);
            self.kill_all(Killed::Overtaken);
        }
        Ok(false)
    }

    fn look(&mut self) -> Result<(), Error> {
        if !self.is_owner()? {
            return Ok(());
        }
        let command = self.shared.told(&self.options.submission);
        if command.stop_all {
            self.drain();
        }
        for run in command.stop {
            if self.stopped.insert(run.clone()) {
                self.orders = std::mem::take(&mut self.orders)
                    .into_iter()
                    .filter_map(|order| without(order, &HashSet::from([run.clone()])))
                    .collect();
                for child in self.children.values().filter(|child| child.going.contains(&run)) {
                    // The orders of a slice number their attempts alike.
                    self.launcher.send(child.id, &Order::StopRun { run: run.clone(), attempt: super::ATTEMPT });
                }
            }
        }
        let places: Vec<usize> = self.children.keys().copied().collect();
        for place in places {
            self.hear(place)?;
            let Some(child) = self.children.get_mut(&place) else { continue };
            if child.limit.is_some_and(|limit| child.since.elapsed() > limit) && child.killed.is_none() && !child.going.is_empty()
            {
                child.killed = Some(Killed::Timeout);
                self.launcher.kill(child.id);
            }
        }
        Ok(())
    }

    fn place_of(&self, id: WorkerId) -> Option<usize> {
        self.children.iter().find(|(_, child)| child.id == id).map(|(place, _)| *place)
    }

    fn signalled(&mut self, signal: Signal) -> Result<(), Error> {
        match signal {
            Signal::Wake(id) => self.place_of(id).map_or(Ok(()), |place| self.hear(place)),
            Signal::Stands(id, Standing::Gone(exit)) => {
                let Some(place) = self.place_of(id) else { return Ok(()) };
                self.hear(place)?;
                if let Some(child) = self.children.remove(&place) {
                    self.launcher.released(child.id);
                    self.misses = if child.opened { 0 } else { self.misses + 1 };
                    self.shared.note(&child.name, &Note::of(&exit, child.killed, child.offset)).map_err(path_error)?;
                }
                Ok(())
            }
            Signal::Stands(..) => Ok(()),
        }
    }

    /// Reads what a worker has written, for the ends of its runs.
    fn hear(&mut self, place: usize) -> Result<(), Error> {
        let Some(child) = self.children.get_mut(&place) else { return Ok(()) };
        let path = self.shared.journal(&child.name);
        // Its worker has not created it yet, perhaps; what cannot be read now is read later.
        while let Ok(read) = journal::read(&path, child.offset, child.next) {
            if read.records.is_empty() {
                break;
            }
            (child.offset, child.next) = (read.offset, read.next_seq);
            for record in read.records {
                match record.event {
                    Event::Open { .. } => child.opened = true,
                    Event::End { r, .. } => drop(child.going.remove(&r)),
                    // It leaves by itself.
                    Event::Close { .. } => child.told = true,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Gives the next orders to workers that have none, and starts workers where there are none.
    fn fill(&mut self) -> Result<(), Error> {
        for place in 0..self.launcher.places() {
            let idle = match self.children.get(&place) {
                None if self.orders.is_empty() || self.draining || self.misses >= MISSES => continue,
                None => {
                    self.start(place);
                    true
                }
                Some(child) => child.opened && child.going.is_empty() && !child.told && child.killed.is_none(),
            };
            if !idle {
                continue;
            }
            // Before each run, and not only now and then: nothing is begun twice for longer than it takes to look.
            if !self.is_owner()? {
                return Ok(());
            }
            let Some(child) = self.children.get_mut(&place) else { continue };
            let Some(order) = self.orders.pop_front().filter(|_| !self.draining) else {
                child.told = true;
                self.launcher.send(child.id, &Order::Stop);
                continue;
            };
            let mut here = Vec::new();
            for job in jobs(&order) {
                let folder = self.shared.adopt(&job.run, &child.name.nonce).map_err(path_error)?;
                here.push(Job { folder: folder.path().to_owned(), ..job.clone() });
            }
            child.going = here.iter().map(|job| job.run.clone()).collect();
            child.since = Instant::now();
            child.limit = self.timeout.map(|timeout| timeout * u32::try_from(here.len()).unwrap_or(u32::MAX));
            if let Some(order) = order_of(here) {
                self.launcher.send(child.id, &order);
            }
        }
        Ok(())
    }

    fn start(&mut self, place: usize) {
        let Options { submission, slice, restart, .. } = &self.options;
        let name = JournalName { slice: *slice, submission: submission.clone(), restart: *restart, nonce: nonce() };
        let id = WorkerId(self.started);
        self.started += 1;
        let (journal, log) = (self.shared.journal(&name), self.shared.log(&name));
        self.launcher.start(WorkerSpec { id, name: name.stem(), place, journal, log });
        let child = Child {
            id,
            name,
            offset: 0,
            next: 0,
            opened: false,
            going: HashSet::new(),
            since: Instant::now(),
            limit: None,
            killed: None,
            told: false,
        };
        self.children.insert(place, child);
    }
}

/// The next signal: whether it is a warning only.
async fn any([warning, end, interrupt]: &mut [UnixSignal; 3]) -> bool {
    tokio::select! {
        _ = warning.recv() => true,
        _ = end.recv() => false,
        _ = interrupt.recv() => false,
    }
}
