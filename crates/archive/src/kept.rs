//! The scores that a finished run has kept: writing and reading them. A policy never trains, so the rows of a new policy are computed
//! from these, by the controller for a sweep and by the report for a question.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::file;
use super::matrix::{damaged, named, parse, write_matrix};
use super::run::RunFolder;
use super::seal::Seals;
use imbalance::evaluation::probabilities;
use imbalance::{LabelMatrix, UNKNOWN};

/// One split of a run that was not trained here.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// `[rows, labels]` row-major float32 probabilities.
    pub scores: &'a [f32],
    /// Their logits.
    pub logits: &'a [f32],
    pub truth: &'a LabelMatrix,
}

/// The scores of one split at one epoch, as they were kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// `[rows, labels]` row-major float32 probabilities.
    pub scores: Vec<f32>,
    /// Their logits; `None` where a version before 0.2, or a trainer in another language, kept none.
    pub logits: Option<Vec<f32>>,
}

impl Scores {
    /// What ranks: the logits, or the probabilities where there are none.
    #[must_use]
    pub fn ranked(&self) -> &[f32] {
        self.logits.as_ref().unwrap_or(&self.scores)
    }
}

/// The name of an epoch's logits on `split`, as seals know it.
#[must_use]
pub fn logits_name(split: &str, epoch: usize) -> String {
    format!("epochs/logits-{split}-{epoch}.npy")
}

/// The name of an epoch's probabilities: where logits were not kept, or the probabilities are not exactly their sigmoid.
fn scores_name(split: &str, epoch: usize) -> String {
    format!("epochs/{split}-{epoch}.npy")
}

/// Fills a run's folder as a worker does after a run of one epoch. Without test there are no test scores, and the truth of
/// test has no rows. On failure a folder that was made for it is removed.
///
/// # Errors
/// The folder cannot be written.
pub fn keep(folder: &RunFolder, val: Part<'_>, test: Option<Part<'_>>) -> io::Result<()> {
    let new = !folder.path().exists();
    let kept = fill(folder, val, test);
    if kept.is_err() && new {
        drop(folder.forget());
    }
    kept
}

fn fill(folder: &RunFolder, val: Part<'_>, test: Option<Part<'_>>) -> io::Result<()> {
    let labels = val.truth.names.len();
    folder.create()?;
    folder.unseal()?;
    let mut seals = Seals::new();
    for (split, part) in [("val", Some(val)), ("test", test)] {
        let truth: &[u8] = part.map_or(&[], |part| &part.truth.values);
        let name = format!("truth-{split}.npy");
        seals.insert(name.clone(), write_matrix(&folder.file(&name), labels, truth)?);
        let Some(Part { scores, logits, .. }) = part else { continue };
        for (name, best, values) in [
            (scores_name(split, 0), format!("scores-{split}.npy"), scores),
            (logits_name(split, 0), format!("logits-{split}.npy"), logits),
        ] {
            let seal = write_matrix(&folder.file(&name), labels, values)?;
            file::link(&folder.file(&name), &folder.file(&best))?;
            seals.extend([(name, seal.clone()), (best, seal)]);
        }
    }
    folder.seal(&seals)?;
    folder.settle().map_err(|(_, error)| error)
}

/// The kept scores of one run.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: RunFolder,
    /// `None`: written by a version without seals.
    seals: Option<Seals>,
    pub val_truth: LabelMatrix,
    pub test_truth: LabelMatrix,
}

