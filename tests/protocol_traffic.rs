//! Real traffic: `sweep run` with recorded workers, and with a worker in another language. Both must follow docs/protocol.md and its
//! schema. (tests/protocol.rs checks the schema against the types.)

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::journal;
use protocol::{Event, Outcome, SplitName};
use serde_json::Value;

/// Stands between the controller and a worker: keeps the orders and, once the worker has left, its journal.
const LISTENER: &str = r#"#!/bin/sh
for word; do
    if [ "$before" = --journal ]; then journal=$word; fi
    before=$word
done
orders=$SWEEP_TEST_TRAFFIC/$(basename "$journal" .jsonl).orders
while IFS= read -r line; do
    printf '%s\n' "$line" >>"$orders"
    printf '%s\n' "$line"
    if [ "$line" = '{"k":"stop"}' ]; then break; fi
done | "$SWEEP_TEST_WORKER" "$@"
status=$?
cp "$journal" "$SWEEP_TEST_TRAFFIC"
exit $status
"#;

const FILE: &str = r#"
[data]
kind = "letters"
samples = 200
image_size = 16
[model]
arch = "linear"
[train]
epochs = 3
optimizer = "sgd"
learning_rate = 0.05
[grid]
pos_weight = ["none", "sqrt"]
threshold = [0.5, 0.25]
"#;

fn schema(name: &str) -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.schema.json");
    let mut schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    schema["oneOf"] = serde_json::json!([{ "$ref": format!("#/$defs/{name}") }]);
    jsonschema::draft202012::new(&schema).unwrap()
}

fn check_lines(path: &Path, schema: &jsonschema::Validator) -> usize {
    let text = fs::read_to_string(path).unwrap();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<_> = schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {line}\n{}", path.display(), errors.join("\n"));
    }
    text.lines().count()
}

/// The order of records that the page prescribes, and the counts that `end` gives.
fn check_order(path: &Path, epochs: usize, policies: usize) -> usize {
    let read = journal::read(path, 0, 0).unwrap();
    assert_eq!(read.problem, None, "{}", path.display());
    let mut events = read.records.into_iter().map(|record| record.event).filter(|event| !matches!(event, Event::Hb { .. }));
    assert!(matches!(events.next(), Some(Event::Open { .. })), "a journal starts with `open`");
    assert!(matches!(events.next_back(), Some(Event::Close { .. })), "and ends with `close`");
    // Attempts of a bundle come mixed; each by itself keeps the order.
    let mut attempts: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events {
        let (Event::Begin { r, .. }
        | Event::Epoch { r, .. }
        | Event::Drawn { r, .. }
        | Event::Rank { r, .. }
        | Event::Eval { r, .. }
        | Event::HeldOut { r, .. }
        | Event::End { r, .. }) = &event
        else {
            panic!("{event:?} inside a journal")
        };
        attempts.entry(r.0.clone()).or_default().push(event);
    }
    for events in attempts.values() {
        let mut events = events.iter().cloned();
        let (run, attempt) = match events.next() {
            Some(Event::Begin { r, a, from: None }) => (r, a),
            other => panic!("not begun: {other:?}"),
        };
        let (mut val, mut test, mut evals, mut shown, mut records) = (Vec::new(), Vec::new(), 0, 0, 0);
        let mut last = None;
        let n = loop {
            let event = events.next().expect("no end");
            match &event {
                Event::Epoch { r, a, epoch, .. } => {
                    assert_eq!((r, *a, *epoch), (&run, attempt, last.map_or(0, |last| last + 1)));
                    last = Some(*epoch);
                }
                Event::Drawn { r, a, drawn } => {
                    assert_eq!((r, *a, last), (&run, attempt, Some(0)), "it belongs to the first epoch");
                    assert_eq!((drawn.draws, drawn.duplicates, drawn.prevalence.len()), (140, 0.0, 4), "a shuffle");
                    shown += 1;
                }
                Event::Rank { r, a, epoch, split, .. } => {
                    assert_eq!((r, *a), (&run, attempt));
                    if *split == SplitName::Val { val.push(*epoch) } else { test.push(*epoch) }
                }
                Event::Eval { r, a, .. } => {
                    assert_eq!((r, *a), (&run, attempt));
                    evals += 1;
                }
                Event::HeldOut { r, a, epoch, held_out, .. } => {
                    assert_eq!((r, *a, held_out.counts.len()), (&run, attempt, 4));
                    assert!(*epoch < epochs && val.len() == epochs, "after all epochs");
                }
                Event::End { r, a, st, n, why } => {
                    assert_eq!((r, *a, *st), (&run, attempt, Outcome::Ok), "{why}");
                    break *n;
                }
                other => panic!("{other:?} inside an attempt"),
            }
            records += 1;
        };
        assert_eq!(n, records, "`n` counts the records of the attempt");
        assert_eq!((last, val), (Some(epochs - 1), (0..epochs).collect()), "each epoch once, ascending");
        assert!(test.contains(&(epochs - 1)) && test.len() <= 2, "test rows of {test:?}");
        assert_eq!(shown, 1, "what the sampler showed, once");
        assert_eq!(evals, policies * (epochs + test.len()));
        assert_eq!(events.next(), None, "nothing follows `end`");
    }
    attempts.len()
}

