//! `sweep`: logs to stderr, one command, its exit code.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, Subscriber as Logs};
use tracing_subscriber::registry::LookupSpan;

use sweep::cli::{Cli, Global};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(&cli.global);
    match sweep::command::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves the exit code.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Logs go to stderr: warnings, more with `-v` (information) and `-vv` (everything), errors only with `--quiet`. `RUST_LOG` overrules.
fn log(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "sweep=error",
        (false, 0) => "sweep=warn",
        (false, 1) => "sweep=info",
        (false, 2) => "sweep=debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = Logs::builder().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr);
    // Fails only where a subscriber is set already, which is then as good.
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
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
