//! What can be wrong with a database, with messages that say what to do.

use std::path::{Path, PathBuf};

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An error of SQLite.
    #[error("{path}: {source}", path = .path.display())]
    Sqlite { path: PathBuf, source: sqlx::Error },
    /// A file that is there and is not a database of this program: another program's, one of a newer version, a damaged one.
    #[error("{path}: {message}", path = .path.display())]
    Foreign { path: PathBuf, message: String },
    /// A file that cannot be opened, read or written now: no such file, a read-only folder, a full disk, ...
    #[error("{path}: {message}", path = .path.display())]
    Unusable { path: PathBuf, message: String },
    /// Another `sweep` writes to it.
    #[error("{path}: in use by another sweep ({holder}); wait for it, or use another --db", path = .path.display())]
    Busy { path: PathBuf, holder: String },
    /// A sweep began to write where there was no writer: what was read may be of two states. Asked again, there is an answer.
    #[error("{path}: another sweep began to write while this was read; ask again", path = .path.display())]
    Overtaken { path: PathBuf },
    /// A selector that names nothing, or more than one thing.
    #[error("{0}")]
    NotFound(String),
}

impl StoreError {
    pub(super) fn unusable(path: &Path, message: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_owned(), message: message.into() }
    }

    pub(super) fn foreign(path: &Path, message: impl Into<String>) -> Self {
        Self::Foreign { path: path.to_owned(), message: message.into() }
    }

    /// What was read may be of two states of the file.
    pub(super) fn overtaken(path: &Path) -> Self {
        Self::Overtaken { path: path.to_owned() }
    }

    /// Whether SQLite did not take a value (a constraint, a type, a range, a size); the database itself is well.
    pub(super) fn is_about_a_value(&self) -> bool {
        let Self::Sqlite { source, .. } = self else { return false };
        matches!(code(source) & 0xff, 18 | 19 | 20 | 25) || matches!(source, sqlx::Error::Encode(_))
    }

    /// SQLite's error, with what the user can do about it where something can be done.
    pub(super) fn from_sqlite(path: &Path, source: sqlx::Error) -> Self {
        // The low byte of an extended code is the primary one (https://www.sqlite.org/rescode.html).
        let message = match code(&source) & 0xff {
            5 | 6 => "another program keeps it locked; close it and try again",
            8 => "is read-only; make the file and its folder writable, or use another --db",
            10 => {
                "could not be read or written (I/O error); look at the disk, and at the limit on the size of files (`ulimit -f`)"
            }
            11 => return Self::foreign(path, "is corrupt; `sqlite3 FILE .recover` saves what is left, or use another --db"),
            13 => "the disk is full; make room, then give the same command again",
            14 => "cannot be opened; the file and its folder must be readable",
            26 => return Self::foreign(path, "is not a SQLite database; use another --db"),
            _ => return Self::Sqlite { path: path.to_owned(), source },
        };
        Self::unusable(path, message)
    }
}

/// SQLite's extended result code; 0 for errors that are not its own.
fn code(error: &sqlx::Error) -> i32 {
    match error {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse().ok()).unwrap_or(0),
        _ => 0,
    }
}
