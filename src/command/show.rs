//! `sweep show`: one run.

use std::io::IsTerminal;

use super::report::{print, styled};
use crate::cli::{self, Format, Global};
use crate::error::Error;
use crate::report;
use crate::store::Reader;

/// Prints the run that `args` names.
///
/// # Errors
/// No run or more than one of that name; the database.
pub async fn run(global: &Global, args: &cli::Show) -> Result<(), Error> {
    let mut reader = Reader::open(&global.db).await?;
    let shown = report::show(&mut reader, &args.run).await?;
    print(&match args.format {
        Format::Table => report::render_run(&shown, std::io::stdout().is_terminal() && styled()),
        Format::Json => match serde_json::to_string_pretty(&shown) {
            Ok(json) => json + "\n",
            Err(error) => return Err(Error::Unexpected(error.to_string())),
        },
    })
}
