//! Sweeps whose truth is known, through the program: made-up scores are recorded in a database by the program's own calls, `sweep explain`
//! judges them, and what it says is counted. No rule is copied here.

#![allow(dead_code, reason = "the program counts all, the test a part")]

pub mod count;
pub mod population;
pub mod record;
pub mod rows;
pub mod said;
pub mod world;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rows::Stream;
use said::{Ask, Said};
use world::{Cell, World};

/// A temporary folder in memory, where there is one and no other is asked for: a sweep is some hundred small files.
///
/// # Errors
/// None can be made.
pub fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if std::env::var_os("TMPDIR").is_none() && memory.is_dir() {
        return tempfile::tempdir_in(memory);
    }
    tempfile::tempdir()
}

/// What is said of `count` sweeps of a cell, in their order, asked from `threads` threads.
///
/// # Errors
/// The first thing that goes wrong.
pub fn ask(ask: &Ask, world: &World, cell: &Cell, seed: u64, count: usize, threads: usize) -> Result<Vec<Said>, String> {
    let one = |at: usize, folder: &Path| -> Result<Said, Box<dyn Error>> {
        let place = folder.join(at.to_string());
        std::fs::create_dir(&place)?;
        let db: PathBuf = place.join("world.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(record::record(&db, world, cell, &Stream::new(seed, cell, at)))?;
        let said = ask.explain(&db)?;
        std::fs::remove_dir_all(&place)?;
        Ok(said)
    };
    in_turn(count, threads, &one)
}

/// Makes one of many, given its number and a folder.
type One<'a, T> = dyn Fn(usize, &Path) -> Result<T, Box<dyn Error>> + Sync + 'a;

/// `one` for 0 to `count`, from `threads` threads, each with its own folder.
///
/// # Errors
/// The first thing that goes wrong.
pub fn in_turn<T: Send>(count: usize, threads: usize, one: &One<'_, T>) -> Result<Vec<T>, String> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<(), String> {
        let folder = scratch().map_err(|error| error.to_string())?;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return Ok(());
            }
            let made = one(at, folder.path()).map_err(|error| format!("sweep {at}: {error}"))?;
            all.lock().map_err(|error| error.to_string())?.push((at, made));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread has panicked".to_owned())?)
    })?;
    let mut all = all.into_inner().map_err(|error| error.to_string())?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, made)| made).collect())
}
