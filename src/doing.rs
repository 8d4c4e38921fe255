//! The current work of workers outside of epochs, read from the ends of their journals. Read-only.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use protocol::Event;
use protocol::journal;

/// Bytes at the end of a journal that are read.
const END: u64 = 64 * 1024;

/// The current work without steps of the workers of `db`, by the fingerprint of the run.
#[must_use]
pub fn of_all(db: &Path) -> BTreeMap<String, String> {
    let journals = fs::read_dir(archive::runs_folder(db).join("journals")).into_iter().flatten().flatten();
    let journals = journals.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
    journals.filter_map(|path| of_one(&path)).collect()
}

/// Run and work of the last record about a run, if that is work without steps.
fn of_one(path: &Path) -> Option<(String, String)> {
    let text = end(path).ok()?;
    let records = text.split_inclusive(|&byte| byte == b'\n').rev().filter_map(|line| journal::decode(line).ok());
    let mut events = records.map(|record| record.event);
    match events.next()? {
        Event::Hb { r: Some(run), doing: Some(doing), .. } => Some((run.0, doing)),
        _ => None,
    }
}

fn end(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(Vec::new());
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use plan::Fingerprint;
    use protocol::journal::Journal;

    use super::*;

    #[test]
    fn the_last_word_counts() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("x.db");
        let journals = folder.path().join("x.runs/journals");
        fs::create_dir_all(&journals).unwrap();
        let mut journal = Journal::create(&journals.join("a.jsonl")).unwrap();
        let run = Fingerprint("0123456789abcdef0123456789abcdef".to_owned());
        let beat = |doing: Option<&str>| Event::Hb {
            r: Some(run.clone()),
            epoch: 0,
            step: 0,
            steps: 0,
            loss: 0.0,
            images_per_s: 0.0,
            doing: doing.map(str::to_owned),
        };
        let mut say = |event| {
            journal.append(event).unwrap();
            journal.flush().unwrap();
            of_all(&db).into_values().collect::<Vec<_>>()
        };
        assert_eq!(say(beat(None)), Vec::<String>::new());
        assert_eq!(say(beat(Some("hashing weights"))), ["hashing weights"]);
        assert_eq!(say(Event::Begin { r: run.clone(), a: 1, from: None }), Vec::<String>::new());
        fs::write(journals.join("b.jsonl"), "no journal").unwrap();
        std::os::unix::fs::symlink("/dev/zero", journals.join("c.jsonl")).unwrap();
        assert_eq!(say(beat(Some("building"))), ["building"]);
    }
}
