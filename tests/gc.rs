//! `sweep gc`, `sweep rm` and the disk that `sweep plan` foresees, through the real program: what goes is not missed, what is needed stays,
//! and nothing is removed that was not asked for, whoever is killed when.

#![cfg(feature = "worker")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{Place, SWEEP};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};

const RUN: [&str; 8] =
    ["run", "sweep.toml", "--set", "model.arch='linear'", "--set", "train.reference=false", "--set", "workers.devices=\"cpu\""];

/// Eight recorded runs of a linear network, and the two best of them.
fn recorded() -> (Place, Vec<String>) {
    let place = Place::new(SWEEP);
    place.succeed(&[&RUN[..], &["--quiet"]].concat());
    let best = best(&place);
    (place, best)
}

/// Runs by val macro AP, the best first.
fn best(place: &Place) -> Vec<String> {
    let list = ask(
        place,
        "SELECT json_group_array(fingerprint) FROM (SELECT r.fingerprint FROM runs r JOIN rankings k ON k.run = r.id AND k.epoch = r.best_epoch
         AND k.split = 'val' JOIN sweep_runs w ON w.run = r.id ORDER BY round(k.macro_ap, 12) DESC, w.position)",
    );
    serde_json::from_str(&list).unwrap()
}

fn with<T>(place: &Place, then: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(place.path("sweep.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let answer = then(&mut connection).await;
        connection.close().await.unwrap();
        answer
    })
}

fn ask(place: &Place, question: &'static str) -> String {
    with(place, async |connection| sqlx::query_scalar(question).fetch_one(connection).await.unwrap())
}

fn change(place: &Place, statement: &'static str) {
    with(place, async |connection| {
        connection.execute(statement).await.unwrap();
    });
}

/// Rows of every table but the migrations' own.
fn tables(place: &Place) -> BTreeMap<String, i64> {
    with(place, async |connection| {
        let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *connection).await.unwrap();
        assert!(broken.is_empty());
        let names: Vec<String> =
            sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%sql%'")
                .fetch_all(&mut *connection)
                .await
                .unwrap();
        let mut counts = BTreeMap::new();
        for name in names {
            let count = format!("SELECT count(*) FROM {name}");
            counts.insert(name, sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut *connection).await.unwrap());
        }
        counts
    })
}

/// Every file and link below a folder with its content, without logs.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            found.insert(path.clone(), fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// What lies beside the database, and its rows.
fn state(place: &Place) -> (BTreeMap<PathBuf, Vec<u8>>, BTreeMap<String, i64>) {
    let mut beside = files(&place.path("sweep.runs"));
    beside.extend(files(&place.path("sweep.cache")));
    (beside, tables(place))
}

fn kinds(view: &Value) -> Vec<&str> {
    view["kinds"].as_array().unwrap().iter().map(|kind| kind["kind"].as_str().unwrap()).collect()
}

fn kind<'v>(view: &'v Value, name: &str) -> &'v Value {
    view["kinds"].as_array().unwrap().iter().find(|kind| kind["kind"] == name).unwrap_or_else(|| panic!("{name}: {view}"))
}

fn words(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is allocated below a folder, each file once.
fn allocated(folder: &Path, seen: &mut Vec<u64>) -> u64 {
    let mut bytes = 4096;
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            bytes += allocated(&path, seen);
        } else if !seen.contains(&meta.ino()) {
            seen.push(meta.ino());
            bytes += meta.len().div_ceil(4096) * 4096;
        }
    }
    bytes
}

