//! The folder that a sweep shares with its tasks, on a file system that all nodes see. Names and contents are in docs/slurm.md.
//!
//! Nothing in it is written by two: a worker has a journal and a folder of its own, and whatever is replaced is replaced by a rename. Files
//! of others are found by listing their folder, never by asking for a name: a network file system may remember that it was not there.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::launcher::Exit;
use archive::{RunFolder, file};
use plan::Fingerprint;
use protocol::Order;

/// Version of the files.
const FORMAT: u32 = 1;
/// Slices whose journals share a folder.
const SHARD: usize = 256;
/// What is kept of a checkpoint's header to know how far it is: its length is checked before it is read.
const LONGEST_HEADER: u64 = 64 << 20;

/// The shared folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    root: PathBuf,
}

/// One submission, for its tasks: `sub/<submission>/submission.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    pub format: u32,
    /// `auto`, or devices by name, of each task.
    pub devices: Vec<String>,
    pub per_device: usize,
    /// Limit of one run in seconds.
    pub timeout: Option<f64>,
}

/// Who works on a slice: `own/<submission>.<slice>`. The last one to write it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// How often Slurm has started the task again.
    pub restart: u32,
    pub nonce: String,
}

/// What the tasks of a submission are told later: `cmd/<submission>.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// End after the current epoch and begin nothing more.
    pub stop_all: bool,
    /// Runs to stop for good after their current epoch.
    pub stop: Vec<Fingerprint>,
}

/// How a worker's process ended, written by the task that started it, beside its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Bytes of its journal, of which the last may still be on their way.
    pub bytes: u64,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out_of_memory: bool,
    /// It could not be started, and why.
    pub not_started: Option<String>,
    /// Why the task killed it, if it did: it was overtaken by another copy of the task, told to leave, or over its time.
    pub killed: Option<Killed>,
}

/// Why a task kills its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Killed {
    /// Another copy of the task works on its slice.
    Overtaken,
    /// The task was told to end at once.
    Told,
    /// A run took longer than `workers.timeout`.
    Timeout,
}

impl Note {
    /// The note of a process that has ended.
    #[must_use]
    pub fn of(exit: &Exit, killed: Option<Killed>, bytes: u64) -> Self {
        let (mut code, mut signal, mut out_of_memory, mut not_started) = (None, None, false, None);
        match exit {
            Exit::NotStarted { why, .. } => not_started = Some(why.clone()),
            Exit::Process { code: c, signal: s, out_of_memory: m } => (code, signal, out_of_memory) = (*c, *s, *m),
            Exit::Lost(why) => not_started = Some(why.clone()),
        }
        Self { bytes, code, signal, out_of_memory, not_started, killed }
    }

    /// The end that it tells of.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match &self.not_started {
            Some(why) => Exit::NotStarted { why: why.clone(), no_room: false },
            None => Exit::Process { code: self.code, signal: self.signal, out_of_memory: self.out_of_memory },
        }
    }
}

/// A journal of a slice's worker: `<slice>.<submission>.r<restart>.<nonce>.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalName {
    pub slice: usize,
    pub submission: String,
    pub restart: u32,
    pub nonce: String,
}

impl JournalName {
    /// The name without its ending.
    #[must_use]
    pub fn stem(&self) -> String {
        let Self { slice, submission, restart, nonce } = self;
        format!("{slice}.{submission}.r{restart}.{nonce}")
    }

    /// The file's name, by which the database knows it.
    #[must_use]
    pub fn file(&self) -> String {
        self.stem() + ".jsonl"
    }

    /// What `name` says, if it is such a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".jsonl")?.split('.');
        let (slice, submission, restart, nonce) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if parts.next().is_some() || !plain(submission) || !plain(nonce) {
            return None;
        }
        Some(Self {
            slice: slice.parse().ok()?,
            submission: submission.to_owned(),
            restart: restart.strip_prefix('r')?.parse().ok()?,
            nonce: nonce.to_owned(),
        })
    }
}

/// A name that nothing else has: the time, so that names sort, and random bits.
#[must_use]
pub fn nonce() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut random = [0; 8];
    // Without the kernel's random bits the process and the time have to do.
    if rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).is_err() {
        random = (now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40).to_le_bytes();
    }
    format!("{:x}{:016x}", now.as_secs(), u64::from_le_bytes(random))
}