/// Runs the sweep with `worker`, recording its traffic, and returns the folder that holds the traffic and the database.
fn listened(worker: &Path) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (listener, traffic) = (folder.path().join("listener.sh"), folder.path().join("traffic"));
    fs::write(&listener, LISTENER).unwrap();
    fs::set_permissions(&listener, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&traffic).unwrap();
    fs::write(folder.path().join("test.toml"), FILE).unwrap();
    let output = assert_cmd::Command::cargo_bin("sweep")
        .unwrap()
        .current_dir(folder.path())
        .args(["run", "test.toml", "--db", "test.db", "--devices", "cpu"])
        .env("SWEEP_WORKER", listener)
        .env("SWEEP_TEST_WORKER", worker)
        .env("SWEEP_TEST_TRAFFIC", traffic)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

/// Everything that went either way fits the schema and the order.
fn check(folder: &Path) {
    let (order, record) = (schema("order"), schema("record"));
    let (mut ordered, mut recorded, mut runs) = (0, 0, 0);
    for entry in fs::read_dir(folder.join("traffic")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "orders") {
            ordered += check_lines(&path, &order);
        } else {
            recorded += check_lines(&path, &record);
            runs += check_order(&path, 3, 2);
        }
    }
    // A bundle of two runs and `stop`; a rank and two evals per epoch on val, and at least once on test.
    assert_eq!((ordered, runs), (2, 2));
    assert!(recorded >= 2 + 2 * (2 + 3 * 4 + 3), "only {recorded} records");
    // What the page says a run's folder holds.
    let mut folders = 0;
    for entry in fs::read_dir(folder.join("test.runs")).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != "journals")
    {
        let run = entry.unwrap().path();
        let files = ["model.safetensors", "log.txt", "epochs/logits-test-2.npy"].map(PathBuf::from);
        let named = |split: &str| ["scores", "logits", "truth"].map(|what| format!("{what}-{split}.npy"));
        let scores = ["val", "test"].into_iter().flat_map(named);
        let epochs = (0..3).map(|epoch| format!("epochs/logits-val-{epoch}.npy"));
        for file in files.into_iter().chain(scores.chain(epochs).map(PathBuf::from)) {
            assert!(run.join(&file).is_file(), "{} is missing", file.display());
        }
        let left: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("checkpoint")), "{left:?}");
        folders += 1;
    }
    assert_eq!(folders, 2);
}

/// The program's own worker.
#[test]
#[cfg(feature = "worker")]
fn our_worker_keeps_to_the_protocol() {
    check(listened(Path::new(env!("CARGO_BIN_EXE_sweep"))).path());
}

/// The worker in another language that the page points at.
#[test]
fn a_worker_in_another_language_takes_its_place() {
    let python = std::process::Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        println!("skipped: no python3 here");
        return;
    }
    let folder = listened(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/worker.py"));
    check(folder.path());
    // A new policy is evaluated from the scores it kept, without any worker.
    let text = fs::read_to_string(folder.path().join("test.toml")).unwrap().replace("0.25]", "\"max_f1\"]");
    fs::write(folder.path().join("test.toml"), text).unwrap();
    let output = assert_cmd::Command::cargo_bin("sweep")
        .unwrap()
        .current_dir(folder.path())
        .args(["run", "test.toml", "--db", "test.db", "--devices", "cpu"])
        .env("SWEEP_WORKER", "/nowhere/no-worker")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