#[test]
fn parameters_of_all_but_the_best_go_and_reports_miss_nothing() {
    let (place, best) = recorded();
    let before = state(&place);
    let nothing = place.json(&["gc"]);
    assert_eq!((kinds(&nothing), &nothing["bytes"]), (vec![], &0.into()), "ten are kept");
    place.succeed(&["export", &best[5], "--to", "home", "--quiet"]);
    let noted: Value =
        serde_json::from_slice(&fs::read(place.path("sweep.runs").join(&best[5]).join("exported.json")).unwrap()).unwrap();
    assert_eq!((noted["exports"][0]["to"].as_str(), noted["exports"][0]["at"].is_f64()), (place.path("home").to_str(), true));
    let listed = place.json(&["gc", "--keep", "2"]);
    let parameters = kind(&listed, "parameters");
    assert_eq!((&parameters["count"], &parameters["files"], &listed["deleted"]), (&5.into(), &5.into(), &false.into()));
    let mut wanted: Vec<String> = best[2..].iter().filter(|run| **run != best[5]).cloned().collect();
    let mut found: Vec<String> = parameters["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap().split('/').rev().nth(1).unwrap().to_owned())
        .collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    let table = String::from_utf8(place.succeed(&["gc", "--keep", "2"]).stdout).unwrap();
    assert!(table.contains("sweep gc --keep 2 --delete") && table.lines().all(|line| line.chars().count() <= 100), "{table}");
    let exported = place.path("sweep.runs").join(&best[5]).join("exported.json");
    let mut now = state(&place);
    now.0.remove(&exported);
    assert_eq!(now, before, "a list removes nothing");

    let report = place.json(&["report"]);
    let explained = place.json(&["explain"]);
    let removed = place.json(&["gc", "--keep", "2", "--delete"]);
    assert_eq!((&removed["bytes"], &removed["deleted"]), (&listed["bytes"], &true.into()));
    let models = files(&place.path("sweep.runs")).into_keys().filter(|path| path.ends_with("model.safetensors")).count();
    assert_eq!((models, tables(&place)), (3, before.1));
    assert_eq!(kinds(&place.json(&["gc", "--keep", "2"])), Vec::<&str>::new());

    // Everything but the model itself is as it was.
    assert_eq!(place.json(&["report"]), report);
    assert_eq!(place.json(&["explain"]), explained);
    let new = place.json(&["report", "--threshold", "0.3"]);
    assert!(new["rows"].as_array().unwrap().iter().any(|row| row["n"] == 2), "{new}");
    assert!(!new["notes"].to_string().contains("cannot be read"), "{}", new["notes"]);
    place.json(&["report", "--epoch", "0", "--threshold", "0.3"]);
    place.succeed(&["report", "--format", "html", "--output", "page.html"]);
    place.succeed(&["export", &best[7], "--predictions", "rows.csv", "--quiet"]);
    place.succeed(&["show", &best[7]]);
    let again = words(&place.succeed(&RUN));
    assert!(again.contains("8 recorded, nothing to train"), "{again}");
    let policy =
        words(&place.succeed(&[&RUN[..], &["--set", "grid.threshold=[0.5, \"max_f1\", \"prior_match\", \"youden\"]"]].concat()));
    assert!(policy.contains("nothing to train") && policy.contains("from their kept scores"), "{policy}");

    for command in [&["export", &best[7], "--to", "gone"][..], &["predict", &best[7], "x.npy"]] {
        let output = place.run(command);
        let said = words(&output);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("`sweep gc` has removed the parameters of run") && said.contains("--db OTHER.db"), "{said}");
    }
    assert!(!place.path("gone").exists());
    place.succeed(&["export", &best[7], "--to", "anew", "--refit", "--device", "cpu", "--quiet"]);
    assert!(place.path("anew/model.safetensors").exists());
    place.succeed(&["export", &best[0], "--to", "best", "--quiet"]);
    // The refit was exported, and stays.
    assert_eq!(kinds(&place.json(&["gc", "--keep", "0", "--delete"])), ["parameters"]);
    assert!(place.path("sweep.runs").join(&best[7]).join("refit/model.safetensors").exists());
}

#[test]
fn epochs_go_on_request_and_a_new_policy_trains_anew_with_the_same_numbers() {
    let (place, best) = recorded();
    let rows = place.rows();
    let listed = place.json(&["gc", "--epochs"]);
    assert_eq!(kinds(&listed), ["epochs"]);
    place.succeed(&["gc", "--epochs", "--delete"]);
    let kept = files(&place.path("sweep.runs"))
        .into_keys()
        .filter(|path| path.to_string_lossy().contains("/epochs/logits-val-"))
        .count();
    assert!((8..=16).contains(&kept), "best and last of eight runs: {kept}");
    assert_eq!(kinds(&place.json(&["gc", "--epochs"])), Vec::<&str>::new());
    place.json(&["report", "--threshold", "0.3"]);
    place.json(&["report", "--epoch", "last", "--threshold", "0.3"]);
    place.json(&["explain"]);
    assert!(words(&place.succeed(&RUN)).contains("nothing to train"));
    let refused = (0..2).map(|epoch| place.run(&["report", "--epoch", &epoch.to_string(), "--threshold", "0.3"]));
    assert!(refused.map(|output| words(&output)).all(|said| said.is_empty() || said.contains("`sweep gc --epochs` has removed")));
    assert_eq!(place.rows(), rows);
    let more = ["--set", "grid.threshold=[0.5, \"max_f1\", \"prior_match\", \"youden\"]"];
    let said = words(&place.succeed(&[&RUN[..], &more].concat()));
    assert!(said.contains("is trained again") && said.contains("`sweep gc --epochs` has removed"), "{said}");
    let of_first = |rows: &[String]| -> Vec<String> {
        let ours = rows.iter().filter(|row| row.contains(&best[0]) && row.contains("policy=max_f1"));
        ours.map(|row| row.split(' ').filter(|cell| !cell.starts_with("sweep")).collect::<Vec<_>>().join(" ")).collect()
    };
    let (before, after) = (of_first(&rows), of_first(&place.rows()));
    assert!(!before.is_empty() && before.iter().all(|row| after.contains(row)));
}

