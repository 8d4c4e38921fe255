//! From a sweep file to its plan: read, check, prepare the data, plan. `run`, `plan` and `data` come through here; `resume` reads
//! the text that the database kept.

use crate::error::Error;
use plan::{self, DataConfig, DataFacts, Plan, SpecError, Sweep, WeightFile};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use plan::recall;

/// A sweep file as it was read.
pub struct File {
    pub sweep: Sweep,
    /// The file's path, absolute where the system can say so.
    pub path: PathBuf,
    /// The folder that the file's paths start from.
    pub base: PathBuf,
    /// The file's text and the `--set` changes to it, as the database keeps them.
    pub text: String,
}

/// A sweep file whose data is prepared.
pub struct Loaded {
    pub sweep: Sweep,
    pub plan: Plan,
    pub path: PathBuf,
    pub base: PathBuf,
    pub text: String,
}

/// The folder of prepared data sets beside a database: `X.cache` for `X.db`.
#[must_use]
pub fn cache_folder(db: &Path) -> PathBuf {
    db.with_extension("cache")
}

/// Reads a sweep file and the `--set` changes to it.
///
/// # Errors
/// A file that cannot be read, is not UTF-8, or is no sweep file.
pub fn read(path: &Path, set: &[String]) -> Result<File, Error> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Error::Usage(format!("the sweep file {shown} cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|&&byte| byte == b'\n').count() + 1;
        SpecError { place: format!("{shown}:{line}:1"), message: "is not text in UTF-8; a sweep file is a TOML file".to_owned() }
    })?;
    let sweep = plan::parse(&shown, &text, set)?;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    Ok(File { sweep, path, base, text: plan::recorded(text, set) })
}

impl File {
    /// Prepares the data in the cache beside `db` and plans. `progress` hears (configuration, done, total rows).
    ///
    /// # Errors
    /// Data that cannot be used; weights that are not there.
    pub fn plan(self, db: &Path, progress: &(dyn Fn(&DataConfig, usize, usize) + Sync)) -> Result<Loaded, Error> {
        let Self { sweep, path, base, text } = self;
        // Weights first: a wrong path should not wait for a million pictures.
        let weights = weight_files(&sweep, &base)?;
        let facts = prepare(&sweep, &base, db, progress)?;
        let plan = sweep.plan(&facts, &weights)?;
        Ok(Loaded { sweep, plan, path, base, text })
    }
}

/// Prepares each data configuration of the sweep, in order.
///
/// # Errors
/// Data that cannot be used.
pub fn prepare(
    sweep: &Sweep,
    base: &Path,
    db: &Path,
    progress: &(dyn Fn(&DataConfig, usize, usize) + Sync),
) -> Result<Vec<DataFacts>, Error> {
    let cache = cache_folder(db);
    let configs = sweep.data_configs();
    let prepare = |config| data::prepare(config, base, &cache, &|done, total| progress(config, done, total)).map_err(Error::from);
    configs.iter().map(prepare).collect()
}

fn weight_files(sweep: &Sweep, base: &Path) -> Result<BTreeMap<String, WeightFile>, Error> {
    let hash = |typed: String| {
        let path = base.join(&typed);
        let content = hash_file(&path)
            .map_err(|error| Error::Usage(format!("model.weights: {} cannot be read: {error}", path.display())))?;
        Ok((typed, WeightFile { path, content }))
    };
    sweep.weight_files().into_iter().map(hash).collect()
}

fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}
