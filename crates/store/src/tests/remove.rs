//! Sweeps that are removed.

use std::path::Path;

use super::fixture::{self, Journal};
use super::writer::{begin, folder, ingest};
use crate::{Reader, Writer, open};
use plan::PlannedRun;

async fn total(db: &Path) -> i64 {
    let mut connection = open::for_reading(db).await.unwrap();
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
    assert!(broken.is_empty());
    let tables = ["sweeps", "sweep_runs", "runs", "evaluations", "label_counts", "held_out", "label_held_out", "label_rankings"];
    let mut all = 0;
    for table in
        tables.into_iter().chain(["draws", "label_draws", "attempts", "epochs", "journals", "policies", "labels", "datasets"])
    {
        let count = format!("SELECT count(*) FROM {table}");
        all += sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(count)).fetch_one(&mut connection).await.unwrap();
    }
    all
}

#[tokio::test]
async fn shared_runs_stay_until_the_last_sweep_that_has_them() {
    let (_folder, db) = folder();
    let mut writer = Writer::open(&db).await.unwrap();
    let (wide, narrow) = (fixture::plan("wide", &["bce", "focal"], 2, 3), fixture::plan("narrow", &["bce"], 2, 3));
    let mut journal = Journal::new();
    let first = begin(&mut writer, &wide).await;
    for run in &wide.runs {
        let attempt = fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        journal.attempt(run, attempt, 0, &wide.policies);
    }
    ingest(&mut writer, "w0.jsonl", &journal).await;
    let second = begin(&mut writer, &narrow).await;
    writer.retrain(second, &narrow.runs[0].fingerprint).await.unwrap();
    let mut reader = Reader::open(&db).await.unwrap();
    let stored = reader.stored_runs().await.unwrap();
    let place =
        |run: &PlannedRun| stored.iter().find(|found| found.fingerprint == run.fingerprint.0).and_then(|found| found.place);
    let mut places: Vec<_> = narrow.runs.iter().map(place).collect();
    places.sort_unstable();
    assert_eq!((stored.len(), places), (5, vec![Some(1), Some(2)]), "the best place in any sweep");
    assert!(wide.runs.iter().any(|run| place(run) == Some(1)) && stored.iter().all(|run| run.replaces == run.place.is_none()));

    let removal = reader.removal(first).await.unwrap();
    assert_eq!((removal.runs.len(), removal.shared, removal.rows.runs, removal.rows.epochs), (2, 2, 2, 6));
    let mut gone = writer.remove_sweep(first).await.unwrap();
    gone.sort();
    let mut wanted: Vec<String> = wide.runs[2..].iter().map(|run| run.fingerprint.0.clone()).collect();
    wanted.sort();
    assert_eq!(gone, wanted);
    assert_eq!(writer.retraining().await.unwrap(), [narrow.runs[0].fingerprint.clone()]);
    assert!(total(&db).await > 0);
    let third = begin(&mut writer, &wide).await;
    assert_eq!(reader.removal(second).await.unwrap().runs, [narrow.runs[0].fingerprint.again().0], "nobody else waits for it");
    writer.remove_sweep(third).await.unwrap();
    assert_eq!(reader.removal(second).await.unwrap().runs.len(), 3);
    writer.remove_sweep(second).await.unwrap();
    assert_eq!(total(&db).await, 0);
    // Ids that were known are not believed any more.
    begin(&mut writer, &wide).await;
    let mut journal = Journal::new();
    for run in &wide.runs {
        let attempt = fixture::begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
        journal.attempt(run, attempt, 0, &wide.policies);
    }
    ingest(&mut writer, "w1.jsonl", &journal).await;
    let names: Vec<_> = wide.runs.iter().map(|run| run.fingerprint.clone()).collect();
    assert_eq!(writer.recorded(&names).await.unwrap(), [true; 4]);
    assert_eq!(writer.shrink().await.unwrap(), 0, "not worth it");
}
