//! A worker that lies: whatever it writes, it costs its attempts and nothing else. Afterwards a sound worker finishes the sweep with the
//! rows of an undisturbed one, and no file has to be removed by hand.

#![cfg(feature = "worker")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;
#[path = "liar/proxy.rs"]
mod proxy;
#[path = "liar/ways.rs"]
mod ways;

use std::process::Output;
use std::sync::OnceLock;

use common::Place;
use ways::{WAYS, Way};

/// Two runs that are trained together.
const FILE: &str = r#"
name = "lies"
[data]
kind = "letters"
samples = 120
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

/// The proxy, when this executable is started as a worker; no test otherwise.
#[test]
fn the_proxy() {
    proxy::serve(ways::lie);
}

/// What an undisturbed sweep records.
fn reference() -> &'static [String] {
    static ROWS: OnceLock<Vec<String>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let place = Place::new(FILE);
        place.succeed(&["run", "sweep.toml", "--quiet"]);
        place.rows()
    })
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A sweep with workers that lie in one way, `first` of them only if it says so.
fn lied(place: &Place, way: &Way, first: bool) -> Output {
    let mut command = place.command(&["run", "sweep.toml", "--devices", "cpu"]);
    command.env("SWEEP_WORKER", proxy::program(place.folder.path())).env(proxy::WAY, way.name);
    command.env(proxy::WORKER, env!("CARGO_BIN_EXE_sweep")).env("SWEEP_HUNG_SECONDS", "20");
    if first {
        command.env(proxy::ONCE, place.path("lied"));
    }
    command.output().unwrap()
}

fn assert_same(place: &Place, name: &str) {
    let (rows, wanted) = (place.rows(), reference());
    let differ: Vec<_> = rows.iter().zip(wanted).filter(|(row, wanted)| row != wanted).take(3).collect();
    assert!(rows == wanted, "{name}: {} rows, should be {}; {differ:#?}", rows.len(), wanted.len());
}

/// A sound worker finishes the sweep, and it equals an undisturbed one.
fn finished(place: &Place, way: &Way) {
    let output = place.run(&["resume", "--failed", "--quiet"]);
    assert!(output.status.success(), "{}: {}", way.name, words(&output));
    assert_same(place, way.name);
    // A journal that could not be used is kept until the next start.
    place.succeed(&["resume", "--quiet"]);
    let left: Vec<_> = std::fs::read_dir(place.path("sweep.runs/journals")).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{}: {left:?}", way.name);
    let status = place.succeed(&["status", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["sweep"]["state"], &status["runs"]["succeeded"]), (&"done".into(), &2.into()), "{}", way.name);
}

/// All workers lie, whenever they can: the sweep ends with the expected exit code and messages, then a sound worker finishes.
fn each_way(part: usize) {
    let mut wrong = Vec::new();
    for way in WAYS.iter().skip(part).step_by(4) {
        let place = Place::new(FILE);
        let output = lied(&place, way, false);
        let said = words(&output);
        if output.status.code() != Some(way.code) || !said.contains(way.words) {
            wrong.push(format!("{}: exit {:?}, should be {}\n{said}", way.name, output.status.code(), way.code));
        }
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{}: {said:?}", way.name);
        if way.code == 0 {
            assert_same(&place, way.name);
        }
        finished(&place, way);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn workers_that_always_lie_cost_their_attempts() {
    each_way(0);
}

#[test]
fn workers_that_always_lie_cost_their_attempts_too() {
    each_way(1);
}

#[test]
fn workers_that_always_lie_cost_no_more_than_their_attempts() {
    each_way(2);
}

#[test]
fn workers_that_always_lie_cost_nothing_else() {
    each_way(3);
}

/// A single lie costs one attempt: the sweep itself ends well.
#[test]
fn one_lie_is_forgotten() {
    for name in ["fp is 2^63", "ap is 1e308", "train loss is null", "best epoch is another", "garbage", "journal vanishes"] {
        let way = WAYS.iter().find(|way| way.name == name).unwrap();
        let place = Place::new(FILE);
        let output = lied(&place, way, true);
        assert!(place.path("lied").exists(), "{name}: no lie was told");
        assert!(output.status.success() && words(&output).contains(way.words), "{name}: {}", words(&output));
        assert_same(&place, name);
        finished(&place, way);
    }
}

/// A lie that is still unread when the controller is killed harms no later sweep, of any file.
#[test]
fn a_lie_that_is_left_over_harms_nobody() {
    for name in
        ["eval twice", "fp is 2^63", "epoch of rank is 2^64-1", "tn is 2^64-1", "attempt is 2^32-1", "split is train", "garbage"]
    {
        let way = WAYS.iter().find(|way| way.name == name).unwrap();
        let place = Place::new(FILE);
        let mut command = place.command(&["run", "sweep.toml", "--devices", "cpu", "--quiet"]);
        command.env("SWEEP_WORKER", proxy::program(place.folder.path())).env(proxy::WAY, way.name);
        command.env(proxy::WORKER, env!("CARGO_BIN_EXE_sweep")).env(proxy::KILL, "1");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), None, "{name}: the controller was not killed: {}", words(&output));
        finished(&place, way);
    }
}

/// Files among the journals that are not journals are left alone and not waited for.
#[test]
fn strangers_among_the_journals_are_left_alone() {
    let place = Place::new(FILE);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let journals = place.path("sweep.runs/journals");
    rustix::fs::mkfifoat(rustix::fs::CWD, journals.join("z.jsonl"), rustix::fs::Mode::RWXU).unwrap();
    std::fs::create_dir(journals.join("folder.jsonl")).unwrap();
    std::os::unix::fs::symlink("/nowhere", journals.join("dangling.jsonl")).unwrap();
    std::os::unix::fs::symlink(place.path("sweep.toml"), journals.join("link.jsonl")).unwrap();
    let text = std::fs::read_to_string(place.path("sweep.toml")).unwrap();
    std::fs::write(place.path("sweep.toml"), text.replace("\"sqrt\"", "\"log1p\"")).unwrap();
    let output = place.succeed(&["run", "sweep.toml"]);
    for name in ["z.jsonl", "folder.jsonl", "dangling.jsonl", "link.jsonl"] {
        assert!(words(&output).contains(name), "{name}: {}", words(&output));
        assert!(std::fs::symlink_metadata(journals.join(name)).is_ok(), "{name}");
    }
    assert_eq!(std::fs::read_to_string(place.path("sweep.toml")).unwrap(), text.replace("\"sqrt\"", "\"log1p\""));
}

/// Without the folder of the journals the workers cannot be read: the sweep reports it at once.
#[test]
fn a_folder_that_vanishes_is_noticed() {
    let place = Place::new(&FILE.replace("epochs = 3", "epochs = 100000"));
    let child = place.command(&["run", "sweep.toml", "--quiet"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let journals = place.path("sweep.runs/journals");
    let start = std::time::Instant::now();
    while std::fs::read_dir(&journals).map_or(0, |entries| entries.flatten().count()) < 2 {
        assert!(start.elapsed().as_secs() < 60, "no worker has begun");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::fs::rename(place.path("sweep.runs"), place.path("gone")).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("was removed while the sweep ran"), "{}", words(&output));
    assert!(start.elapsed().as_secs() < 90);
}
