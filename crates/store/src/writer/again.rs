//! Results that can no longer be used.

use std::path::PathBuf;

use sqlx::{Connection, Row};

use super::sweep::base;
use super::{Writer, transaction};
use crate::{StoreError, SweepId};
use plan::Fingerprint;

/// A run whose data or weights could not be used.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedForData {
    pub run: Fingerprint,
    /// Its prepared data.
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

    /// Drops the result of a run, so that it is trained again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget(&mut self, run: &Fingerprint) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            if let Some(run) = Self::run(known, tx, run).await? {
                for statement in [
                    "DELETE FROM evaluations WHERE run = ?",
                    "DELETE FROM rankings WHERE run = ?",
                    "DELETE FROM epochs WHERE run = ?",
                    "DELETE FROM draws WHERE run = ?",
                    "UPDATE runs SET state = 'queued', best_epoch = NULL, winner = NULL, finished_at = NULL WHERE id = ?",
                ] {
                    sqlx::query(statement).bind(run.id).execute(&mut *tx).await?;
                }
            }
        })
    }
}
