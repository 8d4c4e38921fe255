//! Which runs of a sweep have changed since they were read, so that a reader that looks again and again reads those only.

use super::Reader;
use crate::{StoreError, SweepId};

/// What the rows of a run depend on: as long as two marks are equal, so are the rows that [`Reader::sweep_runs`], [`Reader::results`],
/// [`Reader::held_out`] and [`Reader::draws`] have of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RunMark {
    /// Its row.
    pub id: i64,
    state: i64,
    epochs: i64,
    best_epoch: Option<i64>,
    owner: i64,
    winner: Option<i64>,
    /// The sum of the rows of its evaluations at the best epoch, if it has succeeded: a new policy adds to it.
    evaluations: Option<i64>,
}

/// Which runs of a sweep are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Runs<'r> {
    All,
    /// Those with these row ids.
    These(&'r [i64]),
}

impl Runs<'_> {
    /// The condition on `w.run`, whose JSON is bound as `?parameter`.
    pub(super) fn condition(self, parameter: u8) -> String {
        match self {
            Self::All => String::new(),
            Self::These(_) => format!(" AND w.run IN (SELECT value FROM json_each(?{parameter}))"),
        }
    }

    /// What is bound, if something is.
    pub(super) fn json(self) -> Option<String> {
        match self {
            Self::All => None,
            Self::These(runs) => Some(crate::json(&runs)),
        }
    }
}

impl Reader {
    /// The marks of the sweep's runs, in the order of its plan.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn run_marks(&mut self, sweep: SweepId) -> Result<Vec<RunMark>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT r.id, unicode(r.state) + 256 * w.left_out AS state, r.epochs, r.best_epoch, r.owner, r.winner,
                    CASE r.state WHEN 'succeeded' THEN (SELECT sum(e.id) FROM evaluations e WHERE e.run = r.id AND e.epoch = r.best_epoch) END
                    AS evaluations
             FROM sweep_runs w JOIN runs r ON r.id = w.run WHERE w.sweep = ? ORDER BY w.position",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await;
        self.told(rows)
    }
}
