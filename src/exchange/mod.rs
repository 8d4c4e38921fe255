//! The results for other programs: tables and views as CSV and Parquet, runs as an MLflow database and as TensorBoard's event files. Reads
//! only; what it writes is in one folder of the user's (docs/exports.md).

mod csv;
mod events;
mod mlflow;
mod names;
mod parquet;
mod runs;
mod staging;
mod tables;
mod tensorboard;

use std::path::Path;

use crate::error::Error;
use staging::Staging;
use store::{RELATIONS, Reader, SweepRow};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    Csv,
    Mlflow,
    Tensorboard,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The folder, which is made if it is not there.
    pub to: &'a Path,
    pub formats: &'a [Format],
    /// One sweep: name, id or `latest`. All of them by default.
    pub sweep: Option<&'a str>,
    /// Whether files that are there are written over.
    pub force: bool,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub tables: usize,
    pub views: usize,
    /// Rows of these.
    pub rows: u64,
    pub sweeps: usize,
    pub runs: usize,
    /// Runs with a result whose kept scores could not be read: they have no curves of precision and recall.
    pub without_scores: usize,
    /// Columns that are text because their values were not of their kind.
    pub as_text: Vec<String>,
}

/// Called with what is being done, how much of it is done, and how much there is.
pub type Told<'a> = &'a dyn Fn(&'static str, usize, usize);

/// Writes the results into a folder. Every file is whole, or not there, and without an error all of them are.
///
/// # Errors
/// No such sweep; files that are there, without `force`; files that cannot be written. Then nothing is written over.
pub async fn export(reader: &mut Reader, ask: &Ask<'_>, told: Told<'_>) -> Result<Exported, Error> {
    reader.hold().await?;
    let one = match ask.sweep {
        Some(selector) => Some(reader.find_sweep(selector).await?),
        None => None,
    };
    let only = one.as_ref().map(|sweep| sweep.id);
    let mut sweeps: Vec<SweepRow> = one.into_iter().collect();
    if only.is_none() {
        for id in reader.sweep_ids().await? {
            sweeps.push(reader.sweep(id).await?);
        }
    }
    let wants = |format| ask.formats.contains(&format);
    let folders = tensorboard::folders(&sweeps);
    let mut staging = Staging::begin(ask.to)?;
    if !ask.force {
        let tables = tables::files(wants(Format::Csv), wants(Format::Parquet));
        let folders = folders.iter().filter(|_| wants(Format::Tensorboard)).cloned();
        let mlflow = wants(Format::Mlflow).then(|| mlflow::FILE.to_owned());
        for name in tables.chain(folders).chain(mlflow) {
            staging.must_be_new(&name)?;
        }
    }
    if wants(Format::Mlflow) {
        staging.must_not_be_in_use(mlflow::FILE)?;
    }
    let mut done = Exported { sweeps: sweeps.len(), ..Exported::default() };
    if wants(Format::Csv) || wants(Format::Parquet) {
        for (at, relation) in RELATIONS.iter().enumerate() {
            told("writing tables", at, RELATIONS.len());
            let written = tables::write(reader, &mut staging, relation, only, wants(Format::Csv), wants(Format::Parquet)).await?;
            done.rows += written.rows;
            done.as_text.extend(written.as_text);
            *(if relation.is_view { &mut done.views } else { &mut done.tables }) += 1;
        }
    }
    for sweep in &sweeps {
        done.runs += reader.listed_runs(sweep.id).await?.len();
    }
    if wants(Format::Mlflow) {
        mlflow::write(reader, &mut staging, &sweeps, told).await?;
    }
    if wants(Format::Tensorboard) {
        done.without_scores = tensorboard::write(reader, &mut staging, &sweeps, &folders, told).await?;
    }
    let written = staging.publish()?;
    if wants(Format::Tensorboard) {
        tensorboard::remove_stale(ask.to, &folders, &written)?;
    }
    Ok(done)
}
