//! Searches: what they know of a sweep's runs, and what they decide.

use sqlx::{Connection, Row};

use super::{Writer, transaction};
use crate::{SearchDecision, StoreError, SweepId, disk, json, now};
use plan::{Fingerprint, RunConfig, RunName, Search, SearchMetric};

/// A run of a sweep, as a search sees it.
#[derive(Clone, Debug)]
pub struct SearchRun {
    pub run: Fingerprint,
    pub name: RunName,
    pub config: RunConfig,
    /// Row id of its data set.
    pub data: i64,
    /// Runs with equal numbers may train together.
    pub bundle: usize,
    /// `queued`, `running`, `succeeded` or `failed`.
    pub state: String,
    /// Attempts that have failed.
    pub failures: u32,
}

impl Writer {
    /// Begins or continues the search of a sweep, or ends it where there is none any more. Decisions of a search with other settings are
    /// forgotten, and so is what was left out. Runs that a search has stopped, but not this one, wait again: they are continued from their
    /// checkpoints.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_search(&mut self, sweep: SweepId, search: Option<(&Search, Option<usize>)>) -> Result<(), StoreError> {
        let (config, strategies) = (search.map(|(search, _)| json(search)), search.and_then(|(_, strategies)| strategies));
        transaction!(self, |tx, _known| {
            let before: Option<(String, Option<i64>)> = sqlx::query_as("SELECT config, strategies FROM searches WHERE sweep = ?")
                .bind(sweep)
                .fetch_optional(&mut *tx)
                .await?;
            let (before, known) = before.map_or((None, None), |(config, strategies)| (Some(config), strategies));
            // A budget ends a search, and changes no decision.
            let rules = |config: Option<&String>| {
                let search: Option<Search> = config.and_then(|config| serde_json::from_str(config).ok());
                search.map(|search| Search { budget: None, ..search })
            };
            let same = before.is_some() && rules(before.as_ref()) == rules(config.as_ref());
            sqlx::query(
                "UPDATE runs SET state = 'queued', finished_at = NULL
                 WHERE state = 'failed' AND id IN (SELECT run FROM sweep_runs WHERE sweep = ?1)
                   AND (SELECT outcome FROM attempts WHERE run = runs.id ORDER BY attempt DESC LIMIT 1) = 'stopped_early'
                   AND EXISTS (SELECT 1 FROM search_decisions d WHERE d.run = runs.id AND NOT d.goes_on)
                   AND NOT (?2 AND EXISTS (SELECT 1 FROM search_decisions d WHERE d.run = runs.id AND d.sweep = ?1 AND NOT d.goes_on))",
            )
            .bind(sweep)
            .bind(same)
            .execute(&mut *tx)
            .await?;
            if !same {
                sqlx::query("DELETE FROM search_decisions WHERE sweep = ?").bind(sweep).execute(&mut *tx).await?;
            }
            sqlx::query("UPDATE sweep_runs SET left_out = 0 WHERE sweep = ? AND left_out").bind(sweep).execute(&mut *tx).await?;
            sqlx::query("DELETE FROM searches WHERE sweep = ?").bind(sweep).execute(&mut *tx).await?;
            if let Some(config) = config {
                sqlx::query("INSERT INTO searches (sweep, config, strategies) VALUES (?, ?, ?)")
                    .bind(sweep)
                    .bind(config)
                    .bind(strategies.map(|count| count as i64).or(known))
                    .execute(&mut *tx)
                    .await?;
            }
        })
    }

    /// The runs of the sweep, in the order of its plan.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn search_runs(&mut self, sweep: SweepId) -> Result<Vec<SearchRun>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.fingerprint, r.config, r.data, w.bundle, r.state, w.loss, w.pos_weight, w.gamma, w.sampler, w.seed, w.params,
                    (SELECT count(*) FROM attempts a WHERE a.run = r.id AND a.outcome NOT IN ('ok', 'stopped', 'stopped_early', 'lost', 'io'))
             FROM sweep_runs w JOIN runs r ON r.id = w.run WHERE w.sweep = ? ORDER BY w.position",
        )
        .bind(sweep)
        .fetch_all(&mut self.connection)
        .await;
        let read = |row: &sqlx::sqlite::SqliteRow| -> Result<SearchRun, sqlx::Error> {
            let name = RunName {
                loss: row.try_get(5)?,
                pos_weight: row.try_get(6)?,
                gamma: row.try_get(7)?,
                sampler: row.try_get(8)?,
                seed: u64::try_from(row.try_get::<i64, _>(9)?).unwrap_or_default(),
                params: crate::reader::parse(row, 10)?,
            };
            Ok(SearchRun {
                run: Fingerprint(row.try_get(0)?),
                name,
                config: disk::config(row, 1)?,
                data: row.try_get(2)?,
                bundle: usize::try_from(row.try_get::<i64, _>(3)?).unwrap_or_default(),
                state: row.try_get(4)?,
                failures: row.try_get(11)?,
            })
        };
        let runs = rows.and_then(|rows| rows.iter().map(read).collect());
        runs.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// The val values of the sweep's runs, by run and epoch.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn search_values(
        &mut self,
        sweep: SweepId,
        metric: SearchMetric,
    ) -> Result<Vec<(Fingerprint, usize, Option<f64>)>, StoreError> {
        let query = format!(
            "SELECT r.fingerprint, k.epoch, k.{} FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN rankings k ON k.run = r.id AND k.split = 'val'
             WHERE w.sweep = ? ORDER BY w.position, k.epoch",
            metric.column()
        );
        let rows: Result<Vec<(String, i64, Option<f64>)>, sqlx::Error> =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(sweep).fetch_all(&mut self.connection).await; // made of constants
        let rows = rows.map_err(|source| StoreError::from_sqlite(&self.path, source))?;
        Ok(rows.into_iter().map(|(run, epoch, value)| (Fingerprint(run), usize::try_from(epoch).unwrap_or(0), value)).collect())
    }

    /// What the search of the sweep has decided, in order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn search_decisions(&mut self, sweep: SweepId) -> Result<Vec<SearchDecision>, StoreError> {
        crate::reader::decisions(&mut self.connection, sweep).await.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// Records decisions, and runs that are not trained for them. A run that is stopped while it waits to go on ends here.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn decide(
        &mut self,
        sweep: SweepId,
        decisions: &[SearchDecision],
        left_out: &[Fingerprint],
    ) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            for decision in decisions {
                sqlx::query(
                    "INSERT INTO search_decisions (sweep, run, rung, evaluations, value, cut, place, among, goes_on, decided_at)
                     SELECT ?1, id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM runs WHERE fingerprint = ?2
                     ON CONFLICT (sweep, run, rung) DO NOTHING",
                )
                .bind(sweep)
                .bind(&decision.run.0)
                .bind(decision.rung as i64)
                .bind(decision.evaluations as i64)
                .bind(decision.value)
                .bind(decision.cut)
                .bind(decision.place as i64)
                .bind(decision.among as i64)
                .bind(decision.goes_on)
                .bind(now())
                .execute(&mut *tx)
                .await?;
            }
            let stopped: Vec<&str> =
                decisions.iter().filter(|decision| !decision.goes_on).map(|decision| &decision.run.0[..]).collect();
            if !stopped.is_empty() {
                let stopped = json(&stopped);
                for statement in [
                    "UPDATE attempts SET outcome = 'stopped_early', why = 'the search has stopped its strategy'
                     WHERE run IN (SELECT r.id FROM json_each(?1) j JOIN runs r ON r.fingerprint = j.value WHERE r.state = 'queued')
                       AND attempt = (SELECT max(attempt) FROM attempts o WHERE o.run = attempts.run) AND outcome <> 'ok'",
                    "UPDATE runs SET state = 'failed', finished_at = ?2
                     WHERE state = 'queued' AND fingerprint IN (SELECT value FROM json_each(?1))
                       AND EXISTS (SELECT 1 FROM attempts WHERE run = runs.id)",
                ] {
                    sqlx::query(statement).bind(&stopped).bind(now()).execute(&mut *tx).await?;
                }
            }
            if !left_out.is_empty() {
                sqlx::query(
                    "UPDATE sweep_runs SET left_out = 1
                     WHERE sweep = ?1 AND run IN (SELECT r.id FROM json_each(?2) j JOIN runs r ON r.fingerprint = j.value
                                                  WHERE r.state NOT IN ('succeeded', 'running'))",
                )
                .bind(sweep)
                .bind(json(&left_out))
                .execute(&mut *tx)
                .await?;
            }
        })
    }

    /// Seconds in which the sweep was training: of overlapping attempts each second counts once, and one that was lost counts up to its
    /// last epoch.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn search_seconds(&mut self, sweep: SweepId) -> Result<f64, StoreError> {
        let found: Result<Vec<(f64, f64)>, _> = sqlx::query_as(
            "SELECT a.started_at,
                    coalesce(CASE WHEN a.outcome = 'lost'
                             THEN (SELECT max(finished_at) FROM epochs e WHERE e.run = a.run AND e.attempt = a.attempt)
                             ELSE a.finished_at END, a.started_at)
             FROM sweep_runs w JOIN sweeps s ON s.id = w.sweep JOIN attempts a ON a.run = w.run
             WHERE w.sweep = ? AND a.started_at >= s.created_at ORDER BY a.started_at",
        )
        .bind(sweep)
        .fetch_all(&mut self.connection)
        .await;
        let found = found.map_err(|source| StoreError::from_sqlite(&self.path, source))?;
        let (mut busy, mut until) = (0.0, f64::NEG_INFINITY);
        for (start, end) in found {
            busy += (end - start.max(until)).max(0.0);
            until = until.max(end);
        }
        Ok(busy)
    }
}
