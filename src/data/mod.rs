//! Data: images, features and the built-in letters; decoded once into a prepared folder that all runs map into memory. No Candle here.

use std::sync::Arc;

/// 0/1 labels, row-major `[rows, labels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelMatrix {
    pub names: Arc<[String]>,
    /// Row-major, 0 or 1.
    pub values: Vec<u8>,
}

impl LabelMatrix {
    /// Rows in the matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        if self.names.is_empty() { 0 } else { self.values.len() / self.names.len() }
    }

    /// The labels of one row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[u8] {
        &self.values[row * self.names.len()..(row + 1) * self.names.len()]
    }

    /// The rows named, in that order.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row as usize)).copied().collect();
        Self { names: Arc::clone(&self.names), values }
    }

    /// Positives of each label.
    #[must_use]
    pub fn counts(&self) -> crate::strategy::LabelCounts {
        let mut positives = vec![0; self.names.len()];
        for row in self.values.chunks_exact(self.names.len().max(1)) {
            for (count, &value) in positives.iter_mut().zip(row) {
                *count += usize::from(value);
            }
        }
        crate::strategy::LabelCounts { rows: self.rows(), positives }
    }
}

/// Rows of each split, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    pub train: Vec<u32>,
    pub val: Vec<u32>,
    pub test: Vec<u32>,
}

/// What a network sees of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputShape {
    /// `[channels, height, width]`, from u8.
    Image { channels: usize, height: usize, width: usize },
    /// `[width]`, f32.
    Features { width: usize },
}

/// Data that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct DataError {
    /// File, and line or column where there is one.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A prepared data set, mapped into memory: what the training loop reads. Opened from a folder alone, on any machine.
pub struct Dataset {
    // owned by the data room
    _private: (),
}

impl Dataset {
    /// Opens what [`prepare`] made.
    ///
    /// # Errors
    /// A folder that is missing, incomplete or of another version.
    pub fn open(folder: &std::path::Path, config: &crate::spec::DataConfig) -> Result<Self, DataError> {
        let _ = (folder, config);
        todo!()
    }

    /// What the network sees of one row.
    #[must_use]
    pub fn shape(&self) -> InputShape {
        todo!()
    }

    /// All labels, in row order.
    #[must_use]
    pub fn labels(&self) -> &LabelMatrix {
        todo!()
    }

    /// The rows of each split.
    #[must_use]
    pub fn split(&self) -> &Split {
        todo!()
    }

    /// Writes the normalised inputs of `rows` to `out` (`[rows, channels, height, width]` or `[rows, width]`, f32), with the random
    /// changes of training where `augment` names (seed, epoch): a row's change depends on (seed, epoch, row) only.
    pub fn gather(&self, rows: &[u32], augment: Option<(u64, usize)>, out: &mut [f32]) {
        let _ = (rows, augment, out);
        todo!()
    }
}

/// Reads, checks and decodes the data of `config` (paths relative to `base`) into a folder below `cache`, unless an equal one is
/// there, and returns its facts. `progress` hears (done, total) rows.
///
/// # Errors
/// [`DataError`] with every bad file (the first 20 and a count) before anything is trained.
pub fn prepare(
    config: &crate::spec::DataConfig,
    base: &std::path::Path,
    cache: &std::path::Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<crate::spec::DataFacts, DataError> {
    let _ = (config, base, cache, progress);
    todo!()
}
