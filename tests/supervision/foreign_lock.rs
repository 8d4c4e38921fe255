//! Another program (a database browser, a backup, a shell) holds the database: the sweep waits, says so, and its workers keep training.

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};

use crate::common::Place;
use crate::{err, signal, wait_for};

const FILE: &str = r#"
name = "locked"
[data]
kind = "letters"
samples = 200
image_size = 16
[model]
arch = "cnn"
hidden = [2]
[train]
epochs = 4
[grid]
seed = [0, 1, 2, 3]
"#;

/// Holds the database of `place` while `meanwhile` happens.
fn locked<T>(place: &Place, meanwhile: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = SqliteConnectOptions::new().filename(place.path("sweep.db")).busy_timeout(Duration::from_secs(60));
    let mut connection = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
    runtime.block_on(connection.execute("BEGIN EXCLUSIVE")).unwrap();
    let result = meanwhile();
    runtime.block_on(connection.execute("ROLLBACK")).unwrap();
    runtime.block_on(connection.close()).unwrap();
    result
}

/// A sweep with epochs of a fifth of a second; it has begun.
fn started(place: &Place) -> Child {
    let mut command = place.command(&["run", "sweep.toml", "--on", "fake"]);
    let child = command.env("SWEEP_FAKE_EPOCH_SECONDS", "0.2").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("a run", || place.status()["runs"]["running"].as_i64() > Some(0));
    child
}

#[test]
fn a_foreign_lock_is_waited_for_and_said_once_a_minute() {
    let place = Place::new(FILE);
    let child = started(&place);
    // Longer than SQLite itself waits for a lock.
    locked(&place, || std::thread::sleep(Duration::from_secs(14)));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(err(&output).matches("keeps the database locked").count(), 1, "{}", err(&output));
    assert_eq!(place.status()["runs"]["succeeded"], 4);
}

#[test]
fn two_interrupts_end_a_sweep_that_waits_for_a_lock() {
    let place = Place::new(FILE);
    let child = started(&place);
    locked(&place, || {
        std::thread::sleep(Duration::from_secs(3));
        signal(child.id(), Signal::INT);
        std::thread::sleep(Duration::from_millis(500));
        signal(child.id(), Signal::INT);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", err(&output));
    });
    let output = place.run(&["resume", "--on", "fake"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(place.status()["runs"]["succeeded"], 4);
}
