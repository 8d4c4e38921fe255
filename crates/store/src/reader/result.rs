//! Rows of the two views, as the reports need them.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Reader, Runs};
use crate::columns::{COLUMNS, METRICS, MetricColumn, MetricValues};
use crate::{StoreError, SweepId};
use plan::Fingerprint;

/// Which epoch of each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// The one with the best val macro_ap.
    Best,
    Last,
    /// The epoch of this number, from 0.
    Epoch(u32),
}

impl At {
    /// (which, number) as the queries bind them.
    pub(super) fn bound(self) -> (&'static str, i64) {
        match self {
            Self::Best => ("best", 0),
            Self::Last => ("last", 0),
            Self::Epoch(epoch) => ("epoch", epoch.into()),
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Last => f.write_str("last"),
            Self::Epoch(epoch) => write!(f, "{epoch}"),
        }
    }
}

/// A row of `leaderboard`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultRow {
    pub run: String,
    pub loss: String,
    pub pos_weight: String,
    pub gamma: Option<f64>,
    pub sampler: String,
    pub seed: i64,
    /// JSON object of every other axis.
    pub params: String,
    pub epoch: i64,
    pub split: String,
    pub policy: String,
    #[serde(flatten)]
    pub metrics: MetricValues,
    pub best_epoch: bool,
    /// Mean over labels.
    pub predicted_rate: Option<f64>,
}

impl sqlx::FromRow<'_, SqliteRow> for ResultRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let mut metrics = MetricValues::default();
        for (value, name) in metrics.0.iter_mut().zip(METRICS) {
            *value = row.try_get(name)?;
        }
        Ok(Self {
            run: row.try_get("run")?,
            loss: row.try_get("loss")?,
            pos_weight: row.try_get("pos_weight")?,
            gamma: row.try_get("gamma")?,
            sampler: row.try_get("sampler")?,
            seed: row.try_get("seed")?,
            params: row.try_get("params")?,
            epoch: row.try_get("epoch")?,
            split: row.try_get("split")?,
            policy: row.try_get("policy")?,
            metrics,
            best_epoch: row.try_get("best_epoch")?,
            predicted_rate: row.try_get("predicted_rate")?,
        })
    }
}

/// The row of an evaluation.
pub type EvaluationId = i64;

/// The values of one evaluation: what a report ranks by.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// Its row.
    pub evaluation: EvaluationId,
    pub run: String,
    pub policy: String,
    /// In the order of [`METRICS`]; `None` where undefined or not asked for.
    pub values: [Option<f64>; METRICS.len()],
    /// Mean over labels.
    pub predicted_rate: Option<f64>,
}

impl Evaluated {
    /// From the columns evaluation, run, policy, predicted_rate and those of the `metrics` (indices into [`METRICS`]).
    fn read(row: &SqliteRow, metrics: &[usize]) -> Result<Self, sqlx::Error> {
        let mut values = [None; METRICS.len()];
        for (column, &metric) in metrics.iter().enumerate() {
            values[metric] = row.try_get(4 + column)?;
        }
        let (evaluation, predicted_rate) = (row.try_get(0)?, row.try_get(3)?);
        Ok(Self { evaluation, run: row.try_get(1)?, policy: row.try_get(2)?, values, predicted_rate })
    }
}

/// One label's means over the evaluations of a group.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct LabelMeans {
    /// Which group.
    pub place: i64,
    pub label: String,
    /// Evaluations that were averaged.
    pub evaluations: i64,
    /// `None` without positives.
    pub ap: Option<f64>,
    pub threshold: f64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub predicted_rate: f64,
}

/// A row of `label_metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct LabelRow {
    pub run: String,
    pub policy: String,
    pub label: String,
    pub threshold: f64,
    pub support: i64,
    pub tp: i64,
    pub fp: i64,
    #[sqlx(rename = "fn")]
    #[serde(rename = "fn")]
    pub fn_: i64,
    pub tn: i64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub ap: Option<f64>,
    pub auc: Option<f64>,
    pub mean_score: Option<f64>,
    pub prevalence: f64,
    pub predicted_rate: f64,
}

