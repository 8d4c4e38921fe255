//! Sweeps that are removed, with the runs that nobody else has.

use sqlx::{Connection, Row};

use super::{Known, Writer, transaction};
use crate::reader::spare::doomed;
use crate::{StoreError, SweepId, json};

/// Fewer free bytes are left for later rows.
const WORTH: i64 = 1 << 20;

impl Writer {
    /// Removes a sweep, the runs that no other sweep has and every row that depends on them; returns the fingerprints of these runs. Their
    /// folders are the caller's. One transaction.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn remove_sweep(&mut self, sweep: SweepId) -> Result<Vec<String>, StoreError> {
        transaction!(self, |tx, known| {
            *known = Known::default();
            let rows = sqlx::query(concat!(
                doomed!(),
                "SELECT r.id, r.fingerprint FROM doomed d JOIN runs r ON r.id = d.id ORDER BY r.id"
            ))
            .bind(sweep)
            .fetch_all(&mut *tx)
            .await?;
            let mut runs = Vec::with_capacity(rows.len());
            for row in &rows {
                runs.push((row.try_get::<i64, _>(0)?, row.try_get::<String, _>(1)?));
            }
            for statement in [
                // What its search has stopped, other sweeps can train.
                "UPDATE runs SET state = 'queued', finished_at = NULL
                 WHERE state = 'failed' AND id IN (SELECT run FROM search_decisions WHERE sweep = ? AND NOT goes_on)
                   AND (SELECT outcome FROM attempts WHERE run = runs.id ORDER BY attempt DESC LIMIT 1) = 'stopped_early'",
                "DELETE FROM search_decisions WHERE sweep = ?",
                "DELETE FROM searches WHERE sweep = ?",
                "DELETE FROM sweep_runs WHERE sweep = ?",
                "DELETE FROM sweep_policies WHERE sweep = ?",
                "UPDATE journals SET submission = NULL WHERE submission IN (SELECT id FROM submissions WHERE sweep = ?)",
                "DELETE FROM submissions WHERE sweep = ?",
                "DELETE FROM sweeps WHERE id = ?",
            ] {
                sqlx::query(statement).bind(sweep).execute(&mut *tx).await?;
            }
            let ids = json(&runs.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            for statement in [
                "DELETE FROM evaluations WHERE run IN (SELECT value FROM json_each(?))",
                "DELETE FROM rankings WHERE run IN (SELECT value FROM json_each(?))",
                "DELETE FROM epochs WHERE run IN (SELECT value FROM json_each(?))",
                "DELETE FROM draws WHERE run IN (SELECT value FROM json_each(?))",
                "DELETE FROM attempts WHERE run IN (SELECT value FROM json_each(?))",
                "DELETE FROM runs WHERE id IN (SELECT value FROM json_each(?))",
            ] {
                sqlx::query(statement).bind(&ids).execute(&mut *tx).await?;
            }
            // The small tables: to remove one label of many would look through every count of the others, so that labels stay for the next
            // sweep on their data as long as there are runs at all.
            for statement in [
                "DELETE FROM journals WHERE id NOT IN (SELECT journal FROM attempts WHERE journal IS NOT NULL)",
                "DELETE FROM policies WHERE id NOT IN (SELECT policy FROM sweep_policies) AND NOT EXISTS (SELECT 1 FROM runs)",
                "DELETE FROM labels WHERE NOT EXISTS (SELECT 1 FROM runs)",
                "DELETE FROM datasets WHERE NOT EXISTS (SELECT 1 FROM runs)",
            ] {
                sqlx::query(statement).execute(&mut *tx).await?;
            }
            runs.into_iter().map(|(_, name)| name).collect()
        })
    }

    /// Gives the room of removed rows back to the disk, where it is worth it: the file is written anew, for which as much must be free as
    /// its rows take. Returns the bytes that are given back.
    ///
    /// # Errors
    /// See [`StoreError`]; the database stays as it was.
    pub async fn shrink(&mut self) -> Result<u64, StoreError> {
        let shrunk = async {
            let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut self.connection).await?;
            let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut self.connection).await?;
            if free * page < WORTH {
                return Ok(0);
            }
            // What is written on the way need not fit into the memory.
            sqlx::query("PRAGMA temp_store = file").execute(&mut self.connection).await?;
            sqlx::query("VACUUM").execute(&mut self.connection).await?;
            Ok(u64::try_from(free * page).unwrap_or(0))
        };
        shrunk.await.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }
}
