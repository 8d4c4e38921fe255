//! The one process that writes.

mod again;
mod attempt;
mod batch;
mod import;
mod ingest;
mod sweep;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

pub use again::FailedForData;

use super::lock::Lock;
use super::{StoreError, open};
use imbalance::threshold::Policy;
use plan::Fingerprint;
use protocol::Job;

/// A run that still needs a worker.
#[derive(Clone, Debug)]
pub struct Missing {
    /// `attempt` is the number the next try gets; `folder` is filled in by the controller.
    pub job: Job,
    /// Attempts that failed so far (interrupted ones do not count, and none does for a failed run that is asked for again).
    pub failures: u32,
    /// Runs with equal numbers may train together.
    pub bundle: usize,
}

/// The one process that writes. Holds `<db>.lock` (flock) as long as it lives.
///
/// Every method is one transaction. A method that fails, or whose future is dropped, leaves the database as it was.
pub struct Writer {
    path: PathBuf,
    connection: SqliteConnection,
    known: Known,
    _lock: Lock,
}

/// Row ids looked up before; never stale, because nobody else writes and only committed or re-readable ids stay.
#[derive(Default)]
struct Known {
    runs: HashMap<Fingerprint, KnownRun>,
    labels: HashMap<i64, Arc<[i64]>>,
    policies: HashMap<String, i64>,
}

#[derive(Clone)]
struct KnownRun {
    id: i64,
    labels: Arc<[i64]>,
}

impl Writer {
    /// Opens or creates the database, migrates it and takes the lock.
    ///
    /// # Errors
    /// [`StoreError::Busy`] at once where another process has the lock, else see [`StoreError`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        open::check_file(path)?;
        let lock = Lock::take(path)?;
        let connection = open::for_writing(path).await?;
        Ok(Self { path: path.to_owned(), connection, known: Known::default(), _lock: lock })
    }

    /// Brings the write-ahead log into the database and waits for the disk: from here on a power loss loses nothing, and
    /// journals that are fully ingested may go.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn checkpoint(&mut self) -> Result<(), StoreError> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut self.connection)
            .await
            .map_err(|e| StoreError::from_sqlite(&self.path, e))?;
        Ok(())
    }

    /// Checkpoints the WAL and gives the lock back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn close(mut self) -> Result<(), StoreError> {
        let fail = |source| StoreError::from_sqlite(&self.path, source);
        // Lets SQLite keep the statistics that its query planner needs; bounded work (https://www.sqlite.org/lang_analyze.html).
        sqlx::query("PRAGMA optimize").execute(&mut self.connection).await.map_err(fail)?;
        self.checkpoint().await?;
        let Self { path, connection, .. } = self;
        connection.close().await.map_err(|source| StoreError::from_sqlite(&path, source))
    }

    /// Row ids of a run and its labels; `None` for a run that this database does not have.
    async fn run(
        known: &mut Known,
        connection: &mut SqliteConnection,
        run: &Fingerprint,
    ) -> Result<Option<KnownRun>, sqlx::Error> {
        if let Some(found) = known.runs.get(run) {
            return Ok(Some(found.clone()));
        }
        let Some(row) =
            sqlx::query("SELECT id, data FROM runs WHERE fingerprint = ?").bind(&run.0).fetch_optional(&mut *connection).await?
        else {
            return Ok(None);
        };
        let (id, data): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let labels = match known.labels.get(&data) {
            Some(labels) => Arc::clone(labels),
            None => {
                let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM labels WHERE data = ? ORDER BY position")
                    .bind(data)
                    .fetch_all(&mut *connection)
                    .await?;
                let ids: Arc<[i64]> = ids.into();
                known.labels.insert(data, Arc::clone(&ids));
                ids
            }
        };
        let found = KnownRun { id, labels };
        known.runs.insert(run.clone(), found.clone());
        Ok(Some(found))
    }

    /// Row id of a policy, added if it is new.
    async fn policy(known: &mut Known, connection: &mut SqliteConnection, policy: &Policy) -> Result<i64, sqlx::Error> {
        let name = policy.to_string();
        if let Some(&id) = known.policies.get(&name) {
            return Ok(id);
        }
        sqlx::query("INSERT INTO policies (name, json) VALUES (?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(&name)
            .bind(super::json(policy))
            .execute(&mut *connection)
            .await?;
        let id: i64 =
            sqlx::query_scalar("SELECT id FROM policies WHERE name = ?").bind(&name).fetch_one(&mut *connection).await?;
        known.policies.insert(name, id);
        Ok(id)
    }
}

/// Runs the body in one transaction; its error, as a [`StoreError`], rolls everything back, remembered ids too.
macro_rules! transaction {
    ($writer:ident, |$tx:ident, $known:ident| $body:expr) => {{
        let path = $writer.path.clone();
        let $known = &mut $writer.known;
        let connection = &mut $writer.connection;
        let result: Result<_, sqlx::Error> = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let $tx: &mut sqlx::sqlite::SqliteConnection = &mut transaction;
            let value = $body;
            transaction.commit().await?;
            Ok(value)
        }
        .await;
        if result.is_err() {
            *$known = super::Known::default();
        }
        result.map_err(|source| crate::StoreError::from_sqlite(&path, source))
    }};
}
use transaction;
