//! The program's own files and folders: written whole, opened without following links, removed through a trash name.
//!
//! Somebody else may have put something at these paths: a symbolic link to one of the user's files, a FIFO without a writer. Files
//! are therefore opened only if they are regular files, and folders used only if they are folders.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use super::seal::{Seal, Sealing};

/// Prefix of files that are being written.
pub const SAVING: &str = ".saving-";
/// Prefix of folders that are being removed.
pub const REMOVING: &str = ".removing-";

/// The folder that the file `path` is in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `path` with the user's home folder in place of a `~` at its beginning; any other path as it is.
#[must_use]
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) if !home.as_os_str().is_empty() => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Writes the file `path`: complete at its place, or not there. Returns its seal. Does not wait for the disk.
///
/// # Errors
/// I/O errors; the file that was there before stays.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Seal> {
    write_as(path, 0o600, fill)
}

/// [`write()`] of a file that leaves the program: others may read it, as the user's umask says.
///
/// # Errors
/// The errors of [`write()`].
pub fn write_for_others(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Seal> {
    write_as(path, 0o666, fill)
}

fn write_as(path: &Path, mode: u32, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Seal> {
    let mut builder = tempfile::Builder::new();
    let mut temporary = builder.permissions(Permissions::from_mode(mode)).prefix(SAVING).tempfile_in(folder_of(path))?;
    let mut sealing = BufWriter::with_capacity(1 << 16, Sealing::new(temporary.as_file_mut()));
    fill(&mut sealing)?;
    let seal = sealing.into_inner().map_err(io::IntoInnerError::into_error)?.seal();
    temporary.persist(path)?;
    Ok(seal)
}

/// Gives the file `from` a second name, `to`, in place of what was there: complete, or not there. Where the file system has no
/// second names it is copied.
///
/// # Errors
/// I/O errors; the file that was there before stays.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    // Its random name is what is wanted of it.
    let room = tempfile::Builder::new().prefix(SAVING).make_in(folder_of(to), |path| fs::hard_link(from, path));
    match room {
        // A rename onto another name of the same file does nothing; what is left is removed when it goes out of scope.
        Ok(room) => fs::rename(room.path(), to),
        Err(_) => {
            let bytes = read_ours(from)?;
            write(to, |file| file.write_all(&bytes)).map(drop)
        }
    }
}

/// Opens one of the program's own files for reading: only a regular file, and never through a symbolic link.
///
/// # Errors
/// I/O errors; a symbolic link, or anything that is not a regular file.
pub fn open_ours(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true), path)
}

/// [`open_ours`] with other `options`. They must not truncate: the type of the file is checked after opening.
///
/// # Errors
/// The errors of [`open_ours`].
pub fn regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Without NONBLOCK the open of a FIFO waits for its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path).map_err(|error| {
        let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        if link { other("is a symbolic link, and sweep follows none to its own files".to_owned()) } else { error }
    })?;
    plain(&file)?;
    Ok(file)
}

/// All bytes of one of the program's own files; see [`open_ours`].
///
/// # Errors
/// The errors of [`open_ours`]; I/O errors while reading.
pub fn read_ours(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_ours(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens one of the user's files, following links. Devices and FIFOs are refused: reading them might never end.
///
/// # Errors
/// I/O errors; anything that is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Merely opening a device may have an effect: the type is checked before and again after.
    if !fs::metadata(path)?.is_file() {
        return Err(not_regular());
    }
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    plain(&file)?;
    Ok(file)
}

fn plain(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { Ok(()) } else { Err(not_regular()) }
}

fn not_regular() -> io::Error {
    other("is not a regular file (but a folder, a device or a FIFO)".to_owned())
}

fn other(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Makes one of the program's own folders if it does not exist. Its parents may be links made by the user.
///
/// # Errors
/// The folder cannot be made, or a link or a file is at its path.
pub fn own_folder(path: &Path) -> io::Result<()> {
    // Most folders are new: a link in the way is found as something that exists.
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return fs::create_dir_all(path),
        made => return made,
    }
    match fs::symlink_metadata(path) {
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(meta) if meta.is_symlink() => Err(other(
            "is a symbolic link, and sweep follows none to its own folders: to keep them elsewhere, put the database there (--db)"
                .to_owned(),
        )),
        Ok(_) => Err(other("is in the way: sweep keeps a folder of this name".to_owned())),
    }
}

/// Renames a folder to a trash name, then removes it, so that it is seen whole or not at all. A missing folder is fine.
///
/// # Errors
/// The folder cannot be renamed or removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    let trash = tempfile::Builder::new().prefix(REMOVING).tempdir_in(folder.parent().unwrap_or(folder));
    match trash.and_then(|trash| fs::rename(folder, trash.path().join("it")).and_then(|()| trash.close())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what killed processes have left in `folder`: files that were being written, folders that were being removed. Those
/// younger than `age` may belong to a living process. What cannot be removed stays.
pub fn remove_litter(folder: &Path, age: Duration) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let (file, trash) = (name.starts_with(SAVING), name.starts_with(REMOVING));
        if (!file && !trash) || !is_older(&entry.path(), age) {
            continue;
        }
        let removed = if file { fs::remove_file(entry.path()) } else { fs::remove_dir_all(entry.path()) };
        drop(removed);
    }
}

