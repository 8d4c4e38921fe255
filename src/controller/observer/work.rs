//! What each busy worker does, for every observer that prints.

use std::collections::BTreeMap;

use super::KnownRuns;
use crate::controller::progress::rate;
use crate::controller::vocabulary::{News, RunIndex};
use crate::launcher::WorkerId;

/// The workers that are busy.
#[derive(Default)]
pub(super) struct Workers(BTreeMap<WorkerId, Work>);

struct Work {
    /// The first of its runs.
    run: RunIndex,
    /// Number of its runs.
    runs: usize,
    /// What was last heard of it.
    words: String,
}

impl Workers {
    /// All news must pass through here.
    pub(super) fn told(&mut self, news: &News, known: &KnownRuns) {
        match news {
            News::Began { worker, run, .. } => {
                self.0.entry(*worker).or_insert_with(|| Work { run: *run, runs: 0, words: String::new() }).runs += 1;
            }
            News::Beat { worker, run, beat } => {
                let words = beat.doing.clone().unwrap_or_else(|| {
                    let (epoch, epochs, speed) = (beat.epoch + 1, epochs(known, *run), rate(beat.images_per_s));
                    let (step, steps, loss) = (beat.step, beat.steps, beat.loss);
                    format!("epoch {epoch}/{epochs}  step {step}/{steps}  loss {loss:.4}  {speed} rows/s")
                });
                self.says(*worker, words);
            }
            News::Epoch { worker, run, epoch, train_loss, val_loss } => {
                self.says(*worker, epoch_words(known, *run, *epoch, *train_loss, *val_loss));
            }
            News::Succeeded { worker, .. }
            | News::Stopped { worker, .. }
            | News::StoppedEarly { worker, .. }
            | News::Lost { worker, .. }
            | News::Failed { worker, .. } => self.leave(*worker),
            News::Sweep { .. }
            | News::NoStart { .. }
            | News::Locked { .. }
            | News::Stopping { .. }
            | News::TimeOver { .. }
            | News::Key(_)
            | News::Pulse => {}
        }
    }

    /// A line of a busy worker: its run, or their number, and what was last heard.
    pub(super) fn line(&self, worker: WorkerId, known: &KnownRuns) -> Option<String> {
        self.0.get(&worker).map(|work| work.line(known))
    }

    /// The lines of all busy workers.
    pub(super) fn lines(&self, known: &KnownRuns) -> Vec<String> {
        self.0.values().map(|work| work.line(known)).collect()
    }

    fn says(&mut self, worker: WorkerId, words: String) {
        if let Some(work) = self.0.get_mut(&worker) {
            work.words = words;
        }
    }

    /// A run of `worker` is over.
    fn leave(&mut self, worker: WorkerId) {
        if let Some(work) = self.0.get_mut(&worker) {
            work.runs -= 1;
            if work.runs == 0 {
                self.0.remove(&worker);
            }
        }
    }
}

impl Work {
    fn line(&self, known: &KnownRuns) -> String {
        let name = if self.runs > 1 {
            format!("{} runs at once", self.runs)
        } else {
            known.get(self.run).map_or_else(String::new, |run| run.name.clone())
        };
        format!("{name}  {}", self.words).trim_end().to_owned()
    }
}

/// `epoch 3/10  loss 0.1234  val loss 0.2345`.
pub(super) fn epoch_words(known: &KnownRuns, run: RunIndex, epoch: usize, train_loss: f64, val_loss: f64) -> String {
    let (epoch, epochs) = (epoch + 1, epochs(known, run));
    format!("epoch {epoch}/{epochs}  loss {train_loss:.4}  val loss {val_loss:.4}")
}

fn epochs(known: &KnownRuns, run: RunIndex) -> usize {
    known.get(run).map_or(0, |run| run.epochs)
}
