//! Waiting for a database that another program holds: a browser, a backup, a shell with an open transaction. Writes
//! wait as long as it takes, in short steps, so that dropping the wait takes effect at once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long SQLite itself waits before it reports that the database is locked.
pub(super) const BUSY: Duration = Duration::from_millis(200);
/// Interval between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// A wait is reported after this time, then at this interval.
const FIRST: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(60);

/// How a writer waits. Clones are the same wait.
#[derive(Clone, Debug)]
pub struct Patience {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// When the present wait began.
    since: Option<Instant>,
    /// Total length of earlier waits.
    before: Duration,
    /// When the wait is to be reported next.
    next: Duration,
    /// Whether the caller reports the wait; otherwise it is logged.
    watched: bool,
}

impl Patience {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether the caller asks for [`Self::word`] and reports the wait.
    pub fn watch(&self, watched: bool) {
        self.state().watched = watched;
    }

    /// Whether the database is being waited for.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.state().since.is_some()
    }

    /// How long the database was waited for, all waits together.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let state = self.state();
        state.before + state.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The length of the present wait when it is due to be reported: soon after it began, then once a minute.
    #[must_use]
    pub fn word(&self) -> Option<Duration> {
        self.state().word()
    }

    /// Waits for one interval because the database is locked.
    pub(super) async fn pause(&self) {
        let word = {
            let mut state = self.state();
            if state.since.is_none() {
                (state.since, state.next) = (Some(Instant::now()), FIRST);
            }
            if state.watched { None } else { state.word() }
        };
        if let Some(waited) = word {
            let path = self.path.display();
            tracing::warn!("{path}: another program keeps it locked; waiting for it ({} s so far)", waited.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// Ends the present wait: the database is free.
    pub(super) fn over(&self) {
        let mut state = self.state();
        if let Some(since) = state.since.take() {
            state.before += since.elapsed();
        }
    }
}

impl State {
    fn word(&mut self) -> Option<Duration> {
        let waited = self.since?.elapsed();
        if waited < self.next {
            return None;
        }
        self.next = waited + AGAIN;
        Some(waited)
    }
}

/// Whether an error says that another program holds the database.
pub(super) fn locked(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    // The low byte of an extended code is the primary one: SQLITE_BUSY, SQLITE_LOCKED.
    error.code().and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

/// Runs a statement of the writer, repeated while another program holds the database.
macro_rules! patiently {
    ($patience:expr, $statement:expr) => {{
        let patience = &$patience;
        let result = loop {
            match $statement.await {
                Err(error) if crate::patience::locked(&error) => patience.pause().await,
                result => break result,
            }
        };
        patience.over();
        result
    }};
}
pub(super) use patiently;
