//! The one look at the database for all tabs: when something was committed, or a worker is further with work without steps, the page is
//! built anew and what changed is published.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use super::change::{Change, Parts};
use super::feed::{Document, Feed};
use super::waiting::Waiting;
use crate::doing;
use crate::error::Error;
use crate::report::page::{PageBuilder, PageOptions};
use crate::shell;
use imbalance::shown::cut;
use store::{Reader, StoreError, SweepId, Version};

/// Interval between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// Interval between two looks at the work of the workers.
const WORK: Duration = Duration::from_secs(5);
/// Characters of an error that are shown.
const LONG: usize = 1000;

/// See the module.
pub struct Watcher {
    db: PathBuf,
    selector: String,
    options: PageOptions,
    feed: Arc<Feed>,
    stop: Receiver<bool>,
    open: Option<Open>,
    /// Looks in a row that have failed.
    failures: u32,
}

/// An open database.
struct Open {
    reader: Reader,
    /// What the page was built from.
    version: Option<Version>,
    /// What the workers did, and when that was looked at.
    doing: BTreeMap<String, String>,
    looked: Instant,
    sweep: Option<Following>,
}

/// The sweep that is shown.
struct Following {
    id: SweepId,
    /// With the id it tells sweeps of two databases apart.
    created_at: f64,
    builder: PageBuilder,
    /// What was published last.
    last: Option<(Arc<Value>, Parts)>,
}

impl Open {
    /// Whether a worker is further with work without steps than at the last look.
    fn is_further(&mut self, db: &Path) -> bool {
        if self.looked.elapsed() < WORK {
            return false;
        }
        self.looked = Instant::now();
        let before = std::mem::replace(&mut self.doing, doing::of_all(db));
        self.doing != before
    }
}

impl Watcher {
    /// Follows the sweep that `selector` means in `db`.
    #[must_use]
    pub fn new(db: PathBuf, selector: String, options: PageOptions, feed: Arc<Feed>, stop: Receiver<bool>) -> Self {
        Self { db, selector, options, feed, stop, open: None, failures: 0 }
    }

    /// Looks until it is told to stop, and once more.
    pub fn work(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                loop {
                    let last = *self.stop.borrow();
                    let begun = Instant::now();
                    self.look().await;
                    let resting = self.feed.looked();
                    if last {
                        return;
                    }
                    // Building takes half of the time at most, and what fails is tried less and less often.
                    let pause = (EVERY * 2u32.pow(self.failures.min(4))).max(begun.elapsed());
                    let _ = timeout(pause, self.stop.wait_for(|stop| *stop)).await;
                    if resting && !*self.stop.borrow() {
                        tokio::select! {
                            () = self.feed.woken() => {}
                            _ = self.stop.wait_for(|stop| *stop) => return,
                        }
                    }
                }
            }),
            Err(error) => tracing::error!("the page cannot be followed: {error}"),
        }
    }

    /// One look. What cannot be read now is tried again at the next.
    async fn look(&mut self) {
        let Err(error) = self.follow().await else {
            self.failures = 0;
            return;
        };
        let why = cut(&error.to_string(), LONG);
        tracing::debug!("sweep serve: {why}");
        match &error {
            // No such sweep: there may be one after the next commit.
            Error::Store(StoreError::NotFound(_)) => {
                if let Some(open) = &mut self.open {
                    open.sweep = None;
                }
                self.feed.wait(Waiting { why, command: self.start() });
            }
            _ if !self.db.exists() => {
                self.open = None;
                let why = format!("there is no database {} yet", self.db.display());
                self.feed.wait(Waiting { why, command: self.start() });
            }
            _ => {
                self.open = None;
                self.failures += 1;
                // The last page stays as long as the trouble may pass.
                if !self.feed.has_page() {
                    let command = shell::sweep(&["status", &self.selector], &self.db);
                    self.feed.wait(Waiting { why, command });
                }
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let reader = Reader::open(&self.db).await?;
                none.insert(Open { reader, version: None, doing: BTreeMap::new(), looked: Instant::now(), sweep: None })
            }
        };
        // First, so that what is committed while the page is built is noticed.
        let version = open.reader.version().await?;
        if open.version == Some(version) && !open.is_further(&self.db) {
            return Ok(());
        }
        let row = match open.reader.find_sweep(&self.selector).await {
            Ok(row) => row,
            Err(error) => {
                if matches!(error, StoreError::NotFound(_)) {
                    open.version = Some(version);
                }
                return Err(error.into());
            }
        };
        let known = open.sweep.take().filter(|known| known.id == row.id && known.created_at == row.created_at);
        let following = open.sweep.insert(known.unwrap_or_else(|| Following {
            id: row.id,
            created_at: row.created_at,
            builder: PageBuilder::new(self.options.clone()),
            last: None,
        }));
        let begun = Instant::now();
        let page = following.builder.build(&mut open.reader, row.id, &|_, _| ()).await?;
        let loaded = begun.elapsed();
        let model = Arc::new(page.model.json()?);
        let parts = page.parts(&model)?;
        let document = Document::new(row.id, page, Arc::clone(&model), parts.clone());
        match &following.last {
            Some((last, last_parts)) => {
                let change = Change::between((last, last_parts), (&model, &parts));
                if !change.is_empty() {
                    self.feed.go_on(document, &change)?;
                }
            }
            None => self.feed.begin(document),
        }
        following.last = Some((model, parts));
        tracing::debug!(
            "sweep serve: the page was built in {:.3} s (its data in {:.3} s)",
            begun.elapsed().as_secs_f64(),
            loaded.as_secs_f64()
        );
        open.version = Some(version);
        Ok(())
    }

    /// The command that makes what is waited for.
    fn start(&self) -> String {
        shell::sweep(&["run", "FILE"], &self.db)
    }
}
