//! Imported results, which no worker made.

use std::path::Path;

use sqlx::{Connection, Row};

use super::batch::Batch;
use super::sweep::base;
use super::{Writer, transaction};
use crate::{StoreError, SweepId, now, word};
use plan::Plan;
use protocol::{Event, SplitName};

impl Writer {
    /// Records a plan of one run that was made elsewhere, its results (`Rank`, `Eval` and `HeldOut`) and a sweep that is done, in one
    /// transaction. Of a run that is recorded already only evaluations under new policies are taken. Returns the sweep, and whether
    /// anything was new.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn import(
        &mut self,
        plan: &Plan,
        file: &Path,
        text: &str,
        events: &[Event],
    ) -> Result<(SweepId, bool), StoreError> {
        let base = base(&self.path);
        transaction!(self, |tx, known| {
            let sweep = Self::insert_sweep(known, tx, plan, (file, &text.into()), &base).await?;
            let mut new = false;
            for planned in &plan.runs {
                let Some(run) = Self::run(known, tx, &planned.fingerprint).await? else { continue };
                let recorded: bool = sqlx::query_scalar("SELECT state = 'succeeded' FROM runs WHERE id = ?")
                    .bind(run.id)
                    .fetch_one(&mut *tx)
                    .await?;
                let there =
                    sqlx::query("SELECT split, policy FROM evaluations WHERE run = ?").bind(run.id).fetch_all(&mut *tx).await?;
                let there: Vec<(String, i64)> =
                    there.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?;
                let mut batch = Batch::default();
                for event in events {
                    let (policy, wanted) = match event {
                        Event::Eval { r, policy, split, .. } if *r == planned.fingerprint => {
                            let policy = Self::policy(known, tx, policy).await?;
                            (policy, !recorded || !has(&there, *split, policy))
                        }
                        // With the evaluation that it belongs to.
                        Event::HeldOut { r, policy, .. } if *r == planned.fingerprint => {
                            let policy = Self::policy(known, tx, policy).await?;
                            (policy, !recorded || !has(&there, SplitName::Val, policy))
                        }
                        Event::Rank { r, .. } if *r == planned.fingerprint => (0, !recorded),
                        _ => continue,
                    };
                    new |= wanted && batch.add(&run, event, policy, now());
                }
                batch.flush(known, tx).await?;
                sqlx::query("UPDATE runs SET state = 'succeeded', finished_at = ?2 WHERE id = ?1 AND state <> 'succeeded'")
                    .bind(run.id)
                    .bind(now())
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::query("UPDATE sweeps SET state = 'done', finished_at = ?2 WHERE id = ?1")
                .bind(sweep)
                .bind(now())
                .execute(&mut *tx)
                .await?;
            (sweep, new)
        })
    }
}

fn has(there: &[(String, i64)], split: SplitName, policy: i64) -> bool {
    there.iter().any(|(name, id)| *id == policy && *name == word(&split))
}