/// Whether the last change of `path` is at least `age` ago; false where that cannot be read.
#[must_use]
pub fn is_older(path: &Path, age: Duration) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    age.is_zero() || changed.is_ok_and(|time| time.elapsed().is_ok_and(|passed| passed >= age))
}

/// Waits until the files of these folders, and their names, are on the disk, one folder after the other. A file with several names
/// is waited for once.
///
/// # Errors
/// I/O errors, with the path of the file.
pub fn settle(folders: &[&Path]) -> Result<(), (PathBuf, io::Error)> {
    let named = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let mut settled = HashSet::new();
    for folder in folders {
        for entry in fs::read_dir(folder).map_err(named(folder))? {
            let path = entry.map_err(named(folder))?.path();
            let meta = fs::symlink_metadata(&path);
            if meta.is_ok_and(|meta| meta.is_file() && settled.insert((meta.dev(), meta.ino()))) {
                open_ours(&path).and_then(|file| file.sync_all()).map_err(named(&path))?;
            }
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(named(folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_there_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let seal = write(&path, |file| file.write_all(b"one")).unwrap();
        assert!(seal.fits(b"one") && !seal.fits(b"onf"));
        write(&path, |file| file.write_all(b"two").and(Err(io::Error::other("no")))).unwrap_err();
        assert_eq!((fs::read(&path).unwrap().as_slice(), names(folder.path())), (&b"one"[..], vec!["a".to_owned()]));
    }

    #[test]
    fn a_second_name_takes_the_place_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one"), "1").unwrap();
        fs::write(at("two"), "2").unwrap();
        for _ in 0..2 {
            link(&at("one"), &at("two")).unwrap();
            assert_eq!((fs::read(at("two")).unwrap().as_slice(), names(folder.path()).len()), (&b"1"[..], 2));
        }
        link(&at("none"), &at("two")).unwrap_err();
        assert_eq!(fs::read(at("two")).unwrap(), b"1");
        // What is written at either name afterwards is a file of its own.
        write(&at("one"), |file| file.write_all(b"3")).unwrap();
        assert_eq!(fs::read(at("two")).unwrap(), b"1");
    }

    #[test]
    fn folders_with_files_of_two_names_settle() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        for folder in [&first, &second] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(first.join("one"), "1").unwrap();
        link(&first.join("one"), &second.join("two")).unwrap();
        settle(&[&first, &second]).unwrap();
        assert_eq!(fs::metadata(second.join("two")).unwrap().nlink(), 2);
        let none = folder.path().join("none");
        assert_eq!(settle(&[&first, &none]).unwrap_err().0, none);
    }

    #[test]
    fn links_fifos_and_folders_are_no_files_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        fs::create_dir(at("folder")).unwrap();
        assert_eq!(read_ours(&at("file")).unwrap(), b"text");
        assert!(open_ours(&at("link")).unwrap_err().to_string().contains("symbolic link"));
        for odd in ["fifo", "folder"] {
            assert!(open_ours(&at(odd)).unwrap_err().to_string().contains("not a regular file"), "{odd}");
            assert!(open_regular(&at(odd)).unwrap_err().to_string().contains("not a regular file"), "{odd}");
        }
        assert!(open_regular(Path::new("/dev/zero")).unwrap_err().to_string().contains("not a regular file"));
        assert!(open_regular(&at("link")).is_ok(), "the user's own links are followed");
        assert!(own_folder(&at("folder")).is_ok() && own_folder(&at("new/folder")).is_ok());
        std::os::unix::fs::symlink(at("folder"), at("elsewhere")).unwrap();
        assert!(own_folder(&at("elsewhere")).unwrap_err().to_string().contains("symbolic link"));
        assert!(own_folder(&at("file")).unwrap_err().to_string().contains("in the way"));
    }

    #[test]
    fn a_removed_folder_and_old_litter_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("run/epochs")).unwrap();
        remove(&folder.path().join("run")).unwrap();
        remove(&folder.path().join("run")).unwrap();
        fs::write(folder.path().join(".saving-a"), "half").unwrap();
        fs::create_dir_all(folder.path().join(".removing-b/it")).unwrap();
        fs::write(folder.path().join("kept"), "").unwrap();
        remove_litter(folder.path(), Duration::from_secs(3600));
        assert_eq!(names(folder.path()).len(), 3, "young ones may be in use");
        remove_litter(folder.path(), Duration::ZERO);
        assert_eq!(names(folder.path()), ["kept"]);
    }
}
