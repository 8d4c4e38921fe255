//! One short file a command.

pub mod load;
pub mod report;
pub mod show;

use crate::cli::{Cli, Command};
use crate::error::Error;

/// Does what was typed.
///
/// # Errors
/// Whatever ends the command early; [`Error::exit_code`] says how the process ends.
pub fn run(cli: Cli) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Unexpected(error.to_string()))?;
    match cli.command {
        Command::Report(args) => runtime.block_on(report::run(&cli.global, &args)),
        Command::Show(args) => runtime.block_on(show::run(&cli.global, &args)),
        Command::Run(_)
        | Command::Plan(_)
        | Command::Data(_)
        | Command::Resume(_)
        | Command::Status(_)
        | Command::Completions(_)
        | Command::Worker(_) => todo!(),
    }
}
