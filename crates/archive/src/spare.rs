//! What a finished run can do without: its parameters, and the logits of epochs that nobody looks at. What was removed is written down
//! beside the rest (`removed.json`) before it goes, so that whoever misses it can say why; and that a run was exported is, too
//! (`exported.json`), so that its parameters stay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::disk::{Size, there};
use super::file;
use super::matrix::named;
use super::run::{EPOCHS, MODEL, RunFolder};

/// The folder of a run's refit, in its own.
pub const REFIT: &str = "refit";
const EXPORTED: &str = "exported.json";
const REMOVED: &str = "removed.json";
/// How the folder in which a worker makes a refit begins.
pub const REFITTING: &str = ".refit-";

/// Version of both files.
const FORMAT: u32 = 1;
/// What was last changed so long ago belongs to no living process.
pub const HOUR: Duration = Duration::from_secs(3600);

/// `exported.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ExportsFile {
    format: u32,
    exports: Vec<ExportMark>,
}

/// An export of a run's model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportMark {
    /// The folder that was written.
    pub to: PathBuf,
    /// When, in Unix seconds.
    pub at: f64,
}

/// `removed.json`: when, in Unix seconds, each part was removed; `None`: it was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    #[serde(default)]
    format: u32,
    /// The parameters, with those of a refit.
    #[serde(default)]
    pub parameters: Option<f64>,
    /// The logits of the epochs but the best and the last.
    #[serde(default)]
    pub epochs: Option<f64>,
}

/// A part of a finished run that can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Parameters,
    Epochs,
}