#[test]
fn prepared_data_that_no_run_uses_is_prepared_again() {
    let (place, _) = recorded();
    place.succeed(&["plan", "sweep.toml", "--set", "data.seed=3"]);
    let litter = place.path("sweep.cache/.writing-old");
    fs::create_dir(&litter).unwrap();
    fs::write(litter.join("inputs.bin"), "half").unwrap();
    let old = SystemTime::now() - Duration::from_secs(2 * 86_400);
    for path in [litter.join("inputs.bin"), litter.clone()] {
        fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    fs::create_dir(place.path("sweep.cache/mine")).unwrap();
    let used = ask(&place, "SELECT folder FROM runs LIMIT 1");
    assert!(kinds(&place.json(&["gc"])).is_empty());
    let listed = place.json(&["gc", "--cache"]);
    assert_eq!(kinds(&listed), ["prepared", "unfinished"]);
    assert_eq!(kind(&listed, "prepared")["count"], 1);
    place.succeed(&["gc", "--cache", "--delete"]);
    assert!(place.path(&used).exists() && place.path("sweep.cache/mine").exists() && !litter.exists());
    assert!(words(&place.succeed(&[&RUN[..], &["--set", "data.seed=3"]].concat())).contains("8 to train"));
    place.succeed(&["rm", "latest", "--delete"]);
    assert_eq!(kind(&place.json(&["gc", "--cache", "--delete"]), "prepared")["count"], 1);
}

#[test]
fn strangers_links_and_what_is_trained_are_left_alone() {
    let (place, best) = recorded();
    let runs = place.path("sweep.runs");
    let unknown = "0123456789abcdef0123456789abcdef";
    fs::create_dir_all(runs.join(unknown).join("epochs")).unwrap();
    fs::write(runs.join(unknown).join("model.safetensors"), "numbers").unwrap();
    fs::create_dir(runs.join("notes")).unwrap();
    fs::write(runs.join("notes/mine.txt"), "kept").unwrap();
    fs::write(runs.join("journals/w0.jsonl.refused"), "{").unwrap();
    fs::write(runs.join("verdict-99.json"), "{}").unwrap();
    fs::create_dir(place.path("elsewhere")).unwrap();
    fs::write(place.path("elsewhere/model.safetensors"), "kept").unwrap();
    symlink(place.path("elsewhere"), runs.join("f".repeat(32))).unwrap();
    fs::remove_file(runs.join(&best[7]).join("model.safetensors")).unwrap();
    symlink(place.path("elsewhere/model.safetensors"), runs.join(&best[7]).join("model.safetensors")).unwrap();
    // A recorded run whose new training has succeeded, and whose folder was not moved yet.
    fs::create_dir(runs.join(format!("{}-again", best[0]))).unwrap();
    // Unfinished runs.
    change(&place, "UPDATE runs SET state = 'failed' WHERE id = 1");
    let listed = place.json(&["gc", "--keep", "0"]);
    assert_eq!(kinds(&listed), ["unknown_runs", "leftovers", "parameters"]);
    assert_eq!(["unknown_runs", "leftovers", "parameters"].map(|name| kind(&listed, name)["count"].as_i64().unwrap()), [1, 2, 6]);
    assert!(listed["notes"].to_string().contains("symbolic link"), "{listed}");
    let removed = place.json(&["gc", "--keep", "0", "--delete"]);
    assert_eq!(kinds(&removed), kinds(&listed));
    assert!(!runs.join(unknown).exists() && !runs.join("verdict-99.json").exists() && runs.join("notes/mine.txt").exists());
    assert_eq!(fs::read_to_string(place.path("elsewhere/model.safetensors")).unwrap(), "kept");
    assert!(runs.join("f".repeat(32)).is_symlink());
    // The folder of runs itself, and that of prepared data.
    for (name, flags) in [("sweep.runs", &["gc"][..]), ("sweep.runs", &["rm", "small"]), ("sweep.cache", &["gc", "--cache"])] {
        fs::rename(place.path(name), place.path("moved")).unwrap();
        symlink(place.path("moved"), place.path(name)).unwrap();
        for delete in [&[][..], &["--delete"]] {
            let output = place.run(&[flags, delete].concat());
            assert!(!output.status.success() && words(&output).contains("symbolic link"), "{}", words(&output));
        }
        fs::remove_file(place.path(name)).unwrap();
        fs::rename(place.path("moved"), place.path(name)).unwrap();
    }
    assert_eq!(tables(&place)["sweeps"], 1);
}

#[test]
fn a_database_in_use_or_without_its_runs() {
    let (place, _) = recorded();
    place.succeed(&["gc", "--keep", "3", "--delete"]);
    let mut held = place
        .command(&[&RUN[..], &["--quiet", "--on", "fake", "--set", "name=other", "--set", "train.epochs=50"]].concat())
        .env("SWEEP_FAKE_EPOCH_SECONDS", "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while place.json(&["gc", "--keep", "1"])["holder"].is_null() || place.run(&["status", "other"]).status.code() != Some(0) {
        assert!(start.elapsed().as_secs() < 60);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(kinds(&place.json(&["gc", "--keep", "1"])), ["parameters"]);
    assert!(place.json(&["rm", "small"])["holder"].is_string());
    for command in [&["gc", "--keep", "1", "--delete"][..], &["rm", "small", "--delete"], &["rm", "other", "--delete"]] {
        let output = place.run(command);
        assert!(!output.status.success() && words(&output).contains("in use by another sweep (process "), "{}", words(&output));
    }
    held.kill().unwrap();
    held.wait().unwrap();
    fs::remove_dir_all(place.path("sweep.runs")).unwrap();
    assert!(kinds(&place.json(&["gc", "--keep", "0", "--delete"])).is_empty());
    assert!(!place.path("sweep.runs").exists(), "and none is made");
    assert_eq!(place.json(&["rm", "other", "--delete"])["deleted"], true);
    assert_eq!(place.json(&["rm", "latest", "--delete"])["sweep"]["name"], "small");
    assert!(tables(&place).values().all(|count| *count == 0), "{:?}", tables(&place));
    for command in ["gc", "rm"] {
        let output = place.run(&[&[command][..], if command == "rm" { &["x"] } else { &[] }, &["--db", "none.db"]].concat());
        assert!(words(&output).contains("no such database") && !place.path("none.db").exists(), "{}", words(&output));
    }
}

#[test]
fn a_sweep_goes_with_the_runs_that_nobody_else_has() {
    let (place, _) = recorded();
    place.succeed(
        &[&RUN[..], &["--quiet", "--set", "grid.seed=[1, 2]", "--set", "name=\"../../x'; DROP TABLE runs; --\""]].concat(),
    );
    let hostile = "../../x'; DROP TABLE runs; --";
    let before = state(&place);
    assert_eq!(before.1["runs"], 12);
    let told = place.json(&["rm", "small"]);
    assert_eq!((told["runs"].as_array().unwrap().len(), &told["shared"], &told["deleted"]), (4, &4.into(), &false.into()));
    let table = String::from_utf8(place.succeed(&["rm", "small"]).stdout).unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(table.contains("4 more belong to other sweeps and stay") && table.contains("sweep rm small --delete"), "{table}");
    assert_eq!(state(&place), before, "it only says so");
    let rows: Vec<String> = place.rows().into_iter().filter(|row| row.contains("DROP")).collect();
    let report = place.json(&["report", hostile]);
    place.json(&["explain", "small"]);
    assert!(place.path("sweep.runs/verdict-1.json").exists());
    place.succeed(&["rm", "small", "--delete"]);
    assert!(!place.path("sweep.runs/verdict-1.json").exists());
    let after = tables(&place);
    assert_eq!((after["runs"], after["sweeps"], after["sweep_runs"]), (8, 1, 8));
    assert_eq!(place.rows().into_iter().filter(|row| row.contains("DROP")).collect::<Vec<_>>(), rows);
    assert_eq!(place.json(&["report", hostile]), report);
    for run in told["runs"].as_array().unwrap() {
        assert!(!place.path("sweep.runs").join(run.as_str().unwrap()).exists());
    }
    assert!(kinds(&place.json(&["gc"])).is_empty(), "nothing is left over");
    let said = words(&place.run(&["report", "small"]));
    assert!(said.contains("has no sweep `small`"), "{said}");
    place.succeed(&["rm", hostile, "--delete"]);
    assert!(tables(&place).values().all(|count| *count == 0), "{:?}", tables(&place));
    for command in [&["report"][..], &["status"], &["explain"], &["resume"], &["rm", "latest"]] {
        let output = place.run(command);
        assert!(!output.status.success() && words(&output).contains("has no sweep yet"), "{command:?}: {}", words(&output));
    }
    // The same runs again, with the same names and numbers.
    let said = words(
        &place.succeed(&[&RUN[..], &["--set", "grid.seed=[1, 2]", "--set", "name=\"../../x'; DROP TABLE runs; --\""]].concat()),
    );
    assert!(said.contains("8 trained"), "{said}");
    let cells = |rows: Vec<String>| -> Vec<String> {
        rows.into_iter()
            .map(|row| row.split(' ').filter(|cell| !cell.starts_with("sweep_id=")).collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert_eq!(cells(place.rows().into_iter().filter(|row| row.contains("DROP")).collect()), cells(rows));
}

/// At whatever moment a removal is killed: the sweep is there or gone, and what is left over is listed and goes.
#[test]
fn a_removal_that_is_killed_leaves_what_gc_lists() {
    for (turn, wait) in [0, 20, 40, 60, 90, 130].into_iter().enumerate() {
        let place = Place::new(SWEEP);
        place.succeed(&[&RUN[..], &["--quiet", "--set", "grid.seed=[0, 1, 2, 3]"]].concat());
        let command: &[&str] =
            if turn % 2 == 0 { &["rm", "small", "--delete"] } else { &["gc", "--keep", "0", "--epochs", "--delete"] };
        let mut child = place.start(command);
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        let there = tables(&place)["sweeps"];
        if there == 1 {
            place.json(&["report", "--threshold", "0.3"]);
            assert!(
                kinds(&place.json(&["gc"])).iter().all(|kind| *kind != "unknown_runs"),
                "a recorded run has its folder or none"
            );
        }
        place.succeed(command_or_gc(command, there));
        place.succeed(&["gc", "--keep", "0", "--epochs", "--delete"]);
        assert!(kinds(&place.json(&["gc", "--keep", "0", "--epochs"])).is_empty());
        if turn % 2 == 0 {
            let left: Vec<_> = files(&place.path("sweep.runs")).into_keys().collect();
            assert!(tables(&place)["runs"] == 0 && left.is_empty(), "{left:?}");
        }
    }
}

fn command_or_gc<'c>(command: &'c [&'c str], sweeps: i64) -> &'c [&'c str] {
    if sweeps == 1 { command } else { &["gc", "--delete"] }
}

/// A run that is being trained anew, for one sweep of two.
#[test]
fn runs_that_are_trained_anew_go_with_the_sweep_that_waits_for_them() {
    let (place, best) = recorded();
    let lost = place.path("sweep.runs").join(&best[0]);
    fs::remove_dir_all(&lost).unwrap();
    let more = ["--set", "grid.threshold=[0.5, \"youden\"]", "--set", "name=other"];
    // The new training fails: its workers end at once.
    let output = place.command(&[&RUN[..], &more].concat()).env("SWEEP_WORKER", "/bin/false").output().unwrap();
    assert!(!output.status.success());
    fs::create_dir_all(place.path("sweep.runs").join(format!("{}-again", best[0]))).unwrap();
    let told = place.json(&["rm", "other"]);
    assert_eq!((told["runs"].as_array().unwrap().len(), &told["shared"]), (1, &8.into()));
    place.succeed(&["rm", "other", "--delete"]);
    assert!(!lost.exists() && !place.path("sweep.runs").join(format!("{}-again", best[0])).exists());
    assert_eq!(ask(&place, "SELECT json_array(count(*), sum(state = 'succeeded')) FROM runs"), "[8,8]");
    place.json(&["report", "small"]);
    place.succeed(&["rm", "small", "--delete"]);
    assert!(tables(&place).values().all(|count| *count == 0), "{:?}", tables(&place));
}

#[test]
fn imported_scores_stay_and_their_sweep_can_go() {
    let (place, best) = recorded();
    place.succeed(&["export", &best[0], "--predictions", "rows.csv", "--quiet"]);
    archive::write_matrix(&place.path("scores.npy"), 2, &[0.9_f32, 0.1, 0.4, 0.8, 0.2, 0.7, 0.6, 0.3]).unwrap();
    fs::write(place.path("labels.csv"), "id,A,B\na,1,0\nb,0,1\nc,0,1\nd,1,0\n").unwrap();
    place.succeed(&["import", "--scores", "scores.npy", "--labels", "labels.csv", "--name", "strange", "--quiet"]);
    let before = files(&place.path("sweep.runs"));
    let run = place.json(&["report", "strange"])["rows"][0]["runs"][0].as_str().unwrap().to_owned();
    let removed = place.json(&["gc", "--keep", "0", "--epochs", "--delete"]);
    assert!(!removed.to_string().contains(&run), "{removed}");
    let of_import =
        |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().filter(|path| path.to_string_lossy().contains(&run)).count();
    assert_eq!(of_import(&files(&place.path("sweep.runs"))), of_import(&before));
    place.json(&["report", "strange", "--threshold", "0.3"]);
    assert_eq!(place.json(&["rm", "strange", "--delete"])["runs"], serde_json::json!([run]));
    assert_eq!(of_import(&files(&place.path("sweep.runs"))), 0);
    assert_eq!(tables(&place)["runs"], 8);
}

#[test]
fn an_old_database_is_cleared_like_a_new_one() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema-2");
    let place = Place::new(&fs::read_to_string(fixture.join("old.toml")).unwrap());
    for (path, content) in files(&fixture) {
        let name = path.strip_prefix(&fixture).unwrap().to_string_lossy().replacen("old.", "sweep.", 1);
        fs::create_dir_all(place.path(&name).parent().unwrap()).unwrap();
        fs::write(place.path(&name), content).unwrap();
    }
    let listed = place.json(&["gc", "--keep", "2", "--epochs"]);
    assert!(kinds(&listed).iter().all(|kind| ["parameters", "epochs"].contains(kind)), "{listed}");
    place.succeed(&["gc", "--keep", "2", "--epochs", "--delete"]);
    place.json(&["report", "old", "--threshold", "0.3"]);
    place.json(&["explain", "old"]);
    assert_eq!(place.json(&["rm", "unfinished", "--delete"])["runs"].as_array().unwrap().len(), 2);
    place.json(&["report", "old"]);
    place.succeed(&["rm", "old", "--delete"]);
    assert!(tables(&place).values().all(|count| *count == 0), "{:?}", tables(&place));
}

/// What a plan foresees is at least what is taken, and not far from it.
#[test]
fn a_plan_says_what_a_sweep_will_take() {
    for (more, reference) in [
        (&["--set", "model.arch='linear'", "--set", "train.epochs=12"][..], "train.reference=true"),
        (&["--set", "train.epochs=4", "--set", "data.samples=2000"], "train.reference=false"),
        (&["--set", "model.arch='mlp'", "--set", "model.hidden=[64, 32]"], "train.reference=false"),
    ] {
        let place = Place::new(SWEEP);
        let more = [more, &["--set", reference]].concat();
        let plan = place.json(&[&["plan", "sweep.toml"][..], &more].concat());
        let told = |part: &str| plan["disk"][part].as_u64().unwrap();
        assert!(
            plan["disk"]["fits"].as_bool().unwrap() && told("free") > 0 && told("prepared") > 0 && told("meanwhile") > 0,
            "{plan}"
        );
        assert_eq!(told("total"), told("parameters") + told("scores") + told("database") + told("features"));
        place.succeed(&[&["run", "sweep.toml", "--quiet"][..], &more].concat());
        let (mut models, mut others) = (0, 0);
        for entry in fs::read_dir(place.path("sweep.runs")).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.join("model.safetensors").exists() {
                let model = fs::metadata(entry.join("model.safetensors")).unwrap().len().div_ceil(4096) * 4096;
                models += model;
                others += allocated(&entry, &mut Vec::new()) - model;
            }
        }
        let empty = 250_000;
        let database = fs::metadata(place.path("sweep.db")).unwrap().len();
        for (part, taken, slack) in [("parameters", models, 0), ("scores", others, 0), ("database", database, empty)] {
            let told = told(part);
            // A reference run has 15 epochs at most, and ends before.
            let far = if reference == "train.reference=true" { 3 } else { 2 };
            assert!(told + slack >= taken && told <= far * taken, "{part}: {told} foretold, {taken} taken ({more:?})");
        }
        let again = place.json(&[&["plan", "sweep.toml"][..], &more].concat());
        assert_eq!((&again["disk"]["total"], &again["disk"]["meanwhile"]), (&0.into(), &0.into()));
    }
}
