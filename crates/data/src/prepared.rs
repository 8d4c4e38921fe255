//! The prepared folder: written once, renamed into place, mapped into memory by every worker. Owns its format; knows no source.
//!
//! | file | what |
//! |---|---|
//! | `inputs.bin` | u8 `[rows, channels, height, width]` or little-endian f32 `[rows, width]` |
//! | `labels.bin` | u8 `[rows, labels]`, 0 or 1 |
//! | `splits.bin` | u8 a row (0 train, 1 val, 2 test), if the CSV has a split column |
//! | `groups.bin` | little-endian u32 a row, equal where the group is, if the CSV has a group column |
//! | `ids.json` | the rows' names, in row order |
//! | `meta.json` | [`Meta`]: format version, shapes, lengths and checksums of all of it |
//! | `split-*.bin` | u8 a row, as `splits.bin`: how one split configuration divides the rows ([`keep_split`]) |

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DataError;
use imbalance::LabelMatrix;
use imbalance::stratification::Split;
use imbalance::stratification::SplitConfig;
use plan::InputShape;

/// Version of the folder's format.
const FORMAT: u32 = 1;

/// Everything about the rows except their inputs.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Name of each row: the image's path as in the CSV, the row's id, or its number.
    pub ids: Vec<String>,
    pub labels: LabelMatrix,
    /// 0 train, 1 val, 2 test.
    pub splits: Option<Vec<u8>>,
    /// Equal where the group is.
    pub groups: Option<Vec<u32>>,
    /// Names of the groups, by number.
    pub group_names: Vec<String>,
    /// Rows left out because of `on_bad_image = "skip"`.
    pub skipped: Vec<Skipped>,
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub id: String,
    pub reason: String,
}

/// Length and blake3 of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    bytes: u64,
    blake3: String,
}

/// `meta.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    format: u32,
    pub shape: InputShape,
    pub rows: usize,
    pub labels: Vec<String>,
    /// Hash of the rows' inputs at their source (file bytes of images, values elsewhere): without names, paths and times.
    pub content: String,
    pub group_names: Vec<String>,
    pub skipped: Vec<Skipped>,
    inputs: Seal,
    labels_file: Seal,
    splits: Option<Seal>,
    groups: Option<Seal>,
    ids: Seal,
}

fn cannot(place: &Path, what: &str) -> impl Fn(std::io::Error) -> DataError {
    let (place, what) = (place.display().to_string(), what.to_owned());
    move |error| DataError { place: place.clone(), message: format!("{what}: {error}") }
}

