//! What can go, and what is left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Ask, Garbage, Item, Kind, io, is_of_run};
use crate::error::Error;
use crate::report::page::verdict_path;
use archive::disk::{Size, there};
use archive::{RunFolder, SparePart, runs_folder, spare};
use data::derived;
use plan::Fingerprint;
use plan::words::{bytes, counted};
use store::{Reader, StoredRun};

/// Looks at the database and at what lies beside it; `cache` is the folder of prepared data. Writes nothing.
///
/// # Errors
/// A database or a folder that cannot be read; `X.runs` or `X.cache` that is a link.
pub async fn find(reader: &mut Reader, cache: &Path, ask: Ask) -> Result<Garbage, Error> {
    let runs = reader.stored_runs().await?;
    let verdicts: HashSet<PathBuf> = reader.sweep_ids().await?.into_iter().map(|id| verdict_path(reader.path(), id)).collect();
    let mut found = Garbage::default();
    beside(&mut found, &runs_folder(reader.path()), &runs, &verdicts, ask)?;
    if ask.cache || ask.features.is_some() {
        prepared(&mut found, cache, &runs, ask)?;
    }
    found.items.sort_by_key(|item| item.kind);
    Ok(found)
}

/// Whether there is a folder; a link in its place is refused.
fn is_there(folder: &Path) -> Result<bool, Error> {
    match there(folder).map_err(io(folder))? {
        None => Ok(false),
        Some(meta) if meta.is_dir() => Ok(true),
        Some(_) => Err(io(folder)(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "is not a folder (but a symbolic link or a file), and sweep follows no links to its own folders",
        ))),
    }
}

/// What lies in `X.runs`.
fn beside(found: &mut Garbage, folder: &Path, runs: &[StoredRun], verdicts: &HashSet<PathBuf>, ask: Ask) -> Result<(), Error> {
    if !is_there(folder)? {
        return Ok(());
    }
    let known: HashMap<&str, &StoredRun> = runs.iter().map(|run| (run.fingerprint.as_str(), run)).collect();
    let mut links = Vec::new();
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let entry = entry.map_err(io(folder))?;
        let kind = entry.file_type().map_err(io(&entry.path()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_of_run(&name) && kind.is_dir() {
            names.insert(name);
        } else if is_of_run(&name) && kind.is_symlink() {
            links.push(name);
        } else if name.starts_with("verdict-") && name.ends_with(".json") && kind.is_file() && !verdicts.contains(&entry.path()) {
            found.add(Kind::Leftovers, vec![entry.path()])?;
        }
    }
    for path in spare::litter(folder).map_err(io(folder))? {
        found.add(Kind::Leftovers, vec![path])?;
    }
    refused_journals(found, &folder.join("journals"))?;
    for name in &names {
        let path = folder.join(name);
        match known.get(name.as_str()) {
            Some(run) if run.state == "succeeded" => of_run(found, run, &RunFolder::at(path), ask)?,
            Some(_) => {}
            // The new training of a recorded run, whose folder is about to take the place of the old one.
            None if Fingerprint(name.clone()).replaced().is_some_and(|run| known.contains_key(run.0.as_str())) => {}
            None => found.add(Kind::UnknownRuns, vec![path])?,
        }
    }
    links.sort();
    if let Some(first) = links.first() {
        let more = if links.len() > 1 { format!(" and {} more are", links.len() - 1) } else { " is".to_owned() };
        found
            .notes
            .push(format!("{}{more} left alone: a symbolic link in the place of a run's folder", folder.join(first).display()));
    }
    Ok(())
}

fn refused_journals(found: &mut Garbage, journals: &Path) -> Result<(), Error> {
    if there(journals).map_err(io(journals))?.is_none_or(|meta| !meta.is_dir()) {
        return Ok(());
    }
    for entry in fs::read_dir(journals).map_err(io(journals))? {
        let entry = entry.map_err(io(journals))?;
        let path = entry.path();
        if path.extension().is_some_and(|kind| kind == "refused") && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            found.add(Kind::Leftovers, vec![path])?;
        }
    }
    Ok(())
}

