//! The journal: one append-only file per worker incarnation, one JSON object per line with sequence number and checksum. Owns the form of
//! a line on both sides; knows nothing of what the records mean, except which must survive a crash of the machine.
//!
//! One writer per file; readers come at any time, from the byte they stopped at. A line counts once its `\n` is there, its checksum
//! holds and its number is the next one; nothing is skipped, so a damaged line ends what can be read (docs/protocol.md).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Event, Record, VERSION, check, plain, wire};

/// Longest line, with its `\n`: 1 MiB holds the record of one policy for about ten thousand labels.
pub const MAX_LINE: usize = 1 << 20;

/// Most characters of what is said about a line.
const LONGEST: usize = 300;

/// Most bytes one [`read`] looks at.
const MAX_READ: u64 = 8 << 20;

/// A journal that cannot be written. Nothing can be recorded after it: the worker stops its run and exits 74.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Disk full, quota, read-only, already there, ...
    #[error("{path}: cannot write the journal: {source}", path = .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A record that does not fit a line.
    #[error("a record of {bytes} bytes is longer than a journal's line may be ({MAX_LINE} bytes): too many labels")]
    TooLong { bytes: usize },
    /// A number that JSON does not have.
    #[error("{0}, which cannot be recorded")]
    NotFinite(String),
}

impl JournalError {
    /// Whether the journal takes no further records; otherwise only this record could not be written.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// The writing side.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Whole lines that are not in the file yet.
    buffer: Vec<u8>,
    next: u64,
    /// How durably the records in the buffer must be written.
    durability: Durability,
    /// When the disk was last waited for.
    synced: Instant,
    failed: bool,
}

impl Journal {
    /// Creates the file, which must not exist, so that the name itself survives a crash of the machine.
    ///
    /// # Errors
    /// [`JournalError::Io`]: the file exists already, its folder does not, ...
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            buffer: Vec::new(),
            next: 0,
            durability: Durability::None,
            synced: Instant::now(),
            failed: false,
        })
    }

    /// Adds a record to the lines that the next [`Self::flush`] writes.
    ///
    /// # Errors
    /// [`JournalError::TooLong`], [`JournalError::NotFinite`]; the record is not added.
    pub fn append(&mut self, event: Event) -> Result<(), JournalError> {
        let durability = durability(&event);
        check::finite(&event).map_err(JournalError::NotFinite)?;
        let t = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_millis() as f64 / 1e3);
        let line = encode(&Record { s: self.next, t, event });
        if line.len() > MAX_LINE {
            return Err(JournalError::TooLong { bytes: line.len() });
        }
        self.buffer.extend_from_slice(&line);
        self.next += 1;
        self.durability = self.durability.max(durability);
        Ok(())
    }

    /// [`Self::append`] for records that belong together.
    ///
    /// # Errors
    /// The errors of [`Self::append`]; no record is added then.
    pub fn append_all(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), JournalError> {
        let (length, next, durability) = (self.buffer.len(), self.next, self.durability);
        let added = events.into_iter().try_for_each(|event| self.append(event));
        if added.is_err() {
            self.buffer.truncate(length);
            (self.next, self.durability) = (next, durability);
        }
        added
    }

    /// Writes the lines added since the last flush, in one write, and waits for the disk where one of them must survive a crash
    /// of the machine: for open, end and close always, for begin and epoch at most once a second. An attempt that goes on after a
    /// crash tells its epochs again, so that what the disk did not keep costs a second of work and no row.
    ///
    /// # Errors
    /// [`JournalError::Io`]; after it every further flush fails, so that nothing is written behind a hole.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        let written = if self.failed {
            Err(io::Error::other("an earlier write failed"))
        } else {
            let wait = match self.durability {
                Durability::None => false,
                Durability::Soon => self.synced.elapsed() >= SOON,
                Durability::Now => true,
            };
            self.synced = if wait { Instant::now() } else { self.synced };
            self.file.write_all(&self.buffer).and_then(|()| if wait { self.file.sync_data() } else { Ok(()) })
        };
        self.failed = written.is_err();
        self.buffer.clear();
        self.durability = Durability::None;
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }

    /// The number that the next record gets; equals the number of records so far.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }
}

/// Longest time that the records of an epoch may wait for the disk.
const SOON: Duration = Duration::from_secs(1);

/// Whether the loss of a record in a crash of the machine would cost work or mislead the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Durability {
    None,
    /// A second's work at most.
    Soon,
    Now,
}

fn durability(event: &Event) -> Durability {
    match event {
        Event::Open { .. } | Event::End { .. } | Event::Close { .. } => Durability::Now,
        Event::Begin { .. } | Event::Epoch { .. } | Event::Predicted { .. } => Durability::Soon,
        Event::Hb { .. } | Event::Drawn { .. } | Event::Rank { .. } | Event::Eval { .. } | Event::HeldOut { .. } => {
            Durability::None
        }
    }
}

