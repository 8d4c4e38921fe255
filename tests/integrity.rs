//! The inputs of results are checked, and foreign files are left alone: flipped bits, truncated files, links, FIFOs, devices.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::Place;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// Four runs on features, each well under a second.
const FEATURES: &str = r#"
name = "small"
[data]
kind = "features"
features = "x.npy"
labels = "labels.csv"
[model]
arch = "linear"
[train]
reference = false
epochs = 2
batch_size = 16
[grid]
pos_weight = ["none", "sqrt"]
threshold = [0.5, "max_f1"]
seed = [0, 1]
[workers]
devices = ["cpu"]
"#;

/// The sweep with its 80 rows of three features and two labels.
fn features() -> Place {
    let place = Place::new(FEATURES);
    let values: Vec<f32> = (0..240_u16).map(|at| f32::from(at * 37 % 101) / 50.0 - 1.0).collect();
    archive::write_matrix(&place.path("x.npy"), 3, &values).unwrap();
    let rows: String = (0..80).map(|row| format!("{row},{},{}\n", row % 2, u8::from(row % 3 == 0))).collect();
    fs::write(place.path("labels.csv"), format!("id,a,b\n{rows}")).unwrap();
    place
}

/// The rows of the undisturbed sweep.
fn reference() -> Vec<String> {
    let place = features();
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    place.rows()
}

fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// The one prepared folder.
fn prepared(place: &Place) -> PathBuf {
    let cache = fs::read_dir(place.path("sweep.cache")).unwrap().flatten();
    let folders: Vec<PathBuf> = cache.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = byte % bytes.len();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_prepared_data_is_mended_before_anything_trains() {
    let wanted = reference();
    for (file, byte) in [("inputs.bin", 500), ("labels.bin", 7), ("ids.json", 30), ("meta.json", 100), ("meta.json", 400)] {
        let place = features();
        place.succeed(&["data", "sweep.toml"]);
        flip(&prepared(&place).join(file), byte);
        let run = place.succeed(&["run", "sweep.toml", "--format", "json"]);
        assert!(words(&run).contains("preparing it again"), "{file}: {}", words(&run));
        assert!(place.rows() == wanted, "{file}");
        assert_eq!(fs::read_dir(place.path("sweep.cache")).unwrap().count(), 1, "the damaged folder is gone");
    }
}

/// Begun and interrupted before its first run is done; `change` is done to it then.
fn interrupted(change: impl Fn(&Place)) -> Place {
    let place = features();
    // A worker that does nothing: the sweep is recorded, its runs are not.
    let output = place.command(&["run", "sweep.toml", "--quiet"]).env("SWEEP_WORKER", "/bin/false").output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    change(&place);
    place
}

#[test]
fn one_command_leads_back_from_a_damaged_cache() {
    let wanted = reference();
    type Damage<'a> = (&'a str, &'a dyn Fn(&Place));
    let damages: [Damage<'_>; 4] = [
        ("truncated", &|place| {
            fs::File::options().write(true).open(prepared(place).join("inputs.bin")).unwrap().set_len(100).unwrap()
        }),
        ("flipped", &|place| flip(&prepared(place).join("inputs.bin"), 77)),
        ("without a file", &|place| fs::remove_file(prepared(place).join("labels.bin")).unwrap()),
        ("removed", &|place| fs::remove_dir_all(place.path("sweep.cache")).unwrap()),
    ];
    for (what, damage) in damages {
        let place = interrupted(damage);
        let resumed = place.run(&["resume", "--failed", "--quiet"]);
        assert_eq!(resumed.status.code(), Some(0), "{what}: {}", words(&resumed));
        assert!(place.rows() == wanted, "{what}");
    }
}

#[test]
fn data_that_cannot_be_prepared_again_is_named_with_the_way_out() {
    for (what, change, way) in [
        (
            "gone",
            &(|place: &Place| fs::remove_file(place.path("x.npy")).unwrap()) as &dyn Fn(&Place),
            "could not be prepared again",
        ),
        ("changed", &|place: &Place| flip(&place.path("x.npy"), 200), "its files have changed since"),
    ] {
        let place = interrupted(|place| {
            flip(&prepared(place).join("inputs.bin"), 9);
            change(place);
        });
        let resumed = place.run(&["resume", "--failed"]);
        assert_eq!(resumed.status.code(), Some(4), "{what}: {}", words(&resumed));
        for word in ["inputs.bin is damaged", way, "sweep.cache/"] {
            assert!(words(&resumed).contains(word), "{what}, {word}: {}", words(&resumed));
        }
        let status = place.succeed(&["status", "--format", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["runs"]["succeeded"], 0, "{status}");
    }
}

#[test]
fn damaged_scores_give_no_rows_for_a_new_policy() {
    let again = ["run", "sweep.toml", "--set", "grid.threshold=[0.5, \"max_f1\", \"prior_match\"]"];
    let reference = features();
    reference.succeed(&["run", "sweep.toml", "--quiet"]);
    reference.succeed(&again);
    let place = features();
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let runs = fs::read_dir(place.path("sweep.runs")).unwrap().flatten().map(|entry| entry.path());
    let runs: Vec<PathBuf> = runs.filter(|path| path.join("seals.json").exists()).collect();
    assert_eq!(runs.len(), 4);
    for (run, name) in runs.iter().zip(["epochs/logits-val-0.npy", "epochs/logits-test-1.npy", "truth-val.npy", "seals.json"]) {
        flip(&run.join(name), 131);
    }
    let changed = place.run(&again);
    assert_eq!(changed.status.code(), Some(0), "{}", words(&changed));
    assert!(place.rows() == reference.rows());
}

/// A file of the user's, and links to it where sweep keeps files of its own.
#[test]
fn links_in_the_place_of_our_files_are_never_followed() {
    for name in ["sweep.db.lock", "sweep.runs", "sweep.cache"] {
        let place = features();
        fs::create_dir(place.path("mine")).unwrap();
        fs::write(place.path("mine/file"), "precious").unwrap();
        let target = if name == "sweep.db.lock" { "mine/file" } else { "mine" };
        symlink(place.path(target), place.path(name)).unwrap();
        let run = place.run(&["run", "sweep.toml"]);
        assert_eq!(run.status.code(), Some(1), "{name}: {}", words(&run));
        assert!(words(&run).contains(name) && words(&run).contains("symbolic link"), "{}", words(&run));
        let left: Vec<_> = fs::read_dir(place.path("mine")).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["file"], "{name}");
        assert_eq!(fs::read_to_string(place.path("mine/file")).unwrap(), "precious");
        fs::remove_file(place.path(name)).unwrap();
        place.succeed(&["run", "sweep.toml", "--quiet"]);
    }
}

#[test]
fn links_in_a_run_s_folder_are_never_followed() {
    let wanted = reference();
    let place = interrupted(|place| {
        fs::write(place.path("mine"), "precious").unwrap();
        let plan = place.succeed(&["plan", "sweep.toml", "--format", "json"]).stdout;
        let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
        for run in plan["runs"].as_array().unwrap() {
            let folder = place.path("sweep.runs").join(run["run"].as_str().unwrap());
            fs::create_dir_all(&folder).unwrap();
            for name in ["log.txt", "checkpoint.safetensors", "model.safetensors", "seals.json"] {
                symlink(place.path("mine"), folder.join(name)).unwrap();
            }
        }
    });
    place.succeed(&["resume", "--failed", "--quiet"]);
    assert_eq!(fs::read_to_string(place.path("mine")).unwrap(), "precious");
    assert!(place.rows() == wanted);
}

/// Endless files are not read, and FIFOs without a writer are not waited for.
/// Changes a database as anybody can who sends one.
fn forge(place: &Place, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(place.path("sweep.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        assert!(sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected() > 0);
        connection.close().await.unwrap();
    });
}

#[test]
fn a_database_from_elsewhere_leads_to_no_folder_of_ours() {
    let place = features();
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    fs::create_dir(place.path("photos")).unwrap();
    fs::write(place.path("photos/checkpoint.safetensors"), "mine").unwrap();
    forge(&place, "UPDATE runs SET fingerprint = '../photos' WHERE id = 1");
    for arguments in [
        &["rm", "small", "--delete"][..],
        &["gc", "--delete"],
        &["resume"],
        &["run", "sweep.toml"],
        &["report"],
        &["show", ".."],
        &["export", "../photos", "--to", "model"],
    ] {
        let output = place.run(arguments);
        assert!(words(&output).contains("has a run called `../photos`"), "{arguments:?}: {}", words(&output));
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(fs::read_to_string(place.path("photos/checkpoint.safetensors")).unwrap(), "mine", "{arguments:?}");
    }
}

/// The folder that a database calls prepared data may be anything on this machine.
#[test]
fn only_prepared_data_in_our_own_cache_is_removed_when_it_is_damaged() {
    for folder in ["photos", "photos/0123456789abcdef0123456789abcdef"] {
        let place = interrupted(|_| {});
        fs::create_dir_all(place.path(folder)).unwrap();
        fs::write(place.path(folder).join("a.jpg"), "mine").unwrap();
        forge(
            &place,
            match folder {
                "photos" => "UPDATE runs SET folder = 'photos'",
                _ => "UPDATE runs SET folder = 'photos/0123456789abcdef0123456789abcdef'",
            },
        );
        let resumed = place.run(&["resume", "--failed", "--quiet"]);
        assert_eq!(resumed.status.code(), Some(4), "{}", words(&resumed));
        assert_eq!(fs::read_to_string(place.path(folder).join("a.jpg")).unwrap(), "mine");
    }
}

#[test]
fn a_model_from_elsewhere_is_a_regular_file() {
    let place = features();
    fs::create_dir(place.path("model")).unwrap();
    for make in [
        (|at: &Path| symlink("/dev/zero", at).unwrap()) as fn(&Path),
        |at| {
            rustix::fs::mkfifoat(rustix::fs::CWD, at, rustix::fs::Mode::RWXU).unwrap();
        },
        |at| fs::create_dir(at).unwrap(),
    ] {
        let card = place.path("model/model.json");
        make(&card);
        let output = place.run(&["predict", "model", "x.npy"]);
        assert!(output.status.code() == Some(4) && words(&output).contains("is not a regular file"), "{}", words(&output));
        let _ = fs::remove_file(&card).or_else(|_| fs::remove_dir(&card));
    }
}

#[test]
fn devices_and_fifos_are_refused_at_once() {
    let place = features();
    let fifo = place.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let fifo = fifo.display().to_string();
    for odd in ["/dev/zero", &fifo] {
        let npy = place.path("odd.npy");
        let _ = fs::remove_file(&npy);
        symlink(odd, &npy).unwrap();
        for (arguments, code) in [
            (vec!["plan", odd], 2),
            (vec!["run", odd], 2),
            (vec!["data", "sweep.toml", "--set", &format!("data.labels={odd}")], 4),
            (vec!["data", "sweep.toml", "--set", "data.features=odd.npy"], 4),
            (vec!["plan", "sweep.toml", "--set", "model.arch=mlp", "--set", &format!("model.weights={odd}")], 4),
        ] {
            let output = place.run(&arguments);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", words(&output));
            assert!(words(&output).contains("not a regular file"), "{arguments:?}: {}", words(&output));
        }
    }
    fs::write(place.path("large.toml"), "#".repeat((16 << 20) + 1)).unwrap();
    assert!(words(&place.run(&["plan", "large.toml"])).contains("has more than 16 MiB"));
}

/// Folders that killed processes were writing: those of living processes stay, the others are removed by the next command.
#[test]
fn what_killed_processes_left_is_removed() {
    let place = features();
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let cache = place.path("sweep.cache");
    for name in [".writing-dead", ".writing-alive"] {
        fs::create_dir(cache.join(name)).unwrap();
        fs::write(cache.join(name).join("inputs.bin"), "half").unwrap();
    }
    let held = |name: &str| fs::File::create(cache.join(name).join("writing")).unwrap();
    drop(held(".writing-dead"));
    let alive = held(".writing-alive");
    alive.lock().unwrap();
    fs::create_dir_all(place.path("sweep.runs/.removing-x/it")).unwrap();
    let hour = std::time::SystemTime::now() - std::time::Duration::from_secs(4000);
    for name in [".writing-dead", ".writing-alive"] {
        fs::File::open(cache.join(name)).unwrap().set_modified(hour).unwrap();
    }
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    assert!(!cache.join(".writing-dead").exists() && cache.join(".writing-alive").exists());
    assert!(!place.path("sweep.runs/.removing-x").exists());
    drop(alive);
    fs::File::open(cache.join(".writing-alive")).unwrap().set_modified(hour).unwrap();
    place.succeed(&["plan", "sweep.toml"]);
    assert!(!cache.join(".writing-alive").exists());
}

#[test]
fn more_labels_than_a_record_holds_are_refused_in_words() {
    let place = features();
    let names: String = (0..10_001).map(|label| format!(",l{label}")).collect();
    fs::write(place.path("labels.csv"), format!("id{names}\n")).unwrap();
    let output = place.run(&["run", "sweep.toml"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(words(&output).contains("labels.csv:1: 10001 label columns, and a data set may have 10000"), "{}", words(&output));
}

/// A comment that looks like a change of `--set` is a comment.
#[test]
fn a_comment_in_the_file_changes_nothing() {
    let place = features();
    let file = fs::read_to_string(place.path("sweep.toml")).unwrap();
    fs::write(place.path("sweep.toml"), format!("{file}# --set \"workers.devices=cuda:77\"\n")).unwrap();
    let output = place.command(&["run", "sweep.toml", "--quiet"]).env("SWEEP_WORKER", "/bin/false").output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    place.succeed(&["resume", "--failed", "--quiet"]);
}
