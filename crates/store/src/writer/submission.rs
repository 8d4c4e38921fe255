//! Runs that are handed to a cluster: submissions, their slices, and the journals of their workers.

use std::collections::HashMap;

use sqlx::Connection;

use super::attempt::settle;
use super::{Writer, transaction};
use crate::{StoreError, SweepId, json, now, word};
use plan::Fingerprint;
use protocol::Outcome;

/// What is known of a submission.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Submission {
    pub id: String,
    /// `intent`, `held`, `live`, `void` or `over` (migrations/0009_submissions.sql).
    pub state: String,
    /// The scheduler's number of the array.
    pub job: Option<String>,
    pub created_at: f64,
    pub released_at: Option<f64>,
}

/// A slice that is not over: what the scheduler has last said of its task.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Slice {
    pub submission: String,
    pub slice: i64,
    pub standing: String,
    pub reason: String,
    pub gone_since: Option<f64>,
    /// Its runs that have neither succeeded nor ended in an attempt of this slice.
    pub open: i64,
    pub runs: i64,
}

/// An attempt of a slice without an end.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAttempt {
    pub run: Fingerprint,
    pub attempt: u32,
    /// The journal that tells of it.
    pub journal: String,
    /// Attempts at this run, up to this one, that were lost in a row without a further checkpoint. A node that failed and a task that was
    /// preempted do not count.
    pub in_vain: u32,
    /// Attempts that have failed before.
    pub failures: u32,
}

/// Fingerprint, attempt, journal, losses in vain, failures.
type OpenRow = (String, u32, String, u32, u32);

/// States of a task that say nothing about its runs: these attempts are not counted.
pub const NOT_COUNTED: [&str; 2] = ["NODE_FAIL", "PREEMPTED"];

