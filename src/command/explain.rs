//! `sweep explain`: why the strategies differ, and what to choose.

use super::output::{print, print_json};
use super::preparing::Preparing;
use super::questions;
use super::report::{width, write};
use crate::cli::{self, ExplainFormat, Global};
use crate::controller::progress::Verbosity;
use crate::error::Error;
use crate::report::explain::{self, ExplainOptions};
use crate::report::page::keep_explained;
use store::Reader;

/// Explains and prints, or writes to `--output`.
///
/// # Errors
/// A number out of range; database errors; scores that cannot be read; a file that cannot be written.
pub async fn run(global: &Global, args: &cli::ExplainArgs) -> Result<(), Error> {
    let (ask, shown) = questions::explain(args)?;
    let mut reader = Reader::open(&global.db).await?;
    let sweep = reader.find_sweep(&args.sweep).await?;
    let preparing = Preparing::new(Verbosity::of(global.quiet));
    let explanation = explain::explain(&mut reader, &sweep, &ask, &|done, total| preparing.explaining(done, total)).await?;
    if ask == ExplainOptions::default() {
        keep_explained(&mut reader, sweep.id, &explanation).await?;
    }
    // What was drawn on the terminal goes before the text comes.
    drop(preparing);
    let text = match args.format {
        ExplainFormat::Table => explain::render(&explanation, &shown, width(args.output.is_none())),
        ExplainFormat::Markdown => explain::markdown(&explanation, &shown),
        ExplainFormat::Json => {
            serde_json::to_string_pretty(&explanation).map_err(|error| Error::Unexpected(error.to_string()))? + "\n"
        }
    };
    match &args.output {
        Some(path) => write(path, &text).map_err(|source| Error::Io { path: path.clone(), source }),
        None if args.format == ExplainFormat::Json => print_json(&explanation),
        None => print(&text),
    }
}
