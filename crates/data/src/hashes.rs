//! blake3 of files, remembered beside the prepared data, so that a plan over 200,000 unchanged images reads none of them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;

use archive::file;

/// Name of the file in the cache folder: a first line with the hash of the rest, then a line per file,
/// `hash size mtime ctime inode path`. A damaged one is as good as none.
const NAME: &str = "hashes.txt";

/// A file changed this recently may change again without a new time stamp: its hash is not remembered.
const SETTLED: i128 = 2_000_000_000;

/// What tells a changed file from an unchanged one: any write sets ctime, which no program can set back.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: i128,
    ctime: i128,
    inode: u64,
}

impl Stamp {
    fn of(file: &Path) -> io::Result<Self> {
        let meta = fs::metadata(file)?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let nanos = |seconds: i64, part: i64| i128::from(seconds) * 1_000_000_000 + i128::from(part);
        Ok(Self {
            size: meta.size(),
            mtime: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime: nanos(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        })
    }
}

/// The hash of each file, or why it cannot be read. `progress` hears (done, total).
pub fn all(cache: &Path, files: &[PathBuf], progress: &(dyn Fn(usize, usize) + Sync)) -> Vec<io::Result<blake3::Hash>> {
    let mut known = load(&cache.join(NAME));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i128);
    let done = std::sync::atomic::AtomicUsize::new(0);
    let found: Vec<io::Result<(blake3::Hash, Option<Stamp>)>> = files
        .par_iter()
        .map(|path| {
            let path = std::path::absolute(path)?;
            let stamp = Stamp::of(&path)?;
            if let Some((_, hash)) = known.get(&path).filter(|(known, _)| *known == stamp) {
                return Ok((*hash, None));
            }
            let hash = of(&path)?;
            let count = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if count.is_multiple_of(1024) {
                progress(count, files.len());
            }
            let settled = now - stamp.mtime.max(stamp.ctime) > SETTLED;
            Ok((hash, settled.then_some(stamp)))
        })
        .collect();
    let mut fresh = false;
    for (file, found) in files.iter().zip(&found) {
        if let (Ok((hash, Some(stamp))), Ok(file)) = (found, std::path::absolute(file)) {
            known.insert(file, (*stamp, *hash));
            fresh = true;
        }
    }
    if fresh && let Err(error) = save(cache, &known) {
        tracing::debug!("{}: cannot remember hashes: {error}", cache.display());
    }
    found.into_iter().map(|found| found.map(|(hash, _)| hash)).collect()
}

/// The hash of a file.
pub fn of(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file::open_regular(path)?)?;
    Ok(hasher.finalize())
}

fn load(path: &Path) -> HashMap<PathBuf, (Stamp, blake3::Hash)> {
    let text = file::read_ours(path).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let (first, text) = text.split_once('\n').unwrap_or_default();
    if first != head(text) {
        return HashMap::new();
    }
    let parse = |line: &str| {
        let mut parts = line.splitn(6, ' ');
        let hash = blake3::Hash::from_hex(parts.next()?).ok()?;
        let size = parts.next()?.parse().ok()?;
        let (mtime, ctime) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let inode = parts.next()?.parse().ok()?;
        Some((PathBuf::from(parts.next()?), (Stamp { size, mtime, ctime, inode }, hash)))
    };
    text.lines().filter_map(parse).collect()
}

fn save(cache: &Path, known: &HashMap<PathBuf, (Stamp, blake3::Hash)>) -> io::Result<()> {
    let mut text = String::new();
    for (file, (stamp, hash)) in known {
        // Paths that a line cannot hold are hashed each time.
        if let Some(file) = file.to_str().filter(|file| !file.contains(['\n', '\r'])) {
            let Stamp { size, mtime, ctime, inode } = stamp;
            let _ = writeln!(text, "{} {size} {mtime} {ctime} {inode} {file}", hash.to_hex());
        }
    }
    file::own_folder(cache)?;
    file::write(&cache.join(NAME), |file| writeln!(file, "{}", head(&text)).and_then(|()| file.write_all(text.as_bytes())))?;
    Ok(())
}

/// The first line of a memory of these lines.
fn head(lines: &str) -> String {
    format!("hashes {}", blake3::hash(lines.as_bytes()).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_hashed_again_and_unchanged_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let files: Vec<PathBuf> = ["a b", "c"].iter().map(|name| folder.path().join(name)).collect();
        let hashes = || all(&cache, &files, &|_, _| {}).into_iter().map(|hash| hash.ok()).collect::<Vec<_>>();
        fs::write(&files[0], "one").unwrap();
        assert_eq!(hashes(), [Some(blake3::hash(b"one")), None]);
        assert!(!cache.exists(), "a file written just now is not remembered");
        fs::write(&files[1], "two").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2100));
        assert_eq!(hashes(), [Some(blake3::hash(b"one")), Some(blake3::hash(b"two"))]);
        // A wrong hash in the memory shows that it is believed, for as long as the file stays; a damaged memory is not.
        let memory = fs::read_to_string(cache.join(NAME)).unwrap();
        let lie = memory.replace(blake3::hash(b"one").to_hex().as_str(), blake3::hash(b"lie").to_hex().as_str());
        fs::write(cache.join(NAME), &lie).unwrap();
        assert_eq!(hashes()[0], Some(blake3::hash(b"one")));
        let lie = lie.split_once('\n').unwrap().1;
        fs::write(cache.join(NAME), format!("{}\n{lie}", head(lie))).unwrap();
        assert_eq!(hashes()[0], Some(blake3::hash(b"lie")));
        let before = fs::metadata(&files[0]).unwrap().modified().unwrap();
        fs::write(&files[0], "six").unwrap();
        fs::File::options().write(true).open(&files[0]).unwrap().set_modified(before).unwrap();
        assert_eq!(hashes()[0], Some(blake3::hash(b"six")), "same size and mtime, other content");
        fs::write(cache.join(NAME), "damaged").unwrap();
        assert_eq!(hashes()[1], Some(blake3::hash(b"two")));
    }
}