impl RunFolder {
    /// Writes down that the model was exported.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note_export(&self, to: &Path, at: f64) -> io::Result<()> {
        let mut found: ExportsFile = self.note(EXPORTED).unwrap_or_default();
        found.format = FORMAT;
        found.exports.retain(|mark| mark.to != to);
        found.exports.push(ExportMark { to: to.to_owned(), at });
        file::write(&self.file(EXPORTED), |out| Ok(serde_json::to_writer(out, &found)?)).map(drop)
    }

    /// Whether the model was exported; so does a note that cannot be read say.
    #[must_use]
    pub fn was_exported(&self) -> bool {
        self.file(EXPORTED).symlink_metadata().is_ok()
    }

    /// What was removed of the run on request.
    #[must_use]
    pub fn removed(&self) -> Removed {
        self.note(REMOVED).unwrap_or_default()
    }

    /// A note of ours; `None` where there is none that can be read.
    fn note<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&file::read_ours(&self.file(name)).ok()?).ok()
    }

    /// Forgets what was removed of an earlier result, before a new one is made.
    pub(super) fn made_anew(&self) -> io::Result<()> {
        remove_file(&self.file(REMOVED))
    }

    /// Leaves what is known of exports to `next`, which takes the place of this folder.
    pub(super) fn hand_over(&self, next: &Self) -> io::Result<()> {
        match fs::rename(self.file(EXPORTED), next.file(EXPORTED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The files and folders of a part that are there; `kept` are the epochs whose logits stay. Of links there are none. Nothing of the
    /// parameters while a refit is made.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn part(&self, part: Part, kept: &[usize]) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        match part {
            Part::Parameters => {
                let (model, refit) = (self.file(MODEL), self.file(REFIT));
                if self.is_refitting()? {
                    return Ok(found);
                }
                found.extend(there(&model)?.filter(fs::Metadata::is_file).map(|_| model));
                found.extend(there(&refit)?.filter(fs::Metadata::is_dir).map(|_| refit));
            }
            Part::Epochs => {
                let epochs = self.file(EPOCHS);
                if there(&epochs)?.is_none_or(|meta| !meta.is_dir()) {
                    return Ok(found);
                }
                for entry in fs::read_dir(&epochs)? {
                    let entry = entry?;
                    let epoch = entry.file_name().to_str().and_then(epoch_of);
                    if epoch.is_some_and(|epoch| !kept.contains(&epoch)) && entry.file_type()?.is_file() {
                        found.push(entry.path());
                    }
                }
                found.sort();
            }
        }
        Ok(found)
    }

    /// Removes what [`Self::part`] lists, which is written down first. May be called again after an interruption.
    ///
    /// # Errors
    /// The note cannot be written, or something cannot be removed; with the path.
    pub fn remove_part(&self, part: Part, kept: &[usize], at: f64) -> io::Result<()> {
        let found = self.part(part, kept).map_err(|error| named(self.path(), &error))?;
        if found.is_empty() {
            return Ok(());
        }
        let mut note = self.removed();
        note.format = FORMAT;
        match part {
            Part::Parameters => note.parameters = Some(at),
            Part::Epochs => note.epochs = Some(at),
        }
        let path = self.file(REMOVED);
        let written = file::write(&path, |out| Ok(serde_json::to_writer(out, &note)?));
        written.map_err(|error| named(&path, &error))?;
        for path in found {
            remove(&path).map_err(|error| named(&path, &error))?;
        }
        Ok(())
    }

    /// Whether a worker may be making a refit.
    fn is_refitting(&self) -> io::Result<bool> {
        let refit = self.file(REFIT);
        if there(&refit)?.is_none_or(|meta| !meta.is_dir()) {
            return Ok(false);
        }
        for entry in fs::read_dir(&refit)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(REFITTING) && !is_quiet(&entry.path()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What killed processes have left in the folder of a finished run.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn litter(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in [self.path().to_owned(), self.file(EPOCHS), self.file(REFIT)] {
            found.extend(litter(&folder)?);
        }
        Ok(found)
    }
}

/// What killed processes have left in `folder`: files being written and folders being removed or worked in, unless they are so young that
/// a living process may have them.
///
/// # Errors
/// The folder cannot be read.
pub fn litter(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if there(folder)?.is_none_or(|meta| !meta.is_dir()) {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let (path, name) = { entry.map(|entry| (entry.path(), entry.file_name()))? };
        let name = name.to_string_lossy();
        if [file::SAVING, file::REMOVING, REFITTING].iter().any(|prefix| name.starts_with(prefix)) && is_quiet(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether nothing in it has changed for an hour.
fn is_quiet(path: &Path) -> bool {
    let inside = fs::read_dir(path).into_iter().flatten().flatten().all(|entry| file::is_older(&entry.path(), HOUR));
    inside && file::is_older(path, HOUR)
}

/// The epoch of a file of logits or scores.
fn epoch_of(name: &str) -> Option<usize> {
    let name = name.strip_suffix(".npy")?;
    let name = name.strip_prefix("logits-").unwrap_or(name);
    name.strip_prefix("val-").or_else(|| name.strip_prefix("test-"))?.parse().ok()
}

/// Removes a file, or a folder with its content, seen whole or not at all; of a link the link itself. Nothing there is fine.
///
/// # Errors
/// It cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match there(path)? {
        Some(meta) if meta.is_dir() => file::remove(path),
        Some(_) => remove_file(path),
        None => Ok(()),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How large these files and folders are together.
///
/// # Errors
/// One that cannot be read.
pub fn size_of(paths: &[PathBuf]) -> io::Result<Size> {
    let mut size = Size::default();
    for path in paths {
        size += Size::of(path)?;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kept;
    use crate::testing;

    fn run() -> (tempfile::TempDir, RunFolder) {
        let folder = tempfile::tempdir().unwrap();
        testing::fill(folder.path());
        let run = RunFolder::at(folder.path());
        fs::write(run.file(MODEL), "numbers").unwrap();
        fs::create_dir(run.file(REFIT)).unwrap();
        fs::write(run.file("refit/model.safetensors"), "more").unwrap();
        (folder, run)
    }

    #[test]
    fn a_part_goes_and_the_rest_can_be_read() {
        let (_folder, run) = run();
        std::os::unix::fs::symlink("/etc/hostname", run.file("epochs/val-7.npy")).unwrap();
        assert_eq!(run.part(Part::Parameters, &[]).unwrap(), [run.file(MODEL), run.file(REFIT)]);
        assert_eq!(run.part(Part::Epochs, &[1]).unwrap(), [run.file("epochs/val-0.npy")]);
        for _ in 0..2 {
            run.remove_part(Part::Parameters, &[], 5.0).unwrap();
            run.remove_part(Part::Epochs, &[1], 6.0).unwrap();
        }
        assert_eq!((run.removed().parameters, run.removed().epochs), (Some(5.0), Some(6.0)));
        assert!(!run.file(MODEL).exists() && !run.file(REFIT).exists());
        assert!(Kept::open(run.path()).unwrap().val(1).is_ok());
        run.unseal().unwrap();
        assert_eq!(run.removed(), Removed::default());
    }

    #[test]
    fn a_refit_under_way_holds_the_parameters() {
        let (_folder, run) = run();
        fs::create_dir(run.file("refit/.refit-a")).unwrap();
        assert!(run.part(Part::Parameters, &[]).unwrap().is_empty() && run.litter().unwrap().is_empty());
        let old = std::time::SystemTime::now() - 2 * HOUR;
        fs::File::open(run.file("refit/.refit-a")).unwrap().set_modified(old).unwrap();
        assert_eq!(run.litter().unwrap(), [run.file("refit/.refit-a")]);
        assert_eq!(run.part(Part::Parameters, &[]).unwrap().len(), 2);
    }

    #[test]
    fn exports_are_noted_and_handed_over() {
        let (folder, run) = run();
        assert!(!run.was_exported());
        for to in ["/a", "/b", "/a"] {
            run.note_export(Path::new(to), 1.0).unwrap();
        }
        let marks = |run: &RunFolder| run.note::<ExportsFile>(EXPORTED).unwrap().exports.len();
        assert_eq!((run.was_exported(), marks(&run)), (true, 2));
        let [old, new] = ["old", "new"].map(|name| RunFolder::at(folder.path().join(name)));
        old.create().unwrap();
        new.create().unwrap();
        old.note_export(Path::new("/a"), 1.0).unwrap();
        new.replace(&old).unwrap();
        assert!(old.was_exported());
        fs::write(run.file(EXPORTED), "{").unwrap();
        assert!(run.was_exported(), "a note that cannot be read holds them, too");
    }
}
