//! Journals → database: reads what workers have written, stores it with the position in one transaction, and only then hands it on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::launcher;
use archive::Archive;
use protocol::journal;
use protocol::{Event, Outcome, Record};
use store::Writer;

/// One journal and how far it has been read.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Its key in the database: the file name.
    name: String,
    offset: u64,
    next: u64,
}

impl Journal {
    /// A journal that a worker is about to create.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { path, name, offset: 0, next: 0 }
    }

    /// Stores what is new, up to some limit, and returns it. Empty: nothing is new.
    ///
    /// # Errors
    /// The journal cannot be read, the database cannot be written.
    pub async fn pull(&mut self, writer: &mut Writer) -> Result<Vec<Record>, Error> {
        let journal::ReadResult { records, offset, next_seq, problem } = match journal::read(&self.path, self.offset, self.next) {
            Ok(result) => result,
            // Its worker has not come so far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::Io { path: self.path.clone(), source }),
        };
        if let Some(problem) = problem {
            // While its worker lives the rest may still be on its way; once it is gone this is where the journal ends.
            tracing::debug!("{}: {problem}", self.path.display());
        }
        if !records.is_empty() {
            writer.ingest(&self.name, offset, next_seq, &records).await?;
            (self.offset, self.next) = (offset, next_seq);
        }
        Ok(records)
    }

    /// Removes the journal and its worker's log. For journals that are read to the end and whose workers are gone.
    pub fn remove(self, log: &Path) {
        for path in [self.path.as_path(), log] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!("{}: {error}", path.display()),
                _ => {}
            }
        }
    }
}

/// The log beside a journal.
#[must_use]
pub fn log_of(journal: &Path) -> PathBuf {
    journal.with_extension("log")
}

/// Ends the workers of a controller that was killed, and stores what they had written. Returns how many journals there were.
///
/// # Errors
/// See [`Journal::pull`]; a worker that does not end.
pub async fn leftovers(writer: &mut Writer, archive: &Archive) -> Result<usize, Error> {
    let folder = &archive.journals();
    let failed = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    let (mut paths, mut logs) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => paths.push(path),
            Some("log") => logs.push(path),
            _ => {}
        }
    }
    paths.sort();
    let mut journals = Vec::with_capacity(paths.len());
    for path in &paths {
        end_worker(path).map_err(|source| failed(path, source))?;
        let mut journal = Journal::new(path.clone());
        (journal.offset, journal.next) = writer.journal_position(&journal.name).await?;
        loop {
            let records = journal.pull(writer).await?;
            if records.is_empty() {
                break;
            }
            // A worker that was killed after its last word left its checkpoint.
            let done = records.iter().filter_map(|Record { event, .. }| match event {
                Event::End { r, st: Outcome::Ok, .. } => Some(r),
                _ => None,
            });
            done.for_each(|run| archive.run(&run.0).finished());
        }
        journals.push(journal);
    }
    if !journals.is_empty() {
        // They may go once a power loss cannot take back what was stored of them.
        writer.checkpoint().await?;
    }
    for (journal, path) in journals.into_iter().zip(&paths) {
        journal.remove(&log_of(path));
    }
    // Of workers that died before they had a journal.
    for log in logs {
        let _ = fs::remove_file(log);
    }
    Ok(paths.len())
}

/// Ends the worker that a journal's first record names, if it still lives on this machine.
fn end_worker(path: &Path) -> io::Result<()> {
    match journal::read(path, 0, 0)?.records.first() {
        Some(Record { event: Event::Open { pid, .. }, .. }) => launcher::end_orphan(*pid, path),
        _ => Ok(()),
    }
}
