//! All kinds of faults on this machine, one after the other on one sweep, which at the end is that of an undisturbed one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imbalance::rng::Rng;
use rustix::process::Signal;

use crate::common::{Place, SWEEP};
use crate::{kill, signal, times};

/// What is done to the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    ControllerKilled,
    ControllerTerminated,
    TerminalClosed,
    EveryProcessTerminated,
    WorkerKilled,
    WorkerTerminated,
    WorkerSegfault,
    WorkerFrozen,
    WorkerMemory,
    JournalTorn,
    JournalLineTwice,
    FileSizeLimit,
    ClockJumps,
    OutputClosed,
    PipeFull,
}

const ALL: [Fault; 15] = [
    Fault::ControllerKilled,
    Fault::ControllerTerminated,
    Fault::TerminalClosed,
    Fault::EveryProcessTerminated,
    Fault::WorkerKilled,
    Fault::WorkerTerminated,
    Fault::WorkerSegfault,
    Fault::WorkerFrozen,
    Fault::WorkerMemory,
    Fault::JournalTorn,
    Fault::JournalLineTwice,
    Fault::FileSizeLimit,
    Fault::ClockJumps,
    Fault::OutputClosed,
    Fault::PipeFull,
];

impl Fault {
    fn words(self) -> &'static str {
        match self {
            Self::ControllerKilled => "controller, kill -9",
            Self::ControllerTerminated => "controller, SIGTERM",
            Self::TerminalClosed => "controller, SIGHUP (its terminal is closed)",
            Self::EveryProcessTerminated => "every process, SIGTERM",
            Self::WorkerKilled => "worker, kill -9",
            Self::WorkerTerminated => "worker, SIGTERM",
            Self::WorkerSegfault => "worker, SIGSEGV",
            Self::WorkerFrozen => "worker, stopped for half a second",
            Self::WorkerMemory => "worker, no more memory (RLIMIT_AS)",
            Self::JournalTorn => "journal cut in a line, controller killed",
            Self::JournalLineTwice => "journal line twice, controller killed",
            Self::FileSizeLimit => "files may not grow (RLIMIT_FSIZE)",
            Self::ClockJumps => "clock jumps by days (libfaketime)",
            Self::OutputClosed => "stdout and stderr closed",
            Self::PipeFull => "stderr is a pipe that nobody reads",
        }
    }
}

/// The library that makes up the time, if it is here.
fn faketime() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/faketime", "/usr/lib64/faketime"];
    folders.iter().map(|folder| PathBuf::from(folder).join("libfaketimeMT.so.1")).find(|path| path.exists())
}

struct Bench {
    place: Place,
    rng: Rng,
    controller: Option<Child>,
}

