//! Readers beside a writer.

use std::path::Path;

use tempfile::TempDir;

use super::fixture;
use crate::{Reader, Writer};

/// A reader that was opened without a writer sees what a writer has written since, also after a checkpoint.
#[tokio::test]
async fn a_reader_follows_a_writer_that_starts_after_it() {
    let folder = TempDir::new().unwrap();
    let db = folder.path().join("sweep.db");
    let file = Path::new("letters.toml");
    let mut writer = Writer::open(&db).await.unwrap();
    let first = writer.begin_sweep(&fixture::plan("first", &["bce"], 1, 2), file, "").await.unwrap();
    writer.close().await.unwrap();
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    let mut reader = Reader::open(&db).await.unwrap();
    assert_eq!(reader.find_sweep("latest").await.unwrap().id, first);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before, "a reader makes no files");
    let mut writer = Writer::open(&db).await.unwrap();
    for (name, runs, checkpoint) in [("second", 500, true), ("third", 1, false), ("fourth", 700, true)] {
        let sweep = writer.begin_sweep(&fixture::plan(name, &["bce"], runs, 2), file, "").await.unwrap();
        if checkpoint {
            writer.checkpoint().await.unwrap();
        }
        let found = reader.find_sweep("latest").await.unwrap();
        assert_eq!((found.id, found.name.as_str()), (sweep, name));
        assert_eq!(reader.status(sweep).await.unwrap().total, runs as i64);
    }
    writer.close().await.unwrap();
    assert_eq!(reader.find_sweep("latest").await.unwrap().name, "fourth");
}

/// Another database is copied over the file while a reader has it open.
#[tokio::test]
async fn a_reader_follows_a_file_that_is_replaced() {
    let folder = TempDir::new().unwrap();
    let [db, copy] = ["sweep.db", "copy.db"].map(|name| folder.path().join(name));
    for (path, name) in [(&db, "first"), (&copy, "other")] {
        let mut writer = Writer::open(path).await.unwrap();
        writer.begin_sweep(&fixture::plan(name, &["bce"], 1, 2), Path::new("letters.toml"), "").await.unwrap();
        writer.close().await.unwrap();
    }
    let mut reader = Reader::open(&db).await.unwrap();
    assert_eq!(reader.find_sweep("latest").await.unwrap().name, "first");
    std::fs::rename(&copy, &db).unwrap();
    assert_eq!(reader.find_sweep("latest").await.unwrap().name, "other");
}

/// A reader's version changes with every commit, with a writer's beginning and with another file, and not otherwise.
#[tokio::test]
async fn a_version_changes_with_commits_and_files() {
    let folder = TempDir::new().unwrap();
    let [db, copy] = ["sweep.db", "copy.db"].map(|name| folder.path().join(name));
    let file = Path::new("letters.toml");
    for path in [&db, &copy] {
        let mut writer = Writer::open(path).await.unwrap();
        writer.begin_sweep(&fixture::plan("first", &["bce"], 1, 2), file, "").await.unwrap();
        writer.close().await.unwrap();
    }
    let mut reader = Reader::open(&db).await.unwrap();
    let still = reader.version().await.unwrap();
    assert_eq!(reader.version().await.unwrap(), still);
    // What a reader of another process leaves beside the file is not a writer's.
    let mut log = db.clone().into_os_string();
    log.push("-wal");
    std::fs::write(&log, "").unwrap();
    assert_eq!(reader.version().await.unwrap(), still);
    std::fs::remove_file(&log).unwrap();
    let mut writer = Writer::open(&db).await.unwrap();
    let mut last = still;
    for name in ["second", "third"] {
        writer.begin_sweep(&fixture::plan(name, &["bce"], 1, 2), file, "").await.unwrap();
        let now = reader.version().await.unwrap();
        assert_ne!(now, last, "{name}");
        reader.find_sweep("latest").await.unwrap();
        assert_eq!(reader.version().await.unwrap(), now);
        last = now;
    }
    assert_eq!(last.file, still.file, "it was opened anew, and is the same");
    drop(writer);
    std::fs::rename(&copy, &db).unwrap();
    for beside in ["sweep.db-wal", "sweep.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(beside));
    }
    let other = reader.version().await.unwrap();
    assert!(other != last && other.file > last.file);
    assert_eq!(reader.find_sweep("latest").await.unwrap().name, "first");
    // The same file with other content.
    let mut writer = Writer::open(&copy).await.unwrap();
    writer.begin_sweep(&fixture::plan("over", &["bce"], 300, 2), file, "").await.unwrap();
    writer.close().await.unwrap();
    std::fs::copy(&copy, &db).unwrap();
    assert!(reader.version().await.unwrap().file > other.file);
    assert_eq!(reader.find_sweep("latest").await.unwrap().name, "over");
    std::fs::remove_file(&db).unwrap();
    assert!(reader.version().await.unwrap_err().to_string().contains("no such database"));
}

/// On a network file system there is no write-ahead log, and readers follow all the same. (The name makes it one: crate::open.)
#[tokio::test]
async fn a_database_on_a_network_file_system_has_no_log_and_is_followed() {
    let folder = TempDir::new().unwrap();
    let db = folder.path().join("network.db");
    let file = Path::new("letters.toml");
    let mut writer = Writer::open(&db).await.unwrap();
    writer.begin_sweep(&fixture::plan("first", &["bce"], 1, 2), file, "").await.unwrap();
    let mut reader = Reader::open(&db).await.unwrap();
    for name in ["second", "third"] {
        writer.begin_sweep(&fixture::plan(name, &["bce"], 40, 2), file, "").await.unwrap();
        assert_eq!(reader.find_sweep("latest").await.unwrap().name, name);
        assert!(!folder.path().join("network.db-wal").exists());
    }
    writer.checkpoint().await.unwrap();
    writer.close().await.unwrap();
    let mut writer = Writer::open(&db).await.unwrap();
    writer.begin_sweep(&fixture::plan("fourth", &["bce"], 3, 2), file, "").await.unwrap();
    assert_eq!(reader.find_sweep("latest").await.unwrap().name, "fourth");
    writer.close().await.unwrap();
    assert_eq!(Reader::open(&db).await.unwrap().find_sweep("latest").await.unwrap().name, "fourth");
}
