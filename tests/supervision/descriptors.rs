//! Workers that have ended hold no file descriptors of the controller.

use std::process::Command;

use protocol::journal::encode;
use protocol::{Event, Record, VERSION};

use crate::common::Place;
use crate::err;

/// Two hundred runs that are not bundled.
const FILE: &str = r#"
name = "crashing"
[data]
kind = "letters"
samples = 200
image_size = 16
[model]
arch = "cnn"
hidden = [2]
[train]
epochs = 1
[grid]
seed = SEEDS
[workers]
attempts = 1
"#;

/// A worker that opens its journal, takes an order and crashes.
const CRASHES: &str = r#"for word; do
    if [ "$before" = --journal ]; then journal=$word; fi
    before=$word
done
cat "$SWEEP_TEST_OPEN" >"$journal"
printf .
read -r order
exit 1
"#;

#[test]
fn as_many_crashing_workers_as_there_are_runs_need_no_more_files_than_one() {
    let place = Place::new(&FILE.replace("SEEDS", &format!("{:?}", (0..200).collect::<Vec<_>>())));
    let text = String::new;
    let event =
        Event::Open { v: VERSION, worker: text(), pid: 1 << 30, host: text(), device: "cpu".into(), threads: 1, version: text() };
    std::fs::write(place.path("open"), encode(&Record { s: 0, t: 0.0, event })).unwrap();
    let worker = place.script("worker.sh", CRASHES);
    let sweep = env!("CARGO_BIN_EXE_sweep");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n 64 && exec {sweep} run sweep.toml --per-device 2")]);
    command.current_dir(place.folder.path()).env_remove("SWEEP_DB");
    let output = command.env("SWEEP_WORKER", worker).env("SWEEP_TEST_OPEN", place.path("open")).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert_eq!(place.status()["runs"]["failed"], 200, "{}", err(&output));
}
