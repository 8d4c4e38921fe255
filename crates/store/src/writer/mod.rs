//! The one process that writes.

mod attempt;
mod batch;
mod forget;
mod import;
mod ingest;
mod refuse;
mod remove;
mod search;
mod submission;
mod sweep;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

pub use forget::FailedForData;
pub use ingest::{Ingested, Refused, Verdict};
pub use refuse::unusable_journal;
pub use search::SearchRun;
pub use submission::{NOT_COUNTED, OpenAttempt, Slice, Submission};
pub(crate) use sweep::content;

use super::lock::Lock;
use super::patience::{self, Patience, patiently};
use super::{StoreError, disk, json, open};
use imbalance::threshold::Policy;
use plan::{DataFacts, Fingerprint, Stop};
use protocol::Job;
use protocol::check::Expected;

/// A run that still needs a worker.
#[derive(Clone, Debug)]
pub struct Missing {
    /// `attempt` is the number the next try gets; `folder` is filled in by the controller.
    pub job: Job,
    /// Attempts that failed so far (interrupted ones do not count; 0 for a failed run that is requested again).
    pub failures: u32,
    /// Runs with equal numbers may train together.
    pub bundle: usize,
    /// `plan::FORMAT` of the program that planned the run.
    pub format: u32,
}

/// The one process that writes. Holds `<db>.lock` (flock) until it is dropped.
///
/// Every method is one transaction. A method that fails, or whose future is dropped, leaves the database as it was. While another
/// program holds the database, methods wait ([`Patience`]).
pub struct Writer {
    path: PathBuf,
    patience: Patience,
    connection: SqliteConnection,
    known: Known,
    lock: Lock,
}

/// Rows looked up before; never stale, because there is no other writer and only committed or re-readable ones are kept.
#[derive(Default)]
struct Known {
    runs: HashMap<Fingerprint, KnownRun>,
    data: HashMap<i64, Arc<KnownData>>,
    policies: HashMap<String, i64>,
    journals: HashMap<String, KnownJournal>,
    /// No evaluation has this row id or a higher one. `None`: not looked up yet.
    next_evaluation: Option<i64>,
}

#[derive(Clone, Copy)]
struct KnownJournal {
    id: i64,
    /// Number of the next record to be stored.
    next: i64,
    /// It is of a slice's worker, which numbers its attempts by itself.
    shared: bool,
}

#[derive(Clone)]
struct KnownRun {
    id: i64,
    /// Epochs as planned.
    epochs: usize,
    /// When it may end before.
    stop: Option<Stop>,
    /// Row ids of the policies that the sweeps with this run ask for, and under which the run that it replaces was evaluated.
    policies: Arc<[i64]>,
    /// Whether it is trained again in the place of a recorded run.
    replaces: bool,
    data: Arc<KnownData>,
}

struct KnownData {
    /// Row ids of the labels.
    labels: Arc<[i64]>,
    /// `None` where they cannot be read.
    facts: Option<DataFacts>,
}

impl KnownRun {
    /// What its records are checked against.
    fn expected(&self) -> Expected<'_> {
        let facts = self.data.facts.as_ref();
        let (val, test) = (facts.map(|facts| &facts.val), facts.map(|facts| &facts.test));
        Expected { epochs: self.epochs, labels: self.data.labels.len(), val, test }
    }
}

