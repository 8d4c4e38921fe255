//! The outcome of runs whose worker has ended. Pure.

use std::time::Duration;

use crate::launcher::Exit;
use protocol::Outcome;

/// The exit code of a worker when it cannot write its journal.
pub const JOURNAL_IO: i32 = 74;

const SIGNALS: &[(i32, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (4, "SIGILL"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (15, "SIGTERM"),
    (25, "SIGXFSZ"),
];

/// The outcome of the attempts that a worker had when it ended.
///
/// A signal that asks a process to end, or warns it (a closed terminal, `kill`, a preempting scheduler), says nothing about the run,
/// which is lost, not failed.
#[must_use]
pub fn verdict(exit: &Exit) -> (Outcome, String) {
    let (code, signal, out_of_memory) = match exit {
        Exit::NotStarted { why, .. } => return (Outcome::Lost, why.clone()),
        Exit::Lost(why) => return (Outcome::Lost, why.clone()),
        Exit::Process { code, signal, out_of_memory } => (*code, *signal, *out_of_memory),
    };
    // A shell around the worker reports its child's signal this way.
    let signal = signal.or_else(|| code.filter(|code| (129..=192).contains(code)).map(|code| code - 128));
    match (code, signal) {
        (_, Some(9)) if out_of_memory => {
            (Outcome::OutOfMemory, "the kernel killed the worker: the machine or its cgroup ran out of memory".to_owned())
        }
        (_, Some(25)) => (Outcome::Io, "a file of the worker reached the limit on the size of files (`ulimit -f`)".to_owned()),
        (_, Some(signal)) => {
            let name = SIGNALS.iter().find(|(number, _)| *number == signal).map_or("?", |(_, name)| name);
            let outcome = match signal {
                1 | 2 | 10 | 12 | 15 => Outcome::Lost,
                4 | 6 | 7 | 8 | 11 => Outcome::Crashed,
                _ => Outcome::Killed,
            };
            (outcome, format!("the worker was ended by signal {signal} ({name})"))
        }
        (Some(JOURNAL_IO), None) => {
            (Outcome::Io, "the worker could not write its journal: is the disk full or read-only?".to_owned())
        }
        (Some(0), None) => (Outcome::Crashed, "the worker left without ending its run".to_owned()),
        (Some(code), None) => (Outcome::Crashed, format!("the worker exited with code {code}")),
        (None, None) => (Outcome::Crashed, "the worker vanished".to_owned()),
    }
}

/// An outcome as users read it.
#[must_use]
pub fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Stopped => "stopped",
        Outcome::StoppedEarly => "stopped early",
        Outcome::Diverged => "diverged",
        Outcome::OutOfMemory => "out of memory",
        Outcome::Data => "data",
        Outcome::Io => "io",
        Outcome::Crashed => "crashed",
        Outcome::Killed => "killed",
        Outcome::Hung => "hung",
        Outcome::Timeout => "timeout",
        Outcome::Lost => "lost",
    }
}

/// A duration for a message: `600 s`, `0.5 s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_die_has_its_outcome() {
        let of = |code, signal, out_of_memory| verdict(&Exit::Process { code, signal, out_of_memory }).0;
        assert_eq!(of(None, Some(9), true), Outcome::OutOfMemory);
        assert_eq!(of(Some(137), None, true), Outcome::OutOfMemory);
        assert_eq!(of(None, Some(9), false), Outcome::Killed);
        assert_eq!(of(Some(137), None, false), Outcome::Killed);
        assert_eq!(of(None, Some(24), false), Outcome::Killed);
        assert_eq!(of(None, Some(11), false), Outcome::Crashed);
        assert_eq!(of(Some(134), None, false), Outcome::Crashed);
        assert_eq!(of(Some(74), None, false), Outcome::Io);
        assert_eq!(of(None, Some(25), false), Outcome::Io);
        assert_eq!(of(Some(101), None, false), Outcome::Crashed);
        assert_eq!(of(Some(0), None, false), Outcome::Crashed);
    }

    #[test]
    fn being_asked_to_leave_is_no_failure() {
        for signal in [1, 2, 10, 12, 15] {
            for out_of_memory in [false, true] {
                let by_signal = verdict(&Exit::Process { code: None, signal: Some(signal), out_of_memory }).0;
                let by_shell = verdict(&Exit::Process { code: Some(128 + signal), signal: None, out_of_memory }).0;
                assert_eq!((by_signal, by_shell), (Outcome::Lost, Outcome::Lost), "{signal}");
            }
        }
        assert_eq!(verdict(&Exit::Lost("node failed".to_owned())), (Outcome::Lost, "node failed".to_owned()));
    }
}
