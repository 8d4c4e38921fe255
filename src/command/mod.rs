//! One short file a command.

pub mod load;

use crate::cli::{Cli, Command};
use crate::error::Error;

/// Does what was typed.
///
/// # Errors
/// Whatever ends the command early; [`Error::exit_code`] says how the process ends.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Run(_)
        | Command::Plan(_)
        | Command::Data(_)
        | Command::Resume(_)
        | Command::Status(_)
        | Command::Report(_)
        | Command::Show(_)
        | Command::Completions(_)
        | Command::Worker(_) => todo!(),
    }
}
