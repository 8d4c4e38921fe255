//! What files take of a disk, and what is free there. Links are never followed.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file takes whole blocks of so many bytes on the usual file systems.
const BLOCK: u64 = 4096;

/// What a file of so many bytes takes; a folder takes a block.
#[must_use]
pub fn taken(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// Files and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub files: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

impl Size {
    /// Of a file, or of a folder with all that is in it; a file with several names counts once. Nothing there, or a link to something,
    /// counts nothing.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut size = Self::default();
        size.add(path, &mut HashSet::new())?;
        Ok(size)
    }

    fn add(&mut self, path: &Path, seen: &mut HashSet<(u64, u64)>) -> io::Result<()> {
        let Some(meta) = there(path)? else { return Ok(()) };
        if meta.is_dir() {
            self.bytes += taken(1);
            for entry in fs::read_dir(path)? {
                self.add(&entry?.path(), seen)?;
            }
        } else if meta.is_file() && seen.insert((meta.dev(), meta.ino())) {
            self.files += 1;
            self.bytes += taken(meta.len());
        }
        Ok(())
    }
}

/// What is at `path`, a link itself where it is one; `None`: nothing.
///
/// # Errors
/// It cannot be looked at.
pub fn there(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes that are free for this user on the file system of `path`, or of the nearest folder above it that is there.
///
/// # Errors
/// The system does not say.
pub fn free(path: &Path) -> io::Result<u64> {
    let absolute = std::path::absolute(path)?;
    let nearest = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let found = rustix::fs::statvfs(nearest)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("in")).unwrap();
        fs::write(at("in/one"), [0; 5000]).unwrap();
        fs::hard_link(at("in/one"), at("in/two")).unwrap();
        fs::write(at("big"), [0; 100_000]).unwrap();
        std::os::unix::fs::symlink(at("big"), at("in/link")).unwrap();
        assert_eq!(Size::of(&at("in")).unwrap(), Size { files: 1, bytes: 4096 + 8192 });
        assert_eq!(Size::of(&at("in/link")).unwrap(), Size::default());
        assert_eq!(Size::of(&at("none")).unwrap(), Size::default());
        assert_eq!([0, 1, 4096, 4097].map(taken), [0, 4096, 4096, 8192]);
        assert!(free(&at("none/deeper")).unwrap() > 0);
    }
}
