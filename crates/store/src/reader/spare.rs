//! What can go: which runs are needed for what, and what the removal of a sweep takes along.

use std::path::{Path, PathBuf};

use sqlx::Row;

use super::Reader;
use crate::rows::RowCounts;
use crate::{StoreError, SweepId, disk};
use plan::{RunConfig, Source};

/// The runs that go with a sweep (`?1`): those that no other sweep has, and trainings of recorded runs anew that no other sweep waits for.
macro_rules! doomed {
    () => {
        "WITH mine (id) AS (
             SELECT w.run FROM sweep_runs w WHERE w.sweep = ?1
             AND NOT EXISTS (SELECT 1 FROM sweep_runs o WHERE o.run = w.run AND o.sweep <> ?1)),
         doomed (id) AS (
             SELECT id FROM mine
             UNION SELECT w.again FROM sweep_runs w WHERE w.sweep = ?1 AND w.again IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM sweep_runs o WHERE o.again = w.again AND o.sweep <> ?1)
             UNION SELECT r.id FROM mine m JOIN runs r ON r.replaces = m.id) "
    };
}
pub(crate) use doomed;

/// A run, as far as its files are concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    pub fingerprint: String,
    /// `queued`, `running`, `succeeded` or `failed`.
    pub state: String,
    pub epochs: i64,
    pub best_epoch: Option<i64>,
    /// Whether it is to take the place of a recorded run.
    pub replaces: bool,
    /// Its best place, from 1, among the runs of a sweep on the same data, by val macro AP at the best epoch and then as planned; `None`
    /// without a result.
    pub place: Option<i64>,
    pub config: RunConfig,
    /// Of the prepared data set, which may be gone.
    pub folder: PathBuf,
}

impl StoredRun {
    /// Whether its scores came from elsewhere.
    #[must_use]
    pub fn was_imported(&self) -> bool {
        matches!(self.config.data.source, Source::Imported { .. })
    }
}

/// What goes with a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    /// Fingerprints of the runs that no other sweep has, with those that are trained anew beside a recorded one.
    pub runs: Vec<String>,
    /// How many of its runs other sweeps have.
    pub shared: i64,
    /// Rows of the runs that go.
    pub rows: RowCounts,
}

impl Reader {
    /// Every run, in the order in which they were asked for first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn stored_runs(&mut self) -> Result<Vec<StoredRun>, StoreError> {
        let base = self.path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        // Means that are equal but for the order of their sums differ after the twelfth digit at most, as in the leaderboard.
        let rows = sqlx::query(
            "SELECT r.fingerprint, r.state, r.epochs, r.best_epoch, r.replaces IS NOT NULL, p.place, r.config, r.folder
             FROM runs r LEFT JOIN (
                 SELECT run, min(place) AS place FROM (
                     SELECT w.run, row_number() OVER (
                         PARTITION BY w.sweep, o.data ORDER BY k.macro_ap IS NULL, round(k.macro_ap, 12) DESC, w.position) AS place
                     FROM sweep_runs w JOIN runs o ON o.id = w.run
                     LEFT JOIN rankings k ON k.run = o.id AND k.epoch = o.best_epoch AND k.split = 'val'
                     WHERE o.state = 'succeeded')
                 GROUP BY run) p ON p.run = r.id
             ORDER BY r.id",
        )
        .fetch_all(self.connected().await?)
        .await
        .and_then(|rows| {
            let run = |row: &sqlx::sqlite::SqliteRow| {
                Ok(StoredRun {
                    fingerprint: row.try_get(0)?,
                    state: row.try_get(1)?,
                    epochs: row.try_get(2)?,
                    best_epoch: row.try_get(3)?,
                    replaces: row.try_get(4)?,
                    place: row.try_get(5)?,
                    config: disk::config(row, 6)?,
                    folder: base.join(row.try_get::<&str, _>(7)?),
                })
            };
            rows.iter().map(run).collect()
        });
        self.told(rows)
    }

    /// What [`crate::Writer::remove_sweep`] would remove.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn removal(&mut self, sweep: SweepId) -> Result<Removal, StoreError> {
        let connection = self.connected().await?;
        let found = async {
            let runs = sqlx::query_scalar(concat!(
                doomed!(),
                "SELECT r.fingerprint FROM doomed d JOIN runs r ON r.id = d.id ORDER BY r.id"
            ))
            .bind(sweep)
            .fetch_all(&mut *connection)
            .await?;
            let shared = sqlx::query_scalar(
                "SELECT count(*) FROM sweep_runs w WHERE w.sweep = ?1
                 AND EXISTS (SELECT 1 FROM sweep_runs o WHERE o.run = w.run AND o.sweep <> ?1)",
            )
            .bind(sweep)
            .fetch_one(&mut *connection)
            .await?;
            let rows = sqlx::query_as(concat!(
                doomed!(),
                "SELECT (SELECT count(*) FROM doomed) AS runs,
                        (SELECT count(*) FROM doomed d JOIN epochs x ON x.run = d.id) AS epochs,
                        (SELECT count(*) FROM doomed d JOIN rankings x ON x.run = d.id) AS rankings,
                        (SELECT count(*) FROM doomed d JOIN label_rankings x ON x.run = d.id) AS label_rankings,
                        (SELECT count(*) FROM doomed d JOIN evaluations x ON x.run = d.id) AS evaluations,
                        (SELECT count(*) FROM doomed d JOIN evaluations x ON x.run = d.id
                         JOIN label_counts c ON c.evaluation = x.id) AS label_counts,
                        (SELECT count(*) FROM doomed d JOIN evaluations x ON x.run = d.id
                         JOIN held_out h ON h.evaluation = x.id) AS held_out,
                        (SELECT count(*) FROM doomed d JOIN evaluations x ON x.run = d.id
                         JOIN label_held_out h ON h.evaluation = x.id) AS label_held_out"
            ))
            .bind(sweep)
            .fetch_one(&mut *connection)
            .await?;
            Ok(Removal { runs, shared, rows })
        };
        let found = found.await;
        self.told(found)
    }
}
