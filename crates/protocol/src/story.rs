//! The order of a journal's records: `open` first, nothing after `close`, results of ordered attempts only, between their `begin` and
//! their one `end`. Pure.

use std::collections::{HashMap, HashSet};

use super::{Event, Outcome};
use plan::Fingerprint;

/// What a journal has said so far.
#[derive(Clone, Debug)]
pub struct Story {
    opened: bool,
    closed: bool,
    /// Unknown: what its worker was ordered, and where the journal begins.
    lenient: bool,
    attempts: HashMap<(Fingerprint, u32), Stage>,
    /// Attempts that the worker is to stop for good.
    stopped: HashSet<(Fingerprint, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ordered,
    Begun,
    Ended,
}

impl Story {
    /// The journal of a worker that is about to start.
    #[must_use]
    pub fn new() -> Self {
        Self { opened: false, closed: false, lenient: false, attempts: HashMap::new(), stopped: HashSet::new() }
    }

    /// The journal of another controller's worker; `opened`: its first records have been read before.
    #[must_use]
    pub fn left_over(opened: bool) -> Self {
        Self { opened, lenient: true, ..Self::new() }
    }

    /// The worker is ordered to make this attempt.
    pub fn order(&mut self, run: &Fingerprint, attempt: u32) {
        self.attempts.insert((run.clone(), attempt), Stage::Ordered);
    }

    /// The worker is ordered to stop this attempt for good.
    pub fn stop(&mut self, run: &Fingerprint, attempt: u32) {
        self.stopped.insert((run.clone(), attempt));
    }

    /// Whether the worker was ordered to make this attempt, or may have been.
    #[must_use]
    pub fn knows(&self, run: &Fingerprint, attempt: u32) -> bool {
        self.attempts.contains_key(&(run.clone(), attempt))
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// Why the record may not come here, in one sentence.
    pub fn take(&mut self, event: &Event) -> Result<(), String> {
        if self.closed {
            return Err("it follows `close`, which is the last record of a journal".to_owned());
        }
        if matches!(event, Event::Open { .. }) == self.opened {
            return Err(if self.opened { "a journal has one `open`" } else { "a journal starts with `open`" }.to_owned());
        }
        self.opened = true;
        let Some((run, attempt)) = event.attempt() else {
            self.closed = matches!(event, Event::Close { .. });
            return Ok(());
        };
        if !run.is_name() {
            return Err("its `r` is no name of a run".to_owned());
        }
        let stage = match self.attempts.get_mut(&(run.clone(), attempt)) {
            Some(stage) => stage,
            None if self.lenient => {
                let stage = if matches!(event, Event::Begin { .. }) { Stage::Ordered } else { Stage::Begun };
                self.attempts.entry((run.clone(), attempt)).or_insert(stage)
            }
            None => return Err(format!("its worker was not ordered to make attempt {attempt} at run {}", run.short())),
        };
        let asked = self.lenient || self.stopped.contains(&(run.clone(), attempt));
        *stage = match (*stage, event) {
            (_, Event::End { st: Outcome::StoppedEarly, .. }) if !asked => {
                return Err("nobody asked to stop this run for good".to_owned());
            }
            (Stage::Ended, _) => return Err("the attempt has ended already".to_owned()),
            (Stage::Ordered, Event::Begin { .. }) => Stage::Begun,
            (Stage::Begun, Event::Begin { .. }) => return Err("the attempt has begun already".to_owned()),
            (Stage::Ordered, Event::End { st, .. }) if *st != Outcome::Ok => Stage::Ended,
            (Stage::Ordered, _) => return Err("the attempt has not begun".to_owned()),
            (Stage::Begun, Event::End { .. }) => Stage::Ended,
            (Stage::Begun, _) => Stage::Begun,
        };
        Ok(())
    }
}

impl Default for Story {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VERSION;

    fn run(name: &str) -> Fingerprint {
        Fingerprint(name.to_owned())
    }

