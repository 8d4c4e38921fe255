//! Logs on stderr, in the form of the program's own errors.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, Subscriber as Logs};
use tracing_subscriber::registry::LookupSpan;

/// The crates of the workspace, whose messages are shown.
const CRATES: [&str; 9] = ["sweep", "imbalance", "plan", "protocol", "data", "archive", "kernel", "train", "store"];

/// Listens to warnings; to more from `verbose` 1 (information) and 2 (everything of ours), to errors only where `quiet`. `RUST_LOG` overrules.
pub fn listen(quiet: bool, verbose: u8) {
    let ours = |level: &str| CRATES.map(|name| format!("{name}={level}")).join(",");
    let level = match (quiet, verbose) {
        (true, _) => ours("error"),
        (false, 0) => ours("warn"),
        (false, 1) => ours("info"),
        (false, 2) => ours("debug"),
        (false, _) => "trace".to_owned(),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = Logs::builder().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr);
    // Fails only where a subscriber is set already.
    let _ = tracing::subscriber::set_global_default(logs.log_internal_errors(false).event_format(Plain).finish());
}

/// `warning: words`, as the program's own errors read.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (name, colour) = match *event.metadata().level() {
            Level::ERROR => ("error", 31),
            Level::WARN => ("warning", 33),
            Level::INFO => ("info", 32),
            Level::DEBUG => ("debug", 34),
            Level::TRACE => ("trace", 35),
        };
        if writer.has_ansi_escapes() {
            write!(writer, "\x1b[{colour}m{name}\x1b[0m: ")?;
        } else {
            write!(writer, "{name}: ")?;
        }
        let mut text = String::new();
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        writeln!(writer, "{}", imbalance::shown::message(&text))
    }
}
