//! The folder of one run. Every file is written under a temporary name and renamed: complete or not there, whenever the program
//! dies. Seals, kept in the checkpoint while the run is unfinished and in `seals.json` afterwards, reveal damaged files.
//!
//! | file | what |
//! |---|---|
//! | `model.safetensors` | parameters and running statistics of the best epoch |
//! | `scores-val.npy`, `scores-test.npy` | probabilities of the best epoch, float32 `[rows, labels]` |
//! | `logits-val.npy`, `logits-test.npy` | their logits, float32 `[rows, labels]`: these rank |
//! | `truth-val.npy`, `truth-test.npy` | labels, uint8 `[rows, labels]` |
//! | `epochs/logits-val-N.npy`, `epochs/logits-test-N.npy` | logits of epoch N (test: best and last), for policies that are asked for later |
//! | `epochs/val-N.npy`, `epochs/test-N.npy` | probabilities of epoch N where they are not the sigmoid of these: versions before 0.2, imports |
//! | `seals.json` | length and blake3 of each of these, once the run is done |
//! | `checkpoint.safetensors` | while the run is unfinished |
//! | `log.txt` | what happened, for people |
//! | `refit/` | the same run trained once more on train and val, on request |
//! | `exported.json` | where its model was exported to |
//! | `removed.json` | what `sweep gc` has removed of it |

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::file;
use super::matrix::{damaged, named};
use super::seal::Seals;

/// Names of the files, as seals know them.
pub const MODEL: &str = "model.safetensors";
const CHECKPOINT: &str = "checkpoint.safetensors";
const SEALS: &str = "seals.json";
const LOG: &str = "log.txt";
/// The folder of the epochs.
pub const EPOCHS: &str = "epochs";

