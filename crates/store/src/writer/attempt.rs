//! Attempts as the controller sees them: begun, given up, lost.

use std::collections::HashMap;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::{Writer, transaction};
use crate::{StoreError, json, now, word};
use plan::Fingerprint;
use protocol::Outcome;

impl Writer {
    /// Commits an attempt at each of these runs as `running`, before their worker hears of it. Returns their numbers (1, 2, ...), in the
    /// order of the runs, each of which is named once.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_attempts(&mut self, runs: &[Fingerprint], device: &str) -> Result<Vec<u32>, StoreError> {
        transaction!(self, |tx, known| {
            let found = Self::runs(known, tx, runs).await?;
            let ids = found
                .into_iter()
                .map(|run| run.map(|run| run.id))
                .collect::<Option<Vec<i64>>>()
                .ok_or(sqlx::Error::RowNotFound)?;
            let numbers: Vec<(i64, u32)> = sqlx::query_as(
                "UPDATE runs SET state = 'running', started_at = coalesce(started_at, ?2), finished_at = NULL
                 WHERE id IN (SELECT value FROM json_each(?1)) AND state <> 'succeeded';
                 INSERT INTO attempts (run, attempt, device, started_at)
                 SELECT j.value, (SELECT coalesce(max(attempt), 0) + 1 FROM attempts WHERE run = j.value), ?3, ?2 FROM json_each(?1) j
                 RETURNING run, attempt",
            )
            .bind(json(&ids))
            .bind(now())
            .bind(device)
            .fetch_all(&mut *tx)
            .await?;
            let numbers: HashMap<i64, u32> = numbers.into_iter().collect();
            ids.iter().map(|id| numbers.get(id).copied()).collect::<Option<Vec<u32>>>().ok_or(sqlx::Error::RowNotFound)?
        })
    }

    /// Records the controller's verdict on an attempt whose worker is gone, with the end of its log.
    /// `retry`: the run goes back to the queue; otherwise it has failed (or, for `Stopped` and `Lost`, is queued for a resume).
    /// A success that is already recorded stays one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_attempt(
        &mut self,
        run: &Fingerprint,
        attempt: u32,
        outcome: Outcome,
        why: &str,
        log: &str,
        retry: bool,
    ) -> Result<(), StoreError> {
        let queue = retry || matches!(outcome, Outcome::Stopped | Outcome::Lost);
        transaction!(self, |tx, known| {
            let found = Self::run(known, tx, run).await?;
            if found.is_none() && run.replaced().is_some() {
                // It has succeeded, and has the name of the run that it replaced.
                return Ok(());
            }
            let run = found.ok_or(sqlx::Error::RowNotFound)?.id;
            sqlx::query(
                "UPDATE attempts SET outcome = ?3, why = ?4, log = ?5, finished_at = coalesce(finished_at, ?6)
                 WHERE run = ?1 AND attempt = ?2 AND outcome IS NOT 'ok'",
            )
            .bind(run)
            .bind(attempt)
            .bind(word(&outcome))
            .bind(why)
            .bind(log)
            .bind(now())
            .execute(&mut *tx)
            .await?;
            settle(tx, run, queue, now()).await?;
        })
    }

    /// Marks every attempt still `running` as lost (their controller is gone) and queues their runs again; those on a cluster go on.
    /// Ingest what the journals still hold first. Returns how many there were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn reap(&mut self) -> Result<usize, StoreError> {
        transaction!(self, |tx, _known| {
            let lost = sqlx::query(
                "UPDATE attempts SET outcome = 'lost', why = 'the sweep that started it is gone', finished_at = ? WHERE outcome IS NULL
                 AND NOT EXISTS (SELECT 1 FROM journals j JOIN slices s USING (submission, slice) WHERE j.id = attempts.journal AND NOT s.over)",
            )
            .bind(now())
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "UPDATE runs SET state = 'queued'
                 WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM attempts WHERE run = runs.id AND outcome IS NULL)",
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "UPDATE sweeps SET state = 'interrupted', finished_at = ? WHERE state = 'running'
                 AND NOT EXISTS (SELECT 1 FROM submissions b WHERE b.sweep = sweeps.id AND b.state IN ('intent', 'held', 'live'))",
            )
                .bind(now())
                .execute(&mut *tx)
                .await?;
            lost.rows_affected() as usize
        })
    }
}

/// The state of a run after one of its attempts has failed, unless it has succeeded or another attempt is under way.
pub(super) async fn settle(tx: &mut SqliteConnection, run: i64, queue: bool, time: f64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE runs SET state = CASE WHEN ?2 THEN 'queued' ELSE 'failed' END, finished_at = CASE WHEN ?2 THEN NULL ELSE ?3 END
         WHERE id = ?1 AND state <> 'succeeded' AND NOT EXISTS (SELECT 1 FROM attempts WHERE run = ?1 AND outcome IS NULL)",
    )
    .bind(run)
    .bind(queue)
    .bind(time)
    .execute(tx)
    .await?;
    Ok(())
}
