//! `sweep-worker`: the worker as a program of its own, as a CUDA build needs it: the controller `sweep` then has no Candle and
//! starts on machines without a CUDA library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use train::worker::{self, Options};

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
    Worker {
        /// `cpu` or `cuda:N`
        #[arg(long)]
        device: String,
        /// CPU threads of this worker
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// The journal to create
        #[arg(long)]
        journal: PathBuf,
        /// Name of this worker in its journal
        #[arg(long)]
        name: String,
    },
}

fn main() -> ExitCode {
    protocol::outlive_the_file_size_limit();
    let Command::Worker { device, threads, journal, name } = Cli::parse().command;
    worker::log_to_stderr();
    match worker::run(&Options { device, threads, journal, name }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves the exit code.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
