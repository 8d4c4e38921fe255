//! The learning curves of the runs of a sweep.

use serde::Serialize;

use super::Reader;
use crate::{StoreError, SweepId, json};

/// An epoch of a run. Those of a reference run are strengths of its regularisation, not steps of a training.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct CurvePoint {
    /// Fingerprint.
    pub run: String,
    pub epoch: i64,
    /// Gradient steps since the start; `None`: recorded by an older program, or imported.
    pub steps: Option<i64>,
    pub train_loss: Option<f64>,
    pub val_loss: Option<f64>,
    /// On val; `None` where it is undefined, or not recorded yet.
    pub macro_ap: Option<f64>,
}

impl Reader {
    /// The epochs so far of these `runs` (fingerprints) of the sweep, or of all of its runs where none is named; in any state, in the order
    /// of the plan, then by epoch. Runs without an epoch, and fingerprints that the sweep does not have, have no point.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn curves(&mut self, sweep: SweepId, runs: &[String]) -> Result<Vec<CurvePoint>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT r.fingerprint AS run, e.epoch, e.steps, e.train_loss, e.val_loss, k.macro_ap
             FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN epochs e ON e.run = r.id
             LEFT JOIN rankings k ON k.run = e.run AND k.epoch = e.epoch AND k.split = 'val'
             WHERE w.sweep = ?1 AND (json_array_length(?2) = 0 OR r.fingerprint IN (SELECT value FROM json_each(?2)))
             ORDER BY w.position, e.epoch",
        )
        .bind(sweep)
        .bind(json(&runs))
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }
}
