//! What lies beside a database and is not needed any more: found from what the database knows and what is on the disk, and removed on
//! request. Nothing outside of `X.runs` and `X.cache` is looked at, and no link is followed.

mod find;
mod sweep;

pub use find::find;
pub use sweep::{Doomed, doomed, remove_sweep};

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;
use archive::disk::Size;
use archive::{RunFolder, SparePart, spare};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The best runs of each sweep that keep their parameters.
    pub keep: usize,
    /// Also the logits of epochs but the best and the last.
    pub epochs: bool,
    /// Also prepared data that no recorded run uses.
    pub cache: bool,
    /// Also features that recorded runs use, beyond so many bytes.
    pub features: Option<u64>,
}

/// A reason why something can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Folders of runs that the database does not have.
    UnknownRuns,
    /// What killed processes have left, journals that could not be used, what was kept for sweeps that are gone.
    Leftovers,
    /// Parameters of runs that are not among the best.
    Parameters,
    /// Logits of epochs but the best and the last.
    Epochs,
    /// Prepared data and features that no recorded run uses.
    Prepared,
    /// Features that only finished runs use, and that were used longest ago.
    Features,
    /// What killed processes have left in the cache.
    Unfinished,
}

impl Kind {
    /// In the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::UnknownRuns, Self::Leftovers, Self::Parameters, Self::Epochs, Self::Prepared, Self::Features, Self::Unfinished];
}

/// What is removed at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub kind: Kind,
    /// The run that it is of, in full, where the run stays.
    pub run: Option<String>,
    pub paths: Vec<PathBuf>,
    pub size: Size,
    /// Epochs of the run that are kept.
    kept: Vec<usize>,
}

/// All that can go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Garbage {
    pub items: Vec<Item>,
    /// What is left alone though it might go, and why.
    pub notes: Vec<String>,
}

impl Garbage {
    /// The items of a kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.kind == kind)
    }

    /// How large the items of a kind are together.
    #[must_use]
    pub fn size(&self, kind: Kind) -> Size {
        let mut size = Size::default();
        self.of(kind).for_each(|item| size += item.size);
        size
    }

    fn add(&mut self, kind: Kind, paths: Vec<PathBuf>) -> Result<(), Error> {
        if paths.is_empty() {
            return Ok(());
        }
        let size = spare::size_of(&paths).map_err(io(&paths[0]))?;
        self.items.push(Item { kind, run: None, paths, size, kept: Vec::new() });
        Ok(())
    }

    /// Adds what another look has found, without what is known.
    pub fn join(&mut self, other: Self) {
        let known: std::collections::HashSet<PathBuf> = self.items.iter().flat_map(|item| item.paths.clone()).collect();
        self.items.extend(other.items.into_iter().filter(|item| !item.paths.iter().any(|path| known.contains(path))));
        self.items.sort_by_key(|item| item.kind);
        self.notes = other.notes;
    }

    /// Removes all of it; the caller holds the database's lock. An interruption leaves what was not reached, and each thing whole or gone.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn remove(&self, at: f64) -> Result<(), Error> {
        for item in &self.items {
            let part = match item.kind {
                Kind::Parameters => Some(SparePart::Parameters),
                Kind::Epochs => Some(SparePart::Epochs),
                _ => None,
            };
            let folder = item.paths[0].parent().unwrap_or(Path::new("."));
            match part {
                Some(part) => {
                    // The logits lie one folder below.
                    let folder = if part == SparePart::Epochs { folder.parent().unwrap_or(folder) } else { folder };
                    RunFolder::at(folder).remove_part(part, &item.kept, at).map_err(io(folder))?;
                }
                None => item.paths.iter().try_for_each(|path| spare::remove(path).map_err(io(path)))?,
            }
        }
        Ok(())
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path: path.clone(), source }
}

/// Whether it is how a run's folder is called: a fingerprint, perhaps of a run that is trained anew.
fn is_of_run(name: &str) -> bool {
    let name = name.strip_suffix("-again").unwrap_or(name);
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
