//! Features of a frozen backbone, beside the images they come from: a prepared folder like any other, with the labels and splits of
//! the images. The caller computes the features; this module owns their key, lock and folder and knows no network.
//!
//! Several workers may want the same features at once: one makes them, the others wait. A killed worker leaves a temporary
//! folder and releases the lock; the next one starts again.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::DataError;
use super::Unprepared;
use super::prepared::{self, Rows, Writer};
use archive::file;
use plan::InputShape;

/// Interval between two tries to take a lock that another process holds.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the features are, or who makes them.
pub enum Derived {
    /// The features are in this folder.
    There(PathBuf),
    /// The caller has to compute them.
    Wanted(Box<Making>),
    /// `wait` returned false.
    Stopped,
}

/// Features being written. Dropped unfinished, nothing is left of them except the lock file.
pub struct Making {
    cache: PathBuf,
    /// Opened at the first row, so that every later error is a write error.
    writer: Option<Writer>,
    key: String,
    width: usize,
    rows: Rows,
    lock: Option<(File, PathBuf)>,
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
        Ok(_) => Ok(true),
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
    Ok(Derived::Wanted(Box::new(Making { cache: cache.to_owned(), writer: None, key, width, rows, lock })))
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
    let file = match file::regular(OpenOptions::new().write(true).create(true), path) {
        Ok(file) => file,
        Err(error) => return without(error),
    };
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Wait::Over(Some((file, path.to_owned())))),
            Err(TryLockError::Error(error)) => return without(error),
            Err(TryLockError::WouldBlock) if !wait()? => return Ok(Wait::GivenUp),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}

impl Making {
    /// Number of rows to be computed.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.ids.len()
    }

    /// The folder that the features are written into.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Appends the features of the next row or rows.
    ///
    /// # Errors
    /// I/O errors: a folder that cannot be written, a full disk.
    pub fn push(&mut self, features: &[f32]) -> Result<(), Unprepared> {
        let bytes: Vec<u8> = features.iter().flat_map(|x| x.to_le_bytes()).collect();
        match &mut self.writer {
            Some(writer) => writer.push(&bytes),
            None => self.writer.insert(Writer::create(&self.cache)?).push(&bytes),
        }
    }

    /// Completes the features and renames them to their folder.
    ///
    /// # Errors
    /// I/O errors: a full disk.
    ///
    /// # Panics
    /// If no row was pushed.
    pub fn finish(self) -> Result<PathBuf, Unprepared> {
        let Self { writer, key, width, rows, lock, .. } = self;
        let writer = writer.expect("the rows were pushed");
        let content = writer.hash();
        let folder = writer.finish(&key, InputShape::Features { width }, &rows, content)?;
        // Workers that wait for the lock look for the folder first.
        if let Some((file, path)) = lock {
            let _ = std::fs::remove_file(path);
            drop(file);
        }
        Ok(folder)
    }
}

/// Everything but the network that decides the features of images.
#[must_use]
pub fn recipe(backbone: &str, weights: &str, config: &plan::DataConfig) -> String {
    format!("{backbone} {} {weights} {}", plan::FEATURES, super::normalization(&config.source))
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
    fn an_unfinished_or_damaged_folder_is_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let folder = images(cache.path());
        let Derived::Wanted(mut making) = ask(&folder, "a") else { panic!() };
        making.push(&[1.0, 2.0]).unwrap();
        drop(making);
        let made = make(&folder, "a");
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
