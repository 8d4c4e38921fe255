//! The one error type of the command line, mapped exhaustively to the documented exit codes.

use std::path::PathBuf;

/// What ends a command early. Each module has its own error; this type combines them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A wrong flag or argument.
    #[error("{0}")]
    Usage(String),
    /// A bad sweep file; the message starts with `file:line:column`.
    #[error(transparent)]
    Spec(#[from] plan::SpecError),
    /// Data that cannot be used.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// The results database.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A worker that ended early.
    #[cfg(feature = "worker")]
    #[error(transparent)]
    Worker(#[from] train::worker::WorkerError),
    /// A worker's journal.
    #[error(transparent)]
    Journal(#[from] protocol::journal::JournalError),
    /// A file outside the database.
    #[error("{path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// Kept scores that exist and cannot be read.
    #[error("the kept scores of run {run} cannot be read: {source}", run = .run.short())]
    KeptScores { run: plan::Fingerprint, source: std::io::Error },
    /// Kept scores that a command needs and that are gone or damaged.
    #[error(
        "the kept scores of run {run} cannot be read: {source}; put the run's folder back beside the database, or put a threshold policy \
         that the sweep does not have into its grid and `sweep run` again, which trains a run anew whose scores are lost",
        run = .run.short()
    )]
    NoScores { run: plan::Fingerprint, source: std::io::Error },
    /// A database that was copied without the folders of its runs, or whose folders are not mounted.
    #[error(
        "{folder} has the files of none of the {runs} recorded runs that a new threshold policy needs: if the database was copied or \
         the disk is not mounted, put its folder back; another --db trains the runs anew",
        folder = .folder.display()
    )]
    NoRunFolders { folder: PathBuf, runs: usize },
    /// A policy that the grid does not have, on runs whose kept scores cannot be read.
    #[error(
        "policy {policy} was not in the grid, and no run's kept scores could be read: {why}; put it into the grid and `sweep run` again"
    )]
    NotEvaluated { policy: String, why: String },
    /// Something recorded that this version of the program cannot train or evaluate.
    #[error("{what} as recorded is nothing that this version knows: {why}; a new sweep file can ask for what there is now")]
    Recorded { what: String, why: String },
    /// A run that was planned, but not trained, by a program whose runs have other numbers.
    #[error(
        "run {run} was planned by a version of the program with format {format}, and this one has format {}: it would be trained by other \
         rules than its sweep's recorded runs; `sweep run FILE` plans all of them anew, and what is recorded stays",
        plan::FORMAT
    )]
    OtherFormat { run: String, format: u32 },
    /// The sweep ended, but some runs failed.
    #[error("{failed} of {total} runs failed; `sweep status` lists them and `sweep resume --failed` tries them again")]
    RunsFailed { failed: usize, total: usize },
    /// Stopped by the user; the sweep can be resumed.
    #[error("interrupted; `sweep resume` continues where it stopped")]
    Interrupted,
    /// Another command was stopped by the user; what becomes of its work.
    #[error("interrupted; {0}")]
    Halted(&'static str),
    /// A task on a cluster that has nothing to do, or cannot begin.
    #[error("{what}")]
    Task { code: u8, what: String },
    /// Anything else.
    #[error("{0}")]
    Unexpected(String),
}

impl From<data::Unprepared> for Error {
    fn from(error: data::Unprepared) -> Self {
        use data::Unprepared::{Data, Disk};
        match error {
            Data(error) => Self::Data(error),
            Disk { path, what, source } => {
                Self::Io { path, source: std::io::Error::new(source.kind(), format!("{what}: {source}")) }
            }
        }
    }
}

impl Error {
    /// The error of a file outside the database.
    #[must_use]
    pub fn file((path, source): (PathBuf, std::io::Error)) -> Self {
        Self::Io { path, source }
    }

    /// The process exit code of the public contract.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Data(_) | Self::Store(store::StoreError::Foreign { .. }) => 4,
            Self::Store(_)
            | Self::Io { .. }
            | Self::KeptScores { .. }
            | Self::NoScores { .. }
            | Self::NoRunFolders { .. }
            | Self::Recorded { .. }
            | Self::OtherFormat { .. }
            | Self::NotEvaluated { .. }
            | Self::Unexpected(_) => 1,
            Self::Usage(_) | Self::Spec(_) => 2,
            Self::RunsFailed { .. } => 3,
            #[cfg(feature = "worker")]
            Self::Worker(error) => error.exit_code(),
            // Used between a worker and its controller, or a task and its sweep, only.
            Self::Journal(_) => 74,
            Self::Task { code, .. } => *code,
            Self::Interrupted | Self::Halted(_) => 130,
        }
    }
}
