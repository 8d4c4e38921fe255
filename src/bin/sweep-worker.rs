//! `sweep-worker`: what `sweep worker` is in a build without CUDA. A program of its own, so that the controller `sweep`
//! refers to no Candle code and starts on machines without a CUDA library (docs/decisions/0003-two-binaries-with-cuda.md).

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains what `sweep` orders; started by it (docs/protocol.md).
#[derive(Debug, Parser)]
#[command(name = "sweep-worker", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A worker process; what launchers start
    Worker(sweep::cli::Worker),
}

fn main() -> ExitCode {
    let Command::Worker(args) = Cli::parse().command;
    sweep::logs::listen(false, 0);
    let sweep::cli::Worker { device, threads, journal, name } = args;
    match sweep::worker::run(&sweep::worker::Options { device, threads, journal, name }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
