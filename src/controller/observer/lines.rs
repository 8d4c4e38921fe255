//! Plain lines without escape codes: for pipes, files and CI.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Observer;
use super::remarks::Remarks;
use crate::controller::progress::say;
use crate::controller::vocabulary::{News, RunIndex, Tally};
use crate::launcher::WorkerId;

/// One line per finished run while that is readable, then one per this interval.
const PACE: Duration = Duration::from_secs(5);
/// Runs per minute up to which every run gets its line.
const READABLE: f64 = 60.0;
/// Work without steps gets a line after this time, then one per minute.
const LONG: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

/// The observer.
pub struct Lines {
    verbose: bool,
    remarks: Remarks,
    last: Option<Instant>,
    /// When the current work without steps of a worker gets its next line.
    doing: BTreeMap<WorkerId, Instant>,
}

impl Lines {
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Self { verbose, remarks: Remarks::new(verbose), last: None, doing: BTreeMap::new() }
    }

    fn ended(&mut self, run: RunIndex, how: &str, tally: &Tally) {
        let over = tally.over();
        let few = over <= 20 || self.remarks.per_minute(tally) <= READABLE || tally.left() == 0;
        if few || self.verbose || self.last.is_none_or(|last| last.elapsed() >= PACE) {
            self.last = Some(Instant::now());
            let (total, name) = (self.remarks.total(), self.remarks.name(run));
            say(&format!("[{over}/{total}] {how} {name}  ({})", self.remarks.summary(tally)));
        }
    }
}

impl Observer for Lines {
    fn told(&mut self, news: &News, tally: &Tally) {
        if let Some(line) = self.remarks.line(news, tally) {
            say(&line);
        }
        match news {
            News::Beat { worker, run, beat } => match &beat.doing {
                Some(doing) => {
                    let now = Instant::now();
                    let next = self.doing.entry(*worker).or_insert_with(|| now + LONG);
                    if now >= *next {
                        *next = now + MINUTE;
                        say(&format!("{}: {doing}", self.remarks.name(*run)));
                    }
                }
                None => drop(self.doing.remove(worker)),
            },
            News::Epoch { run, epoch, train_loss, val_loss, .. } if self.verbose => {
                let epoch = self.remarks.epoch(*run, *epoch, *train_loss, *val_loss);
                say(&format!("{}  {epoch}", self.remarks.name(*run)));
            }
            News::Succeeded { run, .. } => self.ended(*run, "done", tally),
            News::Stopped { run, .. } => self.ended(*run, "stopped", tally),
            News::StoppedEarly { run, .. } => self.ended(*run, "stopped early", tally),
            _ => {}
        }
    }
}
