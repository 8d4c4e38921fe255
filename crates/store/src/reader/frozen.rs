//! Counts under thresholds that were frozen on val.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::result::At;
use super::{Reader, parse};
use crate::{StoreError, SweepId};

/// 2^62: the units of thresholds on their way.
const UNIT: f64 = 4_611_686_018_427_387_904.0;

/// The counts of one evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct FrozenCounts {
    pub run: String,
    pub policy: String,
    /// `val` or `test`.
    pub split: String,
    /// In the order of the data: threshold, true positives, false positives.
    pub labels: Vec<(f64, u64, u64)>,
}

impl Reader {
    /// The counts of these runs of the sweep, where they are recorded, under every policy on val and test.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn frozen_counts(&mut self, sweep: SweepId, at: At, runs: &[String]) -> Result<Vec<FrozenCounts>, StoreError> {
        let (which, epoch) = at.bound();
        // One row per evaluation: a row per label would cost more to hand over than to make. Thresholds, float32 from 0 to just above 1, are
        // whole multiples of 2^-62 as far as anybody reads them; writing fractions takes SQLite several times as long.
        let rows = sqlx::query(
            "SELECT r.fingerprint, p.name, e.split,
                    (SELECT json_group_array(json_array(CAST(threshold * 4611686018427387904.0 AS INTEGER), tp, fp)) FROM
                     (SELECT c.threshold, c.tp, c.fp FROM label_counts c JOIN labels l ON l.id = c.label
                      WHERE c.evaluation = e.id ORDER BY l.position))
             FROM json_each(?2) j
             CROSS JOIN runs r ON r.fingerprint = j.value
             CROSS JOIN sweep_runs w ON w.sweep = ?1 AND w.run = r.id
             CROSS JOIN sweep_policies s ON s.sweep = ?1
             CROSS JOIN policies p ON p.id = s.policy
             CROSS JOIN evaluations e ON e.run = r.id AND e.policy = p.id AND e.split IN ('val', 'test')
               AND e.epoch = CASE ?3 WHEN 'best' THEN r.best_epoch WHEN 'last' THEN r.epochs - 1 ELSE ?4 END
             WHERE r.state = 'succeeded'",
        )
        .bind(sweep)
        .bind(crate::json(&runs))
        .bind(which)
        .bind(epoch)
        .fetch_all(self.connected().await?)
        .await
        .and_then(|rows| {
            let read = |row: &SqliteRow| {
                let labels: Vec<(i64, u64, u64)> = parse(row, 3)?;
                let labels = labels.into_iter().map(|(threshold, tp, fp)| (threshold as f64 / UNIT, tp, fp)).collect();
                Ok(FrozenCounts { run: row.try_get(0)?, policy: row.try_get(1)?, split: row.try_get(2)?, labels })
            };
            rows.iter().map(read).collect()
        });
        self.told(rows)
    }
}
