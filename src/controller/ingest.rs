//! Journals → database: reads what workers have written, stores it with the position in one transaction, and only then passes it on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::launcher;
use archive::Archive;
use plan::Fingerprint;
use protocol::journal::{self, Problem};
use protocol::{Event, Outcome, Record, Story};
use store::{Ingested, Refused, Writer, unusable_journal};

/// How long missing bytes are waited for (network file systems write pages out of order).
const ON_THE_WAY: Duration = Duration::from_secs(30);
/// Journals that could not be used and are kept beside the others, until the next `sweep run` or `resume`.
const KEPT: usize = 8;
const REFUSED: &str = "refused";

/// One journal and how far it has been read.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Its key in the database: the file name.
    name: String,
    offset: u64,
    next: u64,
    story: Story,
    /// Since when reading is stuck at something that may still resolve itself.
    stuck: Option<Instant>,
    /// Whether reading has ended because something in it cannot be used.
    spoiled: bool,
    /// On a shared file system, where a hole may be filled for as long as its worker may live.
    patient: bool,
}

/// New records of a journal.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Records of its worker with the outcomes of the store: an incomplete `end ok` is `crashed` here.
    pub events: Vec<Event>,
    /// Reading has ended: the attempt concerned (`None`: all of the worker's), and the reason.
    pub spoiled: Option<(Option<(Fingerprint, u32)>, String)>,
}

impl Pulled {
    /// Whether there is nothing new.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.spoiled.is_none()
    }
}

impl Journal {
    /// A journal that a worker is about to create.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { path, name, offset: 0, next: 0, story: Story::new(), stuck: None, spoiled: false, patient: false }
    }

    /// The journal of a worker on a cluster, whose orders came from a submission; read on from where the database has it.
    ///
    /// # Errors
    /// Database errors.
    pub async fn shared(path: PathBuf, writer: &mut Writer) -> Result<Self, Error> {
        let mut journal = Self { patient: true, ..Self::new(path) };
        (journal.offset, journal.next, journal.spoiled) = writer.journal_position(&journal.name).await?;
        journal.story = Story::left_over(journal.next > 0);
        Ok(journal)
    }

    /// Its worker has ended, and everything has arrived: what cannot be read now never will.
    ///
    /// # Errors
    /// The errors of [`Self::pull`].
    pub async fn is_final(&mut self, writer: &mut Writer) -> Result<(), Error> {
        self.patient = false;
        self.stuck = self.stuck.map(|since| since.checked_sub(ON_THE_WAY).unwrap_or(since));
        while !self.pull(writer).await?.is_empty() {}
        // Nobody asks for it any more, and a sweep may have thousands of journals.
        self.story = Story::left_over(true);
        Ok(())
    }

    /// Bytes that are stored.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Notes that its worker is ordered to make this attempt.
    pub fn order(&mut self, run: &Fingerprint, attempt: u32) {
        self.story.order(run, attempt);
    }

    /// Its worker is ordered to stop this attempt for good.
    pub fn stop(&mut self, run: &Fingerprint, attempt: u32) {
        self.story.stop(run, attempt);
    }

    /// Stores what is new, up to some limit, and returns it. Empty: nothing is new. A record that cannot be used ends the journal and
    /// its attempt; whatever stands before it is stored.
    ///
    /// # Errors
    /// The folder of the journals is gone, the disk cannot be read, the database cannot be written.
    pub async fn pull(&mut self, writer: &mut Writer) -> Result<Pulled, Error> {
        if self.spoiled {
            return Ok(Pulled::default());
        }
        let read = match journal::read(&self.path, self.offset, self.next) {
            Ok(read) => read,
            Err(error) => return self.unreadable(writer, error).await,
        };
        let mut fault = self.judge(read.problem);
        let (mut records, mut offset) = (read.records, read.offset);
        let untold = records.iter().enumerate().find_map(|(at, record)| Some((at, self.story.take(&record.event).err()?)));
        if let Some((at, why)) = untold {
            let record = &records[at];
            fault = Some((self.guilty(record), format!("record {} ({}): {why}", record.s, record.event.kind())));
            offset = at.checked_sub(1).map_or(self.offset, |last| read.ends[last]);
            records.truncate(at);
        }
        let mut pulled = Pulled::default();
        if !records.is_empty() {
            let next = self.next + records.len() as u64;
            let Ingested { verdicts, refused } = writer.ingest(&self.name, offset, next, &records).await?;
            (self.offset, self.next) = (offset, next);
            for verdict in verdicts {
                if let Event::End { st, why, .. } = &mut records[verdict.at].event {
                    (*st, *why) = (verdict.outcome, verdict.why);
                }
            }
            if let Some(Refused { at, why }) = refused {
                self.spoiled = true;
                pulled.spoiled = Some((self.guilty(&records[at]), why));
                records.truncate(at);
            }
            pulled.events = records.into_iter().map(|record| record.event).collect();
        }
        if let (Some((guilty, why)), false) = (fault, self.spoiled) {
            pulled.spoiled = Some(self.spoil(writer, guilty, why).await?);
        }
        Ok(pulled)
    }

    /// What stopped the reading for good or for too long, other than the end of the file.
    fn judge(&mut self, problem: Option<Problem>) -> Option<(Option<(Fingerprint, u32)>, String)> {
        let Some(problem) = problem else {
            self.stuck = None;
            return None;
        };
        tracing::debug!("{}: {problem}", self.path.display());
        let since = *self.stuck.get_or_insert_with(Instant::now);
        let final_ = !self.patient && (problem.whole || since.elapsed() >= ON_THE_WAY);
        final_.then(|| (None, problem.to_string()))
    }

    /// The attempt that a record is of, if its worker was ordered to make it.
    fn guilty(&self, record: &Record) -> Option<(Fingerprint, u32)> {
        let attempt = record.event.attempt().filter(|(run, attempt)| self.story.knows(run, *attempt));
        attempt.map(|(run, attempt)| (run.clone(), attempt))
    }

    async fn unreadable(&mut self, writer: &mut Writer, error: io::Error) -> Result<Pulled, Error> {
        let failed = |source| Error::Io { path: self.path.clone(), source };
        let words = match error.kind() {
            io::ErrorKind::NotFound if self.path.parent().is_some_and(|folder| !folder.is_dir()) => {
                let words = "the folder of the workers' journals was removed while the sweep ran; `sweep resume` continues";
                return Err(failed(io::Error::new(error.kind(), words)));
            }
            // Its worker has not created it yet.
            io::ErrorKind::NotFound if self.next == 0 => return Ok(Pulled::default()),
            io::ErrorKind::NotFound => "it was removed while its worker ran".to_owned(),
            io::ErrorKind::Other => format!("it {error}"),
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => "it is a symbolic link".to_owned(),
            _ => return Err(failed(error)),
        };
        let spoiled = Some(self.spoil(writer, None, words).await?);
        Ok(Pulled { spoiled, ..Pulled::default() })
    }

    /// Records that the journal is not read any further.
    async fn spoil(
        &mut self,
        writer: &mut Writer,
        guilty: Option<(Fingerprint, u32)>,
        why: String,
    ) -> Result<(Option<(Fingerprint, u32)>, String), Error> {
        let why = unusable_journal(&self.name, &why);
        writer.refuse(&self.name, guilty.as_ref(), &why).await?;
        self.spoiled = true;
        Ok((guilty, why))
    }

    /// Removes the journal and its worker's log. For journals that are read to the end and whose workers are gone. The last few that
    /// could not be used are kept under another name, for diagnosis.
    pub fn remove(self, log: &Path) {
        if self.spoiled && is_file(&self.path) && count_refused(&self.path) < KEPT {
            for path in [self.path.as_path(), log] {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{REFUSED}"));
                if let Err(error) = fs::rename(path, &name) {
                    tracing::debug!("{}: {error}", path.display());
                }
            }
            tracing::info!("{}.{REFUSED} is kept until the next `sweep run` or `resume`", self.path.display());
            return;
        }
        for path in [self.path.as_path(), log] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!("{}: {error}", path.display()),
                _ => {}
            }
        }
    }
}

