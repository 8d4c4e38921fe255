use std::collections::VecDeque;

use super::*;
use crate::launcher::Exit;

const HUNG: Duration = Duration::from_secs(600);

fn limits() -> Limits {
    Limits { attempts: 2, timeout: None, hung_after: HUNG, max_failures: None }
}

fn fingerprint(run: RunIndex) -> Fingerprint {
    Fingerprint(format!("{run:032x}"))
}

/// A machine and the actions it has emitted; a test ends with [`Bench::nothing_else`].
struct Bench {
    state: State,
    now: Duration,
    emitted: VecDeque<Action>,
    /// Workers that are gone and judged.
    released: Vec<u32>,
}

impl Bench {
    fn of(state: State) -> Self {
        Self { state, now: Duration::ZERO, emitted: VecDeque::new(), released: Vec::new() }
    }

    /// A machine with one run per entry of `data`, before the start.
    fn new(limits: Limits, data: &[usize], slots: usize) -> Self {
        let queued = |(run, &data)| Queued { run: fingerprint(run), attempt: 1, failures: 0, data, bundle: None, held: false };
        let state = State::new(limits, data.iter().enumerate().map(queued).collect(), slots);
        let mut bench = Self::of(state);
        bench.event(Event::Go);
        bench
    }

    /// One run, one slot, begun.
    fn busy(limits: Limits) -> Self {
        let mut bench = Self::new(limits, &[0], 1);
        bench.started(0, 0);
        bench.open(0);
        bench.began(0, 0, 1);
        bench
    }

    fn event(&mut self, event: Event) {
        for action in self.state.handle(event, self.now) {
            match action {
                Action::Release { worker } => self.released.push(worker.0),
                action => self.emitted.push_back(action),
            }
        }
    }

    fn tick(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.event(Event::Tick);
    }

    fn open(&mut self, worker: u32) {
        self.open_version(worker, VERSION);
    }

    fn open_version(&mut self, worker: u32, v: u32) {
        let text = String::new;
        let said = Said::Open { v, worker: text(), pid: 1, host: text(), device: "cpu".into(), threads: 1, version: text() };
        self.event(Event::Record(WorkerId(worker), said));
    }

    fn end(&mut self, worker: u32, run: RunIndex, a: u32, st: Outcome, n: u64) {
        self.event(Event::Record(WorkerId(worker), Said::End { r: fingerprint(run), a, st, n, why: "why".into() }));
    }

    fn epoch(&mut self, worker: u32, run: RunIndex, a: u32) {
        let said = Said::Epoch {
            r: fingerprint(run),
            a,
            epoch: 1,
            train_loss: 0.5,
            val_loss: 0.25,
            learning_rate: 0.1,
            seconds: 1.0,
            steps: None,
            images_per_s: 1.0,
        };
        self.event(Event::Record(WorkerId(worker), said));
    }

    fn exit(&mut self, worker: u32, code: Option<i32>, signal: Option<i32>) {
        let exit = Exit::Process { code, signal, out_of_memory: false };
        self.event(Event::Gone(WorkerId(worker), exit, "last words".into()));
    }

    /// Kills a worker from outside and waits until the verdict is due.
    fn killed(&mut self, worker: u32) {
        self.exit(worker, None, Some(9));
        assert_eq!(self.emitted, [], "the verdict waits");
        self.tick(1);
    }

    fn close(&mut self, worker: u32) {
        self.event(Event::Record(WorkerId(worker), Said::Close { why: "finished".into() }));
    }

    fn next(&mut self) -> Action {
        self.emitted.pop_front().expect("another action")
    }

    fn started(&mut self, worker: u32, place: usize) {
        assert_eq!(self.next(), Action::Start { worker: WorkerId(worker), place });
    }

    /// Persist, act, tell.
    fn began(&mut self, worker: u32, run: RunIndex, attempt: u32) {
        let worker = WorkerId(worker);
        assert_eq!(self.next(), Action::Begin { worker, runs: vec![(run, attempt)] });
        assert_eq!(self.next(), Action::Train { worker, runs: vec![(run, attempt)] });
        assert_eq!(self.next(), Action::Tell(News::Began { worker, run, attempt }));
    }

    fn succeeded(&mut self, worker: u32, run: RunIndex) {
        assert_eq!(self.next(), Action::Tell(News::Succeeded { worker: WorkerId(worker), run }));
    }

