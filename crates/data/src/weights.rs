//! Files of pretrained weights: on this machine, or on the Hugging Face hub, from where they are fetched once into its usual cache.
//! Their content is part of a run's name, so it is known before anything trains.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use super::DataError;
use archive::file::open_regular;
use plan::HubFile;

/// How long another process may take to download the same file.
const PATIENCE: Duration = Duration::from_secs(3600);
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
            let path = fetch(&file, beat).map_err(|error| {
                wrong(format!(
                    "cannot fetch it from the Hugging Face hub ({}); without network, download `{}` of `{}` elsewhere and give its path \
                     as `weights`",
                    causes(&error),
                    file.file,
                    file.repository
                ))
            })?;
            let source = HubFile { revision: commit(&path, &file.file).or(file.revision), ..file }.to_string();
            Ok(Found { path, source })
        }
    }
}

/// The file that `source` names, if this machine has it.
#[must_use]
pub fn find_here(source: &str) -> Option<PathBuf> {
    match HubFile::parse(source) {
        None => Some(PathBuf::from(source)),
        Some(file) => cached(&file.ok()?),
    }
}

/// A file of the hub in its cache.
fn cached(file: &HubFile) -> Option<PathBuf> {
    let cache = Cache::from_env().repo(repository(file));
    // The snapshot first: a commit that was downloaded as the main branch has no ref of its own.
    let pinned = file.revision.as_deref().map(|revision| cache.pointer_path(revision).join(&file.file));
    pinned.filter(|path| path.exists()).or_else(|| cache.get(&file.file))
}

fn repository(file: &HubFile) -> Repo {
    let name = file.repository.clone();
    match &file.revision {
        Some(revision) => Repo::with_revision(name, RepoType::Model, revision.clone()),
        None => Repo::new(name, RepoType::Model),
    }
}

/// The commit in `.../snapshots/COMMIT/path/in/repository`.
fn commit(path: &Path, file: &str) -> Option<String> {
    let folder = path.ancestors().nth(file.split('/').count())?;
    folder.parent()?.ends_with("snapshots").then(|| folder.file_name()?.to_str().map(str::to_owned))?
}

fn fetch(file: &HubFile, beat: Beat<'_>) -> Result<PathBuf, ApiError> {
    if let Some(path) = cached(file) {
        return Ok(path);
    }
    let api = ApiBuilder::from_env().with_progress(false).with_retries(2).build()?.repo(repository(file));
    let start = Instant::now();
    loop {
        match api.download_with_progress(&file.file, Told { beat: &mut *beat, done: 0, total: 0 }) {
            // Another process is downloading it; the hub's client itself waits a few seconds only.
            Err(ApiError::LockAcquisition(_)) if start.elapsed() < PATIENCE => {
                beat(0, 0);
                if let Some(path) = cached(file) {
                    return Ok(path);
                }
            }
            fetched => return fetched,
        }
    }
}

/// Reports the progress of a download.
struct Told<'b> {
    beat: Beat<'b>,
    done: usize,
    total: usize,
}

impl Progress for Told<'_> {
    fn init(&mut self, size: usize, _: &str) {
        self.total = size;
        (self.beat)(0, size);
    }

    fn update(&mut self, size: usize) {
        self.done += size;
        (self.beat)(self.done, self.total);
    }

    fn finish(&mut self) {}
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

/// An error and its causes, without repetitions.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_read_from_the_cache() {
        let path = Path::new("/home/x/hub/models--a--b/snapshots/0123abc/folder/file.safetensors");
        assert_eq!(commit(path, "folder/file.safetensors").as_deref(), Some("0123abc"));
        assert_eq!(commit(Path::new("/elsewhere/file"), "file"), None);
    }

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
