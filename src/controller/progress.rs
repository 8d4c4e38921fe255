//! Output on stderr: how much, and in which form. Write errors are ignored, since a closed stderr must not end a sweep.

use imbalance::shown;
use std::io::{IsTerminal, Write};

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

/// `0.5`, `99.9`, `120`.
#[must_use]
pub fn rate(number: f64) -> String {
    if number >= 100.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// `45 s`, `3m 05s`, `2h 10m`.
#[must_use]
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        assert_eq!([0.4, 59.4, 185.0, 7800.0].map(span), ["0 s", "59 s", "3m 05s", "2h 10m"]);
    }
}