    /// The verdict is stored before observers get it.
    fn failed(&mut self, worker: u32, run: RunIndex, attempt: u32, outcome: Outcome, retry: bool) {
        let worker = WorkerId(worker);
        let Action::End { why, .. } = self.emitted.front().cloned().expect("another action") else {
            panic!("not an end: {:?}", self.emitted)
        };
        assert_eq!(self.next(), Action::End { run, attempt, worker, outcome, why: why.clone(), retry });
        let news = match outcome {
            Outcome::Stopped => News::Stopped { worker, run },
            Outcome::StoppedEarly => News::StoppedEarly { worker, run },
            Outcome::Lost => News::Lost { worker, run, why },
            _ => News::Failed { worker, run, outcome, why, retry },
        };
        assert_eq!(self.next(), Action::Tell(news));
    }

    fn stop(&mut self, worker: u32) {
        assert_eq!(self.next(), Action::Stop { worker: WorkerId(worker) });
    }

    fn kill(&mut self, worker: u32) {
        assert_eq!(self.next(), Action::Kill { worker: WorkerId(worker) });
    }

    fn stopping(&mut self) -> Halt {
        match self.next() {
            Action::Tell(News::Stopping { why }) => why,
            other => panic!("not the end: {other:?}"),
        }
    }

    fn no_start(&mut self, place: usize, more: bool) {
        match self.next() {
            Action::Tell(News::NoStart { place: at, again, .. }) => assert_eq!((at, again), (place, more)),
            other => panic!("not a failed start: {other:?}"),
        }
    }

    fn nothing_else(self, finished: bool, succeeded: usize, failed: usize, queued: usize) {
        assert_eq!(self.emitted, [], "nothing else was emitted");
        assert_eq!(self.state.finished(), finished);
        let tally = self.state.tally();
        assert_eq!((tally.succeeded, tally.failed, tally.queued), (succeeded, failed, queued));
    }
}

#[test]
fn a_sweep_of_two_runs_on_one_worker() {
    let mut bench = Bench::new(limits(), &[0, 0], 3);
    bench.started(0, 0);
    bench.started(1, 1);
    bench.open(0);
    bench.began(0, 0, 1);
    bench.epoch(0, 0, 1);
    assert!(matches!(bench.next(), Action::Tell(News::Epoch { epoch: 1, .. })));
    bench.end(0, 0, 1, Outcome::Ok, 1);
    bench.succeeded(0, 0);
    bench.began(0, 1, 1);
    bench.open(1);
    bench.end(0, 1, 1, Outcome::Ok, 0);
    bench.succeeded(0, 1);
    bench.stop(0);
    bench.stop(1);
    bench.exit(0, Some(0), None);
    bench.exit(1, Some(0), None);
    bench.nothing_else(true, 2, 0, 0);
}

#[test]
fn nothing_to_do_is_finished_at_once() {
    Bench::new(limits(), &[], 2).nothing_else(true, 0, 0, 0);
}

#[test]
fn a_killed_worker_costs_one_attempt_and_is_replaced() {
    let mut bench = Bench::busy(limits());
    bench.killed(0);
    bench.failed(0, 0, 1, Outcome::Killed, true);
    bench.started(1, 0);
    bench.open(1);
    bench.began(1, 0, 2);
    bench.killed(1);
    bench.failed(1, 0, 2, Outcome::Killed, false);
    bench.nothing_else(true, 0, 1, 0);
}

#[test]
fn a_run_that_ended_before_its_worker_died_has_succeeded() {
    let mut bench = Bench::busy(limits());
    bench.end(0, 0, 1, Outcome::Ok, 0);
    bench.succeeded(0, 0);
    bench.stop(0);
    bench.exit(0, None, Some(9));
    bench.nothing_else(true, 1, 0, 0);
}

