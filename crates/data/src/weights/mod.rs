//! Files of pretrained weights: on this machine, or on the Hugging Face hub, from where they are fetched once into its usual cache.
//! Their content is part of a run's name, so it is known before anything trains, and whether they fit the network is, too.

mod file;
mod fit;
mod hub;

use std::io::Read;
use std::path::{Path, PathBuf};

use super::DataError;
use archive::file::open_regular;
use imbalance::shown::cut;
use plan::tensors::Known;
use plan::{HubFile, ModelConfig};

pub use file::{Header, Held, header};
pub use fit::{FileHead, Fit, Start, fit};

/// Bytes that are hashed between two progress reports.
const PIECE: usize = 8 << 20;

/// Called with (done, total) bytes.
pub type Beat<'b> = &'b mut dyn FnMut(usize, usize);

/// A file of weights on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// Its path, or its address on the hub with the commit.
    pub source: String,
}

/// The file that `source` names: a path, or an address on the hub, fetched if this machine does not have it.
///
/// # Errors
/// Not a hub address; errors of the hub or the network. A path is not checked.
pub fn find(source: &str, beat: Beat<'_>) -> Result<Found, DataError> {
    let wrong = |message: String| DataError { place: source.to_owned(), message };
    match HubFile::parse(source) {
        None => Ok(Found { path: PathBuf::from(source), source: source.to_owned() }),
        Some(Err(message)) => Err(wrong(message)),
        Some(Ok(file)) => {
            let path = hub::fetch(&file, beat).map_err(wrong)?;
            let source = HubFile { revision: hub::commit(&path, &file.file).or(file.revision), ..file }.to_string();
            Ok(Found { path, source })
        }
    }
}

/// The file that `source` names, if this machine has it.
#[must_use]
pub fn find_here(source: &str) -> Option<PathBuf> {
    match HubFile::parse(source) {
        None => Some(PathBuf::from(source)),
        Some(file) => hub::cached(&file.ok()?),
    }
}

/// How the file with this `header` fits the network of `model` on data of which this much is `known`, and the head that its runs start
/// with.
///
/// # Errors
/// What differs, as the end of a sentence that begins with the file's path.
pub fn suits(header: &Header, model: &ModelConfig, known: Known) -> Result<(Fit, Start), String> {
    let wanted = model.tensors(known).ok_or_else(|| format!("is for `{}`, which is no network", cut(&model.arch, 60)))?;
    let fit = fit(header, &wanted)?;
    let start = fit.start(model.weights_head, known.labels)?;
    Ok((fit, start))
}

/// blake3 of the file.
///
/// # Errors
/// The file cannot be read, or is not a regular file.
pub fn hash(path: &Path, beat: Beat<'_>) -> std::io::Result<String> {
    let mut file = open_regular(path)?;
    let total = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let (mut hasher, mut buffer, mut done) = (blake3::Hasher::new(), vec![0; PIECE.min(total.max(1))], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer[..read]);
        done += read;
        beat(done, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        std::fs::write(&path, "weights").unwrap();
        let mut beats = 0;
        assert_eq!(hash(&path, &mut |_, _| beats += 1).unwrap(), blake3::hash(b"weights").to_hex().to_string());
        assert_eq!(beats, 1);
        for odd in [Path::new("/dev/zero"), folder.path()] {
            assert!(hash(odd, &mut |_, _| ()).unwrap_err().to_string().contains("not a regular file"));
        }
    }
}
