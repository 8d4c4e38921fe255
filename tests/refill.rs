//! A new threshold policy on recorded runs whose kept scores are fine, lost, or there and unreadable: through the real program.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::{Place, SWEEP};

const RUN: [&str; 7] = ["run", "sweep.toml", "--set", "model.arch='linear'", "--set", "grid.loss=[\"bce\"]", "--quiet"];
const MORE: [&str; 2] = ["--set", "grid.threshold=[0.5, \"max_f1\", \"prior_match\", \"youden\"]"];

/// Four recorded runs.
fn recorded() -> (Place, Vec<PathBuf>) {
    let place = Place::new(SWEEP);
    place.succeed(&RUN);
    let folders = folders(&place.path("sweep.runs"));
    assert_eq!(folders.len(), 4);
    (place, folders)
}

fn folders(runs: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| !path.ends_with("journals")).collect();
    paths.sort();
    paths
}

/// Every file of a folder with its content, without logs and clocks.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match fs::read(&entry) {
            _ if entry.is_dir() => found.extend(files(&entry)),
            Ok(bytes) if !entry.ends_with("log.txt") => found.push((entry, bytes)),
            _ => {}
        }
    }
    found.sort();
    found
}

/// Everything recorded, whatever sweep names it.
fn results(place: &Place) -> BTreeSet<String> {
    let named = |cell: &&str| !cell.starts_with("sweep=") && !cell.starts_with("sweep_id=");
    place.rows().iter().map(|row| row.split(' ').filter(named).collect::<Vec<_>>().join(" ")).collect()
}

/// The results of a sweep with all policies from the beginning.
fn reference() -> BTreeSet<String> {
    let place = Place::new(SWEEP);
    place.succeed(&[&RUN[..], &MORE].concat());
    results(&place)
}

#[test]
fn scores_that_cannot_be_read_end_the_command_before_anything_changes() {
    let (place, folders) = recorded();
    let rows = results(&place);
    let path = folders[1].join("epochs/logits-val-1.npy");
    let kept = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    let before: Vec<_> = folders.iter().map(|folder| files(folder)).collect();
    let output = place.run(&[&RUN[..], &MORE].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("epochs/logits-val-1.npy") && error.contains("symbolic link"), "{error}");
    assert_eq!(folders.iter().map(|folder| files(folder)).collect::<Vec<_>>(), before);
    assert!(rows.is_subset(&results(&place)), "a recorded row is gone");
    fs::remove_file(&path).unwrap();
    fs::write(&path, kept).unwrap();
    let output = place.succeed(&[&RUN[..6], &MORE].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("0 trained"), "{said}");
    assert_eq!(results(&place), reference());
}

#[test]
fn a_database_without_its_runs_is_refused() {
    let (place, _) = recorded();
    let rows = results(&place);
    fs::rename(place.path("sweep.runs"), place.path("elsewhere")).unwrap();
    let output = place.run(&[&RUN[..], &MORE].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("sweep.runs has the files of none of the 4 recorded runs") && error.contains("put its folder back"),
        "{error}"
    );
    assert!(rows.is_subset(&results(&place)), "a recorded row is gone");
    fs::remove_dir_all(place.path("sweep.runs")).unwrap();
    fs::rename(place.path("elsewhere"), place.path("sweep.runs")).unwrap();
    place.succeed(&["resume", "--quiet"]);
    assert_eq!(results(&place), reference());
}

#[test]
fn lost_scores_are_trained_again_and_nothing_is_removed_before() {
    let (place, folders) = recorded();
    let rows = results(&place);
    fs::remove_dir_all(&folders[0]).unwrap();
    fs::write(folders[1].join("epochs/logits-val-2.npy"), b"not a matrix").unwrap();
    let before = files(&folders[1]);
    // The new training fails: its workers end at once.
    let output = place.command(&[&RUN[..6], &MORE].concat()).env("SWEEP_WORKER", "/bin/false").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && error.contains("is trained again") && error.contains("its results stay until then"),
        "{error}"
    );
    assert_eq!(files(&folders[1]), before);
    assert!(rows.is_subset(&results(&place)), "a recorded row is gone");
    place.succeed(&["resume", "--failed", "--quiet"]);
    assert_eq!(self::folders(&place.path("sweep.runs")), folders, "and no folder is left over");
    assert_eq!(results(&place), reference());
    assert_ne!(files(&folders[1]), before);
}
