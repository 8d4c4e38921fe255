//! Features that a frozen backbone gives, beside the pictures they come from: a prepared folder like any other, with the labels and
//! splits of the pictures and inputs that somebody else computes. Owns their name, their lock and their place; knows no network.
//!
//! Several workers may want the same features at once: one makes them, the others wait. One that is killed leaves a temporary
//! folder and releases the lock, and the next one starts anew.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::prepared::{self, Rows, Writer};
use super::{DataError, Dataset, InputShape};

/// Between two looks at the lock of somebody else.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of the wish for features.
pub enum Derived {
    /// They are in this folder.
    There(PathBuf),
    /// The caller has to make them.
    Wanted(Box<Making>),
    /// The caller did not want to wait any longer.
    Stopped,
}

/// Features being made. Nothing is left of those that are dropped unfinished, except the lock file.
pub struct Making {
    writer: Writer,
    key: String,
    width: usize,
    rows: Rows,
    pushed: usize,
    lock: Option<(File, PathBuf)>,
}

/// Features of `width` numbers a row of the pictures in the prepared `folder`, made by `recipe`: all that decides them beside the
/// pictures. `wait` is called while another process makes them, and says whether to go on waiting.
///
/// # Errors
/// A cache that cannot be read or written; whatever `wait` says.
pub fn derived<E: From<DataError>>(
    folder: &Path,
    recipe: &str,
    width: usize,
    mut wait: impl FnMut() -> Result<bool, E>,
) -> Result<Derived, E> {
    let pictures = prepared::open(folder)?;
    let cache = folder.parent().unwrap_or(folder);
    let mut hasher = blake3::Hasher::new();
    // The seals of all of the pictures' files are their content.
    let sealed = serde_json::to_vec(&pictures.meta)
        .map_err(|error| DataError { place: folder.display().to_string(), message: error.to_string() })?;
    hasher.update(format!("derived {width} {recipe}\n").as_bytes()).update(&sealed);
    let key = hasher.finalize().to_hex()[..32].to_owned();
    let target = cache.join(&key);
    if prepared::open(&target).is_ok() {
        return Ok(Derived::There(target));
    }
    let Some(lock) = lock(&cache.join(format!("{key}.lock")), &mut wait)? else { return Ok(Derived::Stopped) };
    if target.exists() {
        match prepared::open(&target) {
            Ok(_) => return Ok(Derived::There(target)),
            Err(error) => {
                tracing::warn!("{error}; computing it again");
                prepared::discard(&target)?;
            }
        }
    }
    let rows = Rows {
        ids: pictures.ids()?,
        labels: pictures.labels,
        splits: pictures.splits,
        groups: pictures.groups,
        group_names: pictures.meta.group_names,
        skipped: pictures.meta.skipped,
    };
    let writer = Writer::create(cache)?;
    Ok(Derived::Wanted(Box::new(Making { writer, key, width, rows, pushed: 0, lock })))
}

/// Held locks end with their process. `None`: no longer waited for. A file system without locks has none: there the last of several
/// equal results is dropped.
#[expect(clippy::type_complexity, reason = "said in one line: a lock or none, unless the wait was given up")]
fn lock<E: From<DataError>>(
    path: &Path,
    wait: &mut impl FnMut() -> Result<bool, E>,
) -> Result<Option<Option<(File, PathBuf)>>, E> {
    let file = File::create(path).map_err(|error| DataError {
        place: path.display().to_string(),
        message: format!("cannot write features into this folder: {error}"),
    })?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Some((file, path.to_owned())))),
            Err(TryLockError::WouldBlock) => {
                if !wait()? {
                    return Ok(None);
                }
                std::thread::sleep(PAUSE);
            }
            Err(TryLockError::Error(error)) => {
                tracing::debug!("{}: {error}", path.display());
                return Ok(Some(None));
            }
        }
    }
}

impl Making {
    /// Rows to be made.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.ids.len()
    }

    /// Appends the features of the next row or rows.
    ///
    /// # Errors
    /// A full disk; a feature that is no finite number.
    pub fn push(&mut self, features: &[f32]) -> Result<(), DataError> {
        if let Some(bad) = features.iter().position(|x| !x.is_finite()) {
            let row = self.pushed + bad / self.width;
            let message =
                format!("feature {} of the backbone is {}: its weights do not suit it", bad % self.width, features[bad]);
            return Err(DataError { place: self.rows.ids.get(row).cloned().unwrap_or_default(), message });
        }
        self.pushed += features.len() / self.width;
        self.writer.push(&features.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// Puts the features into their place.
    ///
    /// # Errors
    /// A full disk.
    pub fn finish(self) -> Result<PathBuf, DataError> {
        let Self { writer, key, width, rows, lock, .. } = self;
        let content = writer.hash();
        let folder = writer.finish(&key, InputShape::Features { width }, &rows, content)?;
        // Whoever waits for the lock looks for the folder first.
        if let Some((file, path)) = lock {
            let _ = std::fs::remove_file(path);
            drop(file);
        }
        Ok(folder)
    }
}

/// Everything about pictures that decides their features beside the network.
#[must_use]
pub fn recipe(backbone: &str, weights: &str, config: &crate::spec::DataConfig) -> String {
    format!("{backbone} {} {weights} {}", crate::spec::FEATURES, super::normalization(&config.source))
}

impl Dataset {
    /// All rows, in order.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.opened.meta.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DataConfig, Source, SplitConfig};

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

    fn pictures(cache: &Path) -> PathBuf {
        crate::data::prepare(&letters(), Path::new("."), cache, &|_, _| {}).unwrap().folder
    }

    fn ask(folder: &Path, recipe: &str) -> Derived {
        derived::<DataError>(folder, recipe, 2, || panic!("nobody else makes them")).unwrap()
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
        let folder = pictures(cache.path());
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
        let folder = pictures(cache.path());
        let Derived::Wanted(mut making) = ask(&folder, "a") else { panic!() };
        making.push(&[1.0, 2.0]).unwrap();
        drop(making);
        let made = make(&folder, "a");
        std::fs::write(made.join("inputs.bin"), "short").unwrap();
        assert_eq!(make(&folder, "a"), made);
        let Derived::Wanted(mut making) = ask(&folder, "b") else { panic!() };
        let error = making.push(&[1.0, 2.0, f32::NAN, 1.0]).unwrap_err().to_string();
        assert!(error.contains("feature 0 of the backbone is NaN"), "{error}");
    }

    #[test]
    fn the_second_waits_for_the_first() {
        let cache = tempfile::tempdir().unwrap();
        let folder = pictures(cache.path());
        let Derived::Wanted(mut making) = ask(&folder, "a") else { panic!() };
        let stopped = derived::<DataError>(&folder, "a", 2, || Ok(false)).unwrap();
        assert!(matches!(stopped, Derived::Stopped));
        let waits = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let wait = || {
                    waits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Ok(true)
                };
                derived::<DataError>(&folder, "a", 2, wait).unwrap()
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