impl Bench {
    fn recorded(&self) -> i64 {
        let status = self.place.run(&["status", "--format", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["runs"]["succeeded"].as_i64().unwrap_or(0)
    }

    fn workers(&self) -> Vec<u32> {
        self.place.processes().into_iter().filter(|(_, line)| line.contains(" worker ")).map(|(pid, _)| pid).collect()
    }

    /// Starts the controller as the fault wants it.
    fn start(&mut self, fault: Fault) {
        let verb: &[&str] = match self.place.run(&["status"]).status.success() {
            true => &["resume", "-v"],
            false => &["run", "sweep.toml", "-v"],
        };
        let mut command = self.place.command(&[verb, &["--per-device", "2"]].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        match fault {
            Fault::ClockJumps => {
                if let Some(library) = faketime() {
                    let days = self.rng.below(60) as i64 - 30;
                    command
                        .env("LD_PRELOAD", library)
                        .env("FAKETIME", format!("{days:+}d"))
                        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
                }
            }
            Fault::FileSizeLimit => {
                let kilobytes = 40 + self.rng.below(400);
                let mut limited = Command::new("bash");
                let line = format!("ulimit -f {kilobytes}; exec \"$0\" \"$@\"");
                limited.arg("-c").arg(line).arg(env!("CARGO_BIN_EXE_sweep")).args(verb).current_dir(self.place.folder.path());
                limited.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_remove("SWEEP_DB");
                command = limited;
            }
            Fault::OutputClosed => {
                let mut closed = Command::new("bash");
                closed.args(["-c", "exec \"$0\" \"$@\" >&- 2>&-", env!("CARGO_BIN_EXE_sweep")]).args(verb);
                closed.current_dir(self.place.folder.path()).env_remove("SWEEP_DB").stdin(Stdio::null());
                command = closed;
            }
            Fault::PipeFull => {
                command.stderr(Stdio::piped());
            }
            _ => {}
        }
        self.controller = Some(command.process_group(0).spawn().unwrap());
    }

    /// Does it; `false` where there was nothing to do it to.
    fn inject(&mut self, fault: Fault) -> bool {
        let workers = self.workers();
        let one = (!workers.is_empty()).then(|| workers[self.rng.below(workers.len().max(1) as u64) as usize]);
        let controller = self.controller.as_mut().map_or(0, |child| child.id());
        match fault {
            Fault::ControllerKilled => kill(controller),
            Fault::ControllerTerminated => signal(controller, Signal::TERM),
            Fault::TerminalClosed => signal(controller, Signal::HUP),
            Fault::EveryProcessTerminated => {
                workers.iter().for_each(|&pid| signal(pid, Signal::TERM));
                signal(controller, Signal::TERM);
            }
            Fault::WorkerKilled | Fault::WorkerTerminated | Fault::WorkerSegfault | Fault::WorkerFrozen | Fault::WorkerMemory => {
                let Some(pid) = one else { return false };
                match fault {
                    Fault::WorkerKilled => kill(pid),
                    Fault::WorkerTerminated => signal(pid, Signal::TERM),
                    Fault::WorkerSegfault => signal(pid, Signal::SEGV),
                    Fault::WorkerMemory => {
                        let arguments = ["--pid", &pid.to_string(), "--as=67108864"];
                        return Command::new("prlimit").args(arguments).status().is_ok_and(|status| status.success());
                    }
                    _ => {
                        signal(pid, Signal::STOP);
                        std::thread::sleep(Duration::from_millis(500));
                        signal(pid, Signal::CONT);
                    }
                }
            }
            Fault::JournalTorn | Fault::JournalLineTwice => {
                kill(controller);
                self.wait();
                return self.tamper(fault);
            }
            Fault::ClockJumps => {
                kill(controller);
                return faketime().is_some();
            }
            Fault::FileSizeLimit | Fault::OutputClosed | Fault::PipeFull => {}
        }
        true
    }

    /// Changes the end of a journal that a killed controller has left.
    fn tamper(&mut self, fault: Fault) -> bool {
        let folder = self.place.path("sweep.runs/journals");
        let journals: Vec<PathBuf> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
            .collect();
        let Some(path) = journals.first() else { return false };
        let bytes = fs::read(path).unwrap();
        let Some(last) = bytes.split_inclusive(|&byte| byte == b'\n').next_back().map(<[u8]>::to_vec) else { return false };
        match fault {
            Fault::JournalTorn => {
                let cut = 1 + self.rng.below(last.len() as u64);
                fs::write(path, &bytes[..bytes.len() - cut as usize]).unwrap();
            }
            _ => fs::OpenOptions::new().append(true).open(path).unwrap().write_all(&last).unwrap(),
        }
        true
    }

    /// Waits until the controller has ended by itself, or ends it, and its workers with it.
    fn wait(&mut self) {
        let Some(mut child) = self.controller.take() else { return };
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > Duration::from_secs(3) {
                kill(child.id());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let start = Instant::now();
        while !self.workers().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60), "left behind: {:?}", self.place.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn faults_of_all_kinds_lose_nothing() {
    let seeds: Vec<u64> = (0..if times() > 3 { 10 * times() } else { 24 }).collect();
    let file = SWEEP.replace("seed = [0, 1]", &format!("seed = {seeds:?}"));
    let undisturbed = Place::new(&file);
    undisturbed.succeed(&["run", "sweep.toml", "--quiet"]);
    let wanted = undisturbed.rows();
    let all = seeds.len() as i64 * 4;
    let rng = Rng::new(std::process::id().into(), "faults", &[]);
    let mut bench = Bench { place: Place::new(&file), rng, controller: None };
    let mut told: BTreeMap<Fault, Vec<f64>> = BTreeMap::new();
    let mut order: Vec<Fault> = Vec::new();
    let rounds = if times() > 3 { times() } else { 1 };
    let mut lost = 0;
    'all: for _ in 0..rounds {
        order.clear();
        order.extend(ALL);
        for fault in order.drain(..) {
            let before = bench.recorded();
            if before >= all {
                break 'all;
            }
            bench.start(fault);
            let pause = 0.15 + 0.5 * bench.rng.uniform();
            std::thread::sleep(Duration::from_secs_f64(pause));
            // A worker is there after a while; a fault that finds none is tried again.
            let start = Instant::now();
            let mut done = bench.inject(fault);
            while !done
                && start.elapsed() < Duration::from_secs(3)
                && !matches!(fault, Fault::JournalTorn | Fault::JournalLineTwice)
            {
                std::thread::sleep(Duration::from_millis(50));
                done = bench.inject(fault);
            }
            let injected = Instant::now();
            let base = bench.recorded();
            lost += (before - base).max(0);
            // The next result after the fault; a controller that has ended is started again.
            while done && bench.recorded() <= base && bench.recorded() < all && injected.elapsed() < Duration::from_secs(20) {
                let ended = bench.controller.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
                if ended {
                    bench.wait();
                    bench.start(Fault::ControllerKilled);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            if done {
                told.entry(fault).or_default().push(injected.elapsed().as_secs_f64());
            }
            if let Some(child) = &bench.controller {
                signal(child.id(), Signal::TERM);
            }
            bench.wait();
        }
    }
    for (fault, times) in &mut told {
        times.sort_by(f64::total_cmp);
        let (middle, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!("| {} | {} | nothing | median {middle:.1} s, most {most:.1} s |", fault.words(), times.len());
    }
    assert_eq!(lost, 0, "what is recorded stays recorded");
    bench.place.succeed(&["resume", "--failed", "--quiet", "--per-device", "2"]);
    assert!(bench.place.rows() == wanted, "the disturbed sweep differs");
    // On a fast machine the sweep is over before its faults are; on any other a fault may find nothing to be done to.
    assert!(told.len() >= 3, "{told:?}");
}
