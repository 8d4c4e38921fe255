//! The scores that a finished run has kept: writing and reading them. A policy never trains, so the rows of a new policy are computed
//! from these, by the controller for a sweep and by the report for a question.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::file;
use super::matrix::{damaged, named, parse, write_matrix};
use super::run::RunFolder;
use super::seal::Seals;
use imbalance::LabelMatrix;

/// Fills a run's folder as a worker does after a run of one epoch. Without test there are no test scores, and the truth of
/// test has no rows. On failure a folder that was made for it is removed.
///
/// # Errors
/// The folder cannot be written.
pub fn keep(folder: &RunFolder, val: (&[f32], &LabelMatrix), test: Option<(&[f32], &LabelMatrix)>) -> io::Result<()> {
    let new = !folder.path().exists();
    let kept = fill(folder, val, test);
    if kept.is_err() && new {
        drop(folder.forget());
    }
    kept
}

fn fill(folder: &RunFolder, val: (&[f32], &LabelMatrix), test: Option<(&[f32], &LabelMatrix)>) -> io::Result<()> {
    let labels = val.1.names.len();
    folder.create()?;
    folder.unseal()?;
    let mut seals = Seals::new();
    for (split, part) in [("val", Some(val)), ("test", test)] {
        let truth: &[u8] = part.map_or(&[], |(_, truth)| &truth.values);
        let name = format!("truth-{split}.npy");
        seals.insert(name.clone(), write_matrix(&folder.file(&name), labels, truth)?);
        for name in [format!("scores-{split}.npy"), format!("epochs/{split}-0.npy")] {
            if let Some((scores, _)) = part {
                seals.insert(name.clone(), write_matrix(&folder.file(&name), labels, scores)?);
            }
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
        let mut kept = 0;
        for entry in fs::read_dir(&path).map_err(|error| named(&path, &error))? {
            let name = entry.map_err(|error| named(&path, &error))?.file_name();
            kept += usize::from(name.to_string_lossy().starts_with("val-"));
        }
        Ok(kept)
    }

    /// Val scores at `epoch`: `[rows, labels]`, row-major probabilities.
    ///
    /// # Errors
    /// Missing or damaged scores.
    pub fn val(&self, epoch: usize) -> io::Result<Vec<f32>> {
        self.scores(&format!("epochs/val-{epoch}.npy"), &self.val_truth)
    }

    /// Whether test scores were kept at `epoch`, as they are for the best and the last one.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has_test(&self, epoch: usize) -> io::Result<bool> {
        let name = test_name(epoch);
        match &self.seals {
            Some(seals) => Ok(seals.contains_key(&name)),
            None => {
                let path = self.folder.file(&name);
                path.try_exists().map_err(|error| named(&path, &error))
            }
        }
    }

    /// Test scores at `epoch`, as [`Self::val`].
    ///
    /// # Errors
    /// Missing or damaged scores.
    pub fn test(&self, epoch: usize) -> io::Result<Vec<f32>> {
        self.scores(&test_name(epoch), &self.test_truth)
    }

    fn scores(&self, name: &str, truth: &LabelMatrix) -> io::Result<Vec<f32>> {
        let path = self.folder.file(name);
        let (labels, scores) = parse::<f32>(&path, &read(&self.folder, &self.seals, name)?)?;
        if labels != truth.names.len() || scores.len() != truth.values.len() {
            return Err(damaged(&path, "does not have the rows and labels of the truth beside it"));
        }
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(damaged(&path, "holds scores that are not finite"));
        }
        Ok(scores)
    }
}

fn test_name(epoch: usize) -> String {
    format!("epochs/test-{epoch}.npy")
}

/// The bytes of a file, compared with its seal if there is one.
fn read(folder: &RunFolder, seals: &Option<Seals>, name: &str) -> io::Result<Vec<u8>> {
    if let Some(seals) = seals {
        return folder.read_sealed(name, seals);
    }
    let path = folder.file(name);
    file::read_ours(&path).map_err(|error| named(&path, &error))
}

fn read_truth(folder: &RunFolder, seals: &Option<Seals>, name: &str) -> io::Result<LabelMatrix> {
    let path = folder.file(name);
    let (labels, values) = parse::<u8>(&path, &read(folder, seals, name)?)?;
    if values.iter().any(|&value| value > 1) {
        return Err(damaged(&path, "holds values that are not 0 or 1"));
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
        assert_eq!(kept.val(1).unwrap(), [0.9, 0.2, 0.4, 0.6]);
        assert_eq!(kept.test(1).unwrap(), [0.3, 0.7]);
        assert_eq!((kept.val_truth.values, kept.test_truth.values), (vec![1, 0, 0, 1], vec![1, 1]));
    }

    #[test]
    fn what_is_kept_without_test_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let truth = LabelMatrix { names: ["0", "1"].map(str::to_owned).into(), values: vec![1, 0, 0, 1] };
        keep(&RunFolder::at(folder.path()), (&[0.9, 0.2, 0.4, 0.1], &truth), None).unwrap();
        let kept = Kept::open(folder.path()).unwrap();
        assert_eq!((kept.epochs().unwrap(), kept.has_test(0).unwrap(), kept.test_truth.rows()), (1, false, 0));
        assert_eq!((kept.val(0).unwrap(), &kept.val_truth), (vec![0.9, 0.2, 0.4, 0.1], &truth));
        keep(&RunFolder::at(folder.path()), (&[0.9, 0.2, 0.4, 0.1], &truth), Some((&[0.5, 0.6, 0.7, 0.8], &truth))).unwrap();
        assert_eq!(Kept::open(folder.path()).unwrap().test(0).unwrap(), [0.5, 0.6, 0.7, 0.8]);
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
        testing::write(&folder.path().join("truth-val.npy"), 2, &[1u8, 0, 2, 1]);
        told("not 0 or 1");
    }

    /// A flip of any bit of any file that a new policy reads is found, in a run with seals.
    #[test]
    fn a_flipped_bit_is_never_taken_for_a_score() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path().join("run"));
        let truth = LabelMatrix { names: ["0", "1"].map(str::to_owned).into(), values: vec![1, 0, 0, 1] };
        keep(&run, (&[0.9, 0.2, 0.4, 0.1], &truth), Some((&[0.5, 0.6, 0.7, 0.8], &truth))).unwrap();
        let read = || {
            let kept = Kept::open(run.path())?;
            Ok::<_, io::Error>((kept.val(0)?, kept.test(0)?, kept.val_truth.values, kept.test_truth.values))
        };
        let whole = read().unwrap();
        for name in ["truth-val.npy", "truth-test.npy", "epochs/val-0.npy", "epochs/test-0.npy"] {
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
