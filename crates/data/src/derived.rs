//! Features of a frozen backbone, beside the images they come from: a prepared folder like any other, with the labels and splits of
//! the images. The caller computes the features; this module owns their key, lock and folder and knows no network.
//!
//! Several workers may want the same features at once: one makes them, the others wait. What has been computed lies in `<key>.part`, a
//! piece with its hash after the other, until all of it is there: a killed worker releases the lock, and the next one goes on behind the
//! last whole piece.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::DataError;
use super::Unprepared;
use super::prepared::{self, Rows, WRITING, Writer, cannot};
use archive::file;
use plan::InputShape;

/// Interval between two tries to take a lock that another process holds.
const PAUSE: Duration = Duration::from_millis(100);
/// The end of the names of unfinished features.
pub(crate) const PART: &str = ".part";

/// Where the features are, or who makes them.
pub enum Derived {
    /// The features are in this folder.
    There(PathBuf),
    /// The caller has to compute them.
    Wanted(Box<Making>),
    /// `wait` returned false.
    Stopped,
}

/// Features being written. Dropped unfinished, what was pushed stays for the next one.
pub struct Making {
    cache: PathBuf,
    parts: Parts,
    key: String,
    width: usize,
    rows: Rows,
    lock: Option<(File, PathBuf)>,
}

/// Pieces of features: the number of rows, the hash of these, and they themselves.
struct Parts {
    path: PathBuf,
    /// Opened at the first row, so that every later error is a write error.
    file: Option<File>,
    /// Whole rows in it, and where they end.
    rows: usize,
    bytes: u64,
}

/// A number and a hash.
const HEAD: usize = 4 + blake3::OUT_LEN;

impl Parts {
    /// What is there of an earlier attempt. Behind the last whole piece nothing counts.
    fn open(path: PathBuf, width: usize, most: usize) -> Self {
        let mut parts = Self { path, file: None, rows: 0, bytes: 0 };
        let Ok(file) = file::open_regular(&parts.path) else { return parts };
        let mut file = BufReader::new(file);
        while let Some(piece) = piece(&mut file, width, most - parts.rows) {
            parts.rows += piece.len() / (4 * width);
            parts.bytes += (HEAD + piece.len()) as u64;
        }
        parts
    }

    /// How many rows there are by the heads of the pieces: their hashes are not compared.
    fn count(path: &Path, width: usize, most: usize) -> usize {
        let Ok(file) = file::open_regular(path) else { return 0 };
        let length = file.metadata().map_or(0, |meta| meta.len());
        let (mut file, mut rows, mut end) = (BufReader::new(file), 0, 0);
        while let Some((more, _)) = head(&mut file, most - rows) {
            end += (HEAD + 4 * width * more) as u64;
            if end > length || file.seek(SeekFrom::Start(end)).is_err() {
                break;
            }
            rows += more;
        }
        rows
    }

    fn push(&mut self, bytes: &[u8], rows: usize) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut file = file::regular(OpenOptions::new().write(true).create(true), &self.path)?;
                if file.metadata()?.len() < self.bytes {
                    return Err(changed(&self.path));
                }
                file.set_len(self.bytes)?;
                file.seek(SeekFrom::Start(self.bytes))?;
                self.file.insert(file)
            }
        };
        let count = u32::try_from(rows).unwrap_or(u32::MAX);
        file.write_all(&[&count.to_le_bytes()[..], blake3::hash(bytes).as_bytes(), bytes].concat())?;
        self.rows += rows;
        self.bytes += (HEAD + bytes.len()) as u64;
        Ok(())
    }
}

fn changed(path: &Path) -> std::io::Error {
    std::io::Error::other(format!("{} has changed while it was written", path.display()))
}

/// The head of the next piece: its rows, at most so many, and their hash; `None` at the end, and where it is damaged.
fn head(file: &mut impl Read, most: usize) -> Option<(usize, [u8; blake3::OUT_LEN])> {
    let (mut count, mut hash) = ([0; 4], [0; blake3::OUT_LEN]);
    file.read_exact(&mut count).ok()?;
    file.read_exact(&mut hash).ok()?;
    let rows = usize::try_from(u32::from_le_bytes(count)).ok().filter(|rows| (1..=most).contains(rows))?;
    Some((rows, hash))
}

/// The next piece, of at most so many rows; `None` at the end, and where it is damaged.
fn piece(file: &mut impl Read, width: usize, most: usize) -> Option<Vec<u8>> {
    let (rows, hash) = head(file, most)?;
    let mut bytes = vec![0; 4 * width * rows];
    file.read_exact(&mut bytes).ok()?;
    (*blake3::hash(&bytes).as_bytes() == hash).then_some(bytes)
}

