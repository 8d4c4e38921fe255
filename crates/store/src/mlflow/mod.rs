//! A new database as MLflow keeps its experiments, with runs in it. Which run has which names and values is the caller's matter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, QueryBuilder, Sqlite};

use crate::StoreError;

/// Rows of one statement: SQLite binds at most 32,766 values.
const ROWS: usize = 1000;

/// A group of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    pub id: i64,
    pub name: String,
    /// Where artifacts of runs that are added later go.
    pub artifact_location: String,
    /// Unix milliseconds, as all times.
    pub created: i64,
    pub updated: i64,
    pub tags: Vec<(String, String)>,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// 32 hex digits.
    pub id: String,
    pub experiment: i64,
    pub name: String,
    pub source: String,
    pub version: String,
    pub user: String,
    /// `SCHEDULED`, `RUNNING`, `FINISHED`, `FAILED` or `KILLED`.
    pub status: &'static str,
    pub started: i64,
    pub ended: Option<i64>,
    pub artifact_uri: String,
    pub params: Vec<(String, String)>,
    pub tags: Vec<(String, String)>,
    /// One at most for each key and step.
    pub metrics: Vec<Metric>,
}

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub key: String,
    /// May be NaN or infinite.
    pub value: f64,
    pub time: i64,
    pub step: i64,
}

impl Metric {
    /// The value, and whether it is NaN, as MLflow keeps them.
    fn kept(&self) -> (f64, bool) {
        if self.value.is_nan() { (0.0, true) } else { (self.value.clamp(f64::MIN, f64::MAX), false) }
    }
}

/// A database that is being filled.
pub struct Mlflow {
    path: PathBuf,
    connection: SqliteConnection,
}

impl Mlflow {
    /// Makes the file `path`, which must not be there. Until [`Self::close`] it is not a whole database: it has no journal.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn create(path: &Path) -> Result<Self, StoreError> {
        let fail = |source| StoreError::from_sqlite(path, source);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off)
            .foreign_keys(true)
            .pragma("cache_size", "-65536");
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(fail)?;
        sqlx::raw_sql("BEGIN").execute(&mut connection).await.map_err(fail)?;
        sqlx::raw_sql(include_str!("schema.sql")).execute(&mut connection).await.map_err(fail)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Adds an experiment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn experiment(&mut self, experiment: &Experiment) -> Result<(), StoreError> {
        let Experiment { id, name, artifact_location, created, updated, tags } = experiment;
        let added = sqlx::query("INSERT INTO experiments VALUES (?, ?, ?, 'active', ?, ?)")
            .bind(id)
            .bind(name)
            .bind(artifact_location)
            .bind(created)
            .bind(updated)
            .execute(&mut self.connection)
            .await;
        self.told(added)?;
        for (key, value) in tags {
            let added = sqlx::query("INSERT INTO experiment_tags VALUES (?, ?, ?)")
                .bind(key)
                .bind(value)
                .bind(id)
                .execute(&mut self.connection)
                .await;
            self.told(added)?;
        }
        Ok(())
    }

    /// Adds a run of an experiment that is there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn run(&mut self, run: &Run) -> Result<(), StoreError> {
        let added = sqlx::query("INSERT INTO runs VALUES (?, ?, 'LOCAL', ?, '', ?, ?, ?, ?, ?, 'active', ?, ?, NULL)")
            .bind(&run.id)
            .bind(&run.name)
            .bind(&run.source)
            .bind(&run.user)
            .bind(run.status)
            .bind(run.started)
            .bind(run.ended)
            .bind(&run.version)
            .bind(&run.artifact_uri)
            .bind(run.experiment)
            .execute(&mut self.connection)
            .await;
        self.told(added)?;
        for (into, pairs) in [("params", &run.params), ("tags", &run.tags)] {
            self.insert(into, pairs, |mut row, (key, value)| {
                row.push_bind(key).push_bind(value).push_bind(&run.id);
            })
            .await?;
        }
        self.insert("metrics", &run.metrics, |mut row, metric| {
            let (value, nan) = metric.kept();
            row.push_bind(&metric.key)
                .push_bind(value)
                .push_bind(metric.time)
                .push_bind(&run.id)
                .push_bind(metric.step)
                .push_bind(nan);
        })
        .await?;
        let mut latest: BTreeMap<&str, &Metric> = BTreeMap::new();
        for metric in &run.metrics {
            let last = latest.entry(&metric.key).or_insert(metric);
            if metric.step > last.step {
                *last = metric;
            }
        }
        let latest: Vec<&Metric> = latest.into_values().collect();
        self.insert("latest_metrics", &latest, |mut row, metric| {
            let (value, nan) = metric.kept();
            row.push_bind(&metric.key)
                .push_bind(value)
                .push_bind(metric.time)
                .push_bind(metric.step)
                .push_bind(nan)
                .push_bind(&run.id);
        })
        .await
    }

    async fn insert<T>(
        &mut self,
        table: &str,
        rows: &[T],
        mut push: impl FnMut(sqlx::query_builder::Separated<'_, Sqlite, &'static str>, &T),
    ) -> Result<(), StoreError> {
        for rows in rows.chunks(ROWS) {
            let mut query = QueryBuilder::new(format!("INSERT INTO {table} "));
            query.push_values(rows, &mut push);
            // Other numbers of rows are other statements, of which SQLite's cache would fill up.
            let added = query.build().persistent(rows.len() == ROWS).execute(&mut self.connection).await;
            self.told(added)?;
        }
        Ok(())
    }

    /// Ends it: the file is whole.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn close(mut self) -> Result<(), StoreError> {
        let ended = sqlx::raw_sql("COMMIT").execute(&mut self.connection).await;
        self.told(ended)?;
        self.connection.close().await.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    fn told<T>(&self, answer: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        answer.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }
}
