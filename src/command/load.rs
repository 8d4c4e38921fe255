//! From a sweep file to its plan: read, check, prepare the data, plan. `run`, `plan` and `data` come through here; `resume` reads
//! the text that the database kept.

use super::preparing::Preparing;
use super::weights::Weights;
use crate::error::Error;
use archive::file::open_regular;
use data::{Layout, Prepared, Untrainable};
use plan::{self, DataFacts, Plan, Recorded, Source, SpecError, Sweep};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of a sweep file.
const MOST: u64 = 16 << 20;

/// A sweep file as it was read.
pub struct SweepFile {
    pub sweep: Sweep,
    /// The file's path, absolute if it can be determined.
    pub path: PathBuf,
    /// The folder that the file's paths start from.
    pub base: PathBuf,
    /// The file's text and the `--set` changes to it, as the database keeps them.
    pub text: Recorded,
}

/// A sweep file whose data is prepared.
pub struct PreparedSweep {
    pub sweep: Sweep,
    pub plan: Plan,
    pub path: PathBuf,
    pub base: PathBuf,
    pub text: Recorded,
    /// What the columns of each CSV were taken for, in a line.
    pub read: Vec<String>,
}

/// The folder of prepared data sets beside a database: `X.cache` for `X.db`.
#[must_use]
pub fn cache_folder(db: &Path) -> PathBuf {
    db.with_extension("cache")
}

/// Reads a sweep file and the `--set` changes to it.
///
/// # Errors
/// A file that cannot be read, is not UTF-8, or is not a valid sweep file.
pub fn read(path: &Path, set: &[String]) -> Result<SweepFile, Error> {
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    let read = open_regular(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    read.map_err(|error| Error::Usage(format!("the sweep file {shown} cannot be read: {error}")))?;
    if bytes.len() as u64 > MOST {
        return Err(Error::Usage(format!("the sweep file {shown} has more than {} MiB: is it one?", MOST >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|&&byte| byte == b'\n').count() + 1;
        SpecError { place: format!("{shown}:{line}:1"), message: "is not text in UTF-8; a sweep file is a TOML file".to_owned() }
    })?;
    let sweep = plan::parse(&shown, &text, set)?;
    sweep.old_spellings.iter().for_each(|old| tracing::warn!("{old}"));
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    Ok(SweepFile { sweep, path, base, text: Recorded { text, changes: Some(set.to_vec()) } })
}

impl SweepFile {
    /// Prepares the data in the cache beside `db` and plans.
    ///
    /// # Errors
    /// Data that cannot be used, or that nothing can be trained on; weights that cannot be had or used.
    pub fn plan(self, db: &Path, preparing: &Preparing) -> Result<PreparedSweep, Error> {
        let (planned, untrainable) = self.outline(db, preparing)?;
        untrainable.into_iter().next().map_or(Ok(planned), |found| Err(Error::Data(found.into())))
    }

    /// As [`SweepFile::plan`], also for data that nothing can be trained on, with why not: the plan is there to be looked at.
    ///
    /// # Errors
    /// Data that cannot be read; weights that cannot be had or used.
    pub fn outline(self, db: &Path, preparing: &Preparing) -> Result<(PreparedSweep, Vec<Untrainable>), Error> {
        let Self { sweep, path, base, text } = self;
        // Weights first: a wrong path is reported before a million images are decoded.
        let weights = Weights::of(&sweep, &base, preparing)?;
        let prepared = prepare(&sweep, &base, db, preparing)?;
        let read = readings(&sweep, &prepared);
        let untrainable = untrainable(&sweep, &prepared);
        let facts: Vec<DataFacts> = prepared.into_iter().map(|data| data.facts).collect();
        weights.compare(&sweep, &facts)?;
        let plan =
            if untrainable.is_empty() { sweep.plan(&facts, &weights.files)? } else { sweep.outline(&facts, &weights.files)? };
        Ok((PreparedSweep { sweep, plan, path, base, text, read }, untrainable))
    }
}

/// Why nothing can be trained on some of the data, each reason once.
fn untrainable(sweep: &Sweep, prepared: &[Prepared]) -> Vec<Untrainable> {
    let mut found = Vec::new();
    for (config, data) in sweep.data_configs().into_iter().zip(prepared) {
        let counts = [&data.facts.train, &data.facts.val, &data.facts.test];
        found
            .extend(data::trainable(&config, &data.facts.labels, counts, data.groups()).err().filter(|one| !found.contains(one)));
    }
    found
}

/// `labels.csv: 60 rows; row: `id`; ...`, once for each CSV that was read in its own way.
fn readings(sweep: &Sweep, prepared: &[Prepared]) -> Vec<String> {
    let mut read: Vec<String> = Vec::new();
    for (config, data) in sweep.data_configs().iter().zip(prepared) {
        read.extend(reading(&config.source, data.layout.as_ref()).filter(|line| !read.contains(line)));
    }
    read
}

/// What the columns of the CSV were taken for, in a line; `None` where there is no CSV.
#[must_use]
pub fn reading(source: &Source, layout: Option<&Layout>) -> Option<String> {
    let (Source::Images { labels, .. } | Source::Features { labels, .. }) = source else { return None };
    layout.map(|layout| format!("{}: {layout}", labels.display()))
}

/// Prepares each data configuration of the sweep, in order.
///
/// # Errors
/// Data that cannot be used.
pub fn prepare(sweep: &Sweep, base: &Path, db: &Path, preparing: &Preparing) -> Result<Vec<Prepared>, Error> {
    let cache = cache_folder(db);
    let configs = sweep.data_configs();
    let prepare =
        |config| data::prepare(config, base, &cache, &|done, total| preparing.tell(config, done, total)).map_err(Error::from);
    configs.iter().map(prepare).collect()
}
