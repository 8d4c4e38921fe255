//! The files that a running training keeps in its folder, with their seals: what is read back is compared with what was written.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use candle_core::Device;

use super::TrainError;
use crate::model::{self, State};
use archive::{self, RunFolder, Seals, file};
use imbalance::LabelMatrix;

/// Metadata key of the epoch of a kept model.
const EPOCH: &str = "epoch";
const MODEL: &str = archive::MODEL;

/// Once the run of `folder` is recorded as done: removes its checkpoint.
pub fn finished(folder: &Path) {
    RunFolder::at(folder).finished();
}

/// The folder of one run, and the seals of what the run has written.
#[derive(Debug)]
pub struct Folder {
    files: RunFolder,
    pub seals: Seals,
    /// The best epoch's model, as long as no file has to have it.
    unwritten: Option<Vec<u8>>,
}

impl Folder {
    /// The folder `path` for a new attempt, made if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let files = RunFolder::at(path);
        files.create().map_err(|source| TrainError::Io { path: path.to_owned(), source })?;
        files.tidy();
        Ok(Self { files, seals: Seals::new(), unwritten: None })
    }

    /// The best epoch's model.
    #[must_use]
    pub fn model(&self) -> std::path::PathBuf {
        self.files.file(MODEL)
    }

    /// Keeps the model of the best `epoch` so far, in memory until [`Self::write_model`].
    ///
    /// # Errors
    /// A tensor that cannot be read; the previous model stays.
    pub fn keep_model(&mut self, state: &State, epoch: usize) -> Result<(), TrainError> {
        let metadata = HashMap::from([(EPOCH.to_owned(), epoch.to_string())]);
        self.unwritten = Some(model::serialize_tensors(&state.tensors(), Some(metadata), &self.model())?);
        Ok(())
    }

    /// Writes the best epoch's model, unless its file has it: before a checkpoint, and at the end.
    ///
    /// # Errors
    /// The file cannot be written; the previous model stays.
    pub fn write_model(&mut self) -> Result<(), TrainError> {
        let Some(bytes) = &self.unwritten else { return Ok(()) };
        let path = self.model();
        let seal = file::write(&path, |file| file.write_all(bytes)).map_err(|source| TrainError::Io { path, source })?;
        self.seals.insert(MODEL.to_owned(), seal);
        self.unwritten = None;
        Ok(())
    }

    /// Restores `state` as it was after the best `epoch`.
    ///
    /// # Errors
    /// The file is missing, damaged or of another epoch.
    pub fn load_model(&self, state: &State, epoch: usize) -> Result<(), TrainError> {
        let failed = |source| TrainError::Io { path: self.files.path().to_owned(), source };
        let path = self.model();
        let bytes = match &self.unwritten {
            Some(bytes) => bytes,
            None => &self.files.read_sealed(MODEL, &self.seals).map_err(failed)?,
        };
        let (tensors, metadata) = model::parse_tensors(&path, bytes, &Device::Cpu)?;
        if metadata.get(EPOCH) != Some(&epoch.to_string()) {
            let source = io::Error::other(format!("is not the model of epoch {}; remove the run's folder", epoch + 1));
            return Err(TrainError::Io { path, source });
        }
        Ok(model::assign_state(state, &tensors, &path)?)
    }

    /// Whether the model file is undamaged.
    #[must_use]
    pub fn has_model(&self) -> bool {
        self.files.read_sealed(MODEL, &self.seals).is_ok()
    }

    /// The files themselves.
    #[must_use]
    pub fn files(&self) -> &RunFolder {
        &self.files
    }

    /// Keeps the truth of a split.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn truth(&mut self, split: &str, truth: &LabelMatrix) -> Result<(), TrainError> {
        self.matrix(&format!("truth-{split}.npy"), truth.names.len(), &truth.values)
    }

    /// Keeps the logits of an epoch, row-major.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn logits(&mut self, split: &str, epoch: usize, labels: usize, logits: &[f32]) -> Result<(), TrainError> {
        self.matrix(&archive::logits_name(split, epoch), labels, logits)
    }

    /// Keeps the logits and the probabilities of the best `epoch` under the names that users look for: the file of the logits has two.
    ///
    /// # Errors
    /// A file that cannot be written, or a name that cannot be given.
    pub fn best(&mut self, split: &str, epoch: usize, labels: usize, scores: &[f32]) -> Result<(), TrainError> {
        let (name, best) = (archive::logits_name(split, epoch), format!("logits-{split}.npy"));
        let path = self.files.file(&best);
        file::link(&self.files.file(&name), &path).map_err(|source| TrainError::Io { path, source })?;
        if let Some(seal) = self.seals.get(&name).cloned() {
            self.seals.insert(best, seal);
        }
        self.matrix(&format!("scores-{split}.npy"), labels, scores)
    }

    /// The kept val logits of an epoch; `None` where they are missing or damaged.
    #[must_use]
    pub fn kept_logits(&self, epoch: usize) -> Option<Vec<f32>> {
        let name = archive::logits_name("val", epoch);
        let read = self.files.read_sealed(&name, &self.seals);
        let logits = read.and_then(|bytes| archive::parse_matrix::<f32>(&self.files.file(&name), &bytes));
        logits.inspect_err(|error| tracing::warn!("{error}")).ok().map(|(_, logits)| logits)
    }

    /// Writes the seals: the run is done.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn seal(&self) -> Result<(), TrainError> {
        self.files.seal(&self.seals).map_err(|source| TrainError::Io { path: self.files.path().to_owned(), source })
    }

    /// Removes the seals of an earlier result.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn unseal(&mut self) -> Result<(), TrainError> {
        self.seals.clear();
        self.files.unseal().map_err(|source| TrainError::Io { path: self.files.path().to_owned(), source })
    }

    /// Waits until all files are on the disk.
    ///
    /// # Errors
    /// I/O errors of the run folder.
    pub fn settle(&self) -> Result<(), TrainError> {
        self.files.settle().map_err(|(path, source)| TrainError::Io { path, source })
    }

    fn matrix<T: npyz::AutoSerialize + Copy>(&mut self, name: &str, labels: usize, values: &[T]) -> Result<(), TrainError> {
        let path = self.files.file(name);
        let seal = archive::write_matrix(&path, labels, values).map_err(|source| TrainError::Io { path, source })?;
        self.seals.insert(name.to_owned(), seal);
        Ok(())
    }
}
