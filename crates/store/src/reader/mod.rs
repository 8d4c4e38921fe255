//! Read-only queries: never block a sweep, never create a file. One small file per subject, one function per question.

/// By how much val macro AP of a run `r` rose from its last evaluation but one to its last, where the last one is the best: SQL.
macro_rules! rise {
    () => {
        "CASE WHEN r.state = 'succeeded' AND r.epochs > 1 AND r.best_epoch = r.epochs - 1 THEN
            (SELECT macro_ap FROM rankings WHERE run = r.id AND epoch = r.epochs - 1 AND split = 'val')
            - (SELECT macro_ap FROM rankings WHERE run = r.id AND epoch = r.epochs - 2 AND split = 'val') END"
    };
}

mod curve;
mod draws;
mod frozen;
mod marks;
mod points;
mod relation;
mod result;
mod run;
mod search;
pub(crate) mod spare;
mod status;
mod sweep;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

pub use curve::CurvePoint;
pub use frozen::FrozenCounts;
pub use marks::{RunMark, Runs};
pub use points::{EpochPoint, LabelPoint, ListedRun, Points, PolicyPoint, RankingPoint};
pub use relation::{Cell, ColumnOf, Kind, RELATIONS, Relation, Rows};
pub use result::{At, Evaluated, EvaluationId, LabelMeans, LabelRow, ResultRow};
pub use run::{AttemptRow, EpochRow, RunRow};
pub use search::SearchDecision;
pub(crate) use search::decisions;
pub use spare::{Removal, StoredRun};
pub use status::{FailedRun, Pace, RunningAttempt, Status, Tasks};
pub use sweep::{SweepConfig, SweepRow, SweepRun};

use super::open::{Stamp, inode};
use super::{StoreError, open};
use plan::Fingerprint;

/// A read-only connection. Each answer is a consistent snapshot of what was committed when it was asked for.
pub struct Reader {
    path: PathBuf,
    connection: SqliteConnection,
    /// The stamp of the file when it was opened without a writer; `None` where SQLite's own locks are used.
    still: Option<Stamp>,
    /// Which file this is, how many there have been, and how often one was opened.
    inode: Option<u64>,
    file: u64,
    opened: u64,
    /// Whether all answers are to be of one state: [`Reader::hold`].
    held: bool,
}

/// What a [`Reader`] has seen: two equal ones of the same reader have no commit between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Grows when another file may have taken the place of the database.
    pub file: u64,
    opened: u64,
    /// SQLite's `data_version`.
    data: i64,
}

/// A note about numbers from runs of these formats (`plan::FORMAT`); `None` where there is only one.
#[must_use]
pub fn mixed_formats(formats: &[u32]) -> Option<String> {
    let mut formats = formats.to_vec();
    formats.sort_unstable();
    formats.dedup();
    let words: Vec<String> = formats.iter().map(u32::to_string).collect();
    (words.len() > 1).then(|| {
        format!(
            "these runs were made by different versions of the program (formats {}): equal settings may give other numbers; \
             `sweep run FILE` trains the older ones anew",
            words.join(" and ")
        )
    })
}

impl Reader {
    /// Opens an existing database.
    ///
    /// # Errors
    /// See [`StoreError`]; for a missing database the error says how to make one.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        // Looked at first: a file that takes its place meanwhile is another one, and noticed.
        let inode = inode(path);
        let (connection, still) = open::for_reader(path).await?;
        Ok(Self { path: path.to_owned(), connection, still, inode, file: 0, opened: 0, held: false })
    }

    /// Which commits have happened. Cheap enough to be asked for several times a second: one page of the file is looked at. If another
    /// file has taken the place of the database, that one is opened.
    ///
    /// # Errors
    /// See [`StoreError`]; there may be no database any more.
    pub async fn version(&mut self) -> Result<Version, StoreError> {
        if inode(&self.path) != self.inode {
            self.open_again().await?;
        }
        let data = sqlx::query_scalar("PRAGMA data_version").fetch_one(self.connected().await?).await;
        let data = self.told(data)?;
        Ok(Version { file: self.file, opened: self.opened, data })
    }

    /// The database's own path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which of these runs are recorded with a complete result.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn recorded(&mut self, runs: &[Fingerprint]) -> Result<Vec<bool>, StoreError> {
        let answer = recorded(self.connected().await?, runs).await;
        self.told(answer)
    }

    /// See [`SweepRun::rise`]: of those of these runs that are recorded with more than one evaluation.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rises(&mut self, runs: &[Fingerprint]) -> Result<Vec<Option<f64>>, StoreError> {
        let names = serde_json::to_string(runs).unwrap_or_default();
        let found = sqlx::query_scalar(concat!(
            "SELECT ",
            rise!(),
            " FROM runs r WHERE r.state = 'succeeded' AND r.epochs > 1
             AND r.fingerprint IN (SELECT value FROM json_each(?)) ORDER BY r.id"
        ))
        .bind(names)
        .fetch_all(self.connected().await?)
        .await;
        self.told(found)
    }

    /// Which of these runs have failed for good. Those that a search has stopped have not.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn failed(&mut self, runs: &[Fingerprint]) -> Result<Vec<bool>, StoreError> {
        let failed = sqlx::query_scalar(
            "SELECT coalesce((SELECT state = 'failed' AND NOT EXISTS (SELECT 1 FROM search_decisions d WHERE d.run = r.id AND NOT d.goes_on)
                              FROM runs r WHERE fingerprint = j.value), 0)
             FROM json_each(?1) j ORDER BY j.key",
        );
        let answer = failed.bind(crate::json(&runs)).fetch_all(self.connected().await?).await;
        self.told(answer)
    }

    /// The connection; opened again where a writer has begun since.
    async fn connected(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        if self.still.as_ref().is_some_and(|still| !still.holds(&self.path)) {
            if self.held {
                return Err(StoreError::overtaken(&self.path));
            }
            self.open_again().await?;
        }
        Ok(&mut self.connection)
    }

    async fn open_again(&mut self) -> Result<(), StoreError> {
        let inode = inode(&self.path);
        // A writer that begins leaves the file as it is at first, and writes beside it.
        let same = inode == self.inode && self.still.as_ref().is_some_and(|still| still.is_of(&self.path));
        (self.connection, self.still) = open::for_reader(&self.path).await?;
        (self.inode, self.file, self.opened) = (inode, self.file + u64::from(!same), self.opened + 1);
        Ok(())
    }

    /// SQLite's answer, with errors as [`StoreError`]. An answer that was read while a writer began is discarded.
    fn told<T>(&self, answer: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        if self.still.as_ref().is_some_and(|still| !still.holds(&self.path)) {
            return Err(StoreError::overtaken(&self.path));
        }
        answer.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }
}

/// The JSON in a column, as the value it was.
pub(super) fn parse<T: DeserializeOwned>(row: &SqliteRow, column: usize) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|source| sqlx::Error::ColumnDecode { index: column.to_string(), source: source.into() })
}

/// Which of these runs have a complete result.
pub(super) async fn recorded(connection: &mut SqliteConnection, runs: &[Fingerprint]) -> Result<Vec<bool>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT coalesce((SELECT state = 'succeeded' FROM runs WHERE fingerprint = j.value), 0) FROM json_each(?1) j ORDER BY j.key",
    )
    .bind(super::json(&runs))
    .fetch_all(connection)
    .await
}
