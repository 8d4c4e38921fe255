//! What the samplers drew.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Reader, Runs, parse};
use crate::{StoreError, SweepId};
use imbalance::sampler::Realised;
use plan::Fingerprint;

fn drawn(row: &SqliteRow) -> Result<(String, Realised), sqlx::Error> {
    let drawn = Realised {
        draws: row.try_get::<i64, _>(1)? as usize,
        duplicates: row.try_get(2)?,
        never_drawn: row.try_get(3)?,
        made_up: row.try_get(4)?,
        shift: row.try_get(5)?,
        prevalence: parse(row, 6)?,
    };
    Ok((row.try_get(0)?, drawn))
}

impl Reader {
    /// What the samplers of the sweep's runs drew in their first epochs; runs without that record are left out.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn draws(&mut self, sweep: SweepId) -> Result<Vec<(String, Realised)>, StoreError> {
        self.draws_of(sweep, Runs::All).await
    }

    /// The same of some of its runs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn draws_of(&mut self, sweep: SweepId, runs: Runs<'_>) -> Result<Vec<(String, Realised)>, StoreError> {
        let query = format!(
            "SELECT r.fingerprint, d.draws, d.duplicates, d.never_drawn, d.made_up, d.shift,
                    (SELECT json_group_array(prevalence) FROM (SELECT x.prevalence FROM label_draws x JOIN labels l ON l.id = x.label
                     WHERE x.run = d.run ORDER BY l.position))
             FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN draws d ON d.run = r.id WHERE w.sweep = ?1{} ORDER BY w.position",
            runs.condition(2)
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(sweep); // made of constants
        if let Some(json) = runs.json() {
            query = query.bind(json);
        }
        let rows = query.fetch_all(self.connected().await?).await.and_then(|rows| rows.iter().map(drawn).collect());
        self.told(rows)
    }

    /// The same of one run.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn run_draws(&mut self, run: &Fingerprint) -> Result<Option<Realised>, StoreError> {
        let row = sqlx::query(
            "SELECT r.fingerprint, d.draws, d.duplicates, d.never_drawn, d.made_up, d.shift,
                    (SELECT json_group_array(prevalence) FROM (SELECT x.prevalence FROM label_draws x JOIN labels l ON l.id = x.label
                     WHERE x.run = d.run ORDER BY l.position))
             FROM runs r JOIN draws d ON d.run = r.id WHERE r.fingerprint = ?",
        )
        .bind(&run.0)
        .fetch_optional(self.connected().await?)
        .await
        .and_then(|row| row.as_ref().map(drawn).transpose());
        Ok(self.told(row)?.map(|(_, drawn)| drawn))
    }
}
