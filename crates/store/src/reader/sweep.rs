//! Finding a sweep, and what it asks for.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Reader, Runs, parse};
use crate::{StoreError, SweepId, disk};
use imbalance::shown::cut;
use imbalance::threshold::Policy;
use plan::Recorded;
use plan::{DataFacts, Reference, RunConfig};

/// A sweep as it was begun.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct SweepRow {
    pub id: SweepId,
    pub name: String,
    /// How the views name it: the name, or `name#id` once another sweep took the name.
    pub title: String,
    /// `running`, `done`, `failed` or `interrupted`.
    pub state: String,
    pub file: String,
    /// The sweep file as it was read.
    #[serde(skip)]
    pub text: String,
    /// JSON of the `--set` changes to it; `None` where an older version appended them to the text.
    #[serde(skip)]
    pub changes: Option<String>,
    pub points: i64,
    /// Unix seconds, as all times.
    pub created_at: f64,
    pub begun_at: f64,
    pub finished_at: Option<f64>,
    pub version: String,
    pub host: String,
}

/// A run as one sweep names it, in any state.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct SweepRun {
    pub run: String,
    /// `queued`, `running`, `succeeded` or `failed`.
    pub state: String,
    /// Of a failed run: it was told to stop for good.
    pub stopped_early: bool,
    /// A search does not train it.
    pub left_out: bool,
    /// Row id of its data set; ids first appear in the order of [`Reader::data_facts`].
    pub data: i64,
    pub epochs: i64,
    pub best_epoch: Option<i64>,
    pub loss: String,
    pub pos_weight: String,
    pub gamma: Option<f64>,
    pub sampler: String,
    pub seed: i64,
    /// JSON object of every other axis.
    pub params: String,
    /// Its `plan::FORMAT`: runs of different formats were not made by the same rules.
    pub format: u32,
    /// Gradient steps of a recorded run; `None`: recorded by an older program, or imported.
    pub steps: Option<i64>,
    /// By how much val macro AP rose from the last evaluation but one to the last, where the last one is the best.
    pub rise: Option<f64>,
    /// Val macro AP at the best epoch of a recorded run.
    pub val_ap: Option<f64>,
}

impl SweepRun {
    /// Which reference run it is; `None` for a run of the grid.
    #[must_use]
    pub fn reference(&self) -> Option<Reference> {
        Reference::named(&self.loss)
    }
}

/// The configuration of a run of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepConfig {
    pub config: RunConfig,
    /// Resolved positive weights, one per label.
    pub pos_weight: Vec<f64>,
    /// Of the prepared data set, which may be gone.
    pub folder: PathBuf,
}

impl SweepRow {
    /// The sweep file and the changes to it.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let changes = self.changes.as_deref().map(|json| serde_json::from_str(json).unwrap_or_default());
        Recorded { text: self.text.clone(), changes }
    }
}

impl Reader {
    /// The sweep with this id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is none.
    pub async fn sweep(&mut self, id: SweepId) -> Result<SweepRow, StoreError> {
        let found = sqlx::query_as(
            "SELECT id, name, title, state, file, text, changes, points, created_at, begun_at, finished_at, version, host FROM sweeps WHERE id = ?",
        )
        .bind(id)
        .fetch_optional(self.connected().await?)
        .await;
        self.told(found)?.ok_or_else(|| StoreError::NotFound(format!("{} has no sweep with id {id}", self.path.display())))
    }

    /// The sweep that `selector` means: `latest`, a name (the newest sweep that has it), `name#id` or an id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with the names that exist.
    pub async fn find_sweep(&mut self, selector: &str) -> Result<SweepRow, StoreError> {
        let found = sqlx::query_as(
            "SELECT id, name, title, state, file, text, changes, points, created_at, begun_at, finished_at, version, host FROM sweeps
             WHERE ?1 = 'latest' OR title = ?1 OR id = ?2 OR name || '#' || id = ?1
             ORDER BY title = ?1 AND ?1 <> 'latest' DESC, turn DESC LIMIT 1",
        )
        .bind(selector)
        .bind(selector.parse::<i64>().ok())
        .fetch_optional(self.connected().await?)
        .await;
        if let Some(sweep) = self.told(found)? {
            return Ok(sweep);
        }
        let titles =
            sqlx::query_scalar("SELECT title FROM sweeps ORDER BY turn DESC LIMIT 1000").fetch_all(self.connected().await?).await;
        let titles: Vec<String> = self.told(titles)?;
        let path = self.path.display();
        Err(StoreError::NotFound(if titles.is_empty() {
            format!("{path} has no sweep yet; `sweep run FILE` makes one")
        } else {
            let near = titles.iter().filter(|title| strsim::normalized_damerau_levenshtein(title, selector) > 0.5);
            let near: Vec<&str> = near.map(String::as_str).collect();
            let shown = if near.is_empty() { titles.iter().map(String::as_str).take(10).collect() } else { near };
            format!("{path} has no sweep `{}`; it has {}", cut(selector, 80), cut(&shown.join(", "), 1000))
        }))
    }

