//! The journal, shared by all threads of the worker, and heartbeats for work without steps.
//!
//! While a [`Stage`] is open, a thread checks it twice a second and records a heartbeat that names the work. A worker that hangs
//! must still be found: counted work gives a heartbeat only when its count has moved, and uncounted work for an hour at most. The
//! controller judges silence after that.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::stage::{Stage, Unit, Work};
use plan::Fingerprint;
use protocol::Event;
use protocol::journal::{Journal, JournalError};

/// Interval between two heartbeats.
pub const BEAT: Duration = Duration::from_secs(1);
/// Interval between two checks of the work.
const LOOK: Duration = Duration::from_millis(500);
/// How long work without a count gives heartbeats.
const BELIEVED: Duration = Duration::from_secs(3600);
/// Environment variable with another such time, in seconds (for tests of hanging workers).
const BELIEVED_VARIABLE: &str = "SWEEP_BELIEVED_SECONDS";

/// State that the worker's threads share.
#[derive(Clone)]
pub struct Life(Arc<Shared>);

struct Shared {
    journal: Mutex<Journal>,
    stage: Mutex<Option<(Fingerprint, Arc<Work>)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Life {
    /// The journal, and a thread that checks stages as long as the process lives.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn begin(journal: Journal) -> io::Result<Self> {
        let life = Self(Arc::new(Shared { journal: Mutex::new(journal), stage: Mutex::new(None) }));
        let looker = life.clone();
        std::thread::Builder::new().name("signs of life".to_owned()).spawn(move || looker.look())?;
        Ok(life)
    }

    /// Appends events, writes them, and wakes the controller. If one cannot be recorded, none is.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn say(&self, events: impl IntoIterator<Item = Event>) -> Result<(), JournalError> {
        say(&mut locked(&self.0.journal), events)
    }

    /// Begins work of `run` without steps; ends the one before.
    pub fn stage(&self, run: &Fingerprint, doing: &str, unit: Option<Unit>) -> Stage {
        let work = Work::begin(doing, unit);
        *locked(&self.0.stage) = Some((run.clone(), Arc::clone(&work)));
        Stage::of(work)
    }

    fn look(&self) {
        let believed = std::env::var(BELIEVED_VARIABLE).ok().and_then(|text| text.parse().ok());
        let believed = believed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(BELIEVED);
        let (mut spoke, mut said) = (None, None);
        loop {
            std::thread::sleep(LOOK);
            let stage = locked(&self.0.stage).clone();
            let Some((run, work)) = stage.filter(|(_, work)| !work.over() && work.began().elapsed() >= LOOK) else { continue };
            let now = (work.began(), work.count());
            let gets_on = match work.count() {
                Some(_) => said != Some(now),
                None => work.began().elapsed() < believed,
            };
            if gets_on && spoke.is_none_or(|spoke: Instant| spoke.elapsed() >= BEAT) {
                if !self.sign(&run, &work) {
                    return;
                }
                (spoke, said) = (Some(Instant::now()), Some(now));
            }
        }
    }

    /// Records a heartbeat; false where the journal cannot be written, which the worker itself will notice.
    fn sign(&self, run: &Fingerprint, work: &Work) -> bool {
        let mut journal = locked(&self.0.journal);
        // No heartbeat of an attempt may follow its end.
        if work.over() {
            return true;
        }
        let (r, doing) = (Some(run.clone()), Some(work.words()));
        let event = Event::Hb { r, epoch: 0, step: 0, steps: 0, loss: 0.0, images_per_s: 0.0, doing };
        say(&mut journal, [event]).is_ok()
    }
}

fn say(journal: &mut Journal, events: impl IntoIterator<Item = Event>) -> Result<(), JournalError> {
    journal.append_all(events)?;
    journal.flush()?;
    // One byte on the wake pipe. If the controller is gone, the end of stdin says so.
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(b".").and_then(|()| stdout.flush());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::journal::read;

    const RUN: &str = "0123456789abcdef0123456789abcdef";

    fn begun(folder: &std::path::Path) -> (Life, impl Fn() -> Vec<String>) {
        let path = folder.join("w.jsonl");
        let life = Life::begin(Journal::create(&path).unwrap()).unwrap();
        let said = move || {
            let records = read(&path, 0, 0).unwrap().records.into_iter();
            records.filter_map(|record| if let Event::Hb { doing, .. } = record.event { doing } else { None }).collect()
        };
        (life, said)
    }

    fn stage(life: &Life, unit: Option<Unit>) -> Stage {
        let work = Work::begin("hashing weights", unit);
        *locked(&life.0.stage) = Some((Fingerprint(RUN.to_owned()), Arc::clone(&work)));
        Stage::of(work)
    }

    fn wait_for(signs: usize, said: &impl Fn() -> Vec<String>) -> Vec<String> {
        let start = Instant::now();
        while said().len() < signs {
            assert!(start.elapsed() < Duration::from_secs(120), "no sign of life");
            std::thread::sleep(Duration::from_millis(20));
        }
        said()
    }

    /// A worker that hangs must be found: what is counted and does not move says nothing more.
    #[test]
    fn counted_work_gives_signs_as_long_as_it_gets_on() {
        let folder = tempfile::tempdir().unwrap();
        let (life, said) = begun(folder.path());
        let stage = stage(&life, Some(Unit::Bytes));
        stage.at(1_000_000, 9_000_000);
        assert_eq!(wait_for(1, &said), ["hashing weights: 1 of 9 MB"]);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(said().len(), 1, "it has not moved");
        stage.at(2_000_000, 9_000_000);
        assert_eq!(wait_for(2, &said)[1], "hashing weights: 2 of 9 MB");
        drop(stage);
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(said().len(), 2, "it is over");
    }

    #[test]
    fn work_that_cannot_be_counted_is_believed_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let (life, said) = begun(folder.path());
        let _stage = stage(&life, None);
        assert_eq!(wait_for(2, &said)[..2], ["hashing weights", "hashing weights"]);
    }
}
