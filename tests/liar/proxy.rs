//! The worker that lies: it starts the real one with a journal of its own and copies its lines, changed in one way.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// How it lies: the name of a way.
pub const WAY: &str = "SWEEP_LIAR_WAY";
/// Its arguments, as the controller gave them.
const ARGUMENTS: &str = "SWEEP_LIAR_ARGUMENTS";
/// The real worker.
pub const WORKER: &str = "SWEEP_LIAR_WORKER";
/// It kills its controller once it has lied.
pub const KILL: &str = "SWEEP_LIAR_KILLS";
/// A file: where it exists, no more lies are told; it is made with the first one.
pub const ONCE: &str = "SWEEP_LIAR_ONCE";

/// A program to give to `SWEEP_WORKER`: this test executable, as the proxy.
pub fn program(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("liar.sh");
    let itself = std::env::current_exe().unwrap();
    let text = format!("#!/bin/sh\n{ARGUMENTS}=\"$*\" exec '{}' --exact the_proxy --nocapture\n", itself.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What the proxy's journal gets instead of a line.
pub enum Said {
    /// A record, numbered and with its checksum.
    Record(Value),
    /// These bytes, as they are.
    Raw(Vec<u8>),
    /// A record without a number of its own.
    Misnumbered(Value),
}

/// A line in the form of the protocol.
pub fn line(record: &Value) -> Vec<u8> {
    let mut body = record.clone();
    body.as_object_mut().unwrap().remove("c");
    seal(serde_json::to_string(&body).unwrap())
}

/// The line of JSON text, with its checksum.
pub fn seal(mut text: String) -> Vec<u8> {
    text.pop();
    let checksum = crc32fast::hash(text.as_bytes());
    format!("{text},\"c\":\"{checksum:08x}\"}}\n").into_bytes()
}

/// The proxy's life. Never returns.
#[expect(clippy::disallowed_methods, reason = "this process stands for a worker")]
pub fn serve(lie: impl Fn(&str, Value, &mut Liar) -> Vec<Said>) {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let way = std::env::var(WAY).unwrap();
    let mut words: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let at = words.iter().position(|word| word == "--journal").unwrap() + 1;
    let journal = PathBuf::from(&words[at]);
    let hidden = tempfile::tempdir_in(journal.ancestors().nth(3).unwrap()).unwrap();
    let real = hidden.path().join(journal.file_name().unwrap());
    words[at] = real.display().to_string();
    let worker = std::env::var(WORKER).unwrap();
    let mut child = Command::new(worker).args(&words).stdout(Stdio::piped()).spawn().unwrap();
    let once = std::env::var_os(ONCE).map(PathBuf::from);
    let silent = once.as_ref().is_some_and(|path| path.exists());
    let mut liar = Liar { out: None, journal, next: 0, lied: false, told: HashMap::new() };
    if way == "journal is a fifo" && !silent {
        rustix::fs::mkfifoat(rustix::fs::CWD, &liar.journal, rustix::fs::Mode::RWXU).unwrap();
    } else {
        liar.out = Some(OpenOptions::new().append(true).create_new(true).open(&liar.journal).unwrap());
    }
    let mut wake = child.stdout.take().unwrap();
    let mut done = 0;
    loop {
        let woken = wake.read(&mut [0; 64]).unwrap_or(0);
        let content = fs::read(&real).unwrap_or_default();
        let whole = content.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        for text in content[done..whole].split_inclusive(|&byte| byte == b'\n') {
            let record: Value = serde_json::from_slice(text).unwrap();
            let said = if silent { vec![Said::Record(record)] } else { lie(&way, record, &mut liar) };
            said.into_iter().for_each(|said| liar.write(said));
        }
        done = whole;
        if liar.lied {
            once.iter().for_each(|path| drop(File::create(path)));
            if std::env::var_os(KILL).is_some() {
                let controller = rustix::process::getppid().unwrap();
                let _ = rustix::process::kill_process(controller, rustix::process::Signal::KILL);
            }
        }
        let _ = std::io::stdout().write_all(b".").and_then(|()| std::io::stdout().flush());
        if woken == 0 {
            break;
        }
    }
    let status = child.wait().unwrap();
    drop(hidden);
    std::process::exit(status.code().unwrap_or(1));
}

/// What the proxy remembers.
pub struct Liar {
    out: Option<File>,
    pub journal: PathBuf,
    next: u64,
    /// It has lied.
    pub lied: bool,
    /// Results of each run that it has added or left out, which a clever liar tells `end`.
    pub told: HashMap<String, i64>,
}

impl Liar {
    fn write(&mut self, said: Said) {
        let bytes = match said {
            Said::Record(mut record) => {
                record["s"] = json!(self.next);
                self.next += 1;
                line(&record)
            }
            Said::Misnumbered(record) => line(&record),
            Said::Raw(bytes) => bytes,
        };
        self.out.iter_mut().for_each(|file| file.write_all(&bytes).unwrap());
    }

    /// The text of `record` as it would be written, to be changed before it is sealed.
    pub fn text(&mut self, mut record: Value) -> String {
        record["s"] = json!(self.next);
        self.next += 1;
        record.as_object_mut().unwrap().remove("c");
        serde_json::to_string(&record).unwrap()
    }

    /// Remembers that `record` is written `more` times than it should be.
    pub fn count(&mut self, record: &Value, more: i64) {
        *self.told.entry(record["r"].as_str().unwrap().to_owned()).or_default() += more;
    }

    pub fn cut_journal(&self, bytes: u64) {
        self.out.iter().for_each(|file| file.set_len(bytes).unwrap());
    }
}
