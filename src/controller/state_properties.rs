//! The machine under any order of events, plausible or not: invariants that hold whatever workers, launchers, users and clocks do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::launcher::Exit;

/// The next event; numbers are taken modulo the number of candidates.
#[derive(Clone, Debug)]
enum Step {
    Started(usize),
    Open(usize),
    Close(usize),
    Begin(usize, usize),
    Epoch(usize, usize, usize),
    End(usize, usize, usize),
    Spoiled(usize, usize),
    Exit(usize, usize),
    Wait(u64),
    Interrupt,
    Stop,
    StopRun(usize),
    Release(usize),
    LeaveOut(usize),
    Cut(usize),
}

const OUTCOMES: [Outcome; 12] = [
    Outcome::Ok,
    Outcome::Ok,
    Outcome::Stopped,
    Outcome::StoppedEarly,
    Outcome::Diverged,
    Outcome::OutOfMemory,
    Outcome::Data,
    Outcome::Io,
    Outcome::Crashed,
    Outcome::Killed,
    Outcome::Lost,
    Outcome::Hung,
];

fn exits(number: usize) -> Exit {
    let process = |code, signal| Exit::Process { code, signal, out_of_memory: number.is_multiple_of(3) };
    match number % 9 {
        0 => Exit::NotStarted { why: "no such file".to_owned(), no_room: number.is_multiple_of(2) },
        1 => Exit::Lost("preempted".to_owned()),
        2 => process(Some(0), None),
        3 => process(Some(74), None),
        4 => process(Some(1), None),
        5 => process(None, Some(15)),
        6 => process(None, Some(9)),
        7 => process(None, Some(11)),
        _ => process(Some(143), None),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let worker = 0..4usize;
    let run = 0..8usize;
    let step = prop_oneof![
        3 => worker.clone().prop_map(Step::Started),
        6 => worker.clone().prop_map(Step::Open),
        1 => worker.clone().prop_map(Step::Close),
        3 => (worker.clone(), run.clone()).prop_map(|(worker, run)| Step::Begin(worker, run)),
        4 => (worker.clone(), run.clone(), 0..5usize).prop_map(|(worker, run, epoch)| Step::Epoch(worker, run, epoch)),
        8 => (worker.clone(), run.clone(), 0..100usize).prop_map(|(worker, run, how)| Step::End(worker, run, how)),
        1 => (worker.clone(), run.clone()).prop_map(|(worker, run)| Step::Spoiled(worker, run)),
        3 => (worker, 0..90usize).prop_map(|(worker, how)| Step::Exit(worker, how)),
        3 => prop_oneof![0..3u64, 0..700u64].prop_map(Step::Wait),
        1 => Just(Step::Interrupt),
        1 => Just(Step::Stop),
        2 => run.clone().prop_map(Step::StopRun),
        2 => run.clone().prop_map(Step::Release),
        1 => run.clone().prop_map(Step::LeaveOut),
        2 => run.prop_map(Step::Cut),
    ];
    prop::collection::vec(step, 1..200)
}

/// The state as it follows from the actions.
#[derive(Default)]
struct Watch {
    /// Workers that were requested and not released, with their current runs and attempts.
    workers: BTreeMap<u32, BTreeSet<(RunIndex, u32)>>,
    /// Workers that were told to stop, or killed: they get no order to train.
    done_for: BTreeSet<u32>,
    /// Attempts that began, by run.
    attempts: Vec<u32>,
    /// Runs that are over.
    over: BTreeSet<RunIndex>,
    /// Attempts that may count against a run.
    counted: Vec<u32>,
    halted: bool,
    /// Runs that the search has done with: they do not begin.
    barred: BTreeSet<RunIndex>,
}

impl Watch {
    fn action(&mut self, action: &Action, limits: &Limits, places: usize) {
        match action {
            Action::Start { worker, place } => {
                assert!(!self.halted, "no worker is started once the sweep stops");
                assert!(*place < places);
                assert!(self.workers.insert(worker.0, BTreeSet::new()).is_none(), "a worker's number is used once");
                assert!(self.workers.len() <= places, "one worker per place");
            }
            Action::Begin { worker, runs } => {
                assert!(!self.halted && !self.done_for.contains(&worker.0));
                for (run, attempt) in runs {
                    assert!(!self.over.contains(run), "a run that is over does not begin");
                    assert!(!self.barred.contains(run), "nor does one that was left out or stopped by the search");
                    assert!(*attempt > self.attempts[*run], "attempts are numbered upwards");
                    self.attempts[*run] = *attempt;
                    let under_way = self.workers.values().any(|runs| runs.iter().any(|(other, _)| other == run));
                    assert!(!under_way, "a run is under way once");
                    self.workers.get_mut(&worker.0).expect("a worker that was asked for").insert((*run, *attempt));
                }
            }
            Action::Train { worker, runs } => {
                let begun: BTreeSet<_> = runs.iter().copied().collect();
                assert_eq!(self.workers[&worker.0], begun, "what is ordered has begun, and is all that the worker is on");
            }
            Action::StopRun { worker, run, attempt } => {
                assert!(self.workers[&worker.0].contains(&(*run, *attempt)));
            }
            Action::End { run, attempt, worker, outcome, retry, .. } => {
                assert!(*outcome != Outcome::Ok);
                assert!(self.workers.get_mut(&worker.0).expect("not released").remove(&(*run, *attempt)), "it was under way");
                if !outcome.goes_on() && *outcome != Outcome::StoppedEarly {
                    self.counted[*run] += 1;
                }
                assert!(self.counted[*run] <= limits.attempts);
                if *retry {
                    assert!(outcome.goes_on() || self.counted[*run] < limits.attempts);
                } else {
                    assert!(!outcome.goes_on(), "what says nothing about a run never ends it");
                    self.over.insert(*run);
                }
            }
            Action::Release { worker } => {
                let runs = self.workers.remove(&worker.0).expect("released once");
                assert!(runs.is_empty(), "no attempt is left without a verdict: {runs:?}");
            }
            Action::Stop { worker } | Action::Kill { worker } => {
                assert!(self.workers.contains_key(&worker.0), "nobody speaks to the dead");
                self.done_for.insert(worker.0);
            }
            Action::Tell(News::Succeeded { worker, run }) => {
                let runs = self.workers.get_mut(&worker.0).expect("not released");
                runs.retain(|(other, _)| other != run);
                assert!(self.over.insert(*run), "a run succeeds once");
            }
            Action::Tell(News::Stopping { .. }) => self.halted = true,
            Action::Tell(_) => {}
        }
    }
}

/// The machine, and the test's own account of it.
struct World {
    state: State,
    watch: Watch,
    limits: Limits,
    places: usize,
    runs: usize,
    now: Duration,
    /// Workers that were requested and are not gone, in the order of their places.
    living: Vec<u32>,
}

impl World {
    fn handle(&mut self, event: Event) {
        if let Event::Gone(worker, ..) = &event {
            self.living.retain(|other| *other != worker.0);
        }
        let before = self.state.tally();
        for action in self.state.handle(event, self.now) {
            self.watch.action(&action, &self.limits, self.places);
            if let Action::Start { worker, .. } = &action {
                self.living.push(worker.0);
            }
        }
        let tally = self.state.tally();
        let all = tally.left() + tally.over() + tally.held + tally.left_out;
        assert_eq!(all, self.runs, "no run is lost or counted twice");
        assert!(tally.over() >= before.over(), "what is over stays over");
        let under_way: usize = self.watch.workers.values().map(BTreeSet::len).sum();
        assert_eq!(under_way, tally.running);
        if let Some(deadline) = self.state.deadline() {
            assert!(deadline > self.now, "a deadline in the past is a hot loop: {deadline:?} at {:?}", self.now);
        }
        if self.state.finished() {
            assert!(self.watch.workers.is_empty());
            assert!(self.watch.halted || tally.left() == 0, "nothing is left without a reason");
        }
    }

    /// Any live worker; `None` without any.
    fn worker(&self, number: usize) -> Option<WorkerId> {
        (!self.living.is_empty()).then(|| WorkerId(self.living[number % self.living.len()]))
    }

    /// A run and attempt, preferably of this worker.
    fn attempt(&self, worker: WorkerId, number: usize) -> (Fingerprint, u32) {
        let of = self.watch.workers.get(&worker.0).filter(|runs| !runs.is_empty() && !number.is_multiple_of(7));
        let (run, attempt) = match of {
            Some(runs) => *runs.iter().nth(number % runs.len()).expect("an index below the length"),
            None => (number % self.runs, 1),
        };
        (Fingerprint(format!("{run:032x}")), attempt)
    }

    fn step(&mut self, step: &Step) {
        let said = |worker: Option<WorkerId>, said: Said| worker.map(|worker| Event::Record(worker, said));
        let event = match *step {
            Step::Started(worker) => self.worker(worker).map(Event::Started),
            Step::Open(worker) => {
                let text = String::new;
                let v = if worker == 3 && self.now.as_secs().is_multiple_of(11) { VERSION + 1 } else { VERSION };
                let open = Said::Open { v, worker: text(), pid: 1, host: text(), device: text(), threads: 1, version: text() };
                said(self.worker(worker), open)
            }
            Step::Close(worker) => said(self.worker(worker), Said::Close { why: String::new() }),
            Step::Begin(worker, run) => self.worker(worker).map(|worker| {
                let (r, a) = self.attempt(worker, run);
                Event::Record(worker, Said::Begin { r, a, from: None })
            }),
            Step::Epoch(worker, run, epoch) => self.worker(worker).map(|worker| {
                let (r, a) = self.attempt(worker, run);
                let (train_loss, val_loss, learning_rate, seconds, images_per_s) = (0.0, 0.0, 0.0, 0.0, 0.0);
                Event::Record(
                    worker,
                    Said::Epoch { r, a, epoch, train_loss, val_loss, learning_rate, seconds, images_per_s, steps: None },
                )
            }),
            Step::End(worker, run, how) => self.worker(worker).map(|worker| {
                let (r, a) = self.attempt(worker, run);
                let st = OUTCOMES[how % OUTCOMES.len()];
                Event::Record(worker, Said::End { r, a, st, n: u64::from(how > 90), why: String::new() })
            }),
            Step::Spoiled(worker, run) => self.worker(worker).map(|worker| {
                let guilty = (!run.is_multiple_of(3)).then(|| self.attempt(worker, run));
                Event::Spoiled(worker, guilty, "not a record".to_owned())
            }),
            Step::Exit(worker, how) => self.worker(worker).map(|worker| Event::Gone(worker, exits(how), String::new())),
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                Some(Event::Tick)
            }
            Step::Interrupt => Some(Event::Interrupt),
            Step::Stop => Some(Event::Stop),
            Step::StopRun(run) => Some(Event::StopRun(run % self.runs)),
            Step::Release(run) => Some(Event::Release(vec![run % self.runs])),
            Step::LeaveOut(run) => {
                let run = run % self.runs;
                if self.state.waiting().any(|other| other == run) {
                    self.watch.barred.insert(run);
                }
                Some(Event::LeaveOut(vec![run]))
            }
            Step::Cut(run) => {
                self.watch.barred.insert(run % self.runs);
                Some(Event::Cut(run % self.runs))
            }
        };
        if let Some(event) = event {
            self.handle(event);
        }
    }

    /// From here on workers and launcher behave correctly: the sweep must come to an end.
    fn in_good_hands(&mut self) {
        self.handle(Event::Release((0..self.runs).collect()));
        for _ in 0..2000 {
            if self.state.finished() {
                return;
            }
            for worker in self.living.clone() {
                let id = WorkerId(worker);
                let step = |world: &mut Self, said: Said| world.handle(Event::Record(id, said));
                if self.watch.done_for.contains(&worker) {
                    for (run, a) in self.watch.workers.get(&worker).cloned().unwrap_or_default() {
                        let r = Fingerprint(format!("{run:032x}"));
                        step(self, Said::End { r, a, st: Outcome::Stopped, n: 0, why: String::new() });
                    }
                    self.handle(Event::Gone(
                        id,
                        Exit::Process { code: Some(0), signal: None, out_of_memory: false },
                        String::new(),
                    ));
                    continue;
                }
                let text = String::new;
                step(
                    self,
                    Said::Open { v: VERSION, worker: text(), pid: 1, host: text(), device: text(), threads: 1, version: text() },
                );
                for (run, a) in self.watch.workers.get(&worker).cloned().unwrap_or_default() {
                    let r = Fingerprint(format!("{run:032x}"));
                    // Its records are not counted here: an end that reports another number is a crash, which ends, too.
                    step(self, Said::End { r, a, st: Outcome::Ok, n: 0, why: String::new() });
                }
            }
            self.now += Duration::from_secs(1);
            self.handle(Event::Tick);
        }
        panic!("the sweep does not end: {:?}", self.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_attempt_is_judged_once_and_the_sweep_ends(
        steps in steps(),
        runs in prop::collection::vec((0..2usize, prop::option::of(0..2usize), prop::bool::weighted(0.2)), 1..8),
        places in 1..4usize,
        attempts in 1..4u32,
        timeout in prop::option::of(100..2000u64),
        max_failures in prop::option::of(1..4usize),
    ) {
        let limits = Limits {
            attempts,
            timeout: timeout.map(Duration::from_secs),
            hung_after: Duration::from_secs(600),
            max_failures,
        };
        let queued = |(run, &(data, bundle, held)): (usize, &(usize, Option<usize>, bool))| Queued {
            run: Fingerprint(format!("{run:032x}")),
            attempt: 1,
            failures: 0,
            data,
            bundle,
            held,
        };
        let state = State::new(limits.clone(), runs.iter().enumerate().map(queued).collect(), places);
        let watch = Watch { attempts: vec![0; runs.len()], counted: vec![0; runs.len()], ..Watch::default() };
        let mut world = World { state, watch, limits, places, runs: runs.len(), now: Duration::ZERO, living: Vec::new() };
        world.handle(Event::Go);
        for step in &steps {
            world.step(step);
        }
        world.in_good_hands();
    }
}
