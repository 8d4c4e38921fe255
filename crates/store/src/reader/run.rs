//! One run: its configuration, attempts and epochs.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sqlx::Row;

use super::{Reader, parse};
use crate::{StoreError, disk};
use plan::{DataFacts, Fingerprint, RunConfig};

/// A run, whatever sweeps it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    pub fingerprint: Fingerprint,
    /// `queued`, `running`, `succeeded` or `failed`.
    pub state: String,
    pub config: RunConfig,
    /// Resolved positive weights, one per label.
    pub pos_weight: Vec<f64>,
    pub facts: DataFacts,
    /// Of the prepared data set, which may be gone.
    #[serde(skip)]
    pub folder: PathBuf,
    pub best_epoch: Option<i64>,
    pub created_at: f64,
    pub started_at: Option<f64>,
    pub finished_at: Option<f64>,
    /// Version of the program that first planned it.
    pub version: String,
    /// Its `plan::FORMAT`: runs of different formats were not made by the same rules.
    pub format: u32,
    /// Titles of the sweeps that contain it, newest first.
    pub sweeps: Vec<String>,
}

/// One try at a run.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct AttemptRow {
    pub attempt: i64,
    pub device: String,
    pub worker: Option<String>,
    pub host: Option<String>,
    /// Epoch of the checkpoint it continued.
    pub from_epoch: Option<i64>,
    pub started_at: f64,
    pub finished_at: Option<f64>,
    /// `None` while it runs.
    pub outcome: Option<String>,
    pub why: String,
    /// The end of the worker's log, of failed attempts.
    pub log: String,
}

/// One training epoch.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct EpochRow {
    pub epoch: i64,
    pub train_loss: Option<f64>,
    pub val_loss: Option<f64>,
    pub learning_rate: Option<f64>,
    pub seconds: Option<f64>,
    pub images_per_s: Option<f64>,
}

impl Reader {
    /// The one run whose fingerprint starts with `prefix`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where no run matches, or more than one (they are listed).
    pub async fn find_run(&mut self, prefix: &str) -> Result<RunRow, StoreError> {
        let prefix = prefix.trim().to_lowercase();
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StoreError::NotFound(format!(
                "`{prefix}` names no run: a run is named by the first hex digits of its fingerprint"
            )));
        }
        let base = self.path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        // The last bound is above every continuation of the prefix: `g` follows the hex digits.
        let rows = sqlx::query(
            "SELECT r.fingerprint, r.config, r.pos_weight, d.facts, r.state, r.best_epoch, r.created_at, r.started_at, r.finished_at,
                    r.version, (SELECT json_group_array(title) FROM (SELECT s.title FROM sweep_runs w JOIN sweeps s ON s.id = w.sweep
                                WHERE w.run = r.id ORDER BY s.turn DESC)), r.folder, r.format
             FROM runs r JOIN datasets d ON d.id = r.data WHERE r.fingerprint >= ?1 AND r.fingerprint < ?1 || 'g' AND r.replaces IS NULL ORDER BY 1 LIMIT 11",
        )
        .bind(&prefix)
        .fetch_all(self.connected().await?)
        .await
        .and_then(|rows| {
            rows.iter()
                .map(|row| {
                    Ok(RunRow {
                        fingerprint: Fingerprint(row.try_get(0)?),
                        config: disk::config(row, 1)?,
                        pos_weight: parse(row, 2)?,
                        facts: disk::facts(row, 3)?,
                        state: row.try_get(4)?,
                        best_epoch: row.try_get(5)?,
                        created_at: row.try_get(6)?,
                        started_at: row.try_get(7)?,
                        finished_at: row.try_get(8)?,
                        version: row.try_get(9)?,
                        sweeps: parse(row, 10)?,
                        folder: base.join(row.try_get::<&str, _>(11)?),
                        format: row.try_get(12)?,
                    })
                })
                .collect::<Result<Vec<_>, _>>()
        });
        let mut rows: Vec<RunRow> = self.told(rows)?;
        match rows.len() {
            1 => Ok(rows.swap_remove(0)),
            0 => Err(StoreError::NotFound(format!("{} has no run {prefix}", self.path.display()))),
            found => {
                let mut names: Vec<&str> = rows.iter().take(10).map(|run| run.fingerprint.0.as_str()).collect();
                if found > 10 {
                    names.push("...");
                }
                Err(StoreError::NotFound(format!(
                    "`{prefix}` is the start of more than one run: {}; type more digits",
                    names.join(", ")
                )))
            }
        }
    }

    /// Its attempts, first to last.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn attempts(&mut self, run: &Fingerprint) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT a.attempt, a.device, j.worker, j.host, a.from_epoch, a.started_at, a.finished_at, a.outcome, a.why, a.log
             FROM runs r JOIN attempts a ON a.run = r.id LEFT JOIN journals j ON j.id = a.journal
             WHERE r.fingerprint = ? ORDER BY a.attempt",
        )
        .bind(&run.0)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }

    /// Its training epochs so far.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn epochs(&mut self, run: &Fingerprint) -> Result<Vec<EpochRow>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT e.epoch, e.train_loss, e.val_loss, e.learning_rate, e.seconds, e.images_per_s
             FROM runs r JOIN epochs e ON e.run = r.id WHERE r.fingerprint = ? ORDER BY e.epoch",
        )
        .bind(&run.0)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }
}
