//! Databases and folders that cannot be used: exit code 4 for a file that is not a database of ours, 1 otherwise; which file, and what
//! to do.

use std::process::{Command, Stdio};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};

use crate::common::Place;
use crate::{GRID, wait_for};

/// Changes the database without the program.
fn sql(place: &Place, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = SqliteConnectOptions::new().filename(place.path("sweep.db")).create_if_missing(true);
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// Every command that opens the database says so.
fn refused(place: &Place, words: &[&str]) {
    place.fake(&[]).fails(4, words);
    for command in ["resume", "status", "report"] {
        place.sweep(&[command]).fails(4, words);
    }
    place.sweep(&["plan", "sweep.toml"]).fails(4, words);
}

#[test]
fn databases_of_others_are_left_alone() {
    let place = Place::new(GRID);
    sql(&place, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
    let before = std::fs::read(place.path("sweep.db")).unwrap();
    refused(&place, &["sweep.db", "the database of another program"]);
    assert_eq!(std::fs::read(place.path("sweep.db")).unwrap(), before);
    place.write("sweep.db", "name,value\n1,2\nthis is no database\n");
    refused(&place, &["sweep.db", "is not a SQLite database"]);
    std::fs::remove_file(place.path("sweep.db")).unwrap();
    std::fs::create_dir(place.path("sweep.db")).unwrap();
    refused(&place, &["sweep.db", "is a folder"]);
}

#[test]
fn a_newer_database_needs_a_newer_program() {
    let place = Place::new(GRID);
    place.fake(&[]).json();
    sql(&place, "PRAGMA user_version = 999");
    refused(&place, &["sweep.db", "written by a newer sweep (schema 999", "update sweep"]);
}

#[test]
fn a_corrupt_database_is_named() {
    let place = Place::new(GRID);
    place.fake(&[]).json();
    let mut bytes = std::fs::read(place.path("sweep.db")).unwrap();
    let end = bytes.len();
    bytes[100..end].fill(0xa5);
    place.write("sweep.db", bytes);
    for arguments in [&["run", "sweep.toml", "--on", "fake"][..], &["status"], &["report"], &["resume"]] {
        place.sweep(arguments).fails(4, &["sweep.db", "corrupt"]);
    }
}

/// A folder that even root cannot write to.
#[test]
fn folders_that_cannot_be_written_are_named_before_anything_starts() {
    let place = Place::new(GRID);
    place.fake(&["--db", "/proc/sweep.db"]).fails(1, &["/proc/sweep.db", "a folder you may write to"]);
    place.fake(&["--db", "nowhere/sweep.db"]).fails(1, &["there is no folder nowhere"]);
    place.write("file", "");
    place.fake(&["--db", "file/sweep.db"]).fails(1, &["there is no folder file"]);
    // The database may be written, the folder of the runs may not.
    place.write("x.runs", "");
    place.fake(&["--db", "x.db"]).fails(1, &["x.runs"]);
    place.write("y.cache", "");
    place.fake(&["--db", "y.db"]).fails(1, &["y.cache"]);
}

#[test]
fn what_is_not_there_is_named_with_the_way_to_get_it() {
    let place = Place::new(GRID);
    for command in ["status", "resume", "report"] {
        place.sweep(&[command]).fails(1, &["sweep.db: no such database", "`sweep run FILE` makes one"]);
    }
    assert!(!place.path("sweep.db").exists(), "looking makes no database");
    place.fake(&[]).json();
    for command in ["status", "resume"] {
        place.sweep(&[command, "smal"]).fails(1, &["no sweep `smal`; it has small"]);
    }
}

#[test]
fn two_sweeps_on_one_database_do_not_meet() {
    let place = Place::new(GRID);
    let mut first = place.command(&["run", "sweep.toml", "--on", "fake"]);
    let mut first = first.env("SWEEP_FAKE_EPOCH_SECONDS", "0.2").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| place.run(&["status"]).status.success() && place.sweep(&["status"]).out.contains("by process"));
    let holder = format!("process {}", first.id());
    place.fake(&[]).fails(1, &["in use by another sweep", &holder, "sweep run"]);
    place.sweep(&["resume"]).fails(1, &["in use by another sweep", &holder]);
    let status = place.sweep(&["status", "--format", "json"]).json();
    assert_eq!(status["sweep"]["state"], "running");
    assert!(status["holder"].as_str().unwrap().starts_with(&holder), "{status}");
    assert!(first.wait().unwrap().success());
    assert_eq!(place.fake(&[]).json()["runs"]["trained"], 0);
    assert!(!place.rows().is_empty());
}

/// A file system of 300 KiB, where this machine lets a test have one.
#[test]
fn a_full_disk_ends_the_sweep_which_goes_on_once_there_is_room() {
    let place = Place::new(&GRID.replace("seed = [0, 1]", "seed = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"));
    std::fs::create_dir(place.path("disk")).unwrap();
    let sweep = env!("CARGO_BIN_EXE_sweep");
    let script = format!(
        "mount -t tmpfs -o size=300k none disk || exit 99\n\
         {sweep} run sweep.toml --on fake --db disk/sweep.db >out 2>err; echo $? >first\n\
         mount -o remount,size=50m disk\n\
         {sweep} run sweep.toml --on fake --db disk/sweep.db --format json >json 2>>err\n"
    );
    let mut unshare = Command::new("unshare");
    let output = unshare.args(["-rm", "sh", "-c", &script]).current_dir(place.folder.path()).output();
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    match output {
        Ok(output) if output.status.success() => {}
        other => return println!("skipped: no small disk can be made here ({other:?})"),
    }
    let code = read("first");
    assert_eq!(code.trim(), "1", "{}", read("err"));
    assert!(read("err").contains("disk is full") || read("err").contains("No space left"), "{}", read("err"));
    let value: serde_json::Value = serde_json::from_str(&read("json")).unwrap();
    assert_eq!((&value["sweep"]["state"], &value["runs"]["left"]), (&"done".into(), &0.into()), "{}", read("err"));
}

/// A sweep whose prepared data was removed.
#[test]
fn prepared_data_that_is_gone_can_be_had_again() {
    let place = Place::new(GRID);
    let mut command = place.command(&["run", "sweep.toml", "--on", "fake", "--max-failures", "1"]);
    let mut child = command.env("SWEEP_FAKE_EPOCH_SECONDS", "0.1").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| place.run(&["status"]).status.success() && place.sweep(&["status"]).out.contains("by process"));
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = place.sweep(&["status"]);
    assert!(killed.out.contains("nobody on this machine works on it"), "{}", killed.out);
    std::fs::remove_dir_all(place.path("sweep.cache")).unwrap();
    let resumed = place.sweep(&["resume", "--on", "fake", "--format", "json"]);
    assert!(resumed.err.contains("meta.json is missing") && resumed.err.contains("preparing it again"), "{}", resumed.err);
    assert_eq!(resumed.json()["runs"]["left"], 0);
}