impl Writer {
    /// Records that `slices` are about to be submitted, before the scheduler hears of it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn intend(&mut self, sweep: SweepId, id: &str, slices: &[Vec<Fingerprint>]) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            sqlx::query("INSERT INTO submissions (id, sweep, created_at) VALUES (?, ?, ?)")
                .bind(id)
                .bind(sweep)
                .bind(now())
                .execute(&mut *tx)
                .await?;
            let mut rows: Vec<(usize, i64)> = Vec::new();
            for (slice, runs) in slices.iter().enumerate() {
                let found = Self::runs(known, tx, runs).await?;
                rows.extend(found.into_iter().flatten().map(|run| (slice, run.id)));
            }
            sqlx::query(
                "INSERT INTO slices (submission, slice) SELECT DISTINCT ?1, value ->> 0 FROM json_each(?2);
                 INSERT INTO slice_runs (submission, slice, run) SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2)",
            )
            .bind(id)
            .bind(json(&rows))
            .execute(&mut *tx)
            .await?;
        })
    }

    /// The scheduler has the submission, held, as `job`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn submitted(&mut self, id: &str, job: &str) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            sqlx::query("UPDATE submissions SET state = 'held', job = ?2 WHERE id = ?1 AND state = 'intent'")
                .bind(id)
                .bind(job)
                .execute(&mut *tx)
                .await?;
        })
    }

    /// Its tasks may start.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn released(&mut self, id: &str) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            sqlx::query("UPDATE submissions SET state = 'live', released_at = ?2 WHERE id = ?1 AND state = 'held'")
                .bind(id)
                .bind(now())
                .execute(&mut *tx)
                .await?;
        })
    }

    /// It was never released and never will be: its runs are free for another.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn void(&mut self, id: &str) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            sqlx::query(
                "UPDATE submissions SET state = 'void', over_at = ?2 WHERE id = ?1 AND state IN ('intent', 'held');
                 UPDATE slices SET over = 1 WHERE submission = ?1",
            )
            .bind(id)
            .bind(now())
            .execute(&mut *tx)
            .await?;
        })
    }

    /// The sweep's submissions that are not over; with the void ones of the last `seconds`, of which the scheduler may hear late.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn submissions(&mut self, sweep: SweepId, seconds: f64) -> Result<Vec<Submission>, StoreError> {
        let found = sqlx::query_as(
            "SELECT id, state, job, created_at, released_at FROM submissions
             WHERE sweep = ?1 AND (state IN ('intent', 'held', 'live') OR (state = 'void' AND created_at >= ?2)) ORDER BY created_at, id",
        )
        .bind(sweep)
        .bind(now() - seconds)
        .fetch_all(&mut self.connection)
        .await;
        found.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// The slices of the sweep that are not over.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn slices(&mut self, sweep: SweepId) -> Result<Vec<Slice>, StoreError> {
        let found = sqlx::query_as(
            "SELECT s.submission, s.slice, s.standing, s.reason, s.gone_since, count(*) AS runs,
                    sum(r.state <> 'succeeded' AND NOT EXISTS (SELECT 1 FROM attempts a JOIN journals j ON j.id = a.journal
                        WHERE a.run = w.run AND j.submission = s.submission AND a.outcome NOT IN ('lost', 'stopped'))) AS open
             FROM slices s JOIN submissions b ON b.id = s.submission JOIN slice_runs w ON w.submission = s.submission AND w.slice = s.slice
             JOIN runs r ON r.id = w.run WHERE b.sweep = ? AND NOT s.over GROUP BY s.submission, s.slice ORDER BY s.submission, s.slice",
        )
        .bind(sweep)
        .fetch_all(&mut self.connection)
        .await;
        found.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// What the scheduler says of tasks: submission, slice, state, reason, and since when they are gone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn tasks(&mut self, tasks: &[(&str, i64, &str, &str, Option<f64>)]) -> Result<(), StoreError> {
        if tasks.is_empty() {
            return Ok(());
        }
        transaction!(self, |tx, _known| {
            sqlx::query(
                "UPDATE slices SET standing = n.value ->> 2, reason = n.value ->> 3, gone_since = n.value ->> 4 FROM json_each(?) n
                 WHERE submission = n.value ->> 0 AND slice = n.value ->> 1",
            )
            .bind(json(&tasks))
            .execute(&mut *tx)
            .await?;
        })
    }

    /// From now on records of this journal are those of a slice's worker, which number their attempts by themselves.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn share_journal(&mut self, journal: &str, submission: &str, slice: usize) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            known.journals.remove(journal);
            sqlx::query(
                "INSERT INTO journals (name, submission, slice) VALUES (?1, (SELECT id FROM submissions WHERE id = ?2), ?3)
                 ON CONFLICT (name) DO NOTHING",
            )
            .bind(journal)
            .bind(submission)
            .bind(slice as i64)
            .execute(&mut *tx)
            .await?;
        })
    }

    /// The attempts without an end that a journal tells of, or all journals of a slice.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_attempts(
        &mut self,
        submission: &str,
        slice: i64,
        journal: Option<&str>,
    ) -> Result<Vec<OpenAttempt>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT r.fingerprint, a.attempt, j.name,
                    (SELECT count(*) FROM attempts b WHERE b.run = a.run AND b.attempt <= a.attempt
                        AND (b.outcome IS NULL OR b.outcome = 'lost') AND b.from_epoch IS a.from_epoch
                        AND b.why NOT LIKE 'NODE_FAIL%' AND b.why NOT LIKE 'PREEMPTED%'
                        AND b.attempt > coalesce((SELECT max(c.attempt) FROM attempts c WHERE c.run = a.run AND c.attempt < a.attempt
                            AND (c.outcome NOT IN ('lost') OR c.from_epoch IS NOT a.from_epoch)), 0)),
                    (SELECT count(*) FROM attempts b WHERE b.run = a.run AND b.outcome NOT IN ('ok', 'stopped', 'lost', 'io'))
             FROM journals j JOIN attempts a ON a.journal = j.id JOIN runs r ON r.id = a.run
             WHERE j.submission = ?1 AND j.slice = ?2 AND a.outcome IS NULL AND (?3 IS NULL OR j.name = ?3 OR j.name LIKE ?3 || '@%')
             ORDER BY j.name, r.id",
        )
        .bind(submission)
        .bind(slice)
        .bind(journal)
        .fetch_all(&mut self.connection)
        .await;
        let rows: Vec<OpenRow> = rows.map_err(|source| StoreError::from_sqlite(&self.path, source))?;
        let attempt = |(run, attempt, journal, in_vain, failures): OpenRow| OpenAttempt {
            run: Fingerprint(run),
            attempt,
            journal,
            in_vain,
            failures,
        };
        Ok(rows.into_iter().map(attempt).collect())
    }

    /// The slice is over: its journals are read to their ends and its attempts are judged. Runs of it that nothing has ended are queued.
    /// `failed`: they have failed instead, for this reason, without an attempt that says so.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn slice_over(&mut self, submission: &str, slice: i64) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            sqlx::query("UPDATE slices SET over = 1 WHERE submission = ? AND slice = ?")
                .bind(submission)
                .bind(slice)
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "UPDATE submissions SET state = 'over', over_at = ?2 WHERE id = ?1 AND state = 'live'
                 AND NOT EXISTS (SELECT 1 FROM slices WHERE submission = ?1 AND NOT over)",
            )
            .bind(submission)
            .bind(now())
            .execute(&mut *tx)
            .await?;
        })
    }

    /// Records that a run never began, because its task did not start, as an attempt of its own.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn not_begun(
        &mut self,
        run: &Fingerprint,
        device: &str,
        outcome: Outcome,
        why: &str,
        retry: bool,
    ) -> Result<(), StoreError> {
        let attempt = self.begin_attempts(std::slice::from_ref(run), device).await?;
        let attempt = attempt.first().copied().unwrap_or(1);
        self.end_attempt(run, attempt, outcome, why, "", retry).await
    }

    /// The runs of a slice that have neither succeeded nor failed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unfinished_of(&mut self, submission: &str, slice: i64) -> Result<Vec<Fingerprint>, StoreError> {
        let rows: Result<Vec<String>, _> = sqlx::query_scalar(
            "SELECT r.fingerprint FROM slice_runs w JOIN runs r ON r.id = w.run WHERE w.submission = ? AND w.slice = ?
             AND r.state IN ('queued', 'running') ORDER BY r.id",
        )
        .bind(submission)
        .bind(slice)
        .fetch_all(&mut self.connection)
        .await;
        Ok(rows.map_err(|source| StoreError::from_sqlite(&self.path, source))?.into_iter().map(Fingerprint).collect())
    }

    /// The journals that told of the attempts by which these runs succeeded; `None` where a run has not, or did so on this machine.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn winning_journals(&mut self, runs: &[Fingerprint]) -> Result<Vec<Option<String>>, StoreError> {
        let rows: Result<Vec<(String, String)>, _> = sqlx::query_as(
            "SELECT r.fingerprint, j.name FROM json_each(?) n JOIN runs r ON r.fingerprint = n.value
             JOIN attempts a ON a.run = r.id AND a.attempt = r.winner JOIN journals j ON j.id = a.journal
             WHERE r.state = 'succeeded' AND j.submission IS NOT NULL",
        )
        .bind(json(&runs))
        .fetch_all(&mut self.connection)
        .await;
        let rows = rows.map_err(|source| StoreError::from_sqlite(&self.path, source))?;
        let found: HashMap<String, String> = rows.into_iter().collect();
        Ok(runs.iter().map(|run| found.get(&run.0).cloned()).collect())
    }

    /// Whether the database has a run of this name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn knows(&mut self, run: &Fingerprint) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM runs WHERE fingerprint = ?)")
            .bind(&run.0)
            .fetch_one(&mut self.connection)
            .await;
        found.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// Whether any sweep has a submission that is not over.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn has_submissions(&mut self) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM submissions WHERE state IN ('intent', 'held', 'live'))")
            .fetch_one(&mut self.connection)
            .await;
        found.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// The sweep's submissions of which nothing more is to come.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn over_submissions(&mut self, sweep: SweepId) -> Result<Vec<String>, StoreError> {
        let found = sqlx::query_scalar("SELECT id FROM submissions WHERE sweep = ? AND state IN ('void', 'over')")
            .bind(sweep)
            .fetch_all(&mut self.connection)
            .await;
        found.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// Ends the runs of the sweep that wait although they have had all their attempts: each time that a run is tried, it has `attempts`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn give_up(&mut self, sweep: SweepId, attempts: u32) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            sqlx::query(
                "UPDATE runs SET state = 'failed', finished_at = ?3 WHERE state = 'queued'
                 AND id IN (SELECT coalesce(again, run) FROM sweep_runs WHERE sweep = ?1)
                 AND (SELECT a.outcome IN ('out_of_memory', 'crashed', 'killed', 'hung') FROM attempts a WHERE a.run = runs.id
                      ORDER BY a.attempt DESC LIMIT 1)
                 AND (SELECT count(*) FROM attempts a WHERE a.run = runs.id AND a.outcome NOT IN ('ok', 'stopped', 'lost', 'io')) % ?2 = 0",
            )
            .bind(sweep)
            .bind(attempts.max(1))
            .bind(now())
            .execute(&mut *tx)
            .await?;
        })
    }

    /// The verdict on an attempt of a slice; see [`Writer::end_attempt`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn judge(&mut self, attempts: &[(OpenAttempt, Outcome, String, bool)], log: &str) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            for (OpenAttempt { run, attempt, .. }, outcome, why, retry) in attempts {
                let Some(run) = Self::run(known, tx, run).await? else { continue };
                sqlx::query(
                    "UPDATE attempts SET outcome = ?3, why = ?4, log = ?5, finished_at = ?6
                     WHERE run = ?1 AND attempt = ?2 AND outcome IS NULL",
                )
                .bind(run.id)
                .bind(attempt)
                .bind(word(outcome))
                .bind(why)
                .bind(log)
                .bind(now())
                .execute(&mut *tx)
                .await?;
                settle(tx, run.id, *retry, now()).await?;
            }
        })
    }
}