/// What stands between a record and its checksum, and how long the rest of the line is: 8 hex digits, `"}` and the line's end.
const MARK: &[u8] = b",\"c\":\"";
const TAIL: usize = MARK.len() + 8 + 3;

/// The line of `record`: its JSON with the checksum of everything before `,"c"` as the last key, and `\n`.
///
/// # Panics
/// Never: records are plain structs with text keys.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let mut line = serde_json::to_vec(&wire::Record::from(record)).expect("records are plain structs with text keys");
    line.pop();
    let checksum = crc32fast::hash(&line);
    line.extend_from_slice(MARK);
    line.extend_from_slice(format!("{checksum:08x}\"}}\n").as_bytes());
    line
}

/// The record of a line (with its `\n`), or what is wrong with the line.
///
/// # Errors
/// What is wrong with the line, as one phrase: `checksum ...`, `not a record ...`.
pub fn decode(line: &[u8]) -> Result<Record, String> {
    let Some(head) = line.len().checked_sub(TAIL).filter(|&head| line[head..].starts_with(MARK) && line.ends_with(b"\"}\n"))
    else {
        return Err("does not end with its checksum".to_owned());
    };
    let (body, written) = (&line[..head], &line[head + MARK.len()..line.len() - 3]);
    let checksum = format!("{:08x}", crc32fast::hash(body));
    if checksum.as_bytes() != written {
        return Err(format!("checksum is {}, should be {checksum}", String::from_utf8_lossy(written)));
    }
    let record: Result<wire::Record, _> = serde_json::from_slice(&line[..line.len() - 1]);
    record.map(Into::into).map_err(|error| format!("is no record of protocol {VERSION}: {error}"))
}

/// Why reading stopped before the end of the file. While the writer lives the bytes may be not there yet (network file systems
/// write pages out of order); once it is gone this is where the journal ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: the line {what}")]
pub struct Problem {
    /// Where the bad line starts.
    pub offset: u64,
    pub what: String,
    /// The line is as its writer wrote it: waiting does not help.
    pub whole: bool,
}

/// What [`read`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadResult {
    pub records: Vec<Record>,
    /// Where the line of each record ends.
    pub ends: Vec<u64>,
    /// Where to go on: behind the last good line.
    pub offset: u64,
    /// The number of the next record.
    pub next_seq: u64,
    pub problem: Option<Problem>,
}

/// Reads the complete lines from byte `offset` on, where the record numbered `next_seq` starts: a few megabytes per call at most, so call
/// again until nothing comes. Stops before a bad line, for good (no search for the next good one).
///
/// # Errors
/// The file cannot be opened or read, is not a regular file, or is shorter than what has been read of it.
pub fn read(path: &Path, offset: u64, next_seq: u64) -> io::Result<ReadResult> {
    let (mut file, length) = open(path)?;
    if length < offset {
        return Err(io::Error::other(format!("has shrunk from at least {offset} bytes to {length}")));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes)?;
    let mut result = ReadResult { offset, next_seq, ..ReadResult::default() };
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let (nul, too_long) = (line.contains(&0), line.len() > MAX_LINE);
        let what = if !line.ends_with(b"\n") {
            match () {
                () if nul => "contains NUL bytes".to_owned(),
                () if too_long => format!("is longer than {MAX_LINE} bytes"),
                () => break,
            }
        } else if too_long && !nul {
            format!("has {} bytes, may have {MAX_LINE}", line.len())
        } else {
            match decode(line) {
                Ok(record) if record.s == result.next_seq => {
                    result.records.push(record);
                    result.offset += line.len() as u64;
                    result.ends.push(result.offset);
                    result.next_seq += 1;
                    continue;
                }
                Ok(record) => format!("has number {}, should have {}", record.s, result.next_seq),
                Err(what) => what,
            }
        };
        result.problem = Some(Problem { offset: result.offset, what: plain(&what, LONGEST), whole: !nul });
        break;
    }
    Ok(result)
}

/// Passes the records of a whole journal to `each`, up to the first that cannot be read or until `each` breaks off.
///
/// # Errors
/// The errors of [`read()`]; `each` has had the records before it.
pub fn scan(path: &Path, mut each: impl FnMut(Record) -> ControlFlow<()>) -> io::Result<()> {
    let (mut offset, mut next) = (0, 0);
    loop {
        let found = read(path, offset, next)?;
        if found.records.is_empty() {
            return Ok(());
        }
        (offset, next) = (found.offset, found.next_seq);
        if found.records.into_iter().try_for_each(&mut each).is_break() {
            return Ok(());
        }
    }
}

