//! `sweep db`: the results database as a whole.

use std::path::Path;

use super::output::{counted, thousands};
use super::preparing::Preparing;
use crate::cli::{DbCommand, DbExportArgs, DbFormat, Global};
use crate::controller::progress::{Verbosity, say};
use crate::error::Error;
use crate::exchange::{Ask, Exported, Format, export};
use crate::report::page::quoted;
use store::Reader;

/// Runs the subcommand.
///
/// # Errors
/// See [`export`]; no database.
pub async fn run(global: &Global, command: &DbCommand) -> Result<(), Error> {
    let DbCommand::Export(args) = command;
    let formats: Vec<Format> = args
        .format
        .iter()
        .map(|format| match format {
            DbFormat::Parquet => Format::Parquet,
            DbFormat::Csv => Format::Csv,
            DbFormat::Mlflow => Format::Mlflow,
            DbFormat::Tensorboard => Format::Tensorboard,
        })
        .collect();
    let mut reader = Reader::open(&global.db).await?;
    let ask = Ask { to: &args.dir, formats: &formats, sweep: args.sweep.as_deref(), force: args.force };
    let verbosity = Verbosity::of(global.quiet);
    let preparing = Preparing::new(verbosity);
    let done = export(&mut reader, &ask, &|doing, done, total| preparing.exporting(doing, done, total)).await?;
    drop(preparing);
    if verbosity != Verbosity::Quiet {
        words(args, &formats, &done).iter().for_each(|line| say(line));
    }
    Ok(())
}

/// What was written, and how it is looked at.
fn words(args: &DbExportArgs, formats: &[Format], done: &Exported) -> Vec<String> {
    let has = |format| formats.contains(&format);
    let mut parts = Vec::new();
    if has(Format::Csv) || has(Format::Parquet) {
        let rows = thousands(usize::try_from(done.rows).unwrap_or(usize::MAX));
        parts.push(format!("{} and {} ({rows} rows)", counted(done.tables, "table"), counted(done.views, "view")));
    }
    parts.push(counted(done.sweeps, "sweep"));
    parts.push(counted(done.runs, "run"));
    let mut lines = vec![format!("{}: {}", args.dir.display(), parts.join(", "))];
    lines.extend(done.as_text.iter().map(|column| format!("{column} is text in Parquet: its values are of several types")));
    let folder = quoted_path(&args.dir);
    if has(Format::Mlflow) {
        lines.push(format!(
            "look at it with: cd {folder} && mlflow ui    (should MLflow say that the database is out of date: mlflow db upgrade sqlite:///mlflow.db)"
        ));
    }
    if has(Format::Tensorboard) {
        if done.without_scores > 0 {
            lines.push(format!(
                "{} without curves of precision and recall: no kept scores beside the database",
                counted(done.without_scores, "run")
            ));
        }
        lines.push(format!("look at it with: tensorboard --logdir {folder}"));
    }
    lines
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}