#[test]
fn divergence_is_not_retried_and_the_sweep_goes_on() {
    let mut bench = Bench::new(limits(), &[0, 0], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.began(0, 0, 1);
    bench.end(0, 0, 1, Outcome::Diverged, 0);
    bench.failed(0, 0, 1, Outcome::Diverged, false);
    bench.began(0, 1, 1);
    bench.nothing_else(false, 0, 1, 0);
}

#[test]
fn what_another_attempt_may_mend_is_tried_again_on_the_living_worker() {
    let mut bench = Bench::busy(limits());
    bench.end(0, 0, 1, Outcome::OutOfMemory, 0);
    bench.failed(0, 0, 1, Outcome::OutOfMemory, true);
    bench.began(0, 0, 2);
    bench.nothing_else(false, 0, 0, 0);
}

/// A worker that reports a crash leaves: no other run may be on it when it does.
#[test]
fn a_worker_that_has_crashed_gets_no_further_run() {
    let mut bench = Bench::new(limits(), &[0, 0], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.began(0, 0, 1);
    bench.end(0, 0, 1, Outcome::Crashed, 0);
    bench.failed(0, 0, 1, Outcome::Crashed, true);
    bench.stop(0);
    bench.exit(0, Some(0), None);
    bench.started(1, 0);
    bench.open(1);
    bench.began(1, 1, 1);
    bench.nothing_else(false, 0, 0, 1);
}

/// A worker whose journal cannot be used is killed; its attempt has crashed once it is gone, and not before.
#[test]
fn a_spoiled_journal_ends_its_worker() {
    let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
    bench.event(Event::Spoiled(WorkerId(0), None, "line 3".into()));
    bench.kill(0);
    bench.event(Event::Spoiled(WorkerId(0), None, "again".into()));
    assert_eq!(bench.emitted, []);
    bench.exit(0, None, Some(9));
    bench.failed(0, 0, 1, Outcome::Crashed, false);
    bench.nothing_else(true, 0, 1, 0);
}

/// A record that cannot be true costs its own attempt and no other run of the bundle.
#[test]
fn a_lie_costs_its_own_attempt() {
    let queued = |run| Queued { run: fingerprint(run), attempt: 1, failures: 0, data: 0, bundle: Some(0), held: false };
    let mut bench = Bench::of(State::new(Limits { attempts: 1, ..limits() }, (0..3).map(queued).collect(), 1));
    bench.event(Event::Go);
    bench.started(0, 0);
    bench.open(0);
    bench.emitted.clear();
    bench.end(0, 2, 1, Outcome::Ok, 0);
    bench.succeeded(0, 2);
    bench.event(Event::Spoiled(WorkerId(0), Some((fingerprint(1), 1)), "a lie".into()));
    bench.kill(0);
    bench.exit(0, None, Some(9));
    bench.failed(0, 0, 1, Outcome::Lost, true);
    bench.failed(0, 1, 1, Outcome::Crashed, false);
    bench.started(1, 0);
    bench.open(1);
    bench.began(1, 0, 2);
    bench.nothing_else(false, 1, 1, 0);
}

#[test]
fn records_of_a_superseded_attempt_change_nothing() {
    let mut bench = Bench::busy(limits());
    bench.end(0, 0, 7, Outcome::Ok, 0);
    bench.end(0, 5, 1, Outcome::Ok, 0);
    bench.epoch(0, 0, 2);
    bench.end(9, 0, 1, Outcome::Ok, 0);
    bench.nothing_else(false, 0, 0, 0);
}

#[test]
fn a_silent_worker_is_killed_and_its_run_tried_again() {
    let mut bench = Bench::busy(limits());
    assert_eq!(bench.state.deadline(), Some(HUNG));
    bench.tick(599);
    bench.epoch(0, 0, 1);
    bench.next();
    assert_eq!(bench.state.deadline(), Some(HUNG + Duration::from_secs(599)));
    bench.tick(1);
    bench.tick(599);
    bench.kill(0);
    bench.tick(1000);
    bench.exit(0, None, Some(9));
    bench.failed(0, 0, 1, Outcome::Hung, true);
    bench.started(1, 0);
    bench.nothing_else(false, 0, 0, 1);
}

#[test]
fn a_run_has_its_own_time_limit() {
    let mut bench = Bench::busy(Limits { timeout: Some(Duration::from_secs(60)), ..limits() });
    assert_eq!(bench.state.deadline(), Some(Duration::from_secs(60)));
    bench.tick(60);
    bench.kill(0);
    bench.exit(0, None, Some(9));
    bench.failed(0, 0, 1, Outcome::Timeout, false);
    bench.nothing_else(true, 0, 1, 0);
}

#[test]
fn a_run_that_ends_just_before_it_is_killed_has_succeeded() {
    let mut bench = Bench::new(Limits { timeout: Some(Duration::from_secs(60)), ..limits() }, &[0, 0], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.began(0, 0, 1);
    bench.tick(60);
    bench.kill(0);
    bench.end(0, 0, 1, Outcome::Ok, 0);
    bench.succeeded(0, 0);
    bench.exit(0, None, Some(9));
    bench.started(1, 0);
    bench.nothing_else(false, 1, 0, 1);
}

#[test]
fn a_worker_that_never_comes_up_is_given_up_after_three_tries() {
    let mut bench = Bench::new(limits(), &[0], 1);
    bench.started(0, 0);
    bench.exit(0, Some(127), None);
    bench.no_start(0, true);
    assert_eq!(bench.state.deadline(), Some(Duration::from_millis(200)));
    bench.tick(1);
    bench.started(1, 0);
    let exit = Exit::NotStarted { why: "no such file".into(), no_room: false };
    bench.event(Event::Gone(WorkerId(1), exit, String::new()));
    bench.no_start(0, true);
    bench.tick(1);
    bench.started(2, 0);
    bench.exit(2, Some(127), None);
    bench.no_start(0, false);
    assert!(matches!(bench.stopping(), Halt::Fatal(why) if why.contains("code 127: last words")));
    bench.nothing_else(true, 0, 0, 1);
}

#[test]
fn a_worker_of_another_protocol_version_gets_no_orders() {
    let mut bench = Bench::new(limits(), &[0], 1);
    bench.started(0, 0);
    bench.open_version(0, VERSION + 1);
    bench.kill(0);
    bench.exit(0, None, Some(9));
    bench.no_start(0, true);
    for worker in [1, 2] {
        bench.tick(1);
        bench.started(worker, 0);
        bench.open_version(worker, VERSION + 1);
        bench.kill(worker);
        bench.exit(worker, None, Some(9));
        bench.no_start(0, worker == 1);
    }
    assert!(matches!(bench.stopping(), Halt::Fatal(why) if why.contains(" of the protocol, this program version ")));
    bench.nothing_else(true, 0, 0, 1);
}

#[test]
fn the_other_slots_carry_on_when_one_is_given_up() {
    let mut bench = Bench::new(limits(), &[0, 0], 2);
    bench.started(0, 0);
    bench.started(1, 1);
    bench.open(1);
    bench.began(1, 0, 1);
    for worker in [0, 2, 3] {
        bench.exit(worker, Some(1), None);
        bench.no_start(0, worker != 3);
        bench.tick(1);
        if worker != 3 {
            bench.started(if worker == 0 { 2 } else { 3 }, 0);
        }
    }
    bench.end(1, 0, 1, Outcome::Ok, 0);
    bench.succeeded(1, 0);
    bench.began(1, 1, 1);
    bench.nothing_else(false, 1, 0, 0);
}

#[test]
fn a_request_to_stop_is_a_first_interrupt_and_never_a_second_one() {
    let mut bench = Bench::new(limits(), &[0, 0], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.began(0, 0, 1);
    bench.event(Event::Stop);
    assert_eq!(bench.stopping(), Halt::Interrupted);
    bench.stop(0);
    bench.event(Event::Stop);
    // Somebody at the terminal has no time.
    bench.event(Event::Interrupt);
    assert_eq!(bench.stopping(), Halt::Killed);
    bench.kill(0);
    bench.event(Event::Stop);
    bench.exit(0, None, Some(9));
    bench.failed(0, 0, 1, Outcome::Stopped, true);
    bench.nothing_else(true, 0, 0, 2);
}

#[test]
fn the_first_interrupt_stops_after_the_epoch_the_second_at_once() {
    let mut bench = Bench::new(limits(), &[0, 0, 0], 2);
    bench.started(0, 0);
    bench.started(1, 1);
    bench.open(0);
    bench.open(1);
    bench.began(0, 0, 1);
    bench.began(1, 1, 1);
    bench.event(Event::Interrupt);
    assert_eq!(bench.stopping(), Halt::Interrupted);
    bench.stop(0);
    bench.stop(1);
    bench.end(0, 0, 1, Outcome::Stopped, 0);
    bench.failed(0, 0, 1, Outcome::Stopped, true);
    bench.exit(0, Some(0), None);
    bench.event(Event::Interrupt);
    assert_eq!(bench.stopping(), Halt::Killed);
    bench.kill(1);
    bench.event(Event::Interrupt);
    assert_eq!(bench.stopping(), Halt::Killed);
    bench.exit(1, None, Some(9));
    bench.failed(1, 1, 1, Outcome::Stopped, true);
    bench.nothing_else(true, 0, 0, 3);
}

#[test]
fn a_worker_that_does_not_leave_is_killed() {
    let mut bench = Bench::busy(limits());
    bench.end(0, 0, 1, Outcome::Ok, 0);
    bench.succeeded(0, 0);
    bench.stop(0);
    bench.tick(10);
    bench.kill(0);
    bench.exit(0, None, Some(9));
    bench.nothing_else(true, 1, 0, 0);
}

#[test]
fn max_failures_stops_the_sweep() {
    let mut bench = Bench::new(Limits { max_failures: Some(1), ..limits() }, &[0, 0, 0], 2);
    bench.started(0, 0);
    bench.started(1, 1);
    bench.open(0);
    bench.open(1);
    bench.began(0, 0, 1);
    bench.began(1, 1, 1);
    bench.end(0, 0, 1, Outcome::Diverged, 0);
    bench.failed(0, 0, 1, Outcome::Diverged, false);
    assert_eq!(bench.stopping(), Halt::Failures(1));
    bench.stop(0);
    bench.stop(1);
    bench.end(1, 1, 1, Outcome::Ok, 0);
    bench.succeeded(1, 1);
    bench.exit(0, Some(0), None);
    bench.exit(1, Some(0), None);
    bench.nothing_else(true, 1, 1, 1);
}

#[test]
fn a_full_disk_stops_the_sweep_and_fails_no_run() {
    let mut bench = Bench::busy(limits());
    bench.end(0, 0, 1, Outcome::Io, 0);
    bench.failed(0, 0, 1, Outcome::Io, true);
    assert!(matches!(bench.stopping(), Halt::Fatal(_)));
    bench.stop(0);
    bench.exit(0, Some(0), None);
    bench.nothing_else(true, 0, 0, 1);
}

#[test]
fn a_journal_that_cannot_be_written_stops_the_sweep() {
    let mut bench = Bench::busy(limits());
    bench.exit(0, Some(74), None);
    bench.failed(0, 0, 1, Outcome::Io, true);
    assert!(matches!(bench.stopping(), Halt::Fatal(_)));
    bench.nothing_else(true, 0, 0, 1);
}

#[test]
fn a_worker_stays_with_its_data_and_others_take_other_data() {
    let mut bench = Bench::new(limits(), &[0, 1, 0, 1], 2);
    bench.started(0, 0);
    bench.started(1, 1);
    bench.open(0);
    bench.open(1);
    bench.began(0, 0, 1);
    bench.began(1, 1, 1);
    bench.end(1, 1, 1, Outcome::Ok, 0);
    bench.succeeded(1, 1);
    bench.began(1, 3, 1);
    bench.end(0, 0, 1, Outcome::Ok, 0);
    bench.succeeded(0, 0);
    bench.began(0, 2, 1);
    bench.nothing_else(false, 2, 0, 0);
}

#[test]
fn a_failure_of_an_earlier_session_counts() {
    let queued = Queued { run: fingerprint(0), attempt: 2, failures: 1, data: 0, bundle: Some(0), held: false };
    let mut bench = Bench::of(State::new(limits(), vec![queued], 1));
    bench.event(Event::Go);
    bench.started(0, 0);
    bench.open(0);
    bench.began(0, 0, 2);
    bench.exit(0, Some(101), None);
    bench.failed(0, 0, 2, Outcome::Crashed, false);
    bench.nothing_else(true, 0, 1, 0);
}

/// A machine whose runs of data set 0 have these bundles.
fn bundled(bundles: &[Option<usize>], slots: usize) -> Bench {
    let queued = |(run, &bundle)| Queued { run: fingerprint(run), attempt: 1, failures: 0, data: 0, bundle, held: false };
    let state = State::new(limits(), bundles.iter().enumerate().map(queued).collect(), slots);
    let mut bench = Bench::of(state);
    bench.event(Event::Go);
    bench
}

impl Bench {
    /// Persist all, act once, tell all.
    fn together(&mut self, worker: u32, runs: &[RunIndex]) {
        let worker = WorkerId(worker);
        let begun: Vec<_> = runs.iter().map(|&run| (run, 1)).collect();
        assert_eq!(self.next(), Action::Begin { worker, runs: begun.clone() });
        assert_eq!(self.next(), Action::Train { worker, runs: begun });
        for &run in runs {
            assert_eq!(self.next(), Action::Tell(News::Began { worker, run, attempt: 1 }));
        }
    }
}

#[test]
fn a_bundle_is_shared_out_and_each_run_ends_by_itself() {
    let mut bench = bundled(&[Some(3), Some(3), None, Some(3), Some(3), Some(9)], 2);
    bench.started(0, 0);
    bench.started(1, 1);
    bench.open(0);
    // six runs wait for two workers: three each
    bench.together(0, &[0, 1, 3]);
    bench.open(1);
    bench.began(1, 2, 1);
    bench.end(0, 1, 1, Outcome::Diverged, 0);
    bench.failed(0, 1, 1, Outcome::Diverged, false);
    bench.end(0, 3, 1, Outcome::Ok, 0);
    bench.succeeded(0, 3);
    bench.end(1, 2, 1, Outcome::Ok, 0);
    bench.succeeded(1, 2);
    // what is left of a bundle is alone, and so is a bundle of one
    bench.began(1, 4, 1);
    bench.end(0, 0, 1, Outcome::Ok, 0);
    bench.succeeded(0, 0);
    bench.began(0, 5, 1);
    bench.nothing_else(false, 3, 1, 0);
}

#[test]
fn a_killed_bundle_costs_each_run_an_attempt_and_they_are_tried_alone() {
    let mut bench = bundled(&[Some(0); 3], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.together(0, &[0, 1, 2]);
    bench.end(0, 1, 1, Outcome::Ok, 0);
    bench.succeeded(0, 1);
    bench.killed(0);
    bench.failed(0, 0, 1, Outcome::Killed, true);
    bench.failed(0, 2, 1, Outcome::Killed, true);
    bench.started(1, 0);
    bench.open(1);
    bench.began(1, 0, 2);
    bench.end(1, 0, 2, Outcome::Ok, 0);
    bench.succeeded(1, 0);
    bench.began(1, 2, 2);
    bench.nothing_else(false, 2, 0, 0);
}

#[test]
fn a_worker_that_crashed_in_a_bundle_leaves_when_all_its_runs_have_ended() {
    let mut bench = bundled(&[Some(0); 2], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.together(0, &[0, 1]);
    bench.end(0, 0, 1, Outcome::Crashed, 0);
    bench.failed(0, 0, 1, Outcome::Crashed, true);
    bench.end(0, 1, 1, Outcome::Crashed, 0);
    bench.failed(0, 1, 1, Outcome::Crashed, true);
    bench.stop(0);
    bench.exit(0, Some(0), None);
    bench.started(1, 0);
    bench.nothing_else(false, 0, 0, 2);
}

#[test]
fn a_bundle_has_the_time_of_all_its_runs() {
    let limits = Limits { timeout: Some(Duration::from_secs(100)), ..limits() };
    let queued = |run| Queued { run: fingerprint(run), attempt: 1, failures: 0, data: 0, bundle: Some(0), held: false };
    let mut bench = Bench::of(State::new(limits, vec![queued(0), queued(1)], 1));
    bench.event(Event::Go);
    bench.started(0, 0);
    bench.open(0);
    bench.together(0, &[0, 1]);
    bench.tick(199);
    assert_eq!(bench.emitted, []);
    bench.tick(1);
    bench.kill(0);
    bench.exit(0, None, Some(9));
    bench.failed(0, 0, 1, Outcome::Timeout, false);
    bench.failed(0, 1, 1, Outcome::Timeout, false);
    bench.nothing_else(true, 0, 2, 0);
}

#[test]
fn a_worker_that_is_asked_to_leave_costs_no_attempt_however_often() {
    let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
    for worker in 0..20 {
        bench.exit(worker, None, Some(15));
        bench.failed(worker, 0, worker + 1, Outcome::Lost, true);
        // Again and again, with nothing done in between: not in a hot loop.
        bench.tick(10);
        bench.started(worker + 1, 0);
        bench.open(worker + 1);
        bench.began(worker + 1, 0, worker + 2);
    }
    bench.end(20, 0, 21, Outcome::Ok, 0);
    bench.succeeded(20, 0);
    bench.stop(20);
    bench.exit(20, Some(0), None);
    assert_eq!(bench.released, (0..=20).collect::<Vec<_>>());
    bench.nothing_else(true, 1, 0, 0);
}

#[test]
fn a_place_whose_workers_are_ended_from_outside_again_and_again_pauses() {
    let mut bench = Bench::busy(limits());
    bench.exit(0, None, Some(15));
    bench.failed(0, 0, 1, Outcome::Lost, true);
    bench.started(1, 0);
    bench.open(1);
    bench.began(1, 0, 2);
    bench.exit(1, Some(143), None);
    bench.failed(1, 0, 2, Outcome::Lost, true);
    assert_eq!(bench.state.deadline(), Some(Duration::from_millis(200)));
    bench.tick(1);
    bench.started(2, 0);
    bench.nothing_else(false, 0, 0, 1);
}

/// A signal to all processes reaches workers and controller in any order, and workers end in many ways.
#[test]
fn a_worker_that_ends_near_the_controller_s_signal_is_lost() {
    for (code, signal) in [(None, Some(9)), (None, Some(15)), (None, Some(11)), (Some(1), None), (Some(0), None)] {
        let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
        bench.event(Event::Interrupt);
        assert_eq!(bench.stopping(), Halt::Interrupted);
        bench.stop(0);
        bench.exit(0, code, signal);
        bench.failed(0, 0, 1, Outcome::Lost, true);
        bench.nothing_else(true, 0, 0, 1);
    }
    // The worker's end is seen first.
    let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
    bench.exit(0, None, Some(9));
    assert_eq!(bench.state.deadline(), Some(Duration::from_secs(1)));
    bench.event(Event::Interrupt);
    assert_eq!(bench.stopping(), Halt::Interrupted);
    bench.failed(0, 0, 1, Outcome::Lost, true);
    assert_eq!(bench.released, [0]);
    bench.nothing_else(true, 0, 0, 1);
}

#[test]
fn a_crash_that_is_recorded_near_the_controller_s_signal_is_lost_and_others_are_not() {
    for (said, outcome, retry) in [
        (Outcome::Crashed, Outcome::Lost, true),
        (Outcome::Stopped, Outcome::Stopped, true),
        (Outcome::Diverged, Outcome::Diverged, false),
        (Outcome::OutOfMemory, Outcome::OutOfMemory, false),
    ] {
        let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
        bench.event(Event::Interrupt);
        assert_eq!(bench.stopping(), Halt::Interrupted);
        bench.stop(0);
        bench.end(0, 0, 1, said, 0);
        bench.failed(0, 0, 1, outcome, retry);
        bench.exit(0, Some(0), None);
        bench.nothing_else(true, 0, usize::from(!retry), usize::from(retry));
    }
}

/// A scheduler tells the worker itself, which ends its run and leaves.
#[test]
fn a_worker_that_stops_by_itself_and_leaves_is_lost() {
    let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
    bench.epoch(0, 0, 1);
    bench.next();
    bench.end(0, 0, 1, Outcome::Stopped, 1);
    bench.close(0);
    assert_eq!(bench.emitted, [], "it gets nothing more to do, and the verdict waits for how it leaves");
    bench.exit(0, Some(0), None);
    bench.failed(0, 0, 1, Outcome::Lost, true);
    bench.started(1, 0);
    bench.nothing_else(false, 0, 0, 1);
}

#[test]
fn a_worker_that_stops_its_runs_unasked_does_not_do_so_for_ever() {
    // It stays: no scheduler had told it to leave.
    let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
    bench.end(0, 0, 1, Outcome::Stopped, 0);
    bench.tick(10);
    bench.kill(0);
    bench.exit(0, None, Some(9));
    bench.failed(0, 0, 1, Outcome::Crashed, false);
    bench.nothing_else(true, 0, 1, 0);
    // It leaves each time, without progress.
    let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
    for worker in 0..3 {
        bench.end(worker, 0, worker + 1, Outcome::Stopped, 0);
        bench.exit(worker, Some(0), None);
        let last = worker == 2;
        bench.failed(worker, 0, worker + 1, if last { Outcome::Crashed } else { Outcome::Lost }, !last);
        if !last {
            bench.started(worker + 1, 0);
            bench.open(worker + 1);
            bench.began(worker + 1, 0, worker + 2);
        }
    }
    bench.nothing_else(true, 0, 1, 0);
}

#[test]
fn an_order_that_crosses_the_last_word_of_a_worker_is_lost() {
    let mut bench = Bench::new(Limits { attempts: 1, ..limits() }, &[0], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.began(0, 0, 1);
    bench.close(0);
    bench.exit(0, Some(0), None);
    bench.failed(0, 0, 1, Outcome::Lost, true);
    bench.started(1, 0);
    bench.nothing_else(false, 0, 0, 1);
}

#[test]
fn a_lost_bundle_stays_a_bundle() {
    let mut bench = bundled(&[Some(0); 3], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.together(0, &[0, 1, 2]);
    bench.end(0, 1, 1, Outcome::Ok, 0);
    bench.succeeded(0, 1);
    bench.exit(0, None, Some(15));
    bench.failed(0, 0, 1, Outcome::Lost, true);
    bench.failed(0, 2, 1, Outcome::Lost, true);
    bench.started(1, 0);
    bench.open(1);
    let worker = WorkerId(1);
    assert_eq!(bench.next(), Action::Begin { worker, runs: vec![(0, 2), (2, 2)] });
    assert_eq!(bench.next(), Action::Train { worker, runs: vec![(0, 2), (2, 2)] });
}

#[test]
fn what_no_worker_may_say_is_a_crash() {
    for said in [Outcome::Killed, Outcome::Hung, Outcome::Timeout, Outcome::Lost, Outcome::StoppedEarly] {
        let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
        bench.end(0, 0, 1, said, 0);
        bench.failed(0, 0, 1, Outcome::Crashed, false);
        bench.stop(0);
        bench.nothing_else(false, 0, 1, 0);
    }
}

#[test]
fn a_worker_that_waits_for_a_place_is_not_hung_and_may_wait_for_days() {
    let mut bench = Bench::new(limits(), &[0, 0], 2);
    bench.started(0, 0);
    bench.started(1, 1);
    assert_eq!(bench.state.deadline(), None);
    bench.tick(1_000_000);
    bench.event(Event::Started(WorkerId(0)));
    assert_eq!(bench.state.deadline(), Some(Duration::from_secs(1_000_000) + HUNG));
    bench.open(0);
    bench.began(0, 0, 1);
    bench.end(0, 0, 1, Outcome::Ok, 0);
    bench.succeeded(0, 0);
    bench.began(0, 1, 1);
    bench.end(0, 1, 1, Outcome::Ok, 0);
    bench.succeeded(0, 1);
    // Nothing is left for the one that still waits.
    bench.stop(0);
    bench.kill(1);
    bench.exit(0, Some(0), None);
    bench.event(Event::Gone(WorkerId(1), Exit::Lost("cancelled".into()), String::new()));
    assert_eq!(bench.released, [0, 1]);
    bench.nothing_else(true, 2, 0, 0);
}

#[test]
fn a_worker_that_comes_up_and_says_nothing_is_hung() {
    let mut bench = Bench::new(limits(), &[0], 1);
    bench.started(0, 0);
    bench.event(Event::Started(WorkerId(0)));
    bench.tick(600);
    bench.kill(0);
    bench.exit(0, None, Some(9));
    bench.no_start(0, true);
    bench.nothing_else(false, 0, 0, 1);
}

#[test]
fn an_interrupt_takes_wishes_for_workers_back() {
    let mut bench = Bench::new(limits(), &[0], 1);
    bench.started(0, 0);
    bench.event(Event::Interrupt);
    assert_eq!(bench.stopping(), Halt::Interrupted);
    bench.kill(0);
    bench.event(Event::Gone(WorkerId(0), Exit::Lost("cancelled".into()), String::new()));
    bench.nothing_else(true, 0, 0, 1);
}

#[test]
fn a_node_that_fails_costs_no_attempt() {
    let mut bench = Bench::busy(Limits { attempts: 1, ..limits() });
    bench.event(Event::Gone(WorkerId(0), Exit::Lost("NODE_FAIL".into()), String::new()));
    bench.failed(0, 0, 1, Outcome::Lost, true);
    bench.started(1, 0);
    bench.nothing_else(false, 0, 0, 1);
}

#[test]
fn no_room_for_a_worker_s_log_stops_the_sweep() {
    let mut bench = Bench::new(limits(), &[0], 1);
    bench.started(0, 0);
    let exit = Exit::NotStarted { why: "w.log: No space left on device".into(), no_room: true };
    bench.event(Event::Gone(WorkerId(0), exit, String::new()));
    assert!(matches!(bench.stopping(), Halt::Fatal(why) if why.contains("No space left")));
    bench.nothing_else(true, 0, 0, 1);
}

#[test]
fn one_run_is_stopped_and_the_others_of_its_bundle_go_on() {
    let mut bench = bundled(&[Some(0); 2], 1);
    bench.started(0, 0);
    bench.open(0);
    bench.together(0, &[0, 1]);
    bench.event(Event::StopRun(1));
    assert_eq!(bench.next(), Action::StopRun { worker: WorkerId(0), run: 1, attempt: 1 });
    // Once is enough, and a run that is not under way is left alone.
    bench.event(Event::StopRun(1));
    bench.end(0, 1, 1, Outcome::StoppedEarly, 0);
    bench.failed(0, 1, 1, Outcome::StoppedEarly, false);
    bench.event(Event::StopRun(1));
    bench.end(0, 0, 1, Outcome::Ok, 0);
    bench.succeeded(0, 0);
    bench.stop(0);
    bench.exit(0, Some(0), None);
    assert_eq!(bench.state.tally().stopped, 1);
    bench.nothing_else(true, 1, 0, 0);
}

#[test]
fn a_run_that_ends_before_it_hears_of_its_stop_has_succeeded() {
    let mut bench = Bench::busy(limits());
    bench.event(Event::StopRun(0));
    assert_eq!(bench.next(), Action::StopRun { worker: WorkerId(0), run: 0, attempt: 1 });
    bench.end(0, 0, 1, Outcome::Ok, 0);
    bench.succeeded(0, 0);
    bench.stop(0);
    bench.nothing_else(false, 1, 0, 0);
}