/// Features (`width` numbers per row) of the images in the prepared `folder`. `recipe` is everything that decides them beside the
/// images. `wait` is called while another process makes them, and says whether to go on waiting.
///
/// # Errors
/// A cache that cannot be read or written; the errors of `wait`.
pub fn derived<E: From<Unprepared>>(
    folder: &Path,
    recipe: &str,
    width: usize,
    mut wait: impl FnMut() -> Result<bool, E>,
) -> Result<Derived, E> {
    let images = prepared::open(folder).map_err(|unfit| data(unfit.into()))?;
    let cache = folder.parent().unwrap_or(folder);
    let key = key(folder, &images.meta, recipe, width).map_err(data)?;
    let target = cache.join(&key);
    // Features decide results as images do; this is the only place that checks every bit of them.
    let look = |fault: &mut Option<DataError>| match prepared::check(&target, &|_, _| ()) {
        Ok(_) => {
            prepared::use_now(&target);
            Ok(true)
        }
        Err(prepared::Unfit { error, mendable: true }) => {
            *fault = Some(error);
            Ok(false)
        }
        Err(unfit) => Err(data(unfit.into())),
    };
    let mut fault = None;
    if look(&mut fault)? {
        return Ok(Derived::There(target));
    }
    let Wait::Over(lock) = lock(&cache.join(format!("{key}.lock")), &mut wait)? else { return Ok(Derived::Stopped) };
    if target.exists() {
        if look(&mut fault)? {
            unlock(lock);
            return Ok(Derived::There(target));
        }
        if let Some(error) = fault {
            tracing::warn!("{}: damaged ({}); computing it again", error.place, error.message);
        }
        prepared::discard(&target)?;
    }
    let rows = Rows {
        ids: images.ids().map_err(data)?,
        labels: images.labels,
        splits: images.splits,
        groups: images.groups,
        group_names: images.meta.group_names,
        skipped: images.meta.skipped,
        doubts: Vec::new(),
        white: None,
    };
    // Where nobody can be kept out, each has its own.
    let alone = if lock.is_some() { String::new() } else { format!(".{}", std::process::id()) };
    let parts = Parts::open(cache.join(format!("{key}{alone}{PART}")), width, rows.ids.len());
    // No leftover: its time says when it was gone on with.
    prepared::use_now(&parts.path);
    Ok(Derived::Wanted(Box::new(Making { cache: cache.to_owned(), parts, key, width, rows, lock })))
}

fn key(folder: &Path, images: &prepared::Meta, recipe: &str, width: usize) -> Result<String, DataError> {
    let mut hasher = blake3::Hasher::new();
    let sealed =
        images.identity().map_err(|error| DataError { place: folder.display().to_string(), message: error.to_string() })?;
    hasher.update(format!("derived {width} {recipe}\n").as_bytes()).update(&sealed);
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

/// Where [`derived`] has the features, or would have them.
///
/// # Errors
/// A prepared `folder` that cannot be opened.
pub fn place(folder: &Path, recipe: &str, width: usize) -> Result<PathBuf, DataError> {
    let images = prepared::open(folder)?;
    Ok(folder.parent().unwrap_or(folder).join(key(folder, &images.meta, recipe, width)?))
}

/// How far features are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where they are, or will be.
    pub folder: PathBuf,
    /// Rows that are there.
    pub done: usize,
    /// Whether that is all of them, in their folder.
    pub complete: bool,
}

/// How far the features of `rows` images are, by a look at names and lengths.
///
/// # Errors
/// A prepared `folder` that cannot be opened.
pub fn state(folder: &Path, recipe: &str, width: usize, rows: usize) -> Result<State, DataError> {
    let folder = place(folder, recipe, width)?;
    let complete = prepared::is_complete(&folder);
    let done = if complete { rows } else { Parts::count(&folder.with_extension(&PART[1..]), width, rows) };
    Ok(State { folder, done, complete })
}

fn data(error: DataError) -> Unprepared {
    error.into()
}

/// How a wait for the lock ended.
enum Wait {
    /// The lock; `None` where the file system has no locks or no room: then several workers may compute equal features.
    Over(Option<(File, PathBuf)>),
    /// The caller gave up.
    GivenUp,
}

