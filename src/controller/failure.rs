//! What the end of a worker's process says about the run it was on. Pure.

use std::time::Duration;

use crate::launcher::Exit;
use protocol::Outcome;

/// The code a worker exits with when it cannot write its journal.
pub const JOURNAL_IO: i32 = 74;

const SIGNALS: &[(i32, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (4, "SIGILL"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (15, "SIGTERM"),
];

/// The outcome of the attempt that a worker was on when its process ended.
#[must_use]
pub fn verdict(exit: &Exit) -> (Outcome, String) {
    match (exit.code, exit.signal) {
        (_, Some(9)) if exit.out_of_memory => {
            (Outcome::OutOfMemory, "the kernel killed the worker: the machine or its cgroup ran out of memory".to_owned())
        }
        (_, Some(signal)) => {
            let name = SIGNALS.iter().find(|(number, _)| *number == signal).map_or("?", |(_, name)| name);
            let outcome = if matches!(signal, 4 | 6 | 7 | 8 | 11) { Outcome::Crashed } else { Outcome::Killed };
            (outcome, format!("the worker was killed by signal {signal} ({name})"))
        }
        (Some(JOURNAL_IO), None) => {
            (Outcome::Io, "the worker could not write its journal: is the disk full or read-only?".to_owned())
        }
        (Some(0), None) => (Outcome::Crashed, "the worker left without ending its run".to_owned()),
        (Some(code), None) => (Outcome::Crashed, format!("the worker exited with code {code}")),
        (None, None) => (Outcome::Crashed, "the worker vanished".to_owned()),
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
        let of = |code, signal, out_of_memory| verdict(&Exit { code, signal, out_of_memory }).0;
        assert_eq!(of(None, Some(9), true), Outcome::OutOfMemory);
        assert_eq!(of(None, Some(9), false), Outcome::Killed);
        assert_eq!(of(None, Some(15), true), Outcome::Killed);
        assert_eq!(of(None, Some(11), false), Outcome::Crashed);
        assert_eq!(of(Some(74), None, false), Outcome::Io);
        assert_eq!(of(Some(101), None, false), Outcome::Crashed);
        assert_eq!(of(Some(0), None, false), Outcome::Crashed);
    }
}