/// Opens a regular file for reading, and tells its length; never waits for the other end of a pipe, never follows a link.
fn open(path: &Path) -> io::Result<(File, u64)> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if meta.is_file() { Ok((file, meta.len())) } else { Err(io::Error::other("is not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, SplitName, VERSION};
    use imbalance::Choice;
    use imbalance::metric::{Counts, Ranking};
    use imbalance::threshold::Policy;
    use plan::Fingerprint;

    fn all_kinds() -> Vec<Event> {
        let r = Fingerprint("0123456789abcdef0123456789abcdef".to_owned());
        let open = Event::Open {
            v: VERSION,
            worker: "cpu-0".to_owned(),
            pid: 7,
            host: "a \"host\",\"c\":\"".to_owned(),
            device: "cpu".to_owned(),
            threads: 2,
            version: "0.1.0".to_owned(),
        };
        let ranking =
            Ranking { ap: vec![Some(0.1 + 0.2), None], auc: vec![None, Some(1.0)], mean_score: vec![1.0 / 3.0, 5e-324] };
        let eval = |policy| Event::Eval {
            r: r.clone(),
            a: 1,
            epoch: 0,
            split: SplitName::Val,
            policy,
            thresholds: vec![0.1, 16_777_217.0],
            counts: vec![Counts { tp: 1, fp: 2, fn_: 3, tn: u64::from(u32::MAX) }],
            samples_f1: 0.7,
            subset_accuracy: 0.0,
        };
        vec![
            open,
            Event::Begin { r: r.clone(), a: 1, from: None },
            Event::Hb { r: Some(r.clone()), epoch: 0, step: 1, steps: 9, loss: 0.25, images_per_s: 1e3, doing: None },
            Event::Epoch {
                r: r.clone(),
                a: 1,
                epoch: 0,
                train_loss: std::f64::consts::PI,
                val_loss: 1e-300,
                learning_rate: 1e-3,
                seconds: 0.1,
                images_per_s: 1.0,
                steps: Some(9),
            },
            Event::Rank { r: r.clone(), a: 1, epoch: 0, split: SplitName::Test, ranking },
            eval(Policy::Fixed(0.5)),
            eval(Policy::Fitted(Choice::plain("max_f1"))),
            eval(Policy::Fitted(Choice::plain("demo").with("beta", 2.0).with("by", "mean"))),
            Event::End { r, a: 1, st: Outcome::OutOfMemory, n: 5, why: "line 1\nline 2".to_owned() },
            Event::Close { why: "finished".to_owned() },
        ]
    }

    fn written(folder: &Path) -> (PathBuf, Vec<Event>) {
        let path = folder.join("a.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        for event in all_kinds() {
            journal.append(event).unwrap();
        }
        journal.flush().unwrap();
        (path, all_kinds())
    }

    #[test]
    fn every_kind_of_record_comes_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let (path, events) = written(folder.path());
        let result = read(&path, 0, 0).unwrap();
        assert_eq!(result.problem, None);
        assert_eq!(result.offset, std::fs::metadata(&path).unwrap().len());
        assert_eq!(
            result.records.iter().map(|record| record.s).collect::<Vec<_>>(),
            (0..events.len() as u64).collect::<Vec<_>>()
        );
        assert_eq!(result.records.into_iter().map(|record| record.event).collect::<Vec<_>>(), events);
        assert!(Journal::create(&path).is_err(), "a journal is never opened twice");
    }

    /// Whatever the length of the file so far, a reader takes each record once and in order.
    #[test]
    fn a_growing_file_is_read_without_loss_or_repetition() {
        let folder = tempfile::tempdir().unwrap();
        let (path, events) = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        let growing = folder.path().join("growing");
        let (mut offset, mut next, mut seen) = (0, 0, Vec::new());
        for end in (0..=whole.len()).step_by(37).chain([whole.len()]) {
            std::fs::write(&growing, &whole[..end]).unwrap();
            let result = read(&growing, offset, next).unwrap();
            assert_eq!(result.problem, None);
            (offset, next) = (result.offset, result.next_seq);
            seen.extend(result.records.into_iter().map(|record| record.event));
        }
        assert_eq!(seen, events);
    }

    /// Any flipped bit, any NUL page, a missing or a repeated line ends the reading right before it.
    #[test]
    fn damage_ends_the_reading_before_the_bad_line() {
        let folder = tempfile::tempdir().unwrap();
        let (path, events) = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = whole.split_inclusive(|&byte| byte == b'\n').collect();
        let bad = folder.path().join("bad");
        let stops_at = |content: &[u8], line: usize, word: &str| {
            std::fs::write(&bad, content).unwrap();
            let result = read(&bad, 0, 0).unwrap();
            assert_eq!(result.records.len(), line);
            assert_eq!(result.offset, lines[..line].concat().len() as u64);
            let problem = result.problem.expect("the damage is told").to_string();
            assert!(problem.contains(word), "{problem}");
        };
        let start = lines[..3].concat().len();
        for at in (start..start + lines[3].len() - 1).step_by(5) {
            let mut content = whole.clone();
            content[at] ^= 1;
            stops_at(&content, 3, "line");
        }
        let mut nul = whole.clone();
        nul[start..start + 10].fill(0);
        stops_at(&nul, 3, "checksum");
        assert!(!read(&bad, 0, 0).unwrap().problem.unwrap().whole, "its bytes may still be on their way");
        stops_at(&[&whole[..start], &[0; 100]].concat(), 3, "NUL");
        stops_at(&[&lines[..4].concat()[..], &lines[5..].concat()[..]].concat(), 4, "number 5, should have 4");
        stops_at(&[&lines[..4].concat()[..], &lines[3..].concat()[..]].concat(), 4, "number 3, should have 4");
        stops_at(&[&whole[..], b"{}\n"].concat(), events.len(), "checksum");
        assert!(read(&bad, 0, 0).unwrap().problem.unwrap().whole);
        let long = [&whole[..], b" ".repeat(MAX_LINE + 1).as_slice(), b"\n"].concat();
        stops_at(&long, events.len(), "may have 1048576");
        stops_at(&long[..long.len() - 1], events.len(), "is longer than");
    }

    #[test]
    fn what_is_no_regular_file_is_neither_followed_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = written(folder.path());
        let place = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, place("fifo"), rustix::fs::Mode::RWXU).unwrap();
        std::fs::create_dir(place("folder")).unwrap();
        std::os::unix::fs::symlink(&path, place("link")).unwrap();
        std::os::unix::fs::symlink(place("nowhere"), place("dangling")).unwrap();
        for name in ["fifo", "folder", "link", "dangling"] {
            assert!(read(&place(name), 0, 0).is_err(), "{name}");
        }
        let length = std::fs::metadata(&path).unwrap().len();
        let error = read(&path, length + 1, 99).unwrap_err().to_string();
        assert!(error.contains("has shrunk"), "{error}");
    }

    /// JSON has no NaN: a heartbeat's is null, any other number is refused before the file has a hole.
    #[test]
    fn numbers_that_are_not_finite_never_make_a_line_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        let hb = |loss, images_per_s| Event::Hb {
            r: None,
            epoch: 0,
            step: 1,
            steps: 2,
            loss,
            images_per_s,
            doing: Some("hashing".to_owned()),
        };
        journal.append_all([hb(f64::NAN, f64::INFINITY), hb(f64::NEG_INFINITY, 1.0)]).unwrap();
        let (r, a) = (Fingerprint("0".repeat(32)), 1);
        let epoch = |train_loss, seconds| Event::Epoch {
            r: r.clone(),
            a,
            epoch: 0,
            train_loss,
            val_loss: 0.5,
            learning_rate: 0.1,
            seconds,
            images_per_s: 1.0,
            steps: None,
        };
        for (event, word) in [
            (epoch(f64::NAN, 1.0), "train_loss is NaN"),
            (epoch(0.5, f64::INFINITY), "seconds is inf"),
            (
                Event::Rank {
                    r: r.clone(),
                    a,
                    epoch: 0,
                    split: SplitName::Val,
                    ranking: Ranking { ap: vec![Some(f64::NAN)], auc: vec![None], mean_score: vec![0.5] },
                },
                "ap is NaN",
            ),
        ] {
            let error = journal.append_all([epoch(0.5, 1.0), event]).unwrap_err();
            assert!(error.to_string().contains(word) && !error.is_final(), "{error}");
        }
        journal.append(epoch(0.5, 1.0)).unwrap();
        journal.flush().unwrap();
        let result = read(&path, 0, 0).unwrap();
        assert_eq!((result.problem, result.records.len()), (None, 3));
        assert!(
            matches!(result.records[0].event, Event::Hb { loss, images_per_s, .. } if loss.is_nan() && images_per_s.is_nan())
        );
        assert_eq!(result.records[2].event, epoch(0.5, 1.0));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&folder.path().join("a.jsonl")).unwrap();
        let long = Event::Close { why: "x".repeat(MAX_LINE) };
        assert!(matches!(journal.append(long), Err(JournalError::TooLong { .. })));
        // A file that is open for reading only fails as a full disk does.
        journal.file = File::open(&journal.path).unwrap();
        journal.append(Event::Close { why: "lost".to_owned() }).unwrap();
        assert!(journal.flush().unwrap_err().to_string().contains("a.jsonl"));
        journal.file = OpenOptions::new().append(true).open(&journal.path).unwrap();
        journal.append(Event::Close { why: "behind the hole".to_owned() }).unwrap();
        assert!(journal.flush().is_err());
        assert_eq!(read(&journal.path, 0, 0).unwrap(), ReadResult::default());
        assert!(Journal::create(&folder.path().join("no/folder")).is_err());
    }
}