fn named(path: &Path) -> impl FnOnce(io::Error) -> (PathBuf, io::Error) {
    let path = path.to_owned();
    |error| (path, error)
}

/// An I/O error with its path.
pub type Failed = (PathBuf, io::Error);

impl Shared {
    /// The shared folder at `root`, which need not be there.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folders that are not there.
    ///
    /// # Errors
    /// A folder cannot be made, or a link is at its place.
    pub fn create(&self) -> Result<(), Failed> {
        for name in ["", "sub", "j", "own", "cmd", "ck", "log", "slurm", "bin"] {
            let path = self.root.join(name);
            file::own_folder(&path).map_err(named(&path))?;
        }
        Ok(())
    }

    /// Where Slurm writes what a task says before its worker runs.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.root.join("slurm")
    }

    /// A copy of this program, by the hash of its content, so that an upgrade changes nothing for tasks that wait: the copy, and beside it
    /// the worker's own program where there is one.
    ///
    /// # Errors
    /// A program that cannot be read or copied.
    pub fn program(&self) -> Result<PathBuf, Failed> {
        use std::os::unix::fs::PermissionsExt;
        let program = std::env::current_exe().map_err(named(Path::new("sweep")))?;
        let content = fs::read(&program).map_err(named(&program))?;
        let folder = self.root.join("bin").join(&blake3::hash(&content).to_hex()[..16]);
        file::own_folder(&folder).map_err(named(&folder))?;
        let copy = |from: &Path, content: &[u8]| -> Result<PathBuf, Failed> {
            let to = folder.join(from.file_name().unwrap_or_default());
            if fs::metadata(&to).is_ok_and(|there| there.len() == content.len() as u64) {
                return Ok(to);
            }
            file::write(&to, |file| file.write_all(content)).map_err(named(&to))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).map_err(named(&to))?;
            Ok(to)
        };
        let worker = program.with_file_name("sweep-worker");
        if !cfg!(feature = "worker") {
            let content = fs::read(&worker).map_err(named(&worker))?;
            copy(&worker, &content)?;
        }
        copy(&program, &content)
    }

    /// Writes a submission: there as a whole, or not.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn submit(&self, id: &str, terms: &Terms, slices: &[Vec<Order>], script: &str) -> Result<(), Failed> {
        let path = self.submission(id);
        let fresh = self.root.join("sub").join(format!("{}{id}", file::SAVING));
        let write = || -> io::Result<()> {
            file::own_folder(&fresh)?;
            file::write(&fresh.join("submission.json"), |to| Ok(serde_json::to_writer(to, terms)?))?;
            file::write(&fresh.join("task.sh"), |to| to.write_all(script.as_bytes()))?;
            for (slice, orders) in slices.iter().enumerate() {
                file::write(&fresh.join(format!("{slice}.jsonl")), |to| {
                    orders.iter().try_for_each(|order| writeln!(to, "{}", order.line()))
                })?;
            }
            file::settle(&[&fresh]).map_err(|(_, error)| error)?;
            fs::rename(&fresh, &path)?;
            file::settle(&[&self.root.join("sub")]).map_err(|(_, error)| error)
        };
        write().map_err(named(&path))
    }

    /// The folder of a submission.
    #[must_use]
    pub fn submission(&self, id: &str) -> PathBuf {
        self.root.join("sub").join(id)
    }

    /// Whether a submission is to be seen from here: its folder is listed.
    #[must_use]
    pub fn sees(&self, id: &str) -> bool {
        names(&self.root.join("sub")).is_ok_and(|names| names.iter().any(|name| name == id))
    }

    /// The terms of a submission, and the orders of one of its slices.
    ///
    /// # Errors
    /// Files that cannot be read, or are not those of this version.
    pub fn slice(&self, id: &str, slice: usize) -> Result<(Terms, Vec<Order>), Failed> {
        let folder = self.submission(id);
        let path = folder.join("submission.json");
        let invalid = |path: &Path, why: String| (path.to_owned(), io::Error::new(io::ErrorKind::InvalidData, why));
        let bytes = file::read_ours(&path).map_err(named(&path))?;
        let terms: Terms = serde_json::from_slice(&bytes).map_err(|error| invalid(&path, error.to_string()))?;
        if terms.format != FORMAT {
            return Err(invalid(&path, format!("is of format {}, this program reads {FORMAT}", terms.format)));
        }
        let path = folder.join(format!("{slice}.jsonl"));
        let text = String::from_utf8(file::read_ours(&path).map_err(named(&path))?);
        let text = text.map_err(|error| invalid(&path, error.to_string()))?;
        let order = |line: &str| match protocol::heard(line) {
            protocol::Heard::Order(order @ (Order::Train(_) | Order::Bundle { .. })) => Ok(order),
            _ => Err(invalid(&path, "has a line that is no order to train".to_owned())),
        };
        Ok((terms, text.lines().map(order).collect::<Result<_, _>>()?))
    }

    /// The folder of a slice's journals.
    #[must_use]
    pub fn journals(&self, slice: usize) -> PathBuf {
        self.root.join("j").join(format!("{:02x}", slice / SHARD))
    }

    /// Where a worker's journal is.
    #[must_use]
    pub fn journal(&self, name: &JournalName) -> PathBuf {
        self.journals(name.slice).join(name.file())
    }

    /// Where the log of a worker is; the note of its end is beside it.
    #[must_use]
    pub fn log(&self, name: &JournalName) -> PathBuf {
        self.root.join("log").join(format!("{:02x}", name.slice / SHARD)).join(name.stem() + ".log")
    }

    /// Makes the folders of a slice's journals and logs.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub fn shard(&self, slice: usize) -> Result<(), Failed> {
        for kind in ["j", "log"] {
            let path = self.root.join(kind).join(format!("{:02x}", slice / SHARD));
            file::own_folder(&path).map_err(named(&path))?;
        }
        Ok(())
    }

    /// The journals of these submissions that are there, sorted.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub fn listed(&self, wanted: impl Fn(&JournalName) -> bool) -> Result<Vec<JournalName>, Failed> {
        let shards = self.root.join("j");
        let mut found = Vec::new();
        for shard in names(&shards).map_err(named(&shards))? {
            let path = shards.join(shard);
            let names = match names(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
                names => names.map_err(named(&path))?,
            };
            found.extend(names.iter().filter_map(|name| JournalName::parse(name)).filter(&wanted));
        }
        found.sort();
        Ok(found)
    }

    /// The journals of one slice.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn siblings(&self, submission: &str, slice: usize) -> Result<Vec<JournalName>, Failed> {
        let path = self.journals(slice);
        let names = match names(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(named(&path))?,
        };
        let ours = |name: &JournalName| name.submission == submission && name.slice == slice;
        Ok(names.iter().filter_map(|name| JournalName::parse(name)).filter(ours).collect())
    }

    /// Notes how a worker has ended.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self, name: &JournalName, note: &Note) -> Result<(), Failed> {
        let path = self.log(name).with_extension("exit");
        file::write(&path, |file| Ok(serde_json::to_writer(file, note)?)).map(drop).map_err(named(&path))
    }

    /// The notes of workers' ends that are there, by the stems of their journals: of one slice, or of all.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub fn noted(&self, slice: Option<usize>) -> Result<HashSet<String>, Failed> {
        let logs = self.root.join("log");
        let shards = match slice {
            Some(slice) => vec![format!("{:02x}", slice / SHARD)],
            None => names(&logs).map_err(named(&logs))?,
        };
        let mut found = HashSet::new();
        for shard in shards {
            let path = logs.join(shard);
            let names = match names(&path) {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                names => names.map_err(named(&path))?,
            };
            found.extend(names.iter().filter_map(|name| name.strip_suffix(".exit")).map(str::to_owned));
        }
        Ok(found)
    }

    /// The note of a worker's end; `None` where it cannot be read (yet).
    #[must_use]
    pub fn read_note(&self, name: &JournalName) -> Option<Note> {
        let bytes = file::read_ours(&self.log(name).with_extension("exit")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn owner_path(&self, submission: &str, slice: usize) -> PathBuf {
        self.root.join("own").join(format!("{submission}.{slice}"))
    }

    /// Who works on a slice, as it is on the disk now.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn owner(&self, submission: &str, slice: usize) -> Result<Option<Owner>, Failed> {
        let path = self.owner_path(submission, slice);
        match file::read_ours(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err((path, error)),
        }
    }

    /// Makes `owner` the one that works on a slice.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn own(&self, submission: &str, slice: usize, owner: &Owner) -> Result<(), Failed> {
        let path = self.owner_path(submission, slice);
        file::write(&path, |file| Ok(serde_json::to_writer(file, owner)?)).map(drop).map_err(named(&path))
    }

    /// Tells the tasks of a submission something.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn tell(&self, submission: &str, command: &Command) -> Result<(), Failed> {
        let path = self.root.join("cmd").join(format!("{submission}.json"));
        file::write(&path, |file| Ok(serde_json::to_writer(file, command)?)).map(drop).map_err(named(&path))
    }

    /// What the tasks of a submission are told; nothing where the file is not there or cannot be read.
    #[must_use]
    pub fn told(&self, submission: &str) -> Command {
        let bytes = file::read_ours(&self.root.join("cmd").join(format!("{submission}.json"))).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// The folder in which one worker makes a run.
    #[must_use]
    pub fn run(&self, run: &Fingerprint, nonce: &str) -> RunFolder {
        RunFolder::at(self.runs(run).join(nonce))
    }

    /// The folders of all that have begun a run.
    #[must_use]
    pub fn runs(&self, run: &Fingerprint) -> PathBuf {
        self.root.join("ck").join(&run.0)
    }

    /// The runs that have been begun and are not brought home.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn begun(&self) -> Result<Vec<Fingerprint>, Failed> {
        let path = self.root.join("ck");
        Ok(names(&path).map_err(named(&path))?.into_iter().map(Fingerprint).collect())
    }

    /// Makes the folder in which the worker `nonce` makes a run, with what the one that came furthest has left, if anything.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn adopt(&self, run: &Fingerprint, nonce: &str) -> Result<RunFolder, Failed> {
        let runs = self.runs(run);
        let fresh = self.run(run, nonce);
        file::own_folder(&runs).and_then(|()| fresh.create()).map_err(named(fresh.path()))?;
        let others = names(&runs).map_err(named(&runs))?;
        let furthest = others
            .iter()
            .filter(|other| *other != nonce)
            .map(|other| self.run(run, other))
            .filter_map(|folder| Some((epochs_done(&folder.checkpoint())?, folder)))
            .max_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.path().cmp(b.1.path())));
        if let Some((_, folder)) = furthest {
            // What cannot be taken over is made again.
            if let Err(error) = take_over(folder.path(), fresh.path()) {
                tracing::warn!("{}: {error}; the run starts anew", folder.path().display());
                drop(fs::remove_file(fresh.checkpoint()));
            }
        }
        Ok(fresh)
    }

    /// Removes what is left of submissions that are over, and of runs that are recorded.
    pub fn tidy(&self, submissions: &[String]) {
        for id in submissions {
            drop(file::remove(&self.submission(id)));
            drop(fs::remove_file(self.root.join("cmd").join(format!("{id}.json"))));
            let own = self.root.join("own");
            for name in names(&own).unwrap_or_default().iter().filter(|name| name.starts_with(&format!("{id}."))) {
                drop(fs::remove_file(own.join(name)));
            }
            for name in self.listed(|name| name.submission == *id).unwrap_or_default() {
                for path in [self.journal(&name), self.log(&name), self.log(&name).with_extension("exit")] {
                    drop(fs::remove_file(path));
                }
            }
        }
        for folder in ["sub", "own", "cmd", "ck"] {
            file::remove_litter(&self.root.join(folder), Duration::from_secs(3600));
        }
    }

    /// Removes copies of the program, and what Slurm has written, once no submission of any sweep is left.
    pub fn tidy_all(&self) {
        for folder in ["bin", "slurm"] {
            drop(file::remove(&self.root.join(folder)));
        }
    }
}

