//! `sweep show`: one run.

use std::io::IsTerminal;

use super::output::{print, print_json};
use super::report::{styled, width};
use super::terminal;
use crate::cli::{self, Format, Global};
use crate::error::Error;
use crate::report;
use store::Reader;

/// Prints the run that `args` names.
///
/// # Errors
/// No run or more than one matches; a label that it does not have; database errors.
pub async fn run(global: &Global, args: &cli::ShowArgs) -> Result<(), Error> {
    let mut reader = Reader::open(&global.db).await?;
    let shown = report::show(&mut reader, &args.run).await?;
    match args.format {
        Format::Table => {
            let choice = report::LabelChoice::read(&args.labels);
            let canvas = terminal::blocks(args.ascii).map(|blocks| report::Canvas { blocks, width: width(true) });
            print(&report::render_run(&shown, std::io::stdout().is_terminal() && styled(), &choice, canvas)?)
        }
        Format::Json => print_json(&shown),
    }
}
