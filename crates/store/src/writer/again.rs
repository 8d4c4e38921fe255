//! Results that can no longer be used.

use sqlx::Connection;

use super::{Writer, transaction};
use crate::StoreError;
use plan::Fingerprint;

impl Writer {
    /// Drops the result of a run, so that it is trained again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget(&mut self, run: &Fingerprint) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            if let Some(run) = Self::run(known, tx, run).await? {
                for statement in [
                    "DELETE FROM evaluations WHERE run = ?",
                    "DELETE FROM rankings WHERE run = ?",
                    "DELETE FROM epochs WHERE run = ?",
                    "DELETE FROM draws WHERE run = ?",
                    "UPDATE runs SET state = 'queued', best_epoch = NULL, winner = NULL, finished_at = NULL WHERE id = ?",
                ] {
                    sqlx::query(statement).bind(run.id).execute(&mut *tx).await?;
                }
            }
        })
    }
}
