//! Output on stderr: how much, and in which form. Write errors are ignored, since a closed stderr must not end a sweep.

use imbalance::shown;
use std::io::{IsTerminal, Write};

pub use plan::words::{rate, span};

/// The amount and form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Only errors.
    Quiet,
    /// Lines without escape codes.
    Lines,
    /// A live bar and a line per busy worker.
    Live,
}

impl Verbosity {
    /// The form for `--quiet` and this stderr.
    #[must_use]
    pub fn of(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match quiet {
            true => Self::Quiet,
            false if std::io::stderr().is_terminal() && !dumb => Self::Live,
            false => Self::Lines,
        }
    }
}

/// Writes to stderr; write errors are ignored.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", shown::message(text));
}
