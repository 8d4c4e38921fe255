//! `sweep`: logs to stderr, one command, its exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use sweep::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    protocol::outlive_the_file_size_limit();
    let cli = Cli::parse();
    sweep::logs::listen(cli.global.quiet, cli.global.verbose);
    match sweep::command::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves the exit code.
            let _ = writeln!(std::io::stderr(), "error: {}", imbalance::shown::message(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}
