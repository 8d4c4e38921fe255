//! How the ends of attempts and of workers are judged, and what follows for the runs.

use std::time::Duration;

use super::{Busy, Going, RunState, Stage, State};
use crate::controller::failure;
use crate::controller::vocabulary::{Action, Halt, News, RunIndex};
use crate::launcher::{Exit, WorkerId};
use plan::Fingerprint;
use protocol::Outcome;

/// Workers of a place that end before they are ready until the place is given up.
const START_TRIES: u32 = 3;
/// Delay of the verdict on a worker that a third party has killed: a signal to all processes reaches the controller, too.
const DOUBT: Duration = Duration::from_secs(1);
/// Times in a row that a worker may stop a run unasked, without an epoch done, before that counts as a failure.
const IN_VAIN: u32 = 3;

/// The end of an attempt, as the worker or the controller sees it.
struct AttemptEnd {
    worker: WorkerId,
    run: RunIndex,
    attempt: u32,
    outcome: Outcome,
    why: String,
}

impl State {
    /// A worker has recorded the end of the run `at`.
    pub(super) fn run_ended(
        &mut self,
        place: usize,
        at: usize,
        (st, why): (Outcome, String),
        now: Duration,
        out: &mut Vec<Action>,
    ) {
        let interrupted = self.interrupted();
        let Some(worker) = self.places[place].worker.as_mut() else { return };
        let (id, told) = (worker.id, worker.told);
        let Stage::Busy(busy) = &mut worker.stage else { return };
        let going = busy.going.remove(at);
        let wrong = |why: String| (Outcome::Crashed, why);
        let (outcome, why) = match st {
            Outcome::StoppedEarly if going.stop => (st, why),
            // A worker that was not told to stop altogether has stopped the run unasked.
            Outcome::Stopped if going.stop && !told => (Outcome::StoppedEarly, why),
            Outcome::StoppedEarly => wrong("the worker stopped a run early that it was not told to stop".to_owned()),
            // Verdicts of the controller, which no worker may give.
            Outcome::Killed | Outcome::Hung | Outcome::Timeout | Outcome::Lost => {
                wrong(format!("the worker ended its run as `{}`, which no worker may say", failure::name(st)))
            }
            _ => (st, why),
        };
        let unasked = outcome == Outcome::Stopped && !told && !interrupted && worker.killed.is_none();
        busy.broken |= outcome == Outcome::Crashed;
        let (over, broken) = (busy.going.is_empty(), busy.broken);
        if over {
            worker.stage = Stage::Idle;
        }
        let (run, attempt) = (going.run, going.attempt);
        if unasked {
            // A third party must have told it, a scheduler for example; then it is about to leave.
            worker.dropped.push(going);
        } else {
            self.ended(AttemptEnd { worker: id, run, attempt, outcome, why }, now, out);
        }
        let Some(worker) = self.places[place].worker.as_mut().filter(|_| over) else { return };
        if !worker.dropped.is_empty() || self.halt.is_some() || worker.closed {
            self.leave(place, now);
        } else if broken {
            // Its state is unknown; it may have left already. Another worker replaces it.
            worker.told = true;
            self.leave(place, now);
            out.push(Action::Stop { worker: id });
        }
    }

    /// A worker is gone: judges the runs that it had not ended.
    pub(super) fn gone(&mut self, id: WorkerId, exit: &Exit, last_words: &str, now: Duration, out: &mut Vec<Action>) {
        let Some(place) = self.place_of(id) else { return };
        let Some(mut worker) = self.places[place].worker.take() else { return };
        let ours = worker.killed.is_some();
        let (outcome, why) = worker.killed.take().unwrap_or_else(|| failure::verdict(exit));
        let from_outside = outcome == Outcome::Lost;
        for going in std::mem::take(&mut worker.dropped) {
            let (outcome, why) = self.of_a_dropped_run(going.run, ours, from_outside);
            self.ended(AttemptEnd { worker: id, run: going.run, attempt: going.attempt, outcome, why }, now, out);
        }
        match worker.stage {
            Stage::Busy(Busy { going, .. }) if outcome == Outcome::Killed && !self.interrupted() => {
                worker.stage = Stage::Gone { until: now + DOUBT, going, why };
                self.places[place].worker = Some(worker);
                return;
            }
            Stage::Busy(Busy { going, .. }) => {
                for Going { run, attempt, begun, .. } in going {
                    let of_another = |(r, a): &(Fingerprint, u32)| *r != self.runs[run].queued.run || *a != attempt;
                    let (outcome, why) = if worker.guilty.as_ref().is_some_and(of_another) {
                        (Outcome::Lost, "its worker was ended because of another run's records".to_owned())
                    } else if outcome == Outcome::Crashed && !ours && worker.closed && !begun {
                        // An order that crossed the worker's last record was never taken up.
                        (Outcome::Lost, "its worker had left before".to_owned())
                    } else {
                        (outcome, why.clone())
                    };
                    self.ended(AttemptEnd { worker: id, run, attempt, outcome, why }, now, out);
                }
                self.places[place].losses += u32::from(from_outside);
            }
            // A worker that was cancelled, because nothing is left to do, has not failed to start.
            Stage::Pending | Stage::Starting { .. } if self.halt.is_none() && outcome != Outcome::Stopped => {
                self.unready(place, exit, (outcome, why), last_words, now, out);
            }
            _ => {}
        }
        self.release(place, id, now, out);
    }