/// A regular file, not a link to one.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file())
}

/// Journals that could not be used, in the folder of `journal`.
fn count_refused(journal: &Path) -> usize {
    let names = fs::read_dir(journal.parent().unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().ends_with(&format!(".jsonl.{REFUSED}"))).count()
}

/// The log beside a journal.
#[must_use]
pub fn log_of(journal: &Path) -> PathBuf {
    journal.with_extension("log")
}

/// Ends the workers of a controller that was killed, and stores what they had written. Returns how many journals there were.
///
/// # Errors
/// The errors of [`Journal::pull`]; a worker that does not end.
pub async fn leftovers(writer: &mut Writer, archive: &Archive) -> Result<usize, Error> {
    let folder = &archive.journals();
    let failed = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    let (mut paths, mut logs) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl" | "log") if !is_file(&path) => {
                tracing::warn!("{}: is not a regular file and is ignored", path.display());
            }
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
        (journal.offset, journal.next, journal.spoiled) = writer.journal_position(&journal.name).await?;
        journal.story = Story::left_over(journal.next > 0);
        loop {
            let pulled = journal.pull(writer).await?;
            if pulled.is_empty() {
                break;
            }
            // The checkpoint of a worker that was killed after its last record is left over.
            let done = pulled.events.iter().filter_map(|event| match event {
                Event::End { r, st: Outcome::Ok, .. } => Some(r),
                _ => None,
            });
            done.for_each(|run| archive.run(&run.0).finished());
        }
        journals.push(journal);
    }
    if !journals.is_empty() {
        // Removed only after a checkpoint: a power loss cannot undo what was stored then.
        writer.checkpoint().await?;
    }
    for (journal, path) in journals.into_iter().zip(&paths) {
        journal.remove(&log_of(path));
    }
    // Logs of workers that died before they had a journal.
    for log in logs {
        let _ = fs::remove_file(log);
    }
    Ok(paths.len())
}

