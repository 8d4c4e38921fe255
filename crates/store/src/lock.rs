//! One writer: an advisory lock (flock) on `<db>.lock`, freed by the kernel however its holder dies. The file's text says who holds it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;
use archive::file::{open_ours, regular};
use imbalance::shown::cut;

/// How the text of a lock begins; the process number follows.
const HOLDER: &str = "process ";
/// Most bytes of such a text.
const LONG: u64 = 4096;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    /// What [`holder`] says while it is held.
    pub holder: String,
}

/// The path of the lock of `db`.
pub(super) fn path_of(db: &Path) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl Lock {
    /// Takes the lock of `db`, or says who has it.
    pub(super) fn take(db: &Path) -> Result<Self, StoreError> {
        let path = path_of(db);
        let cannot = |doing: &str, error: std::io::Error| {
            StoreError::unusable(
                db,
                format!("cannot {doing} {}: {error}; use a --db in a folder you may write to", path.display()),
            )
        };
        let options = &mut File::options();
        let mut file = regular(options.read(true).write(true).create(true), &path).map_err(|error| cannot("create", error))?;
        if !is_ours(&mut file).map_err(|error| cannot("read", error))? {
            let message = format!(
                "{} is no lock of sweep: it is neither empty nor begins with `{HOLDER}`, and stays as it is; move it away, or use another --db",
                path.display()
            );
            return Err(StoreError::unusable(db, message));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let known = file.take(LONG).read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if known { cut(holder.trim(), 200) } else { "it has only just started".to_owned() };
                return Err(StoreError::Busy { path: db.to_owned(), holder });
            }
            Err(error) => return Err(cannot("lock", error.into())),
        }
        let holder = format!("{HOLDER}{} on {}, {}, since {}", std::process::id(), super::host(), command(), now_in_words());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(|error| cannot("write", error))?;
        Ok(Self { _file: file, holder: cut(&holder, 200) })
    }
}

/// Whether the file has only what a lock's holder writes; leaves the position at its beginning.
fn is_ours(file: &mut File) -> std::io::Result<bool> {
    let mut begin = Vec::new();
    file.take(HOLDER.len() as u64).read_to_end(&mut begin)?;
    file.rewind()?;
    // A holder writes its text at once, but a reader may see the first part of it.
    Ok(HOLDER.as_bytes().starts_with(&begin))
}

/// The process that writes to `db`: `None` where no process of this machine does, or where the kernel does not say. Reads the
/// kernel's list of locks: taking the lock to find out would turn away a sweep that starts at the same moment.
#[must_use]
pub fn holder(db: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let path = path_of(db);
    let mut text = String::new();
    open_ours(&path).ok()?.take(LONG).read_to_string(&mut text).ok()?;
    let process = text.strip_prefix(HOLDER)?.split(' ').next()?;
    // The device is not compared: overlays and btrfs report another one to programs than the list has.
    let inode = format!(":{}", std::fs::symlink_metadata(&path).ok()?.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let held = |lock: &str| {
        let words: Vec<&str> = lock.split_whitespace().collect();
        words.contains(&"FLOCK") && words.contains(&process) && words.iter().any(|word| word.ends_with(&inode))
    };
    locks.lines().any(held).then(|| cut(text.trim(), 200))
}

/// `sweep run`: the program and its first argument, as typed.
fn command() -> String {
    let mut words = std::env::args().take(2);
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    words.next().map_or(program.clone(), |word| format!("{program} {word}"))
}

/// `2026-11-24 04:20:29 UTC`.
fn now_in_words() -> String {
    super::time_in_words(super::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_lock_of_ours_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (db, lock) = (at("x.db"), at("x.db.lock"));
        let refused = |why: &str| {
            let error = Lock::take(&db).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("x.db.lock"), "{error}");
            assert_eq!(holder(&db), None);
        };
        std::fs::write(at("mine"), "precious").unwrap();
        std::os::unix::fs::symlink(at("mine"), &lock).unwrap();
        refused("symbolic link");
        std::fs::remove_file(&lock).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), &lock).unwrap();
        refused("symbolic link");
        std::fs::remove_file(&lock).unwrap();
        std::fs::hard_link(at("mine"), &lock).unwrap();
        refused("no lock of sweep");
        std::fs::remove_file(&lock).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &lock, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        refused("not a regular file");
        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir(&lock).unwrap();
        refused("cannot create");
        std::fs::remove_dir(&lock).unwrap();
        assert_eq!(std::fs::read_to_string(at("mine")).unwrap(), "precious");
        assert!(!at("nowhere").exists());
        for old in ["", "process 1 on nowhere, sweep run, since ever"] {
            std::fs::write(&lock, old).unwrap();
            drop(Lock::take(&db).unwrap());
            assert!(std::fs::read_to_string(&lock).unwrap().starts_with(HOLDER));
        }
    }
}
