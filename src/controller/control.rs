//! Requests to a running controller by files: how a page in another process asks it to stop. docs/serve.md#the-control-folder has the
//! form.
//!
//! `X.runs/control/` is there while a controller listens. `listening.json` says which: the holder of the database's lock, and its sweep.
//! A request is a file of its own, written whole ([`archive::file::write`]), with the holder that it is meant for: a request that was made
//! for an earlier controller, or written by anything else, is removed unread, and one that this controller cannot remove is read once.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::Request;
use archive::{Archive, control_folder, file};
use imbalance::shown::shown;
use plan::Fingerprint;
use store::SweepId;

/// Version of the files.
const VERSION: u32 = 1;
/// Most bytes of a file, and most files that are read at a time.
const LONG: u64 = 4096;
const MANY: usize = 64;
/// Who listens.
const LISTENING: &str = "listening.json";

/// Who listens, and for which sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    v: u32,
    /// As [`store::holder`] says it.
    pub holder: String,
    pub sweep: SweepId,
}

/// A request as a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Letter {
    v: u32,
    /// [`Listening::holder`].
    to: String,
    stop: Wish,
}

/// What is to be stopped: `"sweep"` or `{"run": FINGERPRINT}`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wish {
    Sweep,
    Run(Fingerprint),
}

impl Wish {
    /// What a request asks of a controller in another process; keys are for the one that has the terminal.
    fn of(request: &Request) -> io::Result<Self> {
        match request {
            Request::Stop => Ok(Self::Sweep),
            Request::StopRun(run) => Ok(Self::Run(run.clone())),
            Request::Key(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "keys are not sent to another process")),
        }
    }
}

/// The controller that listens to requests beside `db`; `None` where none does, or none on this machine.
#[must_use]
pub fn listening(db: &Path) -> Option<Listening> {
    let text = read(&control_folder(db).join(LISTENING)).ok()?;
    let found: Listening = serde_json::from_slice(&text).ok()?;
    (found.v == VERSION && store::holder(db).as_ref() == Some(&found.holder)).then_some(found)
}

/// Leaves a request for this controller.
///
/// # Errors
/// The file cannot be written; the request is a key.
pub fn send(db: &Path, to: &Listening, request: &Request) -> io::Result<()> {
    let folder = control_folder(db);
    let letter = Letter { v: VERSION, to: to.holder.clone(), stop: Wish::of(request)? };
    let text = serde_json::to_vec(&letter)?;
    // Its random name is what is wanted of it; the file itself comes whole.
    let name = tempfile::Builder::new().prefix("request-").suffix(".json").make_in(&folder, |path| {
        if path.exists() {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            file::write(path, |file| file.write_all(&text)).map(drop)
        }
    })?;
    name.keep().map(drop).map_err(|error| error.error)
}

/// The controller's side: the folder, as long as it listens.
#[derive(Debug)]
pub struct Mailbox {
    folder: PathBuf,
    /// Whom requests have to name; `None` where the folder cannot be used.
    holder: Option<String>,
    /// Names of files that could not be removed.
    read: HashSet<OsString>,
    warned: bool,
}

impl Mailbox {
    /// Removes what was left for others and begins to listen. Where the folder cannot be used there are no requests, and a warning.
    #[must_use]
    pub fn open(archive: &Archive, sweep: SweepId, holder: &str) -> Self {
        let folder = archive.control();
        let begin = || -> io::Result<()> {
            file::own_folder(&folder)?;
            file::remove_litter(&folder, Duration::ZERO);
            for entry in fs::read_dir(&folder)?.flatten() {
                drop(fs::remove_file(entry.path()));
            }
            let listening = Listening { v: VERSION, holder: holder.to_owned(), sweep };
            let text = serde_json::to_vec(&listening)?;
            file::write(&folder.join(LISTENING), |file| file.write_all(&text)).map(drop)
        };
        let begun = begin();
        if let Err(error) = &begun {
            tracing::warn!("{}: {error}; a page cannot stop this sweep", folder.display());
        }
        let holder = begun.is_ok().then(|| holder.to_owned());
        Self { folder, holder, read: HashSet::new(), warned: false }
    }

