//! What the search of a sweep has decided.

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::Reader;
use crate::writer::content;
use crate::{StoreError, SweepId};
use plan::{Fingerprint, Plan, Search, SearchMetric};

/// What was decided about a strategy at a rung, by its first run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchDecision {
    pub run: Fingerprint,
    pub rung: usize,
    /// Evaluations that the rung comes after.
    pub evaluations: usize,
    /// The best value up to the rung; `None`: undefined.
    pub value: Option<f64>,
    /// The lowest value that goes on.
    pub cut: Option<f64>,
    /// Its place among those that had come to the rung.
    pub place: usize,
    pub among: usize,
    pub goes_on: bool,
}

impl Reader {
    /// The search of the sweep, if it has one, and how many strategies the whole grid has, if that is known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn search(&mut self, sweep: SweepId) -> Result<Option<(Search, Option<usize>)>, StoreError> {
        let found: Result<Option<(String, Option<i64>)>, _> =
            sqlx::query_as("SELECT config, strategies FROM searches WHERE sweep = ?")
                .bind(sweep)
                .fetch_optional(self.connected().await?)
                .await;
        let known = |(config, strategies): (String, Option<i64>)| {
            Some((serde_json::from_str(&config).ok()?, strategies.and_then(|count| usize::try_from(count).ok())))
        };
        Ok(self.told(found)?.and_then(known))
    }

    /// Its decisions, in the order in which they were made.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn search_decisions(&mut self, sweep: SweepId) -> Result<Vec<SearchDecision>, StoreError> {
        let found = decisions(self.connected().await?, sweep).await;
        self.told(found)
    }

    /// Which runs of a plan its search does not train, as far as a sweep of this plan with an equal search has decided it: it has stopped
    /// them, or left them out.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn passed_over(&mut self, plan: &Plan) -> Result<Vec<bool>, StoreError> {
        let runs: Vec<&Fingerprint> = plan.runs.iter().map(|run| &run.fingerprint).collect();
        let Some(searched) = &plan.search else { return Ok(vec![false; runs.len()]) };
        let found = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sweeps s JOIN searches h ON h.sweep = s.id JOIN sweep_runs w ON w.sweep = s.id
                            JOIN runs r ON r.id = w.run
                            WHERE s.name = ?2 AND s.content = ?3 AND h.config = ?4 AND r.fingerprint = j.value
                              AND (w.left_out OR EXISTS (SELECT 1 FROM search_decisions d
                                                         WHERE d.sweep = s.id AND d.run = r.id AND NOT d.goes_on)))
             FROM json_each(?1) j ORDER BY j.key",
        );
        let found = found.bind(crate::json(&runs)).bind(&plan.name).bind(content(plan)).bind(crate::json(&searched.search));
        let answer = found.fetch_all(self.connected().await?).await;
        self.told(answer)
    }

    /// The best val value over all epochs of each of the sweep's recorded runs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn best_values(&mut self, sweep: SweepId, metric: SearchMetric) -> Result<Vec<(String, f64)>, StoreError> {
        let query = format!(
            "SELECT r.fingerprint, max(k.{0}) FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN rankings k ON k.run = r.id AND k.split = 'val'
             WHERE w.sweep = ? AND r.state = 'succeeded' GROUP BY r.id HAVING max(k.{0}) IS NOT NULL",
            metric.column()
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(sweep); // made of constants
        let found = query.fetch_all(self.connected().await?).await;
        self.told(found)
    }

    /// Gradient steps that the sweep's runs have come to: those of runs that are recorded, and of all others. Epochs whose steps are not
    /// recorded have none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn trained_steps(&mut self, sweep: SweepId) -> Result<(i64, i64), StoreError> {
        let found = sqlx::query_as(
            "SELECT coalesce(sum(iif(state = 'succeeded', steps, 0)), 0), coalesce(sum(iif(state <> 'succeeded', steps, 0)), 0)
             FROM (SELECT r.state, (SELECT max(steps) FROM epochs e WHERE e.run = r.id) AS steps
                   FROM sweep_runs w JOIN runs r ON r.id = w.run WHERE w.sweep = ? AND w.loss NOT LIKE 'logistic%')",
        )
        .bind(sweep)
        .fetch_one(self.connected().await?)
        .await;
        self.told(found)
    }
}

pub(crate) async fn decisions(connection: &mut SqliteConnection, sweep: SweepId) -> Result<Vec<SearchDecision>, sqlx::Error> {
    type Found = (String, i64, i64, Option<f64>, Option<f64>, i64, i64, bool);
    let rows: Vec<Found> = sqlx::query_as(
        "SELECT r.fingerprint, d.rung, d.evaluations, d.value, d.cut, d.place, d.among, d.goes_on
         FROM search_decisions d JOIN runs r ON r.id = d.run WHERE d.sweep = ? ORDER BY d.decided_at, d.rung, d.among",
    )
    .bind(sweep)
    .fetch_all(connection)
    .await?;
    let number = |number: i64| usize::try_from(number).unwrap_or_default();
    let read = |(run, rung, evaluations, value, cut, place, among, goes_on): Found| SearchDecision {
        run: Fingerprint(run),
        rung: number(rung),
        evaluations: number(evaluations),
        value,
        cut,
        place: number(place),
        among: number(among),
        goes_on,
    };
    Ok(rows.into_iter().map(read).collect())
}
