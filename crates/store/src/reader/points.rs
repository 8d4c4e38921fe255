//! Everything that was measured of one run, and the runs as programs of other makers list them.

use sqlx::Row;

use super::Reader;
use crate::columns::{COLUMNS, METRICS, MetricValues};
use crate::{StoreError, SweepId};

/// A run as one sweep names it, with its times and how it ended.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ListedRun {
    /// Its row.
    pub id: i64,
    pub fingerprint: String,
    /// Row id of its data set.
    pub data: i64,
    pub arch: String,
    /// `queued`, `running`, `succeeded` or `failed`.
    pub state: String,
    pub best_epoch: Option<i64>,
    pub created_at: f64,
    pub started_at: Option<f64>,
    pub finished_at: Option<f64>,
    pub loss: String,
    pub pos_weight: String,
    pub gamma: Option<f64>,
    pub sampler: String,
    pub seed: i64,
    /// JSON object of every other axis.
    pub params: String,
    /// Of its last attempt, if that failed.
    pub why: Option<String>,
    /// Stopped early, or left out by a search.
    pub stopped: bool,
}

/// An epoch of training.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct EpochPoint {
    pub epoch: i64,
    /// `None`: not a number.
    pub train_loss: Option<f64>,
    pub val_loss: Option<f64>,
    pub learning_rate: Option<f64>,
    pub finished_at: f64,
}

/// What does not depend on a threshold, on one split at one epoch; `label` is the place of a label, and `None` the mean over labels.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RankingPoint {
    pub epoch: i64,
    pub split: String,
    pub label: Option<i64>,
    pub ap: Option<f64>,
    pub auc: Option<f64>,
}

/// The metrics over all labels on one split at one epoch under one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyPoint {
    pub epoch: i64,
    pub split: String,
    pub policy: String,
    /// Without those that do not depend on a threshold.
    pub metrics: MetricValues,
    /// Whether the thresholds were fitted on other rows of val than these: the columns `held_out_*` of the views.
    pub held_out: bool,
}

/// One label under one policy.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct LabelPoint {
    pub epoch: i64,
    pub split: String,
    pub policy: String,
    /// Its place.
    pub label: i64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub held_out_f1: Option<f64>,
}

/// What was measured of one run, in any state; each list by epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    pub epochs: Vec<EpochPoint>,
    pub rankings: Vec<RankingPoint>,
    pub policies: Vec<PolicyPoint>,
    pub labels: Vec<LabelPoint>,
}

impl Reader {
    /// The ids of all sweeps, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sweep_ids(&mut self) -> Result<Vec<SweepId>, StoreError> {
        let ids = sqlx::query_scalar("SELECT id FROM sweeps ORDER BY id").fetch_all(self.connected().await?).await;
        self.told(ids)
    }

    /// The names of the labels of a data set, in the order of their places.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn label_names(&mut self, data: i64) -> Result<Vec<String>, StoreError> {
        let names = sqlx::query_scalar("SELECT name FROM labels WHERE data = ? ORDER BY position")
            .bind(data)
            .fetch_all(self.connected().await?)
            .await;
        self.told(names)
    }

    /// The runs of the sweep in any state, in the order of its plan.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn listed_runs(&mut self, sweep: SweepId) -> Result<Vec<ListedRun>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT r.id, r.fingerprint, r.data, r.arch, r.state, r.best_epoch, r.created_at, r.started_at, r.finished_at,
                    w.loss, w.pos_weight, w.gamma, w.sampler, w.seed, w.params,
                    (SELECT outcome || ': ' || why FROM attempts WHERE run = r.id AND r.state = 'failed' ORDER BY attempt DESC LIMIT 1) AS why,
                    r.state = 'queued' AND w.left_out
                    OR r.state = 'failed' AND (SELECT outcome FROM attempts WHERE run = r.id ORDER BY attempt DESC LIMIT 1) IS 'stopped_early' AS stopped
             FROM sweep_runs w JOIN runs r ON r.id = w.run WHERE w.sweep = ? ORDER BY w.position",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }

    /// What was measured of the run with this row id.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn points(&mut self, run: i64) -> Result<Points, StoreError> {
        let connection = self.connected().await?;
        let points = async {
            let epochs = sqlx::query_as(
                "SELECT epoch, train_loss, val_loss, learning_rate, finished_at FROM epochs WHERE run = ? ORDER BY epoch",
            )
            .bind(run)
            .fetch_all(&mut *connection)
            .await?;
            let rankings = sqlx::query_as(
                "SELECT epoch, split, NULL AS label, macro_ap AS ap, macro_auc AS auc FROM rankings WHERE run = ?1
                 UNION ALL
                 SELECT k.epoch, k.split, l.position, k.ap, k.auc FROM label_rankings k JOIN labels l ON l.id = k.label WHERE k.run = ?1
                 ORDER BY 1, 2, 3",
            )
            .bind(run)
            .fetch_all(&mut *connection)
            .await?;
            let labels = sqlx::query_as(
                // What is sorted loses the type of generated columns: a whole number would come as INTEGER.
                "SELECT e.epoch, e.split, p.name AS policy, l.position AS label, CAST(c.precision AS REAL) AS precision,
                        CAST(c.recall AS REAL) AS recall, CAST(c.f1 AS REAL) AS f1,
                        CAST(iif(p.fitted AND e.split = 'val', h.f1, NULL) AS REAL) AS held_out_f1
                 FROM evaluations e
                 CROSS JOIN policies p ON p.id = e.policy
                 CROSS JOIN label_counts c ON c.evaluation = e.id
                 CROSS JOIN labels l ON l.id = c.label
                 LEFT JOIN label_held_out h ON h.evaluation = e.id AND h.label = c.label
                 WHERE e.run = ? ORDER BY e.epoch, e.split, e.policy, l.position",
            )
            .bind(run)
            .fetch_all(&mut *connection)
            .await?;
            let columns: String = COLUMNS
                .iter()
                .filter(|column| column.metric.needs_threshold())
                .map(|column| format!(", {}", column.sql))
                .collect();
            let seen = format!(
                "SELECT e.epoch, e.split, p.name, 0{columns} FROM evaluations e
                 CROSS JOIN policies p ON p.id = e.policy
                 CROSS JOIN label_counts c ON c.evaluation = e.id
                 WHERE e.run = ? GROUP BY e.epoch, e.split, e.policy"
            );
            // `e` has what the metrics take from an evaluation.
            let held_out = format!(
                "SELECT v.epoch, v.split, p.name, 1{columns} FROM evaluations v
                 CROSS JOIN policies p ON p.id = v.policy AND p.fitted
                 CROSS JOIN held_out e ON e.evaluation = v.id
                 CROSS JOIN label_held_out c ON c.evaluation = v.id
                 WHERE v.run = ? AND v.split = 'val' GROUP BY v.epoch, v.policy"
            );
            let mut policies = Vec::new();
            for query in [seen, held_out] {
                let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(run).fetch_all(&mut *connection).await?; // made of constants
                for row in &rows {
                    let mut metrics = MetricValues::default();
                    let places = (0..METRICS.len()).filter(|&at| COLUMNS[at].metric.needs_threshold());
                    for (column, place) in places.enumerate() {
                        metrics.0[place] = row.try_get(4 + column)?;
                    }
                    policies.push(PolicyPoint {
                        epoch: row.try_get(0)?,
                        split: row.try_get(1)?,
                        policy: row.try_get(2)?,
                        metrics,
                        held_out: row.try_get(3)?,
                    });
                }
            }
            Ok(Points { epochs, rankings, policies, labels })
        };
        let points = points.await;
        self.told(points)
    }
}