impl Reader {
    /// The evaluations of the sweep's succeeded runs on one split: one per run and policy, with those of [`METRICS`] that are asked for.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn results(&mut self, sweep: SweepId, split: &str, at: At, metrics: &[&str]) -> Result<Vec<Evaluated>, StoreError> {
        self.results_of(sweep, Runs::All, split, at, metrics).await
    }

    /// The same of some of its runs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn results_of(
        &mut self,
        sweep: SweepId,
        runs: Runs<'_>,
        split: &str,
        at: At,
        metrics: &[&str],
    ) -> Result<Vec<Evaluated>, StoreError> {
        let metrics: Vec<usize> = (0..METRICS.len()).filter(|&at| metrics.contains(&METRICS[at])).collect();
        let columns: String = metrics.iter().map(|&metric| format!(", {}", COLUMNS[metric].sql)).collect();
        // One pass over the counts of each evaluation, in the order of the keys; the view, made for looking up rows, reads the counts
        // once per column. A test compares the two.
        let query = format!(
            "SELECT e.id, r.fingerprint, p.name, avg(c.predicted_rate){columns}
             FROM sweep_runs w
             CROSS JOIN runs r ON r.id = w.run
             CROSS JOIN evaluations e ON e.run = r.id
             CROSS JOIN policies p ON p.id = e.policy
             CROSS JOIN label_counts c ON c.evaluation = e.id
             LEFT JOIN rankings k ON k.run = e.run AND k.epoch = e.epoch AND k.split = e.split
             WHERE w.sweep = ?1 AND r.state = 'succeeded' AND e.split = ?2
               AND e.epoch = CASE ?3 WHEN 'best' THEN r.best_epoch WHEN 'last' THEN r.epochs - 1 ELSE ?4 END{}
             GROUP BY w.run, e.epoch, e.split, e.policy",
            runs.condition(5)
        );
        let (which, epoch) = at.bound();
        let mut query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(sweep).bind(split).bind(which).bind(epoch); // made of constants
        if let Some(json) = runs.json() {
            query = query.bind(json);
        }
        let rows = query.fetch_all(self.connected().await?).await;
        // Collected before it is converted: freeing rows while SQLite's thread makes new ones costs more than keeping them.
        self.told(rows.and_then(|rows| rows.iter().map(|row| Evaluated::read(row, &metrics)).collect()))
    }

    /// What `metric` (of [`METRICS`]) is on validation rows that the thresholds were not fitted on, by evaluation: of fitted policies that have
    /// it recorded. Nothing for a metric of rankings.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn held_out(&mut self, sweep: SweepId, at: At, metric: &str) -> Result<HashMap<EvaluationId, f64>, StoreError> {
        self.held_out_of(sweep, Runs::All, at, metric).await
    }

    /// The same of some of its runs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn held_out_of(
        &mut self,
        sweep: SweepId,
        runs: Runs<'_>,
        at: At,
        metric: &str,
    ) -> Result<HashMap<EvaluationId, f64>, StoreError> {
        let Some(column) = MetricColumn::named(metric).filter(|column| column.metric.needs_threshold()) else {
            return Ok(HashMap::new());
        };
        // `e` has what the metrics take from an evaluation.
        let query = format!(
            "SELECT v.id, {}
             FROM sweep_runs w
             CROSS JOIN runs r ON r.id = w.run
             CROSS JOIN evaluations v ON v.run = r.id
             CROSS JOIN policies p ON p.id = v.policy AND p.fitted
             CROSS JOIN held_out e ON e.evaluation = v.id
             CROSS JOIN label_held_out c ON c.evaluation = v.id
             WHERE w.sweep = ?1 AND r.state = 'succeeded' AND v.split = 'val'
               AND v.epoch = CASE ?2 WHEN 'best' THEN r.best_epoch WHEN 'last' THEN r.epochs - 1 ELSE ?3 END{}
             GROUP BY v.id",
            column.sql,
            runs.condition(4)
        );
        let (which, epoch) = at.bound();
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(sweep).bind(which).bind(epoch); // made of constants
        if let Some(json) = runs.json() {
            query = query.bind(json);
        }
        let rows: Result<Vec<(EvaluationId, f64)>, _> = query.fetch_all(self.connected().await?).await;
        self.told(rows.map(|rows| rows.into_iter().collect()))
    }

    /// Means of the label rows of groups of evaluations. `groups` are (evaluation, place), each evaluation in one group only; a row for
    /// each place that has evaluations, and each label of their data.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn label_means(&mut self, groups: &[(EvaluationId, usize)]) -> Result<Vec<LabelMeans>, StoreError> {
        self.connected().await?;
        let means = self.means(groups).await;
        self.told(means)
    }

    async fn means(&mut self, groups: &[(EvaluationId, usize)]) -> Result<Vec<LabelMeans>, sqlx::Error> {
        // A temporary table with a key: a join with the JSON itself would parse it once for each evaluation.
        sqlx::query("CREATE TEMP TABLE wanted (evaluation INTEGER PRIMARY KEY, place INTEGER)")
            .execute(&mut self.connection)
            .await?;
        sqlx::query("INSERT INTO temp.wanted SELECT value ->> 0, value ->> 1 FROM json_each(?1)")
            .bind(crate::json(&groups))
            .execute(&mut self.connection)
            .await?;
        let means = sqlx::query_as(
            "SELECT w.place, l.name AS label, count(*) AS evaluations, avg(k.ap) AS ap, avg(c.threshold) AS threshold,
                    avg(c.precision) AS precision, avg(c.recall) AS recall, avg(c.f1) AS f1, avg(c.predicted_rate) AS predicted_rate
             FROM temp.wanted w
             CROSS JOIN evaluations e ON e.id = w.evaluation
             CROSS JOIN label_counts c ON c.evaluation = e.id
             LEFT JOIN label_rankings k ON k.run = e.run AND k.epoch = e.epoch AND k.split = e.split AND k.label = c.label
             JOIN labels l ON l.id = c.label
             GROUP BY w.place, c.label",
        )
        .fetch_all(&mut self.connection)
        .await?;
        sqlx::query("DROP TABLE temp.wanted").execute(&mut self.connection).await?;
        Ok(means)
    }

    /// Every leaderboard row of one run, as the newest of its sweeps names it: by split, epoch and policy.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn run_results(&mut self, run: &Fingerprint) -> Result<Vec<ResultRow>, StoreError> {
        let query = format!(
            "SELECT run, loss, pos_weight, gamma, sampler, seed, params, epoch, split, policy, {}, best_epoch, predicted_rate
             FROM leaderboard_all
             WHERE run = ?1 AND sweep_id = (SELECT s.id FROM runs r JOIN sweep_runs w ON w.run = r.id JOIN sweeps s ON s.id = w.sweep
                                            WHERE r.fingerprint = ?1 ORDER BY s.turn DESC LIMIT 1)
             ORDER BY split DESC, epoch, policy",
            METRICS.join(", ")
        );
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(query)) // made of constants
            .bind(&run.0)
            .fetch_all(self.connected().await?)
            .await;
        self.told(rows)
    }

    /// The label rows of one run at its best epoch, on `split`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn run_labels(&mut self, run: &Fingerprint, split: &str) -> Result<Vec<LabelRow>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT run, policy, label, threshold, support, tp, fp, fn, tn, precision, recall, f1, ap, auc, mean_score, prevalence, predicted_rate
             FROM label_metrics_all
             WHERE run = ?1 AND split = ?2 AND best_epoch
               AND sweep_id = (SELECT s.id FROM runs r JOIN sweep_runs w ON w.run = r.id JOIN sweeps s ON s.id = w.sweep
                               WHERE r.fingerprint = ?1 ORDER BY s.turn DESC LIMIT 1)",
        )
        .bind(&run.0)
        .bind(split)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }
}
