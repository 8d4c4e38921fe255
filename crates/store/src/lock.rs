//! One writer: an advisory lock (flock) on `<db>.lock`, freed by the kernel however its holder dies. The file's text says who holds it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// How the text of a lock begins; the process number follows.
const HOLDER: &str = "process ";

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Where the lock of `db` lies.
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
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| cannot("create", error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "it has only just started".to_owned() };
                return Err(StoreError::Busy { path: db.to_owned(), holder });
            }
            Err(error) => return Err(cannot("lock", error.into())),
        }
        let holder = format!("{HOLDER}{} on {}, {}, since {}", std::process::id(), super::host(), command(), now_in_words());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(|error| cannot("write", error))?;
        Ok(Self { _file: file })
    }
}

/// Who writes to `db`: `None` where nobody on this machine does, or where the kernel does not say. Only looks at the kernel's list:
/// taking the lock to find out would turn away a sweep that starts in the same moment.
#[must_use]
pub fn holder(db: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let path = path_of(db);
    let text = std::fs::read_to_string(&path).ok()?;
    let process = text.strip_prefix(HOLDER)?.split(' ').next()?;
    // Not by device: overlays and btrfs show programs another one than the list has.
    let inode = format!(":{}", std::fs::metadata(&path).ok()?.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let held = |lock: &str| {
        let words: Vec<&str> = lock.split_whitespace().collect();
        words.contains(&"FLOCK") && words.contains(&process) && words.iter().any(|word| word.ends_with(&inode))
    };
    locks.lines().any(held).then(|| text.trim().to_owned())
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