impl Kept {
    /// Opens a run's own folder and reads its truth; the labels' names are their positions (the database knows the real ones).
    ///
    /// # Errors
    /// The truth is missing; an error of kind `InvalidData` where it is damaged.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let folder = RunFolder::at(folder);
        let seals = folder.seals()?;
        let truth = |split: &str| read_truth(&folder, &seals, &format!("truth-{split}.npy"));
        let (val_truth, test_truth) = (truth("val")?, truth("test")?);
        Ok(Self { folder, seals, val_truth, test_truth })
    }

    /// How many epochs kept their val scores.
    ///
    /// # Errors
    /// The folder of the epochs cannot be read.
    pub fn epochs(&self) -> io::Result<usize> {
        let path = self.folder.file("epochs");
        let mut kept = BTreeSet::new();
        let mut count =
            |name: &str| kept.extend(name.strip_prefix("logits-").unwrap_or(name).strip_prefix("val-").map(str::to_owned));
        match &self.seals {
            // An unfinished attempt of an older version may have left files of its own.
            Some(seals) => seals.keys().filter_map(|name| name.strip_prefix("epochs/")).for_each(count),
            None => {
                for entry in fs::read_dir(&path).map_err(|error| named(&path, &error))? {
                    count(&entry.map_err(|error| named(&path, &error))?.file_name().to_string_lossy());
                }
            }
        }
        Ok(kept.len())
    }

    /// Val scores at `epoch`.
    ///
    /// # Errors
    /// Missing or damaged scores.
    pub fn val(&self, epoch: usize) -> io::Result<Scores> {
        self.scores("val", epoch, &self.val_truth)
    }

    /// Whether test scores were kept at `epoch`, as they are for the best and the last one.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has_test(&self, epoch: usize) -> io::Result<bool> {
        Ok(self.has(&logits_name("test", epoch))? || self.has(&scores_name("test", epoch))?)
    }

    /// Test scores at `epoch`, as [`Self::val`].
    ///
    /// # Errors
    /// Missing or damaged scores.
    pub fn test(&self, epoch: usize) -> io::Result<Scores> {
        self.scores("test", epoch, &self.test_truth)
    }

    /// Whether a file was kept under this name.
    fn has(&self, name: &str) -> io::Result<bool> {
        match &self.seals {
            Some(seals) => Ok(seals.contains_key(name)),
            None => {
                let path = self.folder.file(name);
                path.try_exists().map_err(|error| named(&path, &error))
            }
        }
    }

    fn scores(&self, split: &str, epoch: usize, truth: &LabelMatrix) -> io::Result<Scores> {
        let names = (logits_name(split, epoch), scores_name(split, epoch));
        let logits = if self.has(&names.0)? { Some(self.matrix(&names.0, truth)?) } else { None };
        let scores = match &logits {
            Some(logits) if !self.has(&names.1)? => probabilities(logits),
            _ => self.matrix(&names.1, truth)?,
        };
        Ok(Scores { scores, logits })
    }

    fn matrix(&self, name: &str, truth: &LabelMatrix) -> io::Result<Vec<f32>> {
        let path = self.folder.file(name);
        let (labels, values) = parse::<f32>(&path, &read(&self.folder, &self.seals, name)?)?;
        if labels != truth.names.len() || values.len() != truth.values.len() {
            return Err(damaged(&path, "does not have the rows and labels of the truth beside it"));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(damaged(&path, "holds numbers that are not finite"));
        }
        Ok(values)
    }
}

/// The bytes of a file, compared with its seal if there is one.
fn read(folder: &RunFolder, seals: &Option<Seals>, name: &str) -> io::Result<Vec<u8>> {
    let path = folder.file(name);
    let read = match seals {
        Some(seals) => folder.read_sealed(name, seals),
        None => file::read_ours(&path).map_err(|error| named(&path, &error)),
    };
    read.map_err(|error| match folder.removed().epochs {
        Some(_) if error.kind() == io::ErrorKind::NotFound && name.starts_with("epochs/") => {
            let why = "`sweep gc --epochs` has removed the logits of epochs but the best and the last";
            io::Error::new(error.kind(), format!("{}: {why}", path.display()))
        }
        _ => error,
    })
}

fn read_truth(folder: &RunFolder, seals: &Option<Seals>, name: &str) -> io::Result<LabelMatrix> {
    let path = folder.file(name);
    let (labels, values) = parse::<u8>(&path, &read(folder, seals, name)?)?;
    if values.iter().any(|&value| value > UNKNOWN) {
        return Err(damaged(&path, "holds values that are not 0, 1 or 2 (unknown)"));
    }
    let names: Arc<[String]> = (0..labels).map(|label| label.to_string()).collect();
    Ok(LabelMatrix { names, values })
}

