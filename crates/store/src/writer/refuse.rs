//! Journals that cannot be used: they are not read any further, and the attempts concerned have crashed.

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::attempt::settle;
use super::{Writer, transaction};
use crate::{StoreError, now};
use plan::Fingerprint;

/// The reason of attempts that have crashed because their journal is unusable.
#[must_use]
pub fn unusable_journal(name: &str, why: &str) -> String {
    format!("the worker's journal {name} cannot be used: {why}")
}

impl Writer {
    /// Records why a journal is not read any further. The attempt that is to blame (`None`: every attempt of the journal that has
    /// not ended) has crashed, and its run is queued again; the controller may still decide otherwise.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn refuse(&mut self, journal: &str, guilty: Option<&(Fingerprint, u32)>, why: &str) -> Result<(), StoreError> {
        transaction!(self, |tx, known| {
            let id: i64 = sqlx::query_scalar(
                "INSERT INTO journals (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id",
            )
            .bind(journal)
            .fetch_one(&mut *tx)
            .await?;
            let guilty = match guilty {
                Some((run, attempt)) => match Self::run(known, tx, run).await? {
                    // The number of an attempt that a slice's worker has numbered by itself is another one here.
                    Some(run) => sqlx::query_scalar(
                        "SELECT attempt FROM attempts WHERE run = ?1 AND journal = ?2
                         UNION ALL SELECT ?3 WHERE (SELECT submission IS NULL FROM journals WHERE id = ?2) LIMIT 1",
                    )
                    .bind(run.id)
                    .bind(id)
                    .bind(attempt)
                    .fetch_optional(&mut *tx)
                    .await?
                    .map(|attempt| (run.id, attempt)),
                    None => None,
                },
                None => None,
            };
            refuse(tx, id, guilty, why).await?;
        })
    }
}

/// The rows of [`Writer::refuse`].
pub(super) async fn refuse(
    tx: &mut SqliteConnection,
    journal: i64,
    guilty: Option<(i64, u32)>,
    why: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE journals SET fault = coalesce(fault, ?2) WHERE id = ?1")
        .bind(journal)
        .bind(why)
        .execute(&mut *tx)
        .await?;
    let attempts: Vec<(i64, u32)> = match guilty {
        Some(attempt) => vec![attempt],
        None => {
            sqlx::query_as("SELECT run, attempt FROM attempts WHERE journal = ? AND outcome IS NULL")
                .bind(journal)
                .fetch_all(&mut *tx)
                .await?
        }
    };
    for (run, attempt) in attempts {
        let crashed = sqlx::query(
            "UPDATE attempts SET outcome = 'crashed', why = ?3, finished_at = coalesce(finished_at, ?4)
             WHERE run = ?1 AND attempt = ?2 AND outcome IS NULL",
        )
        .bind(run)
        .bind(attempt)
        .bind(why)
        .bind(now())
        .execute(&mut *tx)
        .await?;
        if crashed.rows_affected() > 0 {
            settle(tx, run, true, now()).await?;
        }
    }
    Ok(())
}