/// The names in a folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Epochs that a checkpoint holds, from its header; `None` where there is none or it is of another kind.
fn epochs_done(checkpoint: &Path) -> Option<usize> {
    use std::io::Read;
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        sweep: String,
    }
    #[derive(Deserialize)]
    struct Progress {
        epochs: Vec<serde::de::IgnoredAny>,
    }
    let mut file = file::open_ours(checkpoint).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    let header: Header = serde_json::from_slice(&header).ok()?;
    let progress: Progress = serde_json::from_str(&header.metadata.sweep).ok()?;
    Some(progress.epochs.len())
}

/// Gives the files of a run's folder second names in another, which changes nothing for whoever still writes the first: files are replaced
/// whole. The log, which grows, is copied.
fn take_over(from: &Path, to: &Path) -> io::Result<()> {
    for folder in ["", archive::EPOCHS] {
        let there = from.join(folder);
        for name in names(&there)? {
            let path = there.join(&name);
            if !fs::symlink_metadata(&path)?.is_file() {
                continue;
            }
            let target = to.join(folder).join(&name);
            if name == "log.txt" {
                let bytes = file::read_ours(&path)?;
                file::write(&target, |file| file.write_all(&bytes))?;
            } else {
                file::link(&path, &target)?;
            }
        }
    }
    Ok(())
}

