//! The prepared folder: written once, renamed into place, mapped into memory by every worker. Owns its format; knows no source.
//!
//! | file | what |
//! |---|---|
//! | `inputs.bin` | u8 `[rows, channels, height, width]` or little-endian f32 `[rows, width]` |
//! | `labels.bin` | u8 `[rows, labels]`, 0, 1 or 2 (unknown) |
//! | `splits.bin` | u8 per row (0 train, 1 val, 2 test), if the CSV has a split column |
//! | `groups.bin` | little-endian u32 per row, equal for rows of one group, if the CSV has a group column |
//! | `ids.json` | the rows' names, in row order |
//! | `meta.json` | [`Meta`]: format version, shapes, lengths and checksums of all of it, and one of itself |
//! | `split-*.bin` | u8 per row, as `splits.bin`: how one split configuration divides the rows ([`keep_split`]) |
//!
//! While it is written it is called `.writing-*` and holds a locked file `writing`; such a folder without a lock is removed.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::DataError;
use super::Unprepared;
use super::derived::PART;
use archive::file::{self, is_older};
use archive::seal::{self, Seal};
use archive::spare;
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
    /// Group number of each row.
    pub groups: Option<Vec<u32>>,
    /// Names of the groups, by number.
    pub group_names: Vec<String>,
    /// Rows left out because of `on_bad_image = "skip"`.
    pub skipped: Vec<Skipped>,
    /// What is worth a warning each time that the data is used.
    pub doubts: Vec<String>,
    /// The value of 16-bit pictures that became white, where that is not the largest there is.
    pub white: Option<u16>,
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub id: String,
    pub reason: String,
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
    /// What is worth a warning each time that the data is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// The value of 16-bit pictures that became white, where that is not the largest there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub white: Option<u16>,
    inputs: Seal,
    labels_file: Seal,
    splits: Option<Seal>,
    groups: Option<Seal>,
    ids: Seal,
    /// Checksum of this file itself; versions before 0.2 wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<String>,
}

/// The message about a full disk, or a folder that may not be written.
pub const WRITING: &str = "cannot write prepared data into this folder";

/// An I/O error at this path.
pub fn cannot(place: &Path, what: &'static str) -> impl Fn(std::io::Error) -> Unprepared {
    let path = place.to_owned();
    move |source| Unprepared::Disk { path: path.clone(), what, source }
}

