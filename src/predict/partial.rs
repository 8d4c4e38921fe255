//! What is known of a prediction before it is complete: `OUTPUT.partial/` has, for each worker so far, its request (`N.json`) and its
//! journal (`N.jsonl`). A journal is only appended to, so that a kill at any moment costs the batch under way; the next start takes what
//! is there by file, and asks for the rest. Once the output is written the folder goes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Fault, Logits};
use crate::controller::errand;
use crate::error::Error;
use archive::file;
use protocol::{Event, Input, Inputs, Request, check};

const LOCK: &str = "lock";

/// A prediction under way.
pub struct Partial {
    folder: PathBuf,
    /// Held as long as this process works here.
    _lock: File,
    /// Where nothing is to be continued later.
    temporary: Option<tempfile::TempDir>,
    request: Request,
    /// Logits of each input that is scored.
    logits: Vec<Logits>,
    bad: Vec<Fault>,
    /// Number of the next worker.
    next: u32,
    asked: Asked,
}

/// What the worker under way was asked for.
#[derive(Default)]
struct Asked {
    /// The number of each of its inputs here; empty for features, which it numbers as they are.
    numbers: Vec<usize>,
    done: usize,
}

impl Partial {
    /// What is known of `request`: in `OUTPUT.partial` beside `output`, or nothing where there is no output to continue. `anew` throws away
    /// what is there.
    ///
    /// # Errors
    /// A folder of another model's prediction, or one that another process works in; files that cannot be read or written.
    pub fn open(output: Option<&Path>, request: Request, anew: bool) -> Result<Self, Error> {
        let (folder, temporary) = match output {
            Some(output) => (beside(output), None),
            None => {
                let temporary = tempfile::tempdir().map_err(|source| Error::Io { path: std::env::temp_dir(), source })?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let failed = |source| Error::Io { path: folder.clone(), source };
        file::own_folder(&folder).map_err(failed)?;
        let lock = file::regular(File::options().write(true).create(true), &folder.join(LOCK)).map_err(failed)?;
        if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            return Err(Error::Usage(format!("another sweep predicts into {} now", folder.display())));
        }
        let logits = match &request.inputs {
            Inputs::Pictures(files) => vec![None; files.len()],
            Inputs::Features(_) => Vec::new(),
        };
        let (bad, asked) = (Vec::new(), Asked::default());
        let mut partial = Self { folder, _lock: lock, temporary, request, logits, bad, next: 0, asked };
        let earlier = partial.earlier()?;
        if anew {
            earlier.iter().try_for_each(|number| partial.forget(*number))?;
        } else {
            earlier.iter().try_for_each(|number| partial.recall(*number))?;
        }
        Ok(partial)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it will be there for another start.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.temporary.is_none()
    }

    /// Inputs that are done, good or bad.
    #[must_use]
    pub fn done(&self) -> usize {
        self.logits.iter().filter(|logits| logits.is_some()).count() + self.bad.len()
    }

    fn path(&self, number: u32, ending: &str) -> PathBuf {
        self.folder.join(format!("{number}.{ending}"))
    }

    /// The numbers of earlier workers, rising.
    fn earlier(&mut self) -> Result<Vec<u32>, Error> {
        let failed = |source| Error::Io { path: self.folder.clone(), source };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u32>().ok());
            numbers.extend(stem);
        }
        numbers.sort_unstable();
        numbers.dedup();
        self.next = numbers.last().map_or(0, |last| last + 1);
        Ok(numbers)
    }

    fn forget(&self, number: u32) -> Result<(), Error> {
        for ending in ["json", "jsonl", "log"] {
            let path = self.path(number, ending);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(Error::Io { path, source }),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes what an earlier worker has scored of the files that are as they were then.
    fn recall(&mut self, number: u32) -> Result<(), Error> {
        let (asked, journal) = (self.path(number, "json"), self.path(number, "jsonl"));
        let request = match Request::read(&asked) {
            Ok(request) => request,
            // It died before it was asked for anything.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.forget(number),
            Err(source) => return Err(Error::Io { path: asked, source }),
        };
        let same_model = Request { inputs: self.request.inputs.clone(), ..request.clone() } == self.request;
        if !same_model {
            return Err(Error::Usage(format!(
                "{} has predictions of another model: --force begins anew, another --output leaves them",
                self.folder.display()
            )));
        }
        let events = match errand::said(&journal) {
            Ok(events) => events,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::Io { path: journal, source }),
        };
        match (&request.inputs, &self.request.inputs) {
            (Inputs::Pictures(then), Inputs::Pictures(now)) => {
                let mut here: HashMap<&Input, Vec<usize>> = HashMap::new();
                for (number, input) in now.iter().enumerate().filter(|(_, input)| !input.stamp.is_empty()) {
                    here.entry(input).or_default().push(number);
                }
                let labels = self.request.labels as usize;
                for event in events {
                    let Event::Predicted { first, rows, logits, bad, .. } = event else { continue };
                    let mut logits = logits.chunks_exact(labels.max(1));
                    for at in first..first + rows {
                        // A file that could not be used is tried again: it may have been repaired, or the disk be back.
                        if bad.iter().any(|(input, _)| *input == at) {
                            continue;
                        }
                        let (Some(logits), Some(input)) = (logits.next(), then.get(at)) else { break };
                        for &number in here.get(input).into_iter().flatten() {
                            self.logits[number] = Some(logits.to_vec());
                        }
                    }
                }
            }
            (Inputs::Features(then), Inputs::Features(now)) if then == now => {
                for event in events {
                    if matches!(event, Event::Predicted { .. }) && self.keep(&event).is_err() {
                        break;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The request for what is not known yet, written to the disk, with the number of its worker and where it is to begin; `None` where all
    /// is known. Pictures that are `missing` are not asked for.
    ///
    /// # Errors
    /// The request cannot be written.
    pub fn ask(&mut self, missing: &[Fault]) -> Result<Option<(u32, PathBuf, usize)>, Error> {
        let (inputs, numbers, from) = match &self.request.inputs {
            Inputs::Pictures(files) => {
                let gone = |number: &usize| missing.binary_search_by(|(missing, _)| missing.cmp(number)).is_ok();
                let numbers: Vec<usize> =
                    (0..files.len()).filter(|number| self.logits[*number].is_none() && !gone(number)).collect();
                if numbers.is_empty() {
                    return Ok(None);
                }
                (Inputs::Pictures(numbers.iter().map(|&number| files[number].clone()).collect()), numbers, 0)
            }
            Inputs::Features(file) => (Inputs::Features(file.clone()), Vec::new(), self.logits.len()),
        };
        let number = self.next;
        self.next += 1;
        self.asked = Asked { numbers, done: from };
        let path = self.path(number, "json");
        let request = Request { inputs, ..self.request.clone() };
        let written = file::write(&path, |file| Ok(serde_json::to_writer(file, &request)?));
        written.map_err(|source| Error::Io { path: path.clone(), source })?;
        Ok(Some((number, path, from)))
    }

    /// Keeps what the worker under way has said.
    ///
    /// # Errors
    /// A record that cannot be true of the request, as a message.
    pub fn keep(&mut self, event: &Event) -> Result<(), String> {
        let labels = self.request.labels as usize;
        let inputs = matches!(self.request.inputs, Inputs::Pictures(_)).then_some(self.asked.numbers.len());
        let done = if inputs.is_some() { self.asked.done } else { self.logits.len() };
        check::predicts(event, done, inputs, labels)?;
        let Event::Predicted { first, rows, logits, bad, .. } = event else { return Ok(()) };
        let mut logits = logits.chunks_exact(labels.max(1));
        for at in *first..first + rows {
            let fault = bad.iter().find(|(input, _)| *input == at);
            let found = if fault.is_some() { None } else { logits.next().map(<[f32]>::to_vec) };
            let number = match inputs {
                Some(_) => self.asked.numbers[at],
                None => {
                    self.logits.push(None);
                    at
                }
            };
            self.logits[number] = found;
            self.bad.extend(fault.map(|(_, why)| (number, why.clone())));
        }
        self.asked.done = done + rows;
        Ok(())
    }

    /// Logits of each input, `None` of the bad ones; and these with their faults.
    #[must_use]
    pub fn found(&self) -> (&[Logits], &[Fault]) {
        (&self.logits, &self.bad)
    }

    /// Removes the folder: the output has all of it.
    pub fn finished(self) {
        if self.temporary.is_none()
            && let Err(error) = file::remove(&self.folder)
        {
            tracing::warn!("{}: cannot be removed: {error}", self.folder.display());
        }
    }
}

/// `OUTPUT.partial`.
fn beside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Fingerprint;
    use protocol::journal::Journal;

    fn input(name: &str, stamp: &str) -> Input {
        Input { path: format!("/p/{name}"), stamp: stamp.to_owned() }
    }

    fn request(inputs: Inputs) -> Request {
        let config = serde_json::json!({
            "data": {"kind": "letters", "samples": 1, "label_rates": [], "image_size": 8, "signal": 1.0, "seed": 0,
                     "split": {"train": 0.7, "val": 0.15, "test": 0.15, "method": "random", "seed": 0}},
            "model": {"arch": "cnn"},
            "train": {"epochs": 1, "batch_size": 2, "optimizer": {"kind": "adam"}, "learning_rate": 0.1, "schedule": {"kind": "constant"}},
            "loss": {"kind": "bce"}, "pos_weight": {"kind": "none"}, "sampler": {"kind": "shuffle"}, "seed": 0
        });
        Request {
            format: protocol::wire::request::FORMAT,
            config: serde_json::from_value(config).unwrap(),
            labels: 2,
            model: "/m".to_owned(),
            model_hash: "aa".to_owned(),
            standardize: None,
            white: u16::MAX,
            inputs,
        }
    }

    fn predicted(first: usize, logits: &[f32], bad: &[usize]) -> Event {
        let rows = logits.len() / 2 + bad.len();
        let bad = bad.iter().map(|&input| (input, "broken".to_owned())).collect();
        Event::Predicted { r: Fingerprint("0".repeat(32)), a: 1, first, rows, logits: logits.to_vec(), bad }
    }

    /// A worker's journal with `events`, as it is left by a kill.
    fn left(partial: &Partial, number: u32, events: &[Event]) {
        let mut journal = Journal::create(&partial.path(number, "jsonl")).unwrap();
        journal.append_all(events.iter().cloned()).unwrap();
        journal.flush().unwrap();
    }

    #[test]
    fn a_killed_prediction_goes_on_with_the_files_that_are_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("scores.csv");
        let files = |stamps: [&str; 4]| {
            Inputs::Pictures(["a", "b", "c", "d"].into_iter().zip(stamps).map(|(name, stamp)| input(name, stamp)).collect())
        };
        let mut first = Partial::open(Some(&output), request(files(["1"; 4])), false).unwrap();
        let (number, path, from) = first.ask(&[]).unwrap().unwrap();
        assert_eq!((number, from, Request::read(&path).unwrap()), (0, 0, request(files(["1"; 4]))));
        left(&first, 0, &[predicted(0, &[1.0, 2.0], &[]), predicted(1, &[3.0, 4.0], &[2])]);
        let busy = Partial::open(Some(&output), request(files(["1"; 4])), false).err().unwrap().to_string();
        assert!(busy.contains("another sweep predicts into"), "{busy}");
        drop(first);
        // b has changed since; c could not be used and is tried again; a is known.
        let mut second = Partial::open(Some(&output), request(files(["1", "2", "1", "1"])), false).unwrap();
        assert_eq!(second.done(), 1);
        let (number, path, _) = second.ask(&[(3, "gone".to_owned())]).unwrap().unwrap();
        assert_eq!((number, Request::read(&path).unwrap().inputs), (1, Inputs::Pictures(vec![input("b", "2"), input("c", "1")])));
        assert!(second.keep(&predicted(1, &[0.0, 0.0], &[])).unwrap_err().starts_with("first is 1, but 0"));
        assert!(second.keep(&predicted(0, &[0.0; 3], &[])).unwrap_err().starts_with("logits has 3"));
        assert!(second.keep(&predicted(0, &[0.0; 6], &[])).unwrap_err().starts_with("rows is 3"));
        second.keep(&predicted(0, &[5.0, 6.0], &[])).unwrap();
        second.keep(&predicted(1, &[], &[1])).unwrap();
        let (logits, bad) = second.found();
        assert_eq!(logits, [Some(vec![1.0, 2.0]), Some(vec![5.0, 6.0]), None, None]);
        assert_eq!(bad, [(2, "broken".to_owned())]);
        drop(second);
        let other = Request { model_hash: "bb".to_owned(), ..request(files(["1"; 4])) };
        let refused = Partial::open(Some(&output), other.clone(), false).err().unwrap().to_string();
        assert!(refused.contains("scores.csv.partial has predictions of another model"), "{refused}");
        let anew = Partial::open(Some(&output), other, true).unwrap();
        assert_eq!(anew.done(), 0);
        anew.finished();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn features_go_on_at_the_row_they_stopped_at() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("scores.csv");
        let matrix = |stamp| request(Inputs::Features(input("x.npy", stamp)));
        let mut first = Partial::open(Some(&output), matrix("1"), false).unwrap();
        first.ask(&[]).unwrap();
        left(&first, 0, &[predicted(0, &[1.0, 2.0], &[1]), predicted(2, &[3.0, 4.0], &[])]);
        drop(first);
        let mut second = Partial::open(Some(&output), matrix("1"), false).unwrap();
        assert_eq!((second.done(), second.ask(&[]).unwrap().unwrap().2), (3, 3));
        drop(second);
        assert_eq!(Partial::open(Some(&output), matrix("2"), false).unwrap().done(), 0);
    }
}