/// Takes the lock, which ends with the process that holds it.
fn lock<E>(path: &Path, wait: &mut impl FnMut() -> Result<bool, E>) -> Result<Wait, E> {
    let without = |error: std::io::Error| {
        tracing::debug!("{}: {error}", path.display());
        Ok(Wait::Over(None))
    };
    loop {
        let file = match file::regular(OpenOptions::new().write(true).create(true), path) {
            Ok(file) => file,
            Err(error) => return without(error),
        };
        match file.try_lock() {
            // A lock that was removed between the two keeps nobody out.
            Ok(()) if is_at(&file, path) => return Ok(Wait::Over(Some((file, path.to_owned())))),
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return without(error),
            Err(TryLockError::WouldBlock) if !wait()? => return Ok(Wait::GivenUp),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}

/// Gives up the lock of features that are there: who waits for it looks for their folder first.
fn unlock(lock: Option<(File, PathBuf)>) {
    if let Some((file, path)) = lock {
        let _ = std::fs::remove_file(path);
        drop(file);
    }
}

/// Whether the file is the one that `path` names now.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |meta: &std::fs::Metadata| (meta.dev(), meta.ino());
    matches!((file.metadata(), std::fs::symlink_metadata(path)), (Ok(ours), Ok(named)) if place(&ours) == place(&named))
}

impl Making {
    /// Number of rows to be computed.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.ids.len()
    }

    /// Rows that are there already, of an earlier attempt too: the next one is pushed next.
    #[must_use]
    pub fn done(&self) -> usize {
        self.parts.rows
    }

    /// The folder that the features are written into.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Bytes that will be written: the pieces that are missing, and then all of them in a row.
    #[must_use]
    pub fn needs(&self) -> u64 {
        (4 * self.width * (2 * self.rows() - self.done())) as u64
    }

    /// Appends the features of the next row or rows.
    ///
    /// # Errors
    /// I/O errors: a folder that cannot be written, a full disk.
    pub fn push(&mut self, features: &[f32]) -> Result<(), Unprepared> {
        let bytes: Vec<u8> = features.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.parts.push(&bytes, features.len() / self.width).map_err(cannot(&self.cache, WRITING))
    }

    /// Completes the features and renames them to their folder.
    ///
    /// # Errors
    /// I/O errors: a full disk; a piece that has changed since it was written.
    pub fn finish(self) -> Result<PathBuf, Unprepared> {
        let Self { cache, parts, key, width, rows, lock } = self;
        let error = cannot(&cache, WRITING);
        // Opened before leftovers are removed.
        let mut file = BufReader::new(file::open_regular(&parts.path).map_err(&error)?);
        let mut writer = Writer::create(&cache)?;
        let mut left = rows.ids.len();
        while left > 0 {
            let Some(bytes) = piece(&mut file, width, left) else {
                return Err(error(changed(&parts.path)));
            };
            writer.push(&bytes)?;
            left -= bytes.len() / (4 * width);
        }
        let content = writer.hash();
        let folder = writer.finish(&key, InputShape::Features { width }, &rows, content)?;
        let _ = std::fs::remove_file(&parts.path);
        unlock(lock);
        Ok(folder)
    }
}