    /// The policies of the sweep, in the order of its file.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn policies(&mut self, sweep: SweepId) -> Result<Vec<Policy>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.json FROM sweep_policies s JOIN policies p ON p.id = s.policy WHERE s.sweep = ? ORDER BY s.position",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await
        .and_then(|rows| rows.iter().map(|row| disk::policy(row, 0)).collect());
        self.told(rows)
    }

    /// The facts of the distinct data sets of the sweep, with the number of its runs on each.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn data_facts(&mut self, sweep: SweepId) -> Result<Vec<(DataFacts, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT d.facts, count(*) FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN datasets d ON d.id = r.data
             WHERE w.sweep = ? GROUP BY d.id ORDER BY min(w.position)",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await
        .and_then(|rows| rows.iter().map(|row| Ok((disk::facts(row, 0)?, row.try_get(1)?))).collect());
        self.told(rows)
    }

    /// The runs of the sweep, in the order of its plan.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sweep_runs(&mut self, sweep: SweepId) -> Result<Vec<SweepRun>, StoreError> {
        self.sweep_runs_of(sweep, Runs::All).await
    }

    /// The same of some of its runs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sweep_runs_of(&mut self, sweep: SweepId, runs: Runs<'_>) -> Result<Vec<SweepRun>, StoreError> {
        let query = format!(
            concat!(
                "SELECT r.fingerprint AS run, r.state, r.data, w.left_out AND r.state <> 'succeeded' AS left_out,
                    r.state = 'failed' AND (SELECT a.outcome FROM attempts a WHERE a.run = r.id
                                            ORDER BY a.attempt DESC LIMIT 1) IS 'stopped_early' AS stopped_early, r.epochs, r.best_epoch, w.loss, w.pos_weight, w.gamma, w.sampler, w.seed, w.params, r.format,
                    (SELECT steps FROM epochs WHERE run = r.id AND epoch = r.epochs - 1 AND r.state = 'succeeded') AS steps,
                    ",
                rise!(),
                " AS rise,
                    (SELECT macro_ap FROM rankings WHERE run = r.id AND epoch = r.best_epoch AND split = 'val' AND r.state = 'succeeded') AS val_ap
                 FROM sweep_runs w JOIN runs r ON r.id = w.run WHERE w.sweep = ?1{} ORDER BY w.position"
            ),
            runs.condition(2)
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(sweep); // made of constants
        if let Some(json) = runs.json() {
            query = query.bind(json);
        }
        let rows = query.fetch_all(self.connected().await?).await;
        self.told(rows)
    }

    /// The configuration of one run of the sweep; `None` where the sweep does not have it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn run_config(&mut self, sweep: SweepId, run: &str) -> Result<Option<SweepConfig>, StoreError> {
        let base = self.path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let row = sqlx::query(
            "SELECT r.config, r.pos_weight, r.folder FROM sweep_runs w JOIN runs r ON r.id = w.run WHERE w.sweep = ? AND r.fingerprint = ?",
        )
        .bind(sweep)
        .bind(run)
        .fetch_optional(self.connected().await?)
        .await
        .and_then(|row| row.as_ref().map(|row| sweep_config(row, &base)).transpose());
        self.told(row)
    }

    /// The configurations of the sweep's runs, in the order of [`Self::sweep_runs`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sweep_configs(&mut self, sweep: SweepId) -> Result<Vec<SweepConfig>, StoreError> {
        let base = self.path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let rows = sqlx::query(
            "SELECT r.config, r.pos_weight, r.folder FROM sweep_runs w JOIN runs r ON r.id = w.run WHERE w.sweep = ? ORDER BY w.position",
        )
        .bind(sweep)
        .fetch_all(self.connected().await?)
        .await
        .and_then(|rows| rows.iter().map(|row| sweep_config(row, &base)).collect());
        self.told(rows)
    }
}

/// From the columns config, pos_weight and folder.
fn sweep_config(row: &SqliteRow, base: &Path) -> Result<SweepConfig, sqlx::Error> {
    let folder = base.join(row.try_get::<String, _>(2)?);
    Ok(SweepConfig { config: disk::config(row, 0)?, pos_weight: parse(row, 1)?, folder })
}