impl Terms {
    /// Terms of this version.
    #[must_use]
    pub fn new(devices: Vec<String>, per_device: usize, timeout: Option<Duration>) -> Self {
        Self { format: FORMAT, devices, per_device, timeout: timeout.map(|timeout| timeout.as_secs_f64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_known_by_its_name() {
        let name = JournalName { slice: 300, submission: "a1".to_owned(), restart: 2, nonce: "b2".to_owned() };
        assert_eq!(name.file(), "300.a1.r2.b2.jsonl");
        assert_eq!(JournalName::parse(&name.file()), Some(name.clone()));
        assert!(Shared::at("/x").journal(&name).ends_with("j/01/300.a1.r2.b2.jsonl"));
        for other in
            ["300.a1.r2.b2.log", "x.a1.r2.b2.jsonl", "1.a1.2.b.jsonl", "1.a1.r2.b.c.jsonl", "1..r2.b.jsonl", "1.a/b.r0.c.jsonl"]
        {
            assert_eq!(JournalName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_never_the_same_twice() {
        let names: HashSet<String> = (0..1000).map(|_| nonce()).collect();
        assert_eq!(names.len(), 1000);
    }

    #[test]
    fn the_last_owner_owns_and_a_command_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Shared::at(folder.path().join("x"));
        shared.create().unwrap();
        assert_eq!(shared.owner("s", 0).unwrap(), None);
        let owner = |restart, nonce: &str| Owner { restart, nonce: nonce.to_owned() };
        for owner in [owner(0, "a"), owner(1, "b")] {
            shared.own("s", 0, &owner).unwrap();
            assert_eq!(shared.owner("s", 0).unwrap(), Some(owner));
        }
        assert_eq!(shared.told("s"), Command::default());
        let command = Command { stop_all: true, stop: vec![Fingerprint("f".to_owned())] };
        shared.tell("s", &command).unwrap();
        assert_eq!(shared.told("s"), command);
    }

    #[test]
    fn a_worker_goes_on_from_whoever_came_furthest() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Shared::at(folder.path());
        shared.create().unwrap();
        let run = Fingerprint("r".to_owned());
        let checkpoint = |nonce: &str, epochs: usize| {
            let made = shared.adopt(&run, nonce).unwrap();
            let progress = serde_json::json!({ "epochs": vec![0; epochs] }).to_string();
            let header = serde_json::json!({ "__metadata__": { "sweep": progress } }).to_string();
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            fs::write(made.checkpoint(), bytes).unwrap();
            fs::write(made.file("epochs/logits-val-0.npy"), nonce).unwrap();
            fs::write(made.file("log.txt"), nonce).unwrap();
        };
        checkpoint("a", 1);
        checkpoint("b", 3);
        fs::create_dir_all(shared.run(&run, "damaged").path()).unwrap();
        fs::write(shared.run(&run, "damaged").checkpoint(), [255; 100]).unwrap();
        let fresh = shared.adopt(&run, "c").unwrap();
        assert_eq!(epochs_done(&fresh.checkpoint()), Some(3));
        assert_eq!(fs::read(fresh.file("epochs/logits-val-0.npy")).unwrap(), b"b");
        // The one that came before may still write.
        fs::write(shared.run(&run, "b").file("log.txt"), "more").unwrap();
        assert_eq!(fs::read(fresh.file("log.txt")).unwrap(), b"b");
    }
}