/// Writes a prepared folder; dropped unfinished, nothing is left of it.
pub struct Writer {
    cache: PathBuf,
    temp: tempfile::TempDir,
    /// Locked while this process writes the folder.
    held: File,
    inputs: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Writer {
    /// A temporary folder beside the final one.
    ///
    /// # Errors
    /// A cache folder that cannot be made or written.
    pub fn create(cache: &Path) -> Result<Self, Unprepared> {
        let error = cannot(cache, WRITING);
        file::own_folder(cache).map_err(&error)?;
        remove_leftovers(cache);
        let temp = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(cache).map_err(&error)?;
        let held = File::create_new(temp.path().join(HELD)).map_err(&error)?;
        if let Err(error) = held.try_lock() {
            tracing::debug!("{}: {error}", temp.path().display());
        }
        let file = File::create(temp.path().join("inputs.bin")).map_err(&error)?;
        let inputs = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { cache: cache.to_owned(), temp, held, inputs, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Appends the inputs of the next row or rows.
    ///
    /// # Errors
    /// I/O errors: a full disk.
    pub fn push(&mut self, inputs: &[u8]) -> Result<(), Unprepared> {
        self.hasher.update(inputs);
        self.bytes += inputs.len() as u64;
        self.inputs.write_all(inputs).map_err(cannot(&self.cache, WRITING))
    }

    /// Hash of the inputs written so far.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// Writes the rest, makes it durable and renames it to `<cache>/<key>`. A folder that another process put there meanwhile is used.
    ///
    /// # Errors
    /// I/O errors: a full disk.
    pub fn finish(self, key: &str, shape: InputShape, rows: &Rows, content: String) -> Result<PathBuf, Unprepared> {
        let Self { cache, temp, held, inputs, hasher, bytes } = self;
        let error = cannot(&cache, WRITING);
        let file = inputs.into_inner().map_err(|failed| error(failed.into_error()))?;
        file.sync_all().map_err(&error)?;
        let put = |name: &str, content: &[u8]| -> Result<Seal, Unprepared> {
            let mut file = File::create(temp.path().join(name)).map_err(&error)?;
            file.write_all(content).and_then(|()| file.sync_all()).map_err(&error)?;
            Ok(Seal::of(content))
        };
        let groups: Option<Vec<u8>> = rows.groups.as_ref().map(|groups| groups.iter().flat_map(|g| g.to_le_bytes()).collect());
        let json = |failed: serde_json::Error| error(failed.into());
        let meta = Meta {
            format: FORMAT,
            shape,
            rows: rows.ids.len(),
            labels: rows.labels.names.to_vec(),
            content,
            group_names: rows.group_names.clone(),
            skipped: rows.skipped.clone(),
            doubts: rows.doubts.clone(),
            white: rows.white,
            inputs: Seal { bytes, blake3: hasher.finalize().to_hex().to_string() },
            labels_file: put("labels.bin", &rows.labels.values)?,
            splits: rows.splits.as_ref().map(|splits| put("splits.bin", splits)).transpose()?,
            groups: groups.map(|groups| put("groups.bin", &groups)).transpose()?,
            ids: put("ids.json", &serde_json::to_vec(&rows.ids).map_err(json)?)?,
            seal: Some(seal::blank()),
        };
        let mut meta = serde_json::to_vec_pretty(&meta).map_err(json)?;
        seal::stamp(&mut meta);
        put("meta.json", &meta)?;
        fs::remove_file(temp.path().join(HELD)).map_err(&error)?;
        sync_folder(temp.path()).map_err(&error)?;
        let folder = cache.join(key);
        if let Err(failed) = fs::rename(temp.path(), &folder) {
            if folder.join("meta.json").is_file() {
                return Ok(folder);
            }
            return Err(error(failed));
        }
        let _ = temp.keep();
        drop(held);
        sync_folder(&cache).map_err(&error)?;
        Ok(folder)
    }
}

/// Prefix of folders being written.
const TEMPORARY: &str = ".writing-";
/// The file in such a folder that its writer holds locked.
const HELD: &str = "writing";
/// A folder or lock younger than this may be about to be locked.
const MOMENT: Duration = Duration::from_secs(10);
/// A temporary file older than this was left by a killed process.
const HOUR: Duration = Duration::from_secs(3600);
/// The same for a folder without a lock, which older versions wrote.
const DAY: Duration = Duration::from_secs(86_400);
/// How long unfinished features wait for somebody who goes on.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Removes what killed processes left in the cache.
pub fn remove_leftovers(cache: &Path) {
    file::remove_litter(cache, HOUR);
    for path in leftovers(cache) {
        if let Err(error) = spare::remove(&path) {
            tracing::debug!("{}: {error}", path.display());
        }
    }
}

/// What killed processes left in the cache: folders and files that were being written or removed, locks.
#[must_use]
pub fn leftovers(cache: &Path) -> Vec<PathBuf> {
    let mut found = spare::litter(cache).unwrap_or_default();
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let dead = if name.to_string_lossy().starts_with(TEMPORARY) {
            match is_free(&path.join(HELD)) {
                Some(free) => free && is_older(&path, MOMENT),
                None => is_older(&path, DAY),
            }
        } else if name.to_string_lossy().ends_with(PART) {
            // Nobody goes on with what is complete.
            is_complete(&path.with_extension("")) || is_older(&path, MONTH)
        } else {
            path.extension().is_some_and(|extension| extension == "lock") && is_older(&path, HOUR) && is_free(&path) == Some(true)
        };
        found.extend(dead.then_some(path));
    }
    found.sort();
    found
}

/// The folders of prepared data in the cache, whole or damaged. Links, and what has another name than ours, are none.
///
/// # Errors
/// The cache cannot be read.
pub fn folders(cache: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if archive::disk::there(cache)?.is_none_or(|meta| !meta.is_dir()) {
        return Ok(found);
    }
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if is_key(&entry.path()) && entry.file_type()?.is_dir() && is_complete(&entry.path()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a prepared `folder` is there: it has its name only once all of it is written.
pub(crate) fn is_complete(folder: &Path) -> bool {
    folder.join("meta.json").exists()
}

/// Notes in the time of change of `folder` that it is used now. Where that cannot be written it stays as it was.
pub fn use_now(folder: &Path) {
    if let Err(error) = File::open(folder).and_then(|folder| folder.set_modified(SystemTime::now())) {
        tracing::debug!("{}: {error}", folder.display());
    }
}

/// Whether `folder` is called as prepared folders are.
#[must_use]
pub fn is_key(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether the file is unlocked; `None` where it does not exist or that cannot be determined.
fn is_free(path: &Path) -> Option<bool> {
    match file::open_ours(path).ok()?.try_lock() {
        Ok(()) => Some(true),
        Err(fs::TryLockError::WouldBlock) => Some(false),
        Err(fs::TryLockError::Error(_)) => None,
    }
}

/// Keeps how `config` divides the rows beside them, for workers in other languages (docs/protocol.md); `sweep worker` divides them itself.
///
/// # Errors
/// I/O errors: a full disk.
pub fn keep_split(folder: &Path, config: &SplitConfig, split: &Split) -> Result<(), Unprepared> {
    let SplitConfig { train, val, test, method, seed } = config;
    let path = folder.join(format!("split-{method}-{seed}-{train}-{val}-{test}.bin"));
    let parts = [&split.train, &split.val, &split.test];
    let mut numbers = vec![0; parts.iter().map(|rows| rows.len()).sum()];
    for (number, rows) in (0u8..).zip(parts) {
        rows.iter().for_each(|&row| numbers[row as usize] = number);
    }
    if file::read_ours(&path).is_ok_and(|kept| kept == numbers) {
        return Ok(());
    }
    file::remove_litter(folder, HOUR);
    file::write(&path, |file| file.write_all(&numbers)).map_err(cannot(&path, "cannot write the split"))?;
    Ok(())
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Moves a damaged folder out of the way, so that it can be written again while others still map its files.
pub fn discard(folder: &Path) -> Result<(), Unprepared> {
    file::remove(folder).map_err(cannot(folder, "cannot remove damaged prepared data"))
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

/// Why a prepared folder cannot be used.
#[derive(Debug)]
pub struct Unfit {
    pub error: DataError,
    /// Whether the folder is missing or damaged, so that preparing it again helps; otherwise a permission or the disk is the cause.
    pub mendable: bool,
}

impl Unfit {
    fn damaged(folder: &Path, what: &str) -> Self {
        Self { error: DataError { place: folder.display().to_string(), message: what.to_owned() }, mendable: true }
    }

    fn unread(folder: &Path, name: &str, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::NotFound {
            return Self::damaged(folder, &format!("no complete prepared data is here ({name} is missing)"));
        }
        let message = format!("cannot read {name}: {error}");
        Self { error: DataError { place: folder.display().to_string(), message }, mendable: false }
    }
}

impl From<Unfit> for DataError {
    /// The message, with what to do about it where something can be done.
    fn from(unfit: Unfit) -> Self {
        let Unfit { error: Self { place, message }, mendable } = unfit;
        let way = if mendable { "; `sweep run FILE` and `sweep resume` prepare it again" } else { "" };
        Self { place, message: format!("{message}{way}") }
    }
}

/// The bytes of a file, compared with its seal.
fn sealed(folder: &Path, name: &str, seal: &Seal) -> Result<Vec<u8>, Unfit> {
    let bytes = file::read_ours(&folder.join(name)).map_err(|error| Unfit::unread(folder, name, &error))?;
    if seal.fits(&bytes) { Ok(bytes) } else { Err(Unfit::damaged(folder, &format!("{name} is damaged"))) }
}

/// Opens and checks a folder: lengths of all files, checksums of all but the inputs ([`check`]).
///
/// # Errors
/// A folder that is missing, incomplete, damaged or of another version.
pub fn open(folder: &Path) -> Result<Opened, Unfit> {
    let damaged = |what: &str| Unfit::damaged(folder, what);
    if fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink()) {
        let message = "is a symbolic link, and sweep follows none to its own folders".to_owned();
        return Err(Unfit { error: DataError { place: folder.display().to_string(), message }, mendable: false });
    }
    let text = file::read_ours(&folder.join("meta.json")).map_err(|error| Unfit::unread(folder, "meta.json", &error))?;
    let version: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| damaged(&format!("meta.json is damaged: {error}")))?;
    let intact = seal::intact(&text).unwrap_or_else(|| version.get("seal").is_none());
    if !intact {
        return Err(damaged("meta.json is damaged"));
    }
    if version["format"] != FORMAT {
        return Err(damaged(&format!("prepared data of format {}, but this program reads format {FORMAT}", version["format"])));
    }
    let meta: Meta = serde_json::from_value(version).map_err(|error| damaged(&format!("meta.json is damaged: {error}")))?;
    let labels = LabelMatrix { names: meta.labels.as_slice().into(), values: sealed(folder, "labels.bin", &meta.labels_file)? };
    let splits = meta.splits.as_ref().map(|seal| sealed(folder, "splits.bin", seal)).transpose()?;
    let groups = meta.groups.as_ref().map(|seal| sealed(folder, "groups.bin", seal)).transpose()?;
    let words = |bytes: Vec<u8>| bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let unread = |error: std::io::Error| Unfit::unread(folder, "inputs.bin", &error);
    let file = file::open_ours(&folder.join("inputs.bin")).map_err(unread)?;
    let length = file.metadata().map_err(unread)?.len();
    if length != meta.inputs.bytes || length != (meta.rows * meta.shape.row_bytes()) as u64 || labels.rows() != meta.rows {
        return Err(damaged(&format!("inputs.bin is damaged: it has {length} bytes instead of {}", meta.inputs.bytes)));
    }
    // SAFETY: nothing changes a prepared folder after it was renamed into place: a damaged one is renamed as a whole, its files untouched.
    let inputs = unsafe { memmap2::Mmap::map(&file) }.map_err(unread)?;
    Ok(Opened { meta, inputs, labels, splits, groups: groups.map(words), folder: folder.to_owned() })
}

/// Bytes of inputs between two progress reports of [`check`].
const PIECE: usize = 64 << 20;

/// Opens a folder and checks all of it, the inputs too: some gigabytes per second. `progress` is called with (done, total) rows.
///
/// # Errors
/// A folder that is missing, incomplete, damaged or of another version.
pub fn check(folder: &Path, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Opened, Unfit> {
    let opened = open(folder)?;
    let (rows, bytes) = (opened.meta.rows, opened.inputs.len().max(1));
    let mut hasher = blake3::Hasher::new();
    for (at, piece) in opened.inputs.chunks(PIECE).enumerate() {
        hasher.update_rayon(piece);
        progress((at * PIECE + piece.len()) / (bytes / rows.max(1)).max(1), rows);
    }
    if hasher.finalize().to_hex().as_str() != opened.meta.inputs.blake3 {
        return Err(Unfit::damaged(folder, "inputs.bin is damaged: it is not what was written"));
    }
    sealed(folder, "ids.json", &opened.meta.ids)?;
    Ok(opened)
}

impl Meta {
    /// All that the folder holds, as text: the seals of its files are their content.
    ///
    /// # Errors
    /// Serialisation errors, which these types cannot cause.
    pub fn identity(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Self { seal: None, ..self.clone() })
    }
}

impl Opened {
    /// The rows' names.
    ///
    /// # Errors
    /// A damaged folder.
    pub fn ids(&self) -> Result<Vec<String>, DataError> {
        let bytes = sealed(&self.folder, "ids.json", &self.meta.ids)?;
        serde_json::from_slice(&bytes).map_err(|error| DataError {
            place: self.folder.display().to_string(),
            message: format!("ids.json is damaged: {error}"),
        })
    }

    /// When the folder was made, in Unix seconds; a failure that is older may have had another folder as its cause.
    #[must_use]
    pub fn made(&self) -> f64 {
        let changed = fs::metadata(self.folder.join("meta.json")).and_then(|meta| meta.modified());
        let since = changed.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or(0.0, |since| since.as_secs_f64())
    }
}
