//! The progress of a sweep.

use serde::Serialize;

use super::Reader;
use crate::{StoreError, SweepId};

/// Number of a sweep's runs by state; a recorded run that is trained again counts by the state of its new training.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Status {
    pub total: i64,
    pub queued: i64,
    pub running: i64,
    pub succeeded: i64,
    pub failed: i64,
    /// Stopped early on request; not counted as failed.
    pub stopped_early: i64,
    /// Not trained: a search has stopped their strategies, or its time is over.
    pub left_out: i64,
    /// Runs that finished since the sweep was last begun: what throughput is measured on.
    pub succeeded_now: i64,
    pub failed_now: i64,
    /// When the last of them finished, in Unix seconds.
    pub last_finished_at: Option<f64>,
}

/// An attempt under way.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct RunningAttempt {
    pub run: String,
    pub attempt: i64,
    pub device: String,
    pub started_at: f64,
    /// Epochs that are done, and of the whole run.
    pub epochs_done: i64,
    pub epochs: i64,
    pub images_per_s: Option<f64>,
}

/// A run that failed for good, with its last attempt.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct FailedRun {
    pub run: String,
    pub loss: String,
    pub pos_weight: String,
    pub gamma: Option<f64>,
    pub sampler: String,
    pub seed: i64,
    pub attempts: i64,
    pub outcome: String,
    pub why: String,
}

/// How long recorded runs took, for estimates.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Pace {
    pub arch: String,
    /// Hash of the data's content.
    pub content: String,
    pub device: String,
    /// Mean seconds of an epoch over the runs recorded last.
    pub seconds_per_epoch: f64,
    pub epochs: i64,
}

/// Tasks of a sweep on a cluster that are not over, by what the scheduler said of them when it was last asked.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Tasks {
    pub job: Option<String>,
    /// `PENDING`, `RUNNING`, ...; empty before the first answer.
    pub state: String,
    pub reason: String,
    pub tasks: i64,
}

impl Reader {
    /// The sweep's tasks on a cluster that are not over.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn cluster_tasks(&mut self, sweep: SweepId) -> Result<Vec<Tasks>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT b.job, s.standing AS state, s.reason, count(*) AS tasks
             FROM slices s JOIN submissions b ON b.id = s.submission WHERE b.sweep = ? AND NOT s.over
             GROUP BY b.created_at, b.id, s.standing, s.reason ORDER BY b.created_at, b.id, s.standing, s.reason",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }

