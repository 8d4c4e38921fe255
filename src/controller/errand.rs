//! One order to one worker, outside of any sweep: a prediction or a refit. The worker is started, watched and ended as those of a sweep,
//! and what it says is read from its journal; the caller keeps it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Interrupts;
use super::dispatcher::tail;
use crate::error::Error;
use crate::launcher::{self, Exit, Launcher, Local, Place, Signal, Standing, WorkerId, WorkerSpec};
use plan::Fingerprint;
use protocol::journal;
use protocol::{Event, Order, Outcome, Story};

/// Journals are read this often, whatever the wake pipe says.
const TICK: Duration = Duration::from_secs(2);

/// An errand for one worker.
pub struct Errand<'a> {
    pub order: Order,
    /// The attempt that the order is about.
    pub run: &'a Fingerprint,
    pub attempt: u32,
    pub place: Place,
    /// Where the journal and the log of the worker go: `NAME.jsonl` and `NAME.log`; neither is there.
    pub folder: &'a Path,
    pub name: String,
    /// A worker that is silent for so long hangs.
    pub hung_after: Duration,
}

/// How an errand ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub outcome: Outcome,
    /// Why it is not done, with the end of the worker's log where that says more.
    pub why: String,
}

impl Errand<'_> {
    /// Carries it out. `hear` gets the records of the attempt in their order, once each is on the disk of the worker; an error of it ends
    /// the worker. A first interrupt asks the worker to stop, a second one kills it.
    ///
    /// # Errors
    /// No worker can be started; a journal that cannot be read; the errors of `hear`; an interrupt.
    pub async fn carry_out(
        self,
        interrupts: &mut Interrupts,
        mut hear: impl FnMut(Event) -> Result<(), Error>,
    ) -> Result<Ending, Error> {
        let Self { order, run, attempt, place, folder, name, hung_after } = self;
        let (journal, log) = (folder.join(format!("{name}.jsonl")), folder.join(format!("{name}.log")));
        let (signals, mut heard) = launcher::channel();
        let mut launcher = Local::new(vec![place], None, signals)
            .map_err(|error| Error::Unexpected(format!("the worker's program cannot be found: {error}")))?;
        let id = WorkerId(0);
        launcher.start(WorkerSpec { id, name, place: 0, journal: journal.clone(), log: log.clone() });
        launcher.send(id, &order);
        let mut reading = Reading { path: journal, offset: 0, next: 0, story: Story::new(), ended: None };
        reading.story.order(run, attempt);
        let (mut spoke, mut asked, mut told) = (Instant::now(), 0, false);
        let exit = loop {
            let signal = tokio::select! {
                signal = heard.recv() => signal,
                () = tokio::time::sleep(TICK) => None,
                () = interrupts.next() => {
                    asked += 1;
                    if asked == 1 { launcher.send(id, &Order::Stop) } else { launcher.kill(id) }
                    continue;
                }
            };
            if reading.read(&mut hear)? {
                spoke = Instant::now();
            }
            if let Some(Signal::Stands(_, Standing::Gone(exit))) = signal {
                break exit;
            }
            // One order is all it gets.
            if reading.ended.is_some() && !told {
                told = true;
                launcher.send(id, &Order::Stop);
            }
            if spoke.elapsed() > hung_after {
                let words = format!("it has said nothing for {} s", hung_after.as_secs());
                return Ok(Ending { outcome: Outcome::Hung, why: with_log(&words, &log) });
            }
        };
        reading.read(&mut hear)?;
        match reading.ended {
            Some(Ending { outcome: Outcome::Stopped, .. }) | None if asked > 0 => Err(Error::Interrupted),
            Some(Ending { outcome: Outcome::Crashed, why }) => {
                Ok(Ending { outcome: Outcome::Crashed, why: with_log(&why, &log) })
            }
            Some(ending) => Ok(ending),
            None => Ok(Ending { outcome: Outcome::Killed, why: with_log(&words(&exit), &log) }),
        }
    }
}

/// The journal of the worker, and how far it has been read.
struct Reading {
    path: PathBuf,
    offset: u64,
    next: u64,
    story: Story,
    ended: Option<Ending>,
}

impl Reading {
    /// Passes on what is new; whether there was anything.
    fn read(&mut self, hear: &mut impl FnMut(Event) -> Result<(), Error>) -> Result<bool, Error> {
        let mut something = false;
        loop {
            let found = match journal::read(&self.path, self.offset, self.next) {
                Ok(found) => found,
                // The worker has not created it yet.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.next == 0 => return Ok(false),
                Err(source) => return Err(Error::Io { path: self.path.clone(), source }),
            };
            let unusable =
                |why: String| Error::Unexpected(format!("{}: its worker's record cannot be used: {why}", self.path.display()));
            if let Some(problem) = found.problem.filter(|problem| problem.whole) {
                return Err(unusable(problem.to_string()));
            }
            if found.records.is_empty() {
                return Ok(something);
            }
            something = true;
            (self.offset, self.next) = (found.offset, found.next_seq);
            for record in found.records {
                self.story.take(&record.event).map_err(unusable)?;
                match record.event {
                    Event::End { st, why, .. } => self.ended = Some(Ending { outcome: st, why }),
                    event => hear(event)?,
                }
            }
        }
    }
}

/// What a journal of an earlier errand has said: its records up to the first that cannot be read.
///
/// # Errors
/// The file cannot be read.
pub fn said(path: &Path) -> std::io::Result<Vec<Event>> {
    let mut events = Vec::new();
    journal::scan(path, |record| {
        events.push(record.event);
        ControlFlow::Continue(())
    })?;
    Ok(events)
}

fn words(exit: &Exit) -> String {
    match exit {
        Exit::NotStarted { why, .. } => format!("it could not be started: {why}"),
        Exit::Process { out_of_memory: true, .. } => "it was killed for lack of memory".to_owned(),
        Exit::Process { code: Some(74), .. } => "it could not write its journal: is the disk full?".to_owned(),
        Exit::Process { code: Some(code), .. } => format!("it ended with status {code}"),
        Exit::Process { signal: Some(signal), .. } => format!("it was killed by signal {signal}"),
        Exit::Process { .. } => "it ended, and nobody knows how".to_owned(),
        Exit::Lost(why) => why.clone(),
    }
}

fn with_log(why: &str, log: &Path) -> String {
    let tail = tail(log);
    if tail.is_empty() { why.to_owned() } else { format!("{why}; the end of its log:\n{tail}") }
}