impl Writer {
    /// Opens or creates the database, migrates it and takes the lock.
    ///
    /// # Errors
    /// [`StoreError::Busy`] at once where another process has the lock, else see [`StoreError`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        open::check_file(path)?;
        let lock = Lock::take(path)?;
        let mut connection = open::for_writing(path).await?;
        open::wait_for_at_most(&mut connection, path, patience::BUSY).await?;
        Ok(Self { path: path.to_owned(), patience: Patience::new(path), connection, known: Known::default(), lock })
    }

    /// How this writer waits for other programs.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.patience.clone()
    }

    /// What [`crate::holder`] says of this process.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.lock.holder
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the write-ahead log into the database and waits for the disk: from here on a power loss loses nothing, and
    /// journals that are fully ingested may go.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn checkpoint(&mut self) -> Result<(), StoreError> {
        patiently!(self.patience, sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection))
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
        patiently!(self.patience, sqlx::query("PRAGMA optimize").execute(&mut self.connection)).map_err(fail)?;
        self.checkpoint().await?;
        let Self { path, connection, .. } = self;
        connection.close().await.map_err(|source| StoreError::from_sqlite(&path, source))
    }

    /// What the database knows of a run; `None` for a run that it does not have.
    async fn run(
        known: &mut Known,
        connection: &mut SqliteConnection,
        run: &Fingerprint,
    ) -> Result<Option<KnownRun>, sqlx::Error> {
        // Asked for every record that arrives.
        if let Some(found) = known.runs.get(run) {
            return Ok(Some(found.clone()));
        }
        Ok(Self::runs(known, connection, std::slice::from_ref(run)).await?.pop().flatten())
    }

    /// The same for several runs, in their order.
    async fn runs(
        known: &mut Known,
        connection: &mut SqliteConnection,
        runs: &[Fingerprint],
    ) -> Result<Vec<Option<KnownRun>>, sqlx::Error> {
        let new: Vec<&Fingerprint> = runs.iter().filter(|run| !known.runs.contains_key(run)).collect();
        let of_all = |known: &Known| runs.iter().map(|run| known.runs.get(run).cloned()).collect();
        if new.is_empty() {
            return Ok(of_all(known));
        }
        let rows = sqlx::query(
            "SELECT r.id, r.data, coalesce(r.max_epochs, r.epochs), (SELECT json_group_array(policy) FROM (
                 SELECT p.policy FROM sweep_runs w JOIN sweep_policies p ON p.sweep = w.sweep WHERE w.run = r.id OR w.again = r.id
                 UNION SELECT e.policy FROM evaluations e WHERE e.run = r.replaces)), r.replaces IS NOT NULL, r.fingerprint,
                 r.config ->> '$.train.stop.patience', r.config ->> '$.train.stop.least'
             FROM json_each(?) j JOIN runs r ON r.fingerprint = j.value",
        );
        for row in rows.bind(json(&new)).fetch_all(&mut *connection).await? {
            let policies: Vec<i64> = super::reader::parse(&row, 3)?;
            let number = |column: usize| -> Result<Option<usize>, sqlx::Error> {
                Ok(row.try_get::<Option<i64>, _>(column)?.and_then(|number| usize::try_from(number).ok()))
            };
            let stop = number(6)?.zip(number(7)?).map(|(patience, least)| Stop { patience, least });
            let found = KnownRun {
                id: row.try_get(0)?,
                epochs: number(2)?.unwrap_or(0),
                stop,
                policies: policies.into(),
                replaces: row.try_get(4)?,
                data: Self::data(known, connection, row.try_get(1)?).await?,
            };
            known.runs.insert(Fingerprint(row.try_get(5)?), found);
        }
        Ok(of_all(known))
    }

    async fn data(known: &mut Known, connection: &mut SqliteConnection, data: i64) -> Result<Arc<KnownData>, sqlx::Error> {
        if let Some(found) = known.data.get(&data) {
            return Ok(Arc::clone(found));
        }
        let labels: Vec<i64> = sqlx::query_scalar("SELECT id FROM labels WHERE data = ? ORDER BY position")
            .bind(data)
            .fetch_all(&mut *connection)
            .await?;
        let facts: String =
            sqlx::query_scalar("SELECT facts FROM datasets WHERE id = ?").bind(data).fetch_one(&mut *connection).await?;
        let new = Arc::new(KnownData { labels: labels.into(), facts: disk::facts_of(&facts).ok() });
        known.data.insert(data, Arc::clone(&new));
        Ok(new)
    }

    /// Row id of an existing policy.
    async fn known_policy(
        known: &mut Known,
        connection: &mut SqliteConnection,
        policy: &Policy,
    ) -> Result<Option<i64>, sqlx::Error> {
        let name = policy.to_string();
        if let Some(&id) = known.policies.get(&name) {
            return Ok(Some(id));
        }
        let id: Option<i64> =
            sqlx::query_scalar("SELECT id FROM policies WHERE name = ?").bind(&name).fetch_optional(connection).await?;
        known.policies.extend(id.map(|id| (name, id)));
        Ok(id)
    }

    /// Row id of a policy, added if it is new.
    async fn policy(known: &mut Known, connection: &mut SqliteConnection, policy: &Policy) -> Result<i64, sqlx::Error> {
        let name = policy.to_string();
        if let Some(&id) = known.policies.get(&name) {
            return Ok(id);
        }
        sqlx::query("INSERT INTO policies (name, json) VALUES (?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(&name)
            .bind(disk::policy_text(policy))
            .execute(&mut *connection)
            .await?;
        let id: i64 =
            sqlx::query_scalar("SELECT id FROM policies WHERE name = ?").bind(&name).fetch_one(&mut *connection).await?;
        known.policies.insert(name, id);
        Ok(id)
    }
}

/// Runs the body in one transaction; on an error everything is rolled back, remembered ids included.
macro_rules! transaction {
    ($writer:ident, |$tx:ident, $known:ident| $body:expr) => {{
        let path = $writer.path.clone();
        let $known = &mut $writer.known;
        let (connection, patience) = (&mut $writer.connection, &$writer.patience);
        let result: Result<_, sqlx::Error> = async {
            // In write-ahead mode this is the only statement that can meet another writer.
            let mut transaction = crate::patience::patiently!(patience, connection.begin_with("BEGIN IMMEDIATE"))?;
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
