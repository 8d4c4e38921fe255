//! What a user names on the command line, as a list of inputs: pictures, folders of them, CSVs that list them, or a matrix of features.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Fault;
use crate::error::Error;
use data::{DataError, Listed};
use imbalance::shown::shown;
use plan::Source;
use protocol::{Input, Inputs};

/// Files that a message names.
const NAMED: usize = 20;

/// Inputs, in the order in which they were named.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What the output calls them: paths as they were given, cells of a CSV, or row numbers. Empty for features, whose rows are counted
    /// when they are read.
    pub ids: Vec<String>,
    pub inputs: Inputs,
    /// Number and fault of each picture that is not there.
    pub missing: Vec<Fault>,
}

impl Wanted {
    /// What `paths` name, for a model that was trained on `source`; `column` and `root` are about CSVs.
    ///
    /// # Errors
    /// A path that does not exist, is of the wrong kind for the model, or names nothing.
    pub fn new(paths: &[PathBuf], source: &Source, column: Option<&str>, root: Option<&Path>) -> Result<Self, Error> {
        if source.is_of_images() { Self::pictures(paths, column, root) } else { Self::features(paths) }
    }

    fn features(paths: &[PathBuf]) -> Result<Self, Error> {
        let [path] = paths else {
            return Err(Error::Usage(format!(
                "the model reads features: name one .npy or .safetensors file, not {} paths",
                paths.len()
            )));
        };
        if !matrix(path) {
            return Err(wrong(path, "the model reads features, from a .npy or .safetensors file".to_owned()));
        }
        let stamp = stamp(path).map_err(|error| wrong(path, error))?;
        Ok(Self { ids: Vec::new(), inputs: Inputs::Features(Input { path: absolute(path)?, stamp }), missing: Vec::new() })
    }

    fn pictures(paths: &[PathBuf], column: Option<&str>, root: Option<&Path>) -> Result<Self, Error> {
        let (mut ids, mut files) = (Vec::new(), Vec::new());
        for path in paths {
            let path = &archive::file::expand_home(path);
            if path.is_dir() {
                let found = data::pictures(path);
                if found.is_empty() {
                    return Err(wrong(path, "no pictures are below this folder (JPEG, PNG, WebP, GIF, BMP, TIFF)".to_owned()));
                }
                ids.extend(found.iter().map(|file| file.to_string_lossy().into_owned()));
                files.extend(found);
            } else if table(path) {
                let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let Listed { ids: named, files: found } = data::listed(path, column, root.unwrap_or(beside))?;
                if named.is_empty() {
                    return Err(wrong(path, "has no rows".to_owned()));
                }
                ids.extend(named);
                files.extend(found);
            } else if matrix(path) {
                return Err(wrong(path, "the model reads pictures, and this is a matrix of features".to_owned()));
            } else if path.exists() {
                ids.push(path.to_string_lossy().into_owned());
                files.push(path.clone());
            } else {
                return Err(wrong(path, "there is no such file or folder".to_owned()));
            }
        }
        let (mut inputs, mut missing) = (Vec::with_capacity(files.len()), Vec::new());
        for (number, file) in files.iter().enumerate() {
            let stamp = stamp(file).unwrap_or_else(|why| {
                missing.push((number, why));
                String::new()
            });
            inputs.push(Input { path: absolute(file)?, stamp });
        }
        Ok(Self { ids, inputs: Inputs::Pictures(inputs), missing })
    }

    /// The error that names inputs that cannot be used, with the way out.
    #[must_use]
    pub fn bad(&self, bad: &[Fault], total: usize, kept: &str) -> Error {
        let mut lines = String::new();
        for (number, why) in bad.iter().take(NAMED) {
            lines += &format!("\n  {}: {}", self.name(*number), shown(why));
        }
        if bad.len() > NAMED {
            lines += &format!("\n  and {} more", bad.len() - NAMED);
        }
        let (place, message) = (
            format!("{} of {total} inputs cannot be used", bad.len()),
            format!("{}\nrepair or remove them, or --skip-bad leaves them out{kept}", lines.trim_start_matches('\n')),
        );
        Error::Data(DataError { place, message })
    }

    /// What the output calls an input.
    #[must_use]
    pub fn name(&self, number: usize) -> String {
        self.ids.get(number).map_or_else(|| format!("row {number} (from 0)"), |id| shown(id))
    }
}

fn wrong(path: &Path, message: String) -> Error {
    Error::Data(DataError { place: path.display().to_string(), message })
}

fn matrix(path: &Path) -> bool {
    has_ending(path, &["npy", "safetensors"])
}

fn table(path: &Path) -> bool {
    has_ending(path, &["csv", "tsv", "txt"])
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

fn absolute(path: &Path) -> Result<String, Error> {
    let found = std::path::absolute(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    found.into_os_string().into_string().map_err(|_| wrong(path, "the path is not UTF-8: rename the file".to_owned()))
}

/// What tells a changed file from an unchanged one.
fn stamp(path: &Path) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    })?;
    if !meta.is_file() {
        return Err("is not a file".to_owned());
    }
    Ok(format!("{} {}.{:09} {}", meta.size(), meta.ctime(), meta.ctime_nsec(), meta.ino()))
}