    fn open() -> Event {
        let text = String::new;
        Event::Open { v: VERSION, worker: text(), pid: 1, host: text(), device: text(), threads: 1, version: text() }
    }

    fn begin(r: &str, a: u32) -> Event {
        Event::Begin { r: run(r), a, from: None }
    }

    fn epoch(r: &str, a: u32) -> Event {
        let (train_loss, val_loss, learning_rate, seconds, images_per_s) = (0.0, 0.0, 0.0, 0.0, 0.0);
        Event::Epoch { r: run(r), a, epoch: 0, train_loss, val_loss, learning_rate, seconds, images_per_s, steps: None }
    }

    fn end(r: &str, a: u32, st: Outcome) -> Event {
        Event::End { r: run(r), a, st, n: 0, why: String::new() }
    }

    fn close() -> Event {
        Event::Close { why: String::new() }
    }

    /// The first complaint about `events`, with its index.
    fn told(story: &mut Story, events: &[Event]) -> Option<(usize, String)> {
        events.iter().enumerate().find_map(|(at, event)| Some((at, story.take(event).err()?)))
    }

    fn ordered() -> Story {
        let mut story = Story::new();
        story.order(&run("a"), 1);
        story.order(&run("b"), 2);
        story
    }

    #[test]
    fn a_whole_story_is_taken() {
        let events = [
            open(),
            begin("a", 1),
            begin("b", 2),
            epoch("b", 2),
            epoch("a", 1),
            end("a", 1, Outcome::Ok),
            end("b", 2, Outcome::Diverged),
            close(),
        ];
        assert_eq!(told(&mut ordered(), &events), None);
        assert_eq!(told(&mut Story::left_over(false), &events), None);
        assert_eq!(told(&mut Story::left_over(true), &events[3..]), None);
        let refused = [open(), end("a", 1, Outcome::Crashed)];
        assert_eq!(told(&mut ordered(), &refused), None, "an order that could not be taken up");
    }

    /// Folders are called after runs: a journal must not lead to others.
    #[test]
    fn a_run_that_is_a_path_is_refused() {
        for name in ["../../photos", "/etc", "a/b", "..", "", "a\0"] {
            let events = [open(), end(name, 1, Outcome::Crashed)];
            let (at, why) = told(&mut Story::left_over(false), &events).unwrap_or_else(|| panic!("{name}: nothing was said"));
            assert!(at == 1 && why.contains("no name of a run"), "{name}: {why}");
        }
    }

    #[test]
    fn what_stands_in_the_wrong_place_is_named() {
        let ok = Outcome::Ok;
        let stopped = vec![open(), begin("a", 1), end("a", 1, Outcome::StoppedEarly)];
        let mut asked = ordered();
        asked.stop(&run("a"), 1);
        assert_eq!(told(&mut asked, &stopped), None);
        for (events, word) in [
            (stopped, "nobody asked"),
            (vec![begin("a", 1)], "starts with `open`"),
            (vec![open(), open()], "one `open`"),
            (vec![open(), close(), begin("a", 1)], "follows `close`"),
            (vec![open(), epoch("a", 1)], "not begun"),
            (vec![open(), end("a", 1, ok)], "not begun"),
            (vec![open(), begin("a", 1), begin("a", 1)], "begun already"),
            (vec![open(), begin("a", 1), end("a", 1, ok), end("a", 1, ok)], "ended already"),
            (vec![open(), begin("a", 1), end("a", 1, ok), epoch("a", 1)], "ended already"),
            (vec![open(), begin("c", 1)], "not ordered"),
            (vec![open(), begin("a", u32::MAX)], "not ordered to make attempt 4294967295"),
        ] {
            let (at, why) = told(&mut ordered(), &events).unwrap_or_else(|| panic!("{word}: nothing was said"));
            assert!(why.contains(word) && at + 1 == events.len(), "{at}: {why}");
        }
    }
}