/// Removes what an earlier sweep kept of journals that it could not use.
///
/// # Errors
/// The folder cannot be read.
pub fn clear_refused(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == REFUSED) && is_file(&path) {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// Ends the worker that a journal's first record names, if it is still alive.
fn end_worker(path: &Path) -> io::Result<()> {
    match journal::read(path, 0, 0)?.records.first() {
        Some(Record { event: Event::Open { host, pid, .. }, .. }) => {
            launcher::end_leftover(&launcher::Leftover { host, pid: *pid, journal: path })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::VERSION;
    use protocol::journal::encode;

    /// A database without runs, and a journal that holds `open`.
    async fn bench() -> (tempfile::TempDir, Writer, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journals = folder.path().join("journals");
        fs::create_dir(&journals).unwrap();
        let text = String::new;
        let open =
            Event::Open { v: VERSION, worker: text(), pid: 1, host: text(), device: "cpu".into(), threads: 1, version: text() };
        fs::write(journals.join("w.jsonl"), encode(&Record { s: 0, t: 0.0, event: open })).unwrap();
        let writer = Writer::open(&folder.path().join("x.db")).await.unwrap();
        let journal = Journal::new(journals.join("w.jsonl"));
        (folder, writer, journal)
    }

    async fn spoiled(journal: &mut Journal, writer: &mut Writer) -> String {
        let (guilty, why) = journal.pull(writer).await.unwrap().spoiled.expect("it is spoiled");
        assert_eq!(guilty, None);
        assert!(why.contains("w.jsonl"), "{why}");
        assert!(journal.pull(writer).await.unwrap().is_empty(), "once");
        why
    }

    /// Missing bytes are waited for, but not for ever.
    #[tokio::test]
    async fn a_hole_is_given_some_time() {
        let (_folder, mut writer, mut journal) = bench().await;
        let mut bytes = fs::read(&journal.path).unwrap();
        bytes.extend([0; 100]);
        fs::write(&journal.path, bytes).unwrap();
        assert_eq!(journal.pull(&mut writer).await.unwrap().events.len(), 1);
        assert!(journal.pull(&mut writer).await.unwrap().is_empty());
        journal.stuck = journal.stuck.and_then(|since| since.checked_sub(ON_THE_WAY));
        let why = spoiled(&mut journal, &mut writer).await;
        assert!(why.contains("contains NUL bytes"), "{why}");
    }

    #[tokio::test]
    async fn a_journal_that_vanishes_or_shrinks_is_spoiled() {
        let (_folder, mut writer, mut journal) = bench().await;
        let early = Journal::new(journal.path.with_file_name("v.jsonl")).pull(&mut writer).await.unwrap();
        assert!(early.is_empty(), "its worker has not come so far");
        assert_eq!(journal.pull(&mut writer).await.unwrap().events.len(), 1);
        fs::write(&journal.path, "").unwrap();
        assert!(spoiled(&mut journal, &mut writer).await.contains("has shrunk"));
        let (_folder, mut writer, mut journal) = bench().await;
        assert_eq!(journal.pull(&mut writer).await.unwrap().events.len(), 1);
        fs::remove_file(&journal.path).unwrap();
        assert!(spoiled(&mut journal, &mut writer).await.contains("was removed"));
        let (folder, mut writer, mut journal) = bench().await;
        fs::remove_dir_all(folder.path().join("journals")).unwrap();
        let error = journal.pull(&mut writer).await.unwrap_err().to_string();
        assert!(error.contains("was removed while the sweep ran"), "{error}");
    }

    #[tokio::test]
    async fn what_stands_before_a_bad_record_is_taken() {
        let (_folder, mut writer, mut journal) = bench().await;
        let mut bytes = fs::read(&journal.path).unwrap();
        let hb = Event::Hb { r: None, epoch: 0, step: 0, steps: 0, loss: f64::NAN, images_per_s: 0.0, doing: None };
        let begin = Event::Begin { r: Fingerprint("0".repeat(32)), a: 1, from: None };
        for (s, event) in [(1, hb.clone()), (2, begin), (3, hb)] {
            bytes.extend(encode(&Record { s, t: 0.0, event }));
        }
        fs::write(&journal.path, bytes).unwrap();
        let pulled = journal.pull(&mut writer).await.unwrap();
        assert_eq!(pulled.events.len(), 2);
        let (guilty, why) = pulled.spoiled.unwrap();
        assert!(guilty.is_none() && why.contains("record 2 (begin): its worker was not ordered"), "{why}");
        assert!(journal.pull(&mut writer).await.unwrap().is_empty());
    }
}