/// A folder as a worker leaves it, for tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use super::*;

    /// Writes `values` as a matrix of `labels` columns.
    pub fn write<T: npyz::AutoSerialize + Copy>(path: &Path, labels: usize, values: &[T]) {
        write_matrix(path, labels, values).expect("a folder that can be written");
    }

    /// Two labels, two rows of val and one of test, two epochs; test scores of the last one only.
    pub fn fill(folder: &Path) {
        let path = |name: &str| folder.join(name);
        fs::create_dir_all(path("epochs")).expect("a folder that can be written");
        write(&path("truth-val.npy"), 2, &[1u8, 0, 0, 1]);
        write(&path("truth-test.npy"), 2, &[1u8, 1]);
        write(&path("epochs/val-0.npy"), 2, &[0.9f32, 0.2, 0.4, 0.1]);
        write(&path("epochs/val-1.npy"), 2, &[0.9f32, 0.2, 0.4, 0.6]);
        write(&path("epochs/test-1.npy"), 2, &[0.3f32, 0.7]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        testing::fill(folder.path());
        let kept = Kept::open(folder.path()).unwrap();
        assert_eq!((kept.epochs().unwrap(), kept.has_test(0).unwrap(), kept.has_test(1).unwrap()), (2, false, true));
        assert_eq!(kept.val(1).unwrap(), Scores { scores: vec![0.9, 0.2, 0.4, 0.6], logits: None });
        assert_eq!(kept.test(1).unwrap().ranked(), [0.3, 0.7]);
        assert_eq!((kept.val_truth.values, kept.test_truth.values), (vec![1, 0, 0, 1], vec![1, 1]));
    }

    #[test]
    fn what_is_kept_without_test_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let truth = LabelMatrix { names: ["0", "1"].map(str::to_owned).into(), values: vec![1, 0, 0, 1] };
        let val = Part { scores: &[0.9, 0.2, 1.0, 1.0], logits: &[2.0, -1.0, 20.0, 19.0], truth: &truth };
        keep(&RunFolder::at(folder.path()), val, None).unwrap();
        let kept = Kept::open(folder.path()).unwrap();
        assert_eq!((kept.epochs().unwrap(), kept.has_test(0).unwrap(), kept.test_truth.rows()), (1, false, 0));
        // Both are as they were given, and neither is computed from the other.
        assert_eq!(kept.val(0).unwrap(), Scores { scores: val.scores.to_vec(), logits: Some(val.logits.to_vec()) });
        assert_eq!(kept.val_truth, truth);
        let test = Part { scores: &[0.5, 0.6, 0.7, 0.8], logits: &[0.0, 0.4, 0.8, 1.4], truth: &truth };
        keep(&RunFolder::at(folder.path()), val, Some(test)).unwrap();
        assert_eq!(Kept::open(folder.path()).unwrap().test(0).unwrap().scores, test.scores);
        for (name, other) in [("scores-val.npy", "epochs/val-0.npy"), ("logits-test.npy", "epochs/logits-test-0.npy")] {
            let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
            assert_eq!(read(name), read(other), "{name}");
        }
    }

    /// A training keeps the logits of its epochs: their probabilities are computed, exactly as the training has.
    #[test]
    fn probabilities_are_those_of_kept_logits() {
        let folder = tempfile::tempdir().unwrap();
        testing::fill(folder.path());
        let logits = [-200.0, 12.000_001, 0.0, 30.0];
        fs::remove_file(folder.path().join("epochs/val-1.npy")).unwrap();
        testing::write(&folder.path().join("epochs/logits-val-1.npy"), 2, &logits);
        let kept = Kept::open(folder.path()).unwrap();
        let val = kept.val(1).unwrap();
        assert_eq!((kept.epochs().unwrap(), val.ranked()), (2, &logits[..]));
        assert_eq!(val.scores, logits.map(|z: f32| imbalance::loss::sigmoid(z.into()) as f32));
    }

    #[test]
    fn unknown_cells_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        testing::fill(folder.path());
        testing::write(&folder.path().join("truth-val.npy"), 2, &[1u8, UNKNOWN, 0, UNKNOWN]);
        assert_eq!(Kept::open(folder.path()).unwrap().val_truth.counts().unknown, [0, 2]);
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        testing::fill(folder.path());
        let path = folder.path().join("epochs/val-0.npy");
        let told = |what: &str| {
            let error = Kept::open(folder.path()).and_then(|kept| kept.val(0)).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("val"), "{error}");
        };
        testing::write(&path, 2, &[0.9f32, f32::NAN, 0.4, 0.1]);
        told("not finite");
        testing::write(&path, 1, &[0.9f32, 0.1, 0.4, 0.1]);
        told("rows and labels");
        testing::write(&path, 2, &[1u8, 0, 0, 1]);
        told("val-0.npy");
        testing::write(&folder.path().join("truth-val.npy"), 2, &[1u8, 0, 3, 1]);
        told("not 0, 1 or 2");
    }

    /// A flip of any bit of any file that a new policy reads is found, in a run with seals.
    #[test]
    fn a_flipped_bit_is_never_taken_for_a_score() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path().join("run"));
        let truth = LabelMatrix { names: ["0", "1"].map(str::to_owned).into(), values: vec![1, 0, 0, 1] };
        let part = |scores| Part { scores, logits: &[2.0, -1.0, -0.4, -2.0], truth: &truth };
        keep(&run, part(&[0.9, 0.2, 0.4, 0.1]), Some(part(&[0.5, 0.6, 0.7, 0.8]))).unwrap();
        let read = || {
            let kept = Kept::open(run.path())?;
            Ok::<_, io::Error>((kept.val(0)?, kept.test(0)?, kept.val_truth.values, kept.test_truth.values))
        };
        let whole = read().unwrap();
        for name in ["truth-val.npy", "truth-test.npy", "epochs/val-0.npy", "epochs/test-0.npy", "epochs/logits-val-0.npy"] {
            let bytes = fs::read(run.file(name)).unwrap();
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1 << (at % 8);
                fs::write(run.file(name), other).unwrap();
                let error = read().unwrap_err();
                assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains(name), "{error}");
            }
            fs::write(run.file(name), bytes).unwrap();
        }
        assert_eq!(read().unwrap(), whole);
    }
}