    /// The verdict on a run that its worker stopped unasked. If the worker then left, a third party had told it to.
    fn of_a_dropped_run(&mut self, run: RunIndex, killed: bool, from_outside: bool) -> (Outcome, String) {
        if killed {
            return (Outcome::Crashed, "the worker stopped its run unasked, and did not leave".to_owned());
        }
        self.runs[run].in_vain += u32::from(!from_outside);
        if self.runs[run].in_vain < IN_VAIN {
            (Outcome::Lost, "the worker stopped by itself: somebody else told it to".to_owned())
        } else {
            (Outcome::Crashed, format!("the worker stopped its run unasked {IN_VAIN} times, with no epoch done"))
        }
    }

    /// A worker ended before it was ready.
    fn unready(
        &mut self,
        at: usize,
        exit: &Exit,
        (outcome, why): (Outcome, String),
        last_words: &str,
        now: Duration,
        out: &mut Vec<Action>,
    ) {
        let why = if last_words.is_empty() { why } else { format!("{why}: {last_words}") };
        let place = &mut self.places[at];
        match exit {
            Exit::NotStarted { no_room: true, .. } => return self.stop(Halt::Fatal(why), now, out),
            // Ended from outside: nothing is wrong with the place.
            Exit::Process { .. } | Exit::Lost(_) if outcome == Outcome::Lost => {
                place.losses += 1;
                return out.push(Action::Tell(News::NoStart { place: at, why, again: true }));
            }
            _ => {}
        }
        place.misses += 1;
        place.not_before = now + Duration::from_millis(100) * 2u32.pow(place.misses.min(8));
        place.given_up = place.misses >= START_TRIES;
        let again = !place.given_up;
        out.push(Action::Tell(News::NoStart { place: at, why: why.clone(), again }));
        if self.halt.is_none() && self.places.iter().all(|place| place.given_up) {
            self.stop(Halt::Fatal(format!("no worker can be started: {why}")), now, out);
        }
    }

    /// Frees the place of a worker that is gone. After several ends from outside with no epoch done in between, the place stays empty
    /// for a moment.
    fn release(&mut self, place: usize, worker: WorkerId, now: Duration, out: &mut Vec<Action>) {
        let place = &mut self.places[place];
        if place.losses > 1 {
            place.not_before = place.not_before.max(now + Duration::from_millis(100) * 2u32.pow((place.losses - 1).min(6)));
        }
        place.worker = None;
        out.push(Action::Release { worker });
    }

    fn ended(&mut self, ended: AttemptEnd, now: Duration, out: &mut Vec<Action>) {
        let AttemptEnd { worker, run, attempt, mut outcome, mut why } = ended;
        self.tally.running -= 1;
        if outcome == Outcome::Ok {
            self.tally.succeeded += 1;
            out.push(Action::Tell(News::Succeeded { worker, run }));
            return;
        }
        if self.interrupted() && matches!(outcome, Outcome::Crashed | Outcome::Killed) {
            // An interrupt ends workers in many ways. A run that is to blame will fail again.
            outcome = Outcome::Lost;
            why.push_str(", while the sweep was interrupted");
        }
        let RunState { queued, cut, .. } = &mut self.runs[run];
        queued.attempt = attempt + 1;
        // However it ended, it would not go on.
        if *cut && (outcome.may_retry() || matches!(outcome, Outcome::Stopped | Outcome::Lost)) {
            outcome = Outcome::StoppedEarly;
        }
        let innocent = outcome.goes_on();
        queued.failures += u32::from(!innocent && outcome != Outcome::StoppedEarly);
        let retry = innocent || (outcome.may_retry() && queued.failures < self.limits.attempts);
        if retry {
            let data = queued.data;
            if innocent {
                self.queues.back(run)
            } else {
                self.queues.back_alone(run, data)
            }
            self.tally.queued += 1;
        } else if outcome == Outcome::StoppedEarly {
            self.tally.stopped += 1;
        } else {
            self.tally.failed += 1;
        }
        out.push(Action::End { run, attempt, worker, outcome, why: why.clone(), retry });
        out.push(Action::Tell(match outcome {
            Outcome::Stopped => News::Stopped { worker, run },
            Outcome::StoppedEarly => News::StoppedEarly { worker, run },
            Outcome::Lost => News::Lost { worker, run, why: why.clone() },
            _ => News::Failed { worker, run, outcome, why: why.clone(), retry },
        }));
        if self.halt.is_none() {
            if outcome == Outcome::Io {
                self.stop(Halt::Fatal(why), now, out);
            } else if self.limits.max_failures.is_some_and(|most| self.tally.failed >= most) {
                self.stop(Halt::Failures(self.tally.failed), now, out);
            }
        }
    }

    /// Gives the verdict on killed workers whose delay is over, or on `all` of them.
    pub(super) fn judge(&mut self, now: Duration, all: bool, out: &mut Vec<Action>) {
        for place in 0..self.places.len() {
            let Some(worker) = self.places[place].worker.as_mut() else { continue };
            let id = worker.id;
            match &mut worker.stage {
                Stage::Gone { until, going, why } if all || now >= *until => {
                    let (going, why) = (std::mem::take(going), std::mem::take(why));
                    self.places[place].worker = None;
                    for Going { run, attempt, .. } in going {
                        let why = why.clone();
                        self.ended(AttemptEnd { worker: id, run, attempt, outcome: Outcome::Killed, why }, now, out);
                    }
                    self.release(place, id, now, out);
                }
                _ => {}
            }
        }
    }
}