    /// The requests that have arrived, in the order of their names. What is no request is removed, with one warning.
    pub fn read(&mut self) -> Vec<Request> {
        let Some(holder) = self.holder.clone() else { return Vec::new() };
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name());
        let is_ours = |name: &OsString| {
            let name = name.to_string_lossy();
            name != LISTENING && !name.starts_with(file::SAVING)
        };
        let mut names: Vec<OsString> = names.filter(|name| is_ours(name) && !self.read.contains(name)).take(MANY).collect();
        names.sort();
        names.into_iter().filter_map(|name| self.open_letter(name, &holder)).collect()
    }

    fn open_letter(&mut self, name: OsString, holder: &str) -> Option<Request> {
        let path = self.folder.join(&name);
        let letter = read(&path).and_then(|text| serde_json::from_slice::<Letter>(&text).map_err(io::Error::other));
        let letter = letter.and_then(|letter| match &letter.stop {
            _ if letter.v != VERSION => Err(io::Error::other(format!("version {} of requests is not known", letter.v))),
            Wish::Run(run) if !is_fingerprint(run) => Err(io::Error::other("it names no run")),
            _ => Ok(letter),
        });
        if fs::remove_file(&path).is_err() {
            self.read.insert(name.clone());
        }
        match letter {
            // Meant for an earlier controller.
            Ok(letter) if letter.to != holder => None,
            Ok(letter) => Some(match letter.stop {
                Wish::Sweep => Request::Stop,
                Wish::Run(run) => Request::StopRun(run),
            }),
            Err(error) => {
                if !self.warned {
                    self.warned = true;
                    let (folder, name) = (self.folder.display(), shown(&name.to_string_lossy()));
                    tracing::warn!(
                        "{folder}: {name} is no request and is ignored, as others will be: {}",
                        shown(&error.to_string())
                    );
                }
                None
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        if self.holder.is_some() {
            drop(fs::remove_file(self.folder.join(LISTENING)));
            drop(fs::remove_dir(&self.folder));
        }
    }
}

fn is_fingerprint(run: &Fingerprint) -> bool {
    (8..=64).contains(&run.0.len()) && run.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A short file of ours.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file::open_ours(path)?.take(LONG + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONG { Err(io::Error::other("it is too long")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        archive: Archive,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let archive = Archive::beside(&folder.path().join("x.db")).unwrap();
            Self { folder, archive }
        }

        fn db(&self) -> PathBuf {
            self.folder.path().join("x.db")
        }

        fn put(&self, name: &str, text: impl AsRef<[u8]>) {
            fs::write(self.archive.control().join(name), text).unwrap();
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(self.archive.control()).unwrap();
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    fn run() -> Fingerprint {
        Fingerprint("0123456789abcdef0123456789abcdef".to_owned())
    }

    #[test]
    fn requests_arrive_once_and_only_at_the_controller_that_they_name() {
        let place = Place::new();
        let mut mailbox = Mailbox::open(&place.archive, 3, "process 1");
        let to = Listening { v: VERSION, holder: "process 1".to_owned(), sweep: 3 };
        send(&place.db(), &to, &Request::Stop).unwrap();
        assert_eq!((mailbox.read(), mailbox.read()), (vec![Request::Stop], vec![]));
        send(&place.db(), &to, &Request::StopRun(run())).unwrap();
        send(&place.db(), &Listening { holder: "process 0".to_owned(), ..to }, &Request::Stop).unwrap();
        assert_eq!((mailbox.read(), mailbox.read()), (vec![Request::StopRun(run())], vec![]));
        assert_eq!(place.names(), [LISTENING]);
        send(&place.db(), &to, &Request::Stop).unwrap();
        drop(mailbox);
        let mut next = Mailbox::open(&place.archive, 3, "process 1");
        assert_eq!(next.read(), [], "stale");
        drop(next);
        assert!(!place.archive.control().exists(), "nobody listens");
        assert!(send(&place.db(), &to, &Request::Stop).is_err());
    }

    #[test]
    fn the_form_of_a_request_is_the_documented_one() {
        let letter = |stop| serde_json::to_string(&Letter { v: 1, to: "process 1".to_owned(), stop }).unwrap();
        assert_eq!(letter(Wish::Sweep), r#"{"v":1,"to":"process 1","stop":"sweep"}"#);
        assert_eq!(letter(Wish::Run(run())), format!(r#"{{"v":1,"to":"process 1","stop":{{"run":"{}"}}}}"#, run().0));
    }

    #[test]
    fn what_is_no_request_is_ignored_and_removed() {
        let place = Place::new();
        let mut mailbox = Mailbox::open(&place.archive, 3, "me");
        place.put("1.json", "");
        place.put("2.json", "not JSON");
        place.put("3.json", r#"{"v":1,"to":"me","stop":"everything"}"#);
        place.put("4.json", r#"{"v":2,"to":"me","stop":"sweep"}"#);
        place.put("5.json", r#"{"v":1,"to":"me","stop":{"run":"../../etc"}}"#);
        place.put("6.json", r#"{"v":1,"to":"me","stop":"sweep","more":1}"#);
        place.put("7.json", vec![b' '; 10_000]);
        place.put("half.json", r#"{"v":1,"to":"me","st"#);
        std::os::unix::fs::symlink("/dev/zero", place.archive.control().join("8.json")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, place.archive.control().join("9.json"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        place.put(".saving-abc", "being written");
        fs::create_dir(place.archive.control().join("folder.json")).unwrap();
        assert_eq!(mailbox.read(), []);
        assert!(mailbox.warned && mailbox.read.contains(&OsString::from("folder.json")));
        let mut left = place.names();
        left.sort();
        assert_eq!(left, [".saving-abc", "folder.json", LISTENING]);
        place.put("good.json", r#"{"v":1,"to":"me","stop":"sweep"}"#);
        assert_eq!(mailbox.read(), [Request::Stop]);
    }

    #[test]
    fn a_flood_is_read_bit_by_bit() {
        let place = Place::new();
        let mut mailbox = Mailbox::open(&place.archive, 3, "me");
        (0..MANY + 5).for_each(|at| place.put(&format!("{at}.json"), r#"{"v":1,"to":"me","stop":"sweep"}"#));
        assert_eq!([mailbox.read().len(), mailbox.read().len(), mailbox.read().len()], [MANY, 5, 0]);
    }

    #[test]
    fn a_folder_that_cannot_be_used_costs_only_the_requests() {
        let place = Place::new();
        fs::write(place.archive.control(), "in the way").unwrap();
        let mut mailbox = Mailbox::open(&place.archive, 3, "me");
        assert_eq!(mailbox.read(), []);
        drop(mailbox);
        assert_eq!(fs::read_to_string(place.archive.control()).unwrap(), "in the way");
    }

    #[test]
    fn nobody_listens_without_the_lock() {
        let place = Place::new();
        let _mailbox = Mailbox::open(&place.archive, 3, "process 1");
        assert_eq!(listening(&place.db()), None);
    }
}
