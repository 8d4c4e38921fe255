//! The scores that a finished run has kept beside the database: where they lie, how they are written and read. A policy never
//! trains, so whoever wants the rows of a new one (the controller for a sweep, the report for a question) reads these.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npyz::WriterBuilder;

use imbalance::LabelMatrix;

/// The folder of all runs' folders beside a database: `X.runs` for `X.db`.
#[must_use]
pub fn runs_folder(db: &Path) -> PathBuf {
    db.with_extension("runs")
}

/// Writes a `[rows, labels]` matrix in C order: complete at its place, or not there.
///
/// # Errors
/// The disk's word.
pub fn write_matrix<T: npyz::AutoSerialize + Copy>(path: &Path, labels: usize, values: &[T]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new().prefix(".saving-").tempfile_in(folder)?;
    let shape = [(values.len() / labels.max(1)) as u64, labels as u64];
    let mut bytes = BufWriter::new(temporary.as_file_mut());
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    bytes.flush()?;
    drop(bytes);
    temporary.persist(path)?;
    Ok(())
}

/// Fills a run's own folder as a worker does after a run of one epoch. Without test there are no test scores, and the truth of
/// test has no rows.
///
/// # Errors
/// The folder cannot be written.
pub fn keep(folder: &Path, val: (&[f32], &LabelMatrix), test: Option<(&[f32], &LabelMatrix)>) -> io::Result<()> {
    let labels = val.1.names.len();
    fs::create_dir_all(folder.join("epochs"))?;
    for (split, part) in [("val", Some(val)), ("test", test)] {
        let truth: &[u8] = part.map_or(&[], |(_, truth)| &truth.values);
        write_matrix(&folder.join(format!("truth-{split}.npy")), labels, truth)?;
        if let Some((scores, _)) = part {
            write_matrix(&folder.join(format!("scores-{split}.npy")), labels, scores)?;
            write_matrix(&folder.join(format!("epochs/{split}-0.npy")), labels, scores)?;
        }
    }
    for folder in [&folder.join("epochs"), folder] {
        for entry in fs::read_dir(folder)? {
            File::open(entry?.path())?.sync_all()?;
        }
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The kept scores of one run.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: PathBuf,
    pub val_truth: LabelMatrix,
    pub test_truth: LabelMatrix,
}

impl Kept {
    /// Opens a run's own folder and reads its truth; the labels' names are their positions (the database knows the real ones).
    ///
    /// # Errors
    /// The truth is missing or damaged.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let val_truth = read_truth(&folder.join("truth-val.npy"))?;
        let test_truth = read_truth(&folder.join("truth-test.npy"))?;
        Ok(Self { folder: folder.to_owned(), val_truth, test_truth })
    }

    /// How many epochs kept their val scores.
    ///
    /// # Errors
    /// The folder of the epochs cannot be read.
    pub fn epochs(&self) -> io::Result<usize> {
        let path = self.folder.join("epochs");
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
        read_scores(&self.folder.join(format!("epochs/val-{epoch}.npy")), &self.val_truth)
    }

    /// Whether test scores were kept at `epoch`: at the best and the last one they are.
    ///
    /// # Errors
    /// A folder that cannot be looked into.
    pub fn has_test(&self, epoch: usize) -> io::Result<bool> {
        let path = self.test_path(epoch);
        path.try_exists().map_err(|error| named(&path, &error))
    }

    /// Test scores at `epoch`, as [`Self::val`].
    ///
    /// # Errors
    /// Missing or damaged scores.
    pub fn test(&self, epoch: usize) -> io::Result<Vec<f32>> {
        read_scores(&self.test_path(epoch), &self.test_truth)
    }

    fn test_path(&self, epoch: usize) -> PathBuf {
        self.folder.join(format!("epochs/test-{epoch}.npy"))
    }
}

/// A `[rows, labels]` matrix in C order.
fn read<T: npyz::Deserialize>(path: &Path) -> io::Result<(usize, Vec<T>)> {
    let named = |error: io::Error| named(path, &error);
    let file = npyz::NpyFile::new(BufReader::new(File::open(path).map_err(named)?)).map_err(named)?;
    let &[_, labels] = file.shape() else { return Err(damaged(path, "is no matrix")) };
    if file.order() != npyz::Order::C {
        return Err(damaged(path, "is not in C order"));
    }
    Ok((labels as usize, file.into_vec().map_err(named)?))
}

fn read_truth(path: &Path) -> io::Result<LabelMatrix> {
    let (labels, values) = read::<u8>(path)?;
    if values.iter().any(|&value| value > 1) {
        return Err(damaged(path, "holds values that are not 0 or 1"));
    }
    let names: Arc<[String]> = (0..labels).map(|label| label.to_string()).collect();
    Ok(LabelMatrix { names, values })
}

fn read_scores(path: &Path, truth: &LabelMatrix) -> io::Result<Vec<f32>> {
    let (labels, scores) = read::<f32>(path)?;
    if labels != truth.names.len() || scores.len() != truth.values.len() {
        return Err(damaged(path, "does not have the rows and labels of the truth beside it"));
    }
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(damaged(path, "holds scores that are not finite"));
    }
    Ok(scores)
}

/// The error with the file it is about; of the same kind.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()))
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
        keep(folder.path(), (&[0.9, 0.2, 0.4, 0.1], &truth), None).unwrap();
        let kept = Kept::open(folder.path()).unwrap();
        assert_eq!((kept.epochs().unwrap(), kept.has_test(0).unwrap(), kept.test_truth.rows()), (1, false, 0));
        assert_eq!((kept.val(0).unwrap(), &kept.val_truth), (vec![0.9, 0.2, 0.4, 0.1], &truth));
        keep(folder.path(), (&[0.9, 0.2, 0.4, 0.1], &truth), Some((&[0.5, 0.6, 0.7, 0.8], &truth))).unwrap();
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
}
