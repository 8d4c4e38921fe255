//! Files are written beside their places, and get their names once all of them are whole.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use archive::file::is_older;

/// Prefix of the folder of files that are being written.
const EXPORTING: &str = ".exporting-";
/// A folder that has not changed for so long is of a process that was killed.
const OLD: Duration = Duration::from_secs(3600);

/// The files of one export.
pub struct Staging {
    to: PathBuf,
    /// Whether the folder was made for this export.
    made: bool,
    folder: Option<tempfile::TempDir>,
    /// Relative paths.
    files: BTreeSet<PathBuf>,
}

impl Staging {
    /// Makes the folder `to`, if it is not there, and removes what killed exports have left in it.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn begin(to: &Path) -> Result<Self, Error> {
        let made = match fs::symlink_metadata(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(to).map_err(|error| Error::file((to.to_owned(), error)))?;
                true
            }
            _ if to.is_dir() => false,
            _ => return Err(Error::Usage(format!("{} is no folder: name one, which may be new", to.display()))),
        };
        for entry in fs::read_dir(to).into_iter().flatten().flatten() {
            let left = entry.file_name().to_string_lossy().starts_with(EXPORTING) && is_older(&entry.path(), OLD);
            if left && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // What cannot be removed does no harm.
                drop(fs::remove_dir_all(entry.path()));
            }
        }
        let mut staging = Self { to: to.to_owned(), made, folder: None, files: BTreeSet::new() };
        let folder = tempfile::Builder::new().prefix(EXPORTING).tempdir_in(to);
        staging.folder = Some(folder.map_err(|error| Error::file((to.to_owned(), error)))?);
        Ok(staging)
    }

    /// The folder that the files are to be in.
    pub fn to(&self) -> &Path {
        &self.to
    }

    /// Whether nothing is in the place of a file.
    ///
    /// # Errors
    /// There is something of this name.
    pub fn must_be_new(&self, name: &str) -> Result<(), Error> {
        let path = self.to.join(name);
        // A link to nothing is something, too.
        match fs::symlink_metadata(&path) {
            Ok(_) => Err(Error::Usage(format!("{} exists: --force writes over it, or name another folder", path.display()))),
            Err(_) => Ok(()),
        }
    }

    /// Whether no program has the database of this name open for writing.
    ///
    /// # Errors
    /// SQLite's files of a database that is being written lie beside it: they would be taken for those of the new one.
    pub fn must_not_be_in_use(&self, database: &str) -> Result<(), Error> {
        for ending in ["-wal", "-journal"] {
            let path = self.to.join(format!("{database}{ending}"));
            if fs::symlink_metadata(&path).is_ok() {
                return Err(Error::Usage(format!(
                    "{} is there: another program uses {database}; end it (such as `mlflow ui`), or name another folder",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Where a file is written that is to have this relative path.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn file(&mut self, relative: impl Into<PathBuf>) -> Result<PathBuf, Error> {
        let relative = relative.into();
        let path = self.folder.as_ref().map_or_else(|| self.to.clone(), |folder| folder.path().to_owned()).join(&relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::file((folder.to_owned(), error)))?;
        }
        self.files.insert(relative);
        Ok(path)
    }

    /// An error of a file, under the name that it was to get.
    pub fn error(&self, relative: &str, source: io::Error) -> Error {
        Error::file((self.to.join(relative), source))
    }

    /// Gives all files their names, and returns these.
    ///
    /// # Errors
    /// Something that is no file is in the place of one.
    pub fn publish(mut self) -> Result<BTreeSet<PathBuf>, Error> {
        let Some(folder) = self.folder.take() else { return Ok(BTreeSet::new()) };
        self.made = false;
        for relative in &self.files {
            let to = self.to.join(relative);
            let parent = to.parent().unwrap_or(&self.to);
            let moved = fs::create_dir_all(parent).and_then(|()| fs::rename(folder.path().join(relative), &to));
            moved.map_err(|error| Error::file((to.clone(), error)))?;
        }
        Ok(std::mem::take(&mut self.files))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        drop(self.folder.take());
        if self.made {
            // Only an empty folder is removed: nothing was exported.
            drop(fs::remove_dir(&self.to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("new/exports");
        let mut staging = Staging::begin(&to).unwrap();
        fs::write(staging.file("a").unwrap(), "1").unwrap();
        fs::write(staging.file("b/c").unwrap(), "2").unwrap();
        assert!(!to.join("a").exists());
        drop(staging);
        assert!(!to.exists(), "a folder that was made for nothing");
        let mut staging = Staging::begin(&to).unwrap();
        fs::write(staging.file("a").unwrap(), "1").unwrap();
        fs::write(staging.file("b/c").unwrap(), "2").unwrap();
        assert_eq!(staging.publish().unwrap().len(), 2);
        assert_eq!((fs::read(to.join("a")).unwrap(), fs::read(to.join("b/c")).unwrap()), (b"1".to_vec(), b"2".to_vec()));
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
        let staging = Staging::begin(&to).unwrap();
        assert!(staging.must_be_new("a").is_err() && staging.must_be_new("d").is_ok());
        fs::write(to.join("a-wal"), "").unwrap();
        assert!(staging.must_not_be_in_use("a").is_err() && staging.must_not_be_in_use("b").is_ok());
    }
}