/// Everything but the network that decides the features of images.
#[must_use]
pub fn recipe(model: &plan::ModelConfig, weights: &str, config: &plan::DataConfig) -> String {
    let precision = model.precision.as_ref().map(|precision| format!(" {precision}")).unwrap_or_default();
    format!("{} {} {weights} {}{precision}", model.arch, plan::FEATURES, super::normalization(&config.source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dataset;
    use imbalance::stratification::SplitConfig;
    use plan::{DataConfig, Source};

    fn letters() -> DataConfig {
        DataConfig {
            source: Source::Letters {
                samples: 60,
                label_rates: vec![("A".to_owned(), 0.3), ("B".to_owned(), 0.5)],
                image_size: 16,
                signal: 1.0,
                seed: 0,
            },
            split: SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "iterative".to_owned(), seed: 0 },
        }
    }

    fn images(cache: &Path) -> PathBuf {
        crate::prepare(&letters(), Path::new("."), cache, &|_, _| {}).unwrap().facts.folder
    }

    fn ask(folder: &Path, recipe: &str) -> Derived {
        derived::<Unprepared>(folder, recipe, 2, || panic!("nobody else makes them")).unwrap()
    }

    fn make(folder: &Path, recipe: &str) -> PathBuf {
        let Derived::Wanted(mut making) = ask(folder, recipe) else { panic!("they are there") };
        for row in 0..making.rows() {
            making.push(&[row as f32, -1.0]).unwrap();
        }
        making.finish().unwrap()
    }

    fn names(cache: &Path) -> Vec<String> {
        std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn features_are_made_once_and_keep_labels_and_splits() {
        let cache = tempfile::tempdir().unwrap();
        let folder = images(cache.path());
        let made = make(&folder, "a");
        assert!(matches!(ask(&folder, "a"), Derived::There(there) if there == made));
        let (before, after) = (Dataset::open(&folder, &letters()).unwrap(), Dataset::open(&made, &letters()).unwrap());
        assert_eq!((after.labels(), after.split()), (before.labels(), before.split()));
        assert_eq!(after.shape(), InputShape::Features { width: 2 });
        let mut out = [0.0; 4];
        after.gather(&[7, 59], None, &mut out);
        assert_eq!(out, [7.0, -1.0, 59.0, -1.0]);
        assert_ne!(make(&folder, "b"), made, "another recipe, other features");
        assert_eq!(names(cache.path()).len(), 3, "nothing else is left: {:?}", names(cache.path()));
    }

    #[test]
    fn an_unfinished_folder_goes_on_and_a_damaged_one_is_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let folder = images(cache.path());
        let whole = |made: &Path| std::fs::read(made.join("inputs.bin")).unwrap();
        let expected = whole(&make(&folder, "other"));
        let Derived::Wanted(mut making) = ask(&folder, "a") else { panic!() };
        assert_eq!(making.done(), 0);
        making.push(&[0.0, -1.0, 1.0, -1.0]).unwrap();
        making.push(&[2.0, -1.0]).unwrap();
        drop(making);
        let part = || {
            let name = names(cache.path()).into_iter().find(|name| name.ends_with(PART)).unwrap();
            cache.path().join(name)
        };
        // Killed in the middle of a piece, and after what does not belong there: it goes on behind the last whole one.
        let kept = std::fs::read(part()).unwrap();
        for (bytes, done) in [
            (kept.clone(), 3),
            (kept[..kept.len() - 1].to_vec(), 2),
            ([&kept[..], &[1, 0, 0, 0, 7]].concat(), 3),
            ([&kept[..5], &[!kept[5]], &kept[6..]].concat(), 0),
            ([&[255; 4], &kept[4..]].concat(), 0),
        ] {
            std::fs::write(part(), bytes).unwrap();
            let Derived::Wanted(making) = ask(&folder, "a") else { panic!() };
            assert_eq!(making.done(), done);
            assert_eq!(making.needs(), (4 * 2 * (120 - done)) as u64);
        }
        // A look counts what has its length.
        std::fs::write(part(), &kept[..kept.len() - 1]).unwrap();
        let look = || state(&folder, "a", 2, 60).unwrap();
        assert_eq!((look().done, look().complete), (2, false));
        let Derived::Wanted(mut making) = ask(&folder, "a") else { panic!() };
        for row in making.done()..making.rows() {
            making.push(&[row as f32, -1.0]).unwrap();
        }
        // Complete, left alone for longer than leftovers are kept, and gone on with.
        drop(making);
        let old = std::time::SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
        File::open(part()).unwrap().set_modified(old).unwrap();
        assert_eq!(prepared::leftovers(cache.path()), [part()]);
        let Derived::Wanted(making) = ask(&folder, "a") else { panic!() };
        assert_eq!((making.done(), prepared::leftovers(cache.path())), (60, Vec::new()));
        let made = making.finish().unwrap();
        let left = made.with_extension(&PART[1..]);
        std::fs::write(&left, "killed before it was removed").unwrap();
        assert_eq!(prepared::leftovers(cache.path()), std::slice::from_ref(&left));
        std::fs::remove_file(left).unwrap();
        assert_eq!(look(), State { folder: made.clone(), done: 60, complete: true });
        assert_eq!(whole(&made), expected);
        assert!(!names(cache.path()).iter().any(|name| name.ends_with(PART)), "{:?}", names(cache.path()));
        std::fs::write(made.join("inputs.bin"), "short").unwrap();
        assert_eq!(make(&folder, "a"), made);
        // Another row length gives another folder name.
        assert!(matches!(derived::<Unprepared>(&folder, "a", 3, || Ok(true)).unwrap(), Derived::Wanted(_)));
    }

    #[test]
    fn the_second_waits_for_the_first() {
        let cache = tempfile::tempdir().unwrap();
        let folder = images(cache.path());
        let Derived::Wanted(mut making) = ask(&folder, "a") else { panic!() };
        let stopped = derived::<Unprepared>(&folder, "a", 2, || Ok(false)).unwrap();
        assert!(matches!(stopped, Derived::Stopped));
        let waits = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let wait = || {
                    waits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Ok(true)
                };
                derived::<Unprepared>(&folder, "a", 2, wait).unwrap()
            });
            while waits.load(std::sync::atomic::Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            for _ in 0..making.rows() {
                making.push(&[0.0, 0.0]).unwrap();
            }
            let made = making.finish().unwrap();
            assert!(matches!(second.join().unwrap(), Derived::There(there) if there == made));
        });
    }
}
