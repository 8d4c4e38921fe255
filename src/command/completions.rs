//! `sweep completions SHELL`.

use clap::CommandFactory;

use super::output;
use crate::cli::{Cli, CompletionsArgs};
use crate::error::Error;

/// Prints the completion script of a shell.
///
/// # Errors
/// Stdout cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sweep", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