/// Parts of a finished run.
fn of_run(found: &mut Garbage, run: &StoredRun, folder: &RunFolder, ask: Ask) -> Result<(), Error> {
    for path in folder.litter().map_err(io(folder.path()))? {
        found.add(Kind::Leftovers, vec![path])?;
    }
    if run.was_imported() {
        return Ok(());
    }
    let kept: Vec<usize> =
        [run.best_epoch, Some(run.epochs - 1)].into_iter().flatten().filter_map(|e| usize::try_from(e).ok()).collect();
    let among = run.place.is_some_and(|place| usize::try_from(place).is_ok_and(|place| place <= ask.keep));
    let mut add = |kind, part| -> Result<(), Error> {
        let paths = folder.part(part, &kept).map_err(io(folder.path()))?;
        if paths.is_empty() {
            return Ok(());
        }
        let size: Size = spare::size_of(&paths).map_err(io(folder.path()))?;
        found.items.push(Item { kind, run: Some(run.fingerprint.clone()), paths, size, kept: kept.clone() });
        Ok(())
    };
    if !among && !folder.was_exported() {
        add(Kind::Parameters, SparePart::Parameters)?;
    }
    // Without the best epoch nothing says which one reports look at.
    if ask.epochs && run.best_epoch.is_some() {
        add(Kind::Epochs, SparePart::Epochs)?;
    }
    Ok(())
}

/// What lies in `X.cache`.
fn prepared(found: &mut Garbage, cache: &Path, runs: &[StoredRun], ask: Ask) -> Result<(), Error> {
    let cache = std::path::absolute(cache).map_err(io(cache))?;
    if !is_there(&cache)? {
        return Ok(());
    }
    for path in data::leftovers(&cache).into_iter().filter(|_| ask.cache) {
        found.add(Kind::Unfinished, vec![path])?;
    }
    let mut used: BTreeSet<PathBuf> = BTreeSet::new();
    // With their width, a run that uses them, and whether one that is not finished does.
    let mut recipes: BTreeMap<(PathBuf, String), (usize, String, bool)> = BTreeMap::new();
    for run in runs {
        let folder = std::path::absolute(&run.folder).map_err(io(&run.folder))?;
        used.insert(folder.clone());
        if let Some((backbone, _)) = run.config.model.head() {
            let Some(hash) = &run.config.model.weights_hash else {
                found.notes.push(unknown(&cache, run, "the database does not have the hash of its weights"));
                return Ok(());
            };
            let recipe = derived::recipe(&run.config.model, hash, &run.config.data);
            let fresh = || (backbone.width, run.fingerprint.clone(), false);
            let (.., needed) = recipes.entry((folder, recipe)).or_insert_with(fresh);
            *needed |= !matches!(run.state.as_str(), "succeeded" | "failed");
        }
    }
    let mut features = Vec::new();
    for ((folder, recipe), (width, run, needed)) in recipes {
        match derived::place(&folder, &recipe, width) {
            Ok(path) => {
                // Those in the cache of another database are that one's.
                if path.parent() == Some(&*cache) {
                    features.push((path.clone(), needed));
                }
                used.insert(path);
            }
            Err(error) => {
                let run = runs.iter().find(|other| other.fingerprint == run);
                found.notes.extend(run.map(|run| unknown(&cache, run, &error.to_string())));
                return Ok(());
            }
        }
    }
    for path in data::folders(&cache).map_err(io(&cache))?.into_iter().filter(|_| ask.cache) {
        if !used.contains(&path) {
            found.add(Kind::Prepared, vec![path])?;
        }
    }
    longest_unused(found, features, ask.features)
}

/// Of `features`, each with whether an unfinished run needs them, those that were used longest ago, until the others take at most `most`
/// bytes.
fn longest_unused(found: &mut Garbage, features: Vec<(PathBuf, bool)>, most: Option<u64>) -> Result<(), Error> {
    let (mut kept, mut all) = (Vec::new(), 0);
    for (path, needed) in features {
        let Some(meta) = there(&path).map_err(io(&path))?.filter(fs::Metadata::is_dir) else { continue };
        let size = Size::of(&path).map_err(io(&path))?.bytes;
        all += size;
        kept.push((meta.modified().map_err(io(&path))?, path, size, needed));
    }
    let Some(most) = most else {
        if !kept.is_empty() {
            found.notes.push(format!(
                "recorded runs use {} of features of frozen backbones ({}), which stay: --max-features-size SIZE removes those that were used \
                 longest ago",
                bytes(all),
                counted(kept.len(), "folder")
            ));
        }
        return Ok(());
    };
    kept.sort();
    let mut stays = 0;
    for (_, path, size, needed) in kept {
        match needed {
            _ if all <= most => break,
            true => stays += 1,
            false => {
                all -= size;
                found.add(Kind::Features, vec![path])?;
            }
        }
    }
    if all > most {
        found.notes.push(format!(
            "{} of features stay, more than {}: runs that are not finished need {}",
            bytes(all),
            bytes(most),
            counted(stays, "folder")
        ));
    }
    Ok(())
}

fn unknown(cache: &Path, run: &StoredRun, why: &str) -> String {
    let run = Fingerprint(run.fingerprint.clone());
    let (cache, run) = (cache.display(), run.short());
    format!("prepared data in {cache} is left alone: which features are those of run {run} cannot be told ({why})")
}
