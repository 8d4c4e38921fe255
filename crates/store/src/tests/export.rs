//! Tables and views as an export reads them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tempfile::TempDir;

use super::fixture::{Journal, begin_attempt, plan, policies};
use super::writer::{begin, ingest};
use crate::{Cell, Kind, RELATIONS, Reader, Writer, open};

/// Two sweeps that share a run, with results.
async fn filled(folder: &TempDir) -> PathBuf {
    let db = folder.path().join("sweep.db");
    let mut writer = Writer::open(&db).await.unwrap();
    for (name, losses) in [("first", &["bce", "focal"][..]), ("second", &["bce"])] {
        let plan = plan(name, losses, 1, 3);
        begin(&mut writer, &plan).await;
        let mut journal = Journal::new();
        let recorded = writer.recorded(&plan.runs.iter().map(|run| run.fingerprint.clone()).collect::<Vec<_>>()).await.unwrap();
        for (run, _) in plan.runs.iter().zip(recorded).filter(|(_, recorded)| !recorded) {
            let attempt = begin_attempt(&mut writer, &run.fingerprint, "cpu").await;
            journal.attempt(run, attempt, 0, &policies());
        }
        ingest(&mut writer, name, &journal).await;
    }
    writer.close().await.unwrap();
    db
}

/// A migration that adds a table or a view has to say which of its rows belong to a sweep.
#[tokio::test]
async fn every_table_and_view_is_exported() {
    let folder = TempDir::new().unwrap();
    let db = filled(&folder).await;
    let mut connection = open::for_reading(&db).await.unwrap();
    let found: Vec<(String, bool)> = sqlx::query_as(
        "SELECT name, type = 'view' FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let known: BTreeSet<_> = RELATIONS.iter().map(|relation| (relation.name.to_owned(), relation.is_view)).collect();
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), known);
}

/// The kinds that columns are given are those of their values, and the rows of the sweeps are all rows.
#[tokio::test]
async fn kinds_are_those_of_the_values_and_sweeps_have_their_rows() {
    let folder = TempDir::new().unwrap();
    let db = filled(&folder).await;
    let mut reader = Reader::open(&db).await.unwrap();
    reader.hold().await.unwrap();
    let sweeps = reader.sweep_ids().await.unwrap();
    assert_eq!(sweeps.len(), 2);
    let mut seen = 0;
    for relation in &RELATIONS {
        let columns = reader.columns(relation).await.unwrap();
        let mut all = Vec::new();
        let mut rows = reader.rows(relation, None).await.unwrap();
        while let Some(row) = rows.next().await.unwrap() {
            assert_eq!(row.len(), columns.len(), "{}", relation.name);
            for (cell, column) in row.iter().zip(&columns) {
                let kind = match cell {
                    Cell::Null => continue,
                    Cell::Integer(_) => Kind::Integer,
                    Cell::Real(_) => Kind::Real,
                    Cell::Text(_) => Kind::Text,
                };
                seen += 1;
                assert_eq!(kind, column.kind, "{}.{}", relation.name, column.name);
            }
            all.push(row);
        }
        drop(rows);
        let mut of_sweeps = Vec::new();
        for &sweep in &sweeps {
            let mut rows = reader.rows(relation, Some(sweep)).await.unwrap();
            let before = of_sweeps.len();
            while let Some(row) = rows.next().await.unwrap() {
                of_sweeps.push(row);
            }
            drop(rows);
            assert!(of_sweeps.len() - before <= all.len(), "{}", relation.name);
        }
        // A worker that trained nothing has a journal.
        let known = relation.name == "journals" || all.iter().all(|row| of_sweeps.contains(row));
        assert!(known, "{}: a row belongs to no sweep", relation.name);
        assert!(of_sweeps.iter().all(|row| all.contains(row)), "{}", relation.name);
        if relation.is_view {
            assert_eq!(of_sweeps.len(), all.len(), "{}", relation.name);
        }
    }
    assert!(seen > 1000);
}

/// What a program of another maker is told is what the views say.
#[tokio::test]
async fn points_are_those_of_the_views() {
    let folder = TempDir::new().unwrap();
    let db = filled(&folder).await;
    let mut reader = Reader::open(&db).await.unwrap();
    let mut compared = 0;
    for sweep in reader.sweep_ids().await.unwrap() {
        for run in reader.listed_runs(sweep).await.unwrap() {
            let points = reader.points(run.id).await.unwrap();
            let labels = reader.label_names(run.data).await.unwrap();
            assert_eq!(points.epochs.len(), 3);
            let mut connection = open::for_reading(&db).await.unwrap();
            let mut ask = async |view: &str, column: &str, at: (i64, &str, &str), label: Option<&str>| -> Option<f64> {
                let query = format!(
                    "SELECT {column} FROM {view} WHERE sweep_id = ? AND run = ? AND epoch = ? AND split = ? AND policy = ? {}",
                    label.map_or("", |_| "AND label = ?")
                );
                let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(sweep).bind(&run.fingerprint);
                query = query.bind(at.0).bind(at.1.to_owned()).bind(at.2.to_owned());
                if let Some(label) = label {
                    query = query.bind(label.to_owned());
                }
                query.fetch_one(&mut connection).await.unwrap()
            };
            for point in &points.policies {
                for name in ["macro_f1", "samples_f1", "hamming_loss"] {
                    let column = if point.held_out { format!("held_out_{name}") } else { name.to_owned() };
                    let wanted = ask("leaderboard", &column, (point.epoch, &point.split, &point.policy), None).await;
                    assert_eq!(point.metrics.get(name), wanted);
                    compared += 1;
                }
                assert_eq!(point.metrics.get("macro_ap"), None);
            }
            for point in &points.labels {
                let label = Some(labels[point.label as usize].as_str());
                let at = (point.epoch, point.split.as_str(), point.policy.as_str());
                assert_eq!(Some(point.f1), ask("label_metrics", "f1", at, label).await);
                assert_eq!(Some(point.precision), ask("label_metrics", "precision", at, label).await);
                if let Some(f1) = point.held_out_f1 {
                    assert_eq!(Some(f1), ask("label_metrics", "held_out_f1", at, label).await);
                }
            }
            for point in &points.rankings {
                let at = (point.epoch, point.split.as_str(), "0.5");
                let (view, column, label) = match point.label {
                    None => ("leaderboard", "macro_ap", None),
                    Some(label) => ("label_metrics", "ap", Some(labels[label as usize].as_str())),
                };
                assert_eq!(point.ap, ask(view, column, at, label).await);
            }
            assert!(points.rankings.iter().any(|point| point.ap.is_none()), "no positives, no AP");
            assert!(points.policies.iter().any(|point| point.held_out));
        }
    }
    assert!(compared > 30);
}
