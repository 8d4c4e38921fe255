//! `sweep recipe`: a run's strategy as PyTorch.

use super::export::is_free;
use super::output::raw;
use super::questions;
use super::report::write;
use crate::cli::{self, Global};
use crate::controller::progress::{Verbosity, say};
use crate::error::Error;
use crate::report::recipe::recipe;
use store::Reader;

/// Prints or writes the recipe of the run that `args` names.
///
/// # Errors
/// A file that is there; no run or more than one matches; a policy that is unknown or cannot be fitted; a file that cannot be written.
pub async fn run(global: &Global, args: &cli::RecipeArgs) -> Result<(), Error> {
    let policy = args.threshold.as_deref().map(questions::policy).transpose()?;
    if let Some(path) = &args.output {
        is_free(path, args.force)?;
    }
    let found = recipe(&mut Reader::open(&global.db).await?, &args.run, policy).await?;
    match &args.output {
        Some(path) => write(path, &found.python).map_err(|source| Error::Io { path: path.clone(), source })?,
        None => raw(&found.python)?,
    }
    if Verbosity::of(global.quiet) != Verbosity::Quiet {
        let to = args.output.as_ref().map_or_else(String::new, |path| format!("{}: ", path.display()));
        for remark in &found.remarks {
            say(&format!("{to}{remark}"));
        }
    }
    Ok(())
}
