//! `sweep compare`: two runs, or groups of runs.

use super::output::{print, print_json};
use super::questions;
use super::report::width;
use crate::cli::{self, Format, Global};
use crate::error::Error;
use crate::report::compare::{compare, render};
use store::Reader;

/// Compares and prints.
///
/// # Errors
/// An unknown name; runs that cannot be paired; database errors; scores that cannot be read.
pub async fn run(global: &Global, args: &cli::CompareArgs) -> Result<(), Error> {
    let ask = questions::compare(args)?;
    let mut reader = Reader::open(&global.db).await?;
    let comparison = compare(&mut reader, &ask).await?;
    match args.format {
        Format::Table => print(&render(&comparison, width(true))),
        Format::Json => print_json(&comparison),
    }
}
