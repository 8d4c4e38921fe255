//! Recorded runs that are trained again because their kept scores are lost.
//!
//! The new training is a run of its own, named `<fingerprint>-again`, in a folder of its own. The recorded rows stay as they are until
//! it has succeeded; in the transaction that records its success it takes the place and the name of the run it replaces.

use std::path::PathBuf;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::sweep::base;
use super::{Known, Writer, transaction};
use crate::{StoreError, SweepId, now};
use imbalance::threshold::Policy;
use plan::Fingerprint;

/// A run whose data or weights could not be used.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedForData {
    pub run: Fingerprint,
    /// The folder of its prepared data.
    pub data: PathBuf,
    pub weights: Option<String>,
    /// When its last attempt ended, in Unix seconds.
    pub at: f64,
}

impl Writer {
    /// The runs of the sweep that failed for good because of their data or weights.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn failed_for_data(&mut self, sweep: SweepId) -> Result<Vec<FailedForData>, StoreError> {
        let base = base(&self.path);
        let rows = sqlx::query(
            "SELECT r.fingerprint, r.folder, r.config ->> '$.model.weights', a.finished_at
             FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN attempts a ON a.run = r.id
             WHERE w.sweep = ? AND r.state = 'failed' AND a.outcome = 'data'
               AND a.attempt = (SELECT max(attempt) FROM attempts WHERE run = r.id)
             ORDER BY w.position",
        )
        .bind(sweep)
        .fetch_all(&mut self.connection)
        .await;
        let failed = |row: &sqlx::sqlite::SqliteRow| {
            Ok(FailedForData {
                run: Fingerprint(row.try_get(0)?),
                data: base.join(row.try_get::<String, _>(1)?),
                weights: row.try_get(2)?,
                at: row.try_get::<Option<f64>, _>(3)?.unwrap_or(0.0),
            })
        };
        let found = rows.and_then(|rows| rows.iter().map(failed).collect());
        found.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// Queues runs that failed for good.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn queue_again(&mut self, runs: &[Fingerprint]) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            for run in runs {
                sqlx::query("UPDATE runs SET state = 'queued', finished_at = NULL WHERE fingerprint = ? AND state = 'failed'")
                    .bind(&run.0)
                    .execute(&mut *tx)
                    .await?;
            }
        })
    }

    /// Queues a recorded run of `sweep` to be trained again. Its result stays until the new training has succeeded; a new
    /// training that exists already continues where it stopped.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn retrain(&mut self, sweep: SweepId, run: &Fingerprint) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            let again: i64 = sqlx::query_scalar(
                "INSERT INTO runs (fingerprint, data, folder, arch, epochs, max_epochs, config, pos_weight, created_at, version, format, replaces)
                 SELECT ?1, data, folder, arch, coalesce(max_epochs, epochs), max_epochs, config, pos_weight, ?3, ?4, format, id FROM runs WHERE fingerprint = ?2
                 ON CONFLICT (fingerprint) DO UPDATE SET folder = excluded.folder RETURNING id",
            )
            .bind(&run.again().0)
            .bind(&run.0)
            .bind(now())
            .bind(env!("CARGO_PKG_VERSION"))
            .fetch_one(&mut *tx)
            .await?;
            // Numbering continues, so that the run keeps one history of attempts.
            sqlx::query(
                "INSERT OR IGNORE INTO attempts (run, attempt, device, journal, from_epoch, records, started_at, finished_at, outcome, why, log)
                 SELECT n.id, a.attempt, a.device, a.journal, a.from_epoch, a.records, a.started_at, a.finished_at, a.outcome, a.why, a.log
                 FROM runs n JOIN attempts a ON a.run = n.replaces WHERE n.id = ?1;
                 UPDATE sweep_runs SET again = ?1 WHERE run = (SELECT replaces FROM runs WHERE id = ?1) AND sweep = ?2",
            )
            .bind(again)
            .bind(sweep)
            .execute(&mut *tx)
            .await?;
        })
    }

    /// Gives up training `run` again: its kept scores can be used after all.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep(&mut self, run: &Fingerprint) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            let again = run.again();
            known.runs.remove(&again);
            let id: Option<i64> =
                sqlx::query_scalar("SELECT id FROM runs WHERE fingerprint = ?").bind(&again.0).fetch_optional(&mut *tx).await?;
            if let Some(id) = id {
                remove(tx, id).await?;
            }
        })
    }

    /// The recorded runs that are being trained again, for any sweep.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn retraining(&mut self) -> Result<Vec<Fingerprint>, StoreError> {
        let found: Result<Vec<String>, _> =
            sqlx::query_scalar("SELECT o.fingerprint FROM runs n JOIN runs o ON o.id = n.replaces ORDER BY 1")
                .fetch_all(&mut self.connection)
                .await;
        found
            .map(|names| names.into_iter().map(Fingerprint).collect())
            .map_err(|source| StoreError::from_sqlite(&self.path, source))
    }
}

/// If `run`, which replaces another, has just succeeded: gives it the name of that one and its place in every sweep.
pub(super) async fn replace(known: &mut Known, tx: &mut SqliteConnection, run: i64) -> Result<(), sqlx::Error> {
    let found = sqlx::query(
        "SELECT o.id, o.fingerprint, o.created_at FROM runs n JOIN runs o ON o.id = n.replaces WHERE n.id = ? AND n.state = 'succeeded'",
    )
    .bind(run)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = found else { return Ok(()) };
    let (old, name, created): (i64, String, f64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    sqlx::query("UPDATE sweep_runs SET run = ?1, again = NULL WHERE run = ?2; UPDATE runs SET replaces = NULL WHERE id = ?1")
        .bind(run)
        .bind(old)
        .execute(&mut *tx)
        .await?;
    remove(tx, old).await?;
    sqlx::query("UPDATE runs SET fingerprint = ?2, created_at = ?3 WHERE id = ?1")
        .bind(run)
        .bind(&name)
        .bind(created)
        .execute(&mut *tx)
        .await?;
    let name = Fingerprint(name);
    known.runs.remove(&name.again());
    known.runs.remove(&name);
    Ok(())
}

/// Policies under which the run that `run` replaces was evaluated, for any sweep.
pub(super) async fn policies_of_replaced(connection: &mut SqliteConnection, run: i64) -> Result<Vec<Policy>, sqlx::Error> {
    sqlx::query(
        "SELECT p.json FROM policies p
         WHERE p.id IN (SELECT e.policy FROM runs n JOIN evaluations e ON e.run = n.replaces WHERE n.id = ?) ORDER BY p.id",
    )
    .bind(run)
    .fetch_all(connection)
    .await?
    .iter()
    .map(|row| crate::disk::policy(row, 0))
    .collect()
}

/// Removes a run and all rows that depend on it; no sweep names it any more.
async fn remove(tx: &mut SqliteConnection, run: i64) -> Result<(), sqlx::Error> {
    for statement in [
        "UPDATE sweep_runs SET again = NULL WHERE again = ?",
        "DELETE FROM evaluations WHERE run = ?",
        "DELETE FROM rankings WHERE run = ?",
        "DELETE FROM epochs WHERE run = ?",
        "DELETE FROM draws WHERE run = ?",
        "DELETE FROM attempts WHERE run = ?",
        "DELETE FROM runs WHERE id = ?",
    ] {
        sqlx::query(statement).bind(run).execute(&mut *tx).await?;
    }
    Ok(())
}