/// Version of `seals.json`.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Sealed {
    format: u32,
    files: Seals,
}

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder `path`, which need not be there.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder and its `epochs`, if they are not there.
    ///
    /// # Errors
    /// A folder cannot be made, or a link is at its path.
    pub fn create(&self) -> io::Result<()> {
        self.claim()?;
        file::own_folder(&self.path.join(EPOCHS))
    }

    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or a link is at its place.
    pub fn claim(&self) -> io::Result<()> {
        file::own_folder(&self.path)
    }

    /// At the beginning of an attempt: removes half-written files of killed attempts.
    pub fn tidy(&self) {
        for folder in [self.path.clone(), self.path.join(EPOCHS)] {
            file::remove_litter(&folder, Duration::ZERO);
        }
    }

    /// Once the run is recorded as done: removes its checkpoint and what killed attempts left.
    pub fn finished(&self) {
        // A file that cannot be removed does no harm: a finished run is never begun again.
        let checkpoints = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in checkpoints.filter(|entry| entry.file_name().to_string_lossy().starts_with("checkpoint.")) {
            drop(fs::remove_file(entry.path()));
        }
        self.tidy();
    }

    /// Removes the folder with its content. A missing folder is fine.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        file::remove(&self.path)
    }

    /// Takes the place of `old`, which is removed. May be called again after an interruption: a missing folder has been moved already.
    ///
    /// # Errors
    /// A folder that cannot be moved or removed.
    pub fn replace(&self, old: &Self) -> io::Result<()> {
        if !self.path.try_exists()? {
            return Ok(());
        }
        old.hand_over(self)?;
        old.forget()?;
        fs::rename(&self.path, &old.path)
    }

    /// The path of a file by its name in the seals.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of the checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }

    /// The log, to be appended to.
    ///
    /// # Errors
    /// The log cannot be made or opened, or is not a regular file.
    pub fn log(&self) -> io::Result<File> {
        self.claim()?;
        file::regular(OpenOptions::new().append(true).create(true), &self.path.join(LOG))
    }

    /// The bytes of a file, compared with its seal in `seals`.
    ///
    /// # Errors
    /// The file cannot be read; an error of kind `InvalidData`, with its path, where it differs from what was sealed.
    pub fn read_sealed(&self, name: &str, seals: &Seals) -> io::Result<Vec<u8>> {
        let path = self.file(name);
        let bytes = file::read_ours(&path).map_err(|error| named(&path, &error))?;
        match seals.get(name) {
            Some(seal) if seal.fits(&bytes) => Ok(bytes),
            Some(_) => Err(damaged(&path, "is damaged: it is not what was written")),
            None => Err(damaged(&path, "is not among the files that were written")),
        }
    }

    /// Keeps the seals of a run that is done.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn seal(&self, seals: &Seals) -> io::Result<()> {
        let sealed = Sealed { format: FORMAT, files: seals.clone() };
        file::write(&self.path.join(SEALS), |file| Ok(serde_json::to_writer(file, &sealed)?)).map(drop)
    }

    /// Removes the seals of an earlier result before a new one is made, and what is noted of it.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn unseal(&self) -> io::Result<()> {
        self.made_anew()?;
        match fs::remove_file(self.path.join(SEALS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The seals of a run that is done; `None` if it was written by a version without seals.
    ///
    /// # Errors
    /// The file cannot be read; an error of kind `InvalidData` where it is damaged.
    pub fn seals(&self) -> io::Result<Option<Seals>> {
        let path = self.path.join(SEALS);
        let bytes = match file::read_ours(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&path, &error)),
        };
        match serde_json::from_slice::<Sealed>(&bytes) {
            Ok(Sealed { format: FORMAT, files }) => Ok(Some(files)),
            Ok(Sealed { format, .. }) => Err(damaged(&path, &format!("is of format {format}, this program reads {FORMAT}"))),
            Err(error) => Err(damaged(&path, &format!("is damaged: {error}"))),
        }
    }

    /// Waits until all files are on the disk. The first wait takes the others along, so that many small files cost little more.
    ///
    /// # Errors
    /// I/O errors, with the path.
    pub fn settle(&self) -> Result<(), (PathBuf, io::Error)> {
        file::settle(&[&self.path.join(EPOCHS), &self.path])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;

    #[test]
    fn litter_goes_when_an_attempt_begins_and_the_checkpoint_when_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path().join("run"));
        run.create().unwrap();
        let left = ["checkpoint.safetensors", "checkpoint.json", ".saving-a", "epochs/.saving-b", "epochs/val-0.npy"];
        left.iter().for_each(|name| fs::write(run.file(name), "").unwrap());
        let there = |names: &[&str]| names.iter().filter(|name| run.file(name).exists()).count();
        run.tidy();
        assert_eq!((there(&left), there(&left[2..4])), (3, 0));
        run.finished();
        assert_eq!((there(&left), there(&left[4..])), (1, 1));
    }

    #[test]
    fn a_folder_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| RunFolder::at(folder.path().join(name));
        let (old, new) = (at("a"), at("a-again"));
        for (run, text) in [(&old, "old"), (&new, "new")] {
            run.create().unwrap();
            fs::write(run.file("x"), text).unwrap();
        }
        new.replace(&old).unwrap();
        new.replace(&old).unwrap();
        assert_eq!(fs::read_to_string(old.file("x")).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_as_it_was_sealed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        assert_eq!(run.seals().unwrap(), None);
        let seals = Seals::from([("a".to_owned(), Seal::of(b"one"))]);
        run.seal(&seals).unwrap();
        assert_eq!(run.seals().unwrap(), Some(seals.clone()));
        fs::write(run.file("a"), "one").unwrap();
        fs::write(run.file("b"), "two").unwrap();
        assert_eq!(run.read_sealed("a", &seals).unwrap(), b"one");
        fs::write(run.file("a"), "oné").unwrap();
        for name in ["a", "b"] {
            let error = run.read_sealed(name, &seals).unwrap_err();
            assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains(&format!("/{name} is")), "{error}");
        }
        assert_eq!(run.read_sealed("c", &seals).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(run.file(SEALS), "{").unwrap();
        assert_eq!(run.seals().unwrap_err().kind(), io::ErrorKind::InvalidData);
        run.unseal().unwrap();
        assert_eq!(run.seals().unwrap(), None);
    }
}