/// Writes a prepared folder; nothing is left of one that is dropped unfinished.
pub struct Writer {
    cache: PathBuf,
    temp: tempfile::TempDir,
    inputs: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Writer {
    /// A temporary folder beside the final one.
    ///
    /// # Errors
    /// A cache folder that cannot be made or written.
    pub fn create(cache: &Path) -> Result<Self, DataError> {
        let error = cannot(cache, "cannot write prepared data into this folder");
        fs::create_dir_all(cache).map_err(&error)?;
        sweep_leftovers(cache);
        let temp = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(cache).map_err(&error)?;
        let file = File::create(temp.path().join("inputs.bin")).map_err(&error)?;
        let inputs = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { cache: cache.to_owned(), temp, inputs, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Appends the inputs of the next row or rows.
    ///
    /// # Errors
    /// A full disk.
    pub fn push(&mut self, inputs: &[u8]) -> Result<(), DataError> {
        self.hasher.update(inputs);
        self.bytes += inputs.len() as u64;
        self.inputs.write_all(inputs).map_err(cannot(&self.cache, "cannot write prepared data into this folder"))
    }

    /// Hash of the inputs written so far.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// Writes the rest, makes it durable and renames it to `<cache>/<key>`. A folder that another process put there meanwhile is used.
    ///
    /// # Errors
    /// A full disk.
    pub fn finish(self, key: &str, shape: InputShape, rows: &Rows, content: String) -> Result<PathBuf, DataError> {
        let Self { cache, temp, inputs, hasher, bytes } = self;
        let error = cannot(&cache, "cannot write prepared data into this folder");
        let file = inputs.into_inner().map_err(|failed| error(failed.into_error()))?;
        file.sync_all().map_err(&error)?;
        let put = |name: &str, content: &[u8]| -> Result<Seal, DataError> {
            let mut file = File::create(temp.path().join(name)).map_err(&error)?;
            file.write_all(content).and_then(|()| file.sync_all()).map_err(&error)?;
            Ok(Seal { bytes: content.len() as u64, blake3: blake3::hash(content).to_hex().to_string() })
        };
        let groups: Option<Vec<u8>> = rows.groups.as_ref().map(|groups| groups.iter().flat_map(|g| g.to_le_bytes()).collect());
        let json = |error: serde_json::Error| DataError { place: cache.display().to_string(), message: error.to_string() };
        let meta = Meta {
            format: FORMAT,
            shape,
            rows: rows.ids.len(),
            labels: rows.labels.names.to_vec(),
            content,
            group_names: rows.group_names.clone(),
            skipped: rows.skipped.clone(),
            inputs: Seal { bytes, blake3: hasher.finalize().to_hex().to_string() },
            labels_file: put("labels.bin", &rows.labels.values)?,
            splits: rows.splits.as_ref().map(|splits| put("splits.bin", splits)).transpose()?,
            groups: groups.map(|groups| put("groups.bin", &groups)).transpose()?,
            ids: put("ids.json", &serde_json::to_vec(&rows.ids).map_err(json)?)?,
        };
        put("meta.json", &serde_json::to_vec_pretty(&meta).map_err(json)?)?;
        sync_folder(temp.path()).map_err(&error)?;
        let folder = cache.join(key);
        if let Err(failed) = fs::rename(temp.path(), &folder) {
            if folder.join("meta.json").is_file() {
                return Ok(folder);
            }
            return Err(error(failed));
        }
        let _ = temp.keep();
        sync_folder(&cache).map_err(&error)?;
        Ok(folder)
    }
}

/// Prefix of folders being written.
const TEMPORARY: &str = ".writing-";

/// Removes what killed processes left a day ago or earlier.
fn sweep_leftovers(cache: &Path) {
    let old = |entry: &fs::DirEntry| {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        entry.file_name().to_string_lossy().starts_with(TEMPORARY) && age.is_some_and(|age| age.as_secs() > 86_400)
    };
    for entry in fs::read_dir(cache).into_iter().flatten().flatten().filter(old) {
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::debug!("{}: {error}", entry.path().display());
        }
    }
}

/// Keeps how `config` divides the rows beside them, for workers in other languages (docs/protocol.md); ours divide themselves.
///
/// # Errors
/// A full disk.
pub fn keep_split(folder: &Path, config: &SplitConfig, split: &Split) -> Result<(), DataError> {
    let SplitConfig { train, val, test, method, seed } = config;
    let path = folder.join(format!("split-{method}-{seed}-{train}-{val}-{test}.bin"));
    let parts = [&split.train, &split.val, &split.test];
    let mut numbers = vec![0; parts.iter().map(|rows| rows.len()).sum()];
    for (number, rows) in (0u8..).zip(parts) {
        rows.iter().for_each(|&row| numbers[row as usize] = number);
    }
    if fs::read(&path).is_ok_and(|kept| kept == numbers) {
        return Ok(());
    }
    let error = cannot(&path, "cannot write the split");
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder).map_err(&error)?;
    file.write_all(&numbers).map_err(&error)?;
    file.persist(&path).map_err(|failed| error(failed.error))?;
    Ok(())
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Moves a damaged folder out of the way, so that it can be written anew while others still map its files.
pub fn discard(folder: &Path) -> Result<(), DataError> {
    let parent = folder.parent().unwrap_or(folder);
    let error = cannot(folder, "cannot remove damaged prepared data");
    let temp = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent).map_err(&error)?;
    fs::rename(folder, temp.path().join("damaged")).map_err(&error)
}

/// A prepared folder, opened.
pub struct Opened {
    pub meta: Meta,
    pub inputs: memmap2::Mmap,
    pub labels: LabelMatrix,
    pub splits: Option<Vec<u8>>,
    pub groups: Option<Vec<u32>>,
    folder: PathBuf,
}

/// Opens and checks a folder: lengths of all files, checksums of all but the inputs.
///
/// # Errors
/// A folder that is missing, incomplete, damaged or of another version.
pub fn open(folder: &Path) -> Result<Opened, DataError> {
    let damaged = |message: String| DataError { place: folder.display().to_string(), message };
    let text = fs::read(folder.join("meta.json")).map_err(cannot(folder, "no prepared data here (meta.json)"))?;
    let version: serde_json::Value = serde_json::from_slice(&text).map_err(|e| damaged(format!("meta.json is damaged: {e}")))?;
    if version["format"] != FORMAT {
        return Err(damaged(format!("prepared data of format {}, but this program reads format {FORMAT}", version["format"])));
    }
    let meta: Meta = serde_json::from_value(version).map_err(|e| damaged(format!("meta.json is damaged: {e}")))?;
    let read = |name: &str, seal: &Seal| -> Result<Vec<u8>, DataError> {
        let bytes = fs::read(folder.join(name)).map_err(cannot(folder, &format!("cannot read {name}")))?;
        if bytes.len() as u64 != seal.bytes || blake3::hash(&bytes).to_hex().as_str() != seal.blake3 {
            return Err(damaged(format!("{name} is damaged: remove this folder and it is prepared again")));
        }
        Ok(bytes)
    };
    let labels = LabelMatrix { names: meta.labels.as_slice().into(), values: read("labels.bin", &meta.labels_file)? };
    let splits = meta.splits.as_ref().map(|seal| read("splits.bin", seal)).transpose()?;
    let groups = meta.groups.as_ref().map(|seal| read("groups.bin", seal)).transpose()?;
    let words = |bytes: Vec<u8>| bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let file = File::open(folder.join("inputs.bin")).map_err(cannot(folder, "cannot read inputs.bin"))?;
    let length = file.metadata().map_err(cannot(folder, "cannot read inputs.bin"))?.len();
    if length != meta.inputs.bytes || length != (meta.rows * meta.shape.row_bytes()) as u64 || labels.rows() != meta.rows {
        return Err(damaged(format!("inputs.bin has {length} bytes instead of {}: remove this folder", meta.inputs.bytes)));
    }
    // SAFETY: nothing changes a prepared folder after it was renamed into place: a damaged one is moved away as a whole, its files untouched.
    let inputs = unsafe { memmap2::Mmap::map(&file) }.map_err(cannot(folder, "cannot map inputs.bin"))?;
    Ok(Opened { meta, inputs, labels, splits, groups: groups.map(words), folder: folder.to_owned() })
}

impl Opened {
    /// The rows' names.
    ///
    /// # Errors
    /// A damaged folder.
    pub fn ids(&self) -> Result<Vec<String>, DataError> {
        let bytes = fs::read(self.folder.join("ids.json")).map_err(cannot(&self.folder, "cannot read ids.json"))?;
        serde_json::from_slice(&bytes).map_err(|error| DataError {
            place: self.folder.display().to_string(),
            message: format!("ids.json is damaged: {error}"),
        })
    }
}