    /// Number of the sweep's runs by state.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn status(&mut self, sweep: SweepId) -> Result<Status, StoreError> {
        let row = sqlx::query_as(
            "SELECT count(*) AS total,
                    coalesce(sum(state = 'queued' AND NOT left_out), 0) AS queued,
                    coalesce(sum(left_out AND state IN ('queued', 'failed') AND NOT early), 0) AS left_out, coalesce(sum(state = 'running'), 0) AS running,
                    coalesce(sum(state = 'succeeded'), 0) AS succeeded, coalesce(sum(state = 'failed' AND NOT early AND NOT left_out), 0) AS failed,
                    coalesce(sum(early), 0) AS stopped_early,
                    coalesce(sum(state = 'succeeded' AND finished_at >= begun_at), 0) AS succeeded_now,
                    coalesce(sum(state = 'failed' AND finished_at >= begun_at), 0) AS failed_now,
                    max(finished_at) AS last_finished_at
             FROM (SELECT r.state, r.finished_at, s.begun_at, w.left_out,
                          r.state = 'failed' AND (SELECT a.outcome FROM attempts a WHERE a.run = r.id
                                                  ORDER BY a.attempt DESC LIMIT 1) IS 'stopped_early' AS early
                   FROM sweeps s JOIN sweep_runs w ON w.sweep = s.id
                   JOIN runs r INDEXED BY runs_state ON r.id = coalesce(w.again, w.run) WHERE s.id = ?)",
        )
        .bind(sweep)
        .fetch_one(self.connected().await?)
        .await;
        self.told(row)
    }

    /// The sweep's attempts under way, longest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn running(&mut self, sweep: SweepId) -> Result<Vec<RunningAttempt>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT o.fingerprint AS run, a.attempt, a.device, a.started_at, r.epochs,
                    (SELECT count(*) FROM epochs e WHERE e.run = r.id) AS epochs_done,
                    (SELECT images_per_s FROM epochs e WHERE e.run = r.id ORDER BY epoch DESC LIMIT 1) AS images_per_s
             FROM attempts a JOIN runs r ON r.id = a.run
             JOIN sweep_runs w ON w.sweep = ? AND (w.run = r.id AND w.again IS NULL OR w.again = r.id)
             JOIN runs o ON o.id = w.run
             WHERE a.outcome IS NULL ORDER BY a.started_at",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }

    /// The sweep's failed runs, each with the outcome and the reason of its last attempt.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn failures(&mut self, sweep: SweepId) -> Result<Vec<FailedRun>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT (SELECT fingerprint FROM runs WHERE id = w.run) AS run, w.loss, w.pos_weight, w.gamma, w.sampler, w.seed,
                    a.attempt AS attempts, coalesce(a.outcome, '') AS outcome, a.why
             FROM sweep_runs w CROSS JOIN runs r INDEXED BY runs_state ON r.id = coalesce(w.again, w.run)
             CROSS JOIN attempts a ON a.run = r.id AND a.attempt = (SELECT max(attempt) FROM attempts WHERE run = r.id)
             WHERE w.sweep = ? AND r.state = 'failed' AND a.outcome IS NOT 'stopped_early' AND NOT w.left_out ORDER BY w.position",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }

    /// Seconds in which at least one of the sweep's recorded runs was training: of overlapping attempts each second counts once. 0
    /// where nothing was trained here.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn busy_seconds(&mut self, sweep: SweepId) -> Result<f64, StoreError> {
        let found: Result<Vec<(f64, f64)>, _> = sqlx::query_as(
            "SELECT a.started_at, a.finished_at FROM sweep_runs w JOIN attempts a ON a.run = w.run
             WHERE w.sweep = ? AND a.outcome = 'ok' AND a.finished_at IS NOT NULL ORDER BY a.started_at",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await;
        let (mut busy, mut until) = (0.0, f64::NEG_INFINITY);
        for (start, end) in self.told(found)? {
            busy += (end - start.max(until)).max(0.0);
            until = until.max(end);
        }
        Ok(busy)
    }

    /// Devices on which the sweep's recorded runs were trained: device, host, runs. Imported scores have none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn devices(&mut self, sweep: SweepId) -> Result<Vec<(String, String, i64)>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT a.device, coalesce(j.host, ''), count(DISTINCT a.run)
             FROM sweep_runs w JOIN attempts a ON a.run = w.run LEFT JOIN journals j ON j.id = a.journal
             WHERE w.sweep = ? AND a.outcome = 'ok' GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }

    /// Mean seconds of an epoch, for each architecture, data set and device, over the 2,000 epochs recorded last;
    /// without the strengths of reference runs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn paces(&mut self) -> Result<Vec<Pace>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT r.arch, d.content, a.device, avg(e.seconds) AS seconds_per_epoch, count(*) AS epochs
             FROM (SELECT run, attempt, seconds FROM epochs WHERE run IN (SELECT id FROM runs ORDER BY id DESC LIMIT 500) AND seconds IS NOT NULL
                   LIMIT 2000) e
             JOIN runs r ON r.id = e.run JOIN datasets d ON d.id = r.data JOIN attempts a ON a.run = e.run AND a.attempt = e.attempt
             WHERE r.id NOT IN (SELECT run FROM sweep_runs WHERE loss LIKE 'logistic%')
             GROUP BY r.arch, d.content, a.device ORDER BY epochs DESC",
        )
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }
}
