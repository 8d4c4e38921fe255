//! What a run keeps in its folder. Every file is written beside its place and renamed into it: complete, or not there, whenever the
//! program dies. [`Folder::settle`] waits for the disk, so that a power loss cannot take it back: at a run's end, and after
//! epochs that were long enough for the wait not to matter.
//!
//! | file | what |
//! |---|---|
//! | `model.safetensors` | parameters and running statistics of the best epoch |
//! | `scores-val.npy`, `scores-test.npy` | probabilities of the best epoch, float32 `[rows, labels]` |
//! | `truth-val.npy`, `truth-test.npy` | labels, uint8 `[rows, labels]` |
//! | `epochs/val-N.npy`, `epochs/test-N.npy` | probabilities of epoch N (test: best and last), for policies that are asked for later |
//! | `checkpoint.safetensors` | while the run is unfinished |
//! | `log.txt` | what happened, in words |

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::TrainError;
use crate::model::{self, State};
use imbalance::LabelMatrix;

/// The epoch of a kept model, in its metadata.
const EPOCH: &str = "epoch";
const CHECKPOINT: &str = "checkpoint.safetensors";

/// The run of `folder` is recorded as done: its checkpoint has served.
pub fn finished(folder: &Path) {
    // One that stays is in nobody's way: a finished run is never begun again.
    let _ = fs::remove_file(folder.join(CHECKPOINT));
}

/// The folder of one run.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder `path`, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let epochs = path.join("epochs");
        fs::create_dir_all(&epochs).map_err(|source| TrainError::Io { path: epochs, source })?;
        Ok(Self { path: path.to_owned() })
    }

    /// The best epoch's model.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// Keeps the model of the best `epoch` so far.
    ///
    /// # Errors
    /// The file cannot be written; the last one stays.
    pub fn keep_model(&self, state: &State, epoch: usize) -> Result<(), TrainError> {
        let metadata = HashMap::from([(EPOCH.to_owned(), epoch.to_string())]);
        Ok(model::save_tensors(&state.tensors(), Some(metadata), &self.model())?)
    }

    /// Puts `state` where it was after the best `epoch`.
    ///
    /// # Errors
    /// The file is missing, damaged or of another epoch.
    pub fn load_model(&self, state: &State, epoch: usize) -> Result<(), TrainError> {
        let path = self.model();
        let (_, metadata) = model::load_tensors(&path, &Device::Cpu)?;
        if metadata.get(EPOCH) != Some(&epoch.to_string()) {
            let source = io::Error::other(format!("is not the model of epoch {}; remove the run's folder", epoch + 1));
            return Err(TrainError::Io { path, source });
        }
        Ok(model::load_state(state, &path)?)
    }

    /// The checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }

    /// Keeps the truth of a split.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn truth(&self, split: &str, truth: &LabelMatrix) -> Result<(), TrainError> {
        self.matrix(&format!("truth-{split}.npy"), truth.names.len(), &truth.values)
    }

    /// Keeps the scores of an epoch, row-major.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scores(&self, split: &str, epoch: usize, labels: usize, scores: &[f32]) -> Result<(), TrainError> {
        self.matrix(&format!("epochs/{split}-{epoch}.npy"), labels, scores)
    }

    /// Keeps the scores of the best epoch, row-major.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn best_scores(&self, split: &str, labels: usize, scores: &[f32]) -> Result<(), TrainError> {
        self.matrix(&format!("scores-{split}.npy"), labels, scores)
    }

    /// The kept val scores of an epoch; `None` where they are missing, damaged or not `count` numbers.
    #[must_use]
    pub fn kept_scores(&self, epoch: usize, count: usize) -> Option<Vec<f32>> {
        let file = File::open(self.path.join(format!("epochs/val-{epoch}.npy"))).ok()?;
        let scores: Vec<f32> = npyz::NpyFile::new(BufReader::new(file)).ok()?.into_vec().ok()?;
        (scores.len() == count && scores.iter().all(|score| score.is_finite())).then_some(scores)
    }

    /// Waits until all files are on the disk. The first wait takes the others along, so that many small files cost little more.
    ///
    /// # Errors
    /// The disk's word.
    pub fn settle(&self) -> Result<(), TrainError> {
        for folder in [self.path.join("epochs"), self.path.clone()] {
            let sync = || -> io::Result<()> {
                for entry in fs::read_dir(&folder)? {
                    let path = entry?.path();
                    if path.is_file() {
                        File::open(path)?.sync_all()?;
                    }
                }
                File::open(&folder)?.sync_all()
            };
            sync().map_err(|source| TrainError::Io { path: folder.clone(), source })?;
        }
        Ok(())
    }

    fn matrix<T: npyz::AutoSerialize + Copy>(&self, name: &str, labels: usize, values: &[T]) -> Result<(), TrainError> {
        let path = self.path.join(name);
        archive::write_matrix(&path, labels, values).map_err(|source| TrainError::Io { path, source })
    }
}
