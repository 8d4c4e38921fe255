//! What is shown now, and the last changes to it: written by one watcher, read by any number of requests.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::change::{Change, Parts};
use super::reply::Text;
use super::waiting::Waiting;
use crate::error::Error;
use crate::report::page::{Page, Place};
use store::SweepId;

/// Changes that a page may miss before it has to load the whole model again.
const RING: usize = 64;
/// Without a stream and a request for this long nobody is looking, and nothing is built.
const REST: Duration = Duration::from_secs(10);
/// Longest wait of a request for the look that it has caused.
const PATIENCE: Duration = Duration::from_secs(10);
/// What stands in the document in place of its ID; with the quotes, which no text of a document has unescaped.
const PLACE: &str = "content=\"SWEEP_REV\"";

/// Names a state of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    pub instance: String,
    pub rev: u64,
}

impl Id {
    /// What [`fmt::Display`] has written; `None` for any other text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (instance, rev) = text.trim().rsplit_once('-')?;
        Some(Self { instance: instance.to_owned(), rev: rev.parse().ok()? })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.instance, self.rev)
    }
}

/// What is shown.
pub struct Snapshot {
    pub id: Id,
    pub shown: Shown,
}

/// A page, or why there is none.
pub enum Shown {
    Waiting(Waiting),
    Page(Box<Document>),
}

/// A page, written when it is first asked for.
pub struct Document {
    pub sweep: SweepId,
    page: Page,
    json: Arc<Value>,
    parts: Parts,
    html: OnceLock<Text>,
    model: OnceLock<Text>,
}

/// What `./model` answers.
#[derive(Serialize)]
struct Envelope<'a> {
    id: String,
    model: &'a Value,
    parts: &'a Parts,
}

impl Document {
    /// A page of this sweep, with its model as JSON and its parts.
    #[must_use]
    pub fn new(sweep: SweepId, page: Page, json: Arc<Value>, parts: Parts) -> Box<Self> {
        Box::new(Self { sweep, page, json, parts, html: OnceLock::new(), model: OnceLock::new() })
    }

    /// The whole document.
    ///
    /// # Errors
    /// Errors of the template.
    pub fn html(&self, id: &Id) -> Result<&Text, Error> {
        if let Some(html) = self.html.get() {
            return Ok(html);
        }
        let html = self.page.html(Place::Live)?.replacen(PLACE, &format!("content=\"{id}\""), 1);
        Ok(self.html.get_or_init(|| Text::new(html)))
    }

    /// Model and parts, as JSON.
    ///
    /// # Errors
    /// None that a model can cause.
    pub fn model(&self, id: &Id) -> Result<&Text, Error> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        let envelope = Envelope { id: id.to_string(), model: &self.json, parts: &self.parts };
        let json = serde_json::to_string(&envelope).map_err(|error| Error::Unexpected(error.to_string()))?;
        Ok(self.model.get_or_init(|| Text::new(json)))
    }
}

/// What a stream has to send next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// An event, after which it is at this rev.
    Change(Bytes, u64),
    /// The page has to load the model again; the stream goes on from this state.
    Reset(Id),
    /// Nothing yet.
    Wait,
    /// Nothing any more.
    End,
}

struct Inner {
    snapshot: Arc<Snapshot>,
    /// The changes that led to the newest revs of this instance, oldest first.
    ring: VecDeque<Bytes>,
    /// Instances so far.
    instances: u64,
    closed: bool,
    /// Whether what is shown may be old, because nobody was looking.
    resting: bool,
    /// The last request for it.
    asked: Instant,
}

/// The one place that watcher and requests share.
pub struct Feed {
    nonce: String,
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
    /// Looks at the database so far.
    looks: watch::Sender<u64>,
    wake: Notify,
}

impl Feed {
    /// A feed that waits. `nonce` is of no other server.
    #[must_use]
    pub fn new(nonce: String, waiting: Waiting) -> Self {
        let id = Id { instance: format!("{nonce}0"), rev: 0 };
        let snapshot = Arc::new(Snapshot { id, shown: Shown::Waiting(waiting) });
        let (ring, asked) = (VecDeque::new(), Instant::now());
        let inner = Inner { snapshot, ring, instances: 1, closed: false, resting: true, asked };
        let (changed, looks) = (watch::channel(()).0, watch::channel(0).0);
        Self { nonce, inner: Mutex::new(inner), changed, looks, wake: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown now.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner().snapshot)
    }

    /// What is shown now; after a rest, once the database was looked at again.
    pub async fn fresh(&self) -> Arc<Snapshot> {
        let mut looks = self.looks.subscribe();
        let resting = {
            let mut inner = self.inner();
            inner.asked = Instant::now();
            inner.resting
        };
        if resting {
            self.wake.notify_one();
            let _ = timeout(PATIENCE, looks.changed()).await;
        }
        self.now()
    }

    /// Notes that the database was looked at; true if nobody wants to know of the next change.
    pub fn looked(&self) -> bool {
        let mut inner = self.inner();
        inner.resting = self.changed.receiver_count() == 0 && inner.asked.elapsed() > REST;
        let resting = inner.resting;
        drop(inner);
        self.looks.send_modify(|looks| *looks += 1);
        resting
    }

    /// The end of a rest.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Notices changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Shows the first page of a sweep.
    pub fn begin(&self, document: Box<Document>) {
        self.replace(Shown::Page(document));
    }

    /// Shows the next page of the same sweep.
    ///
    /// # Errors
    /// None that a change can cause.
    pub fn go_on(&self, document: Box<Document>, change: &Change) -> Result<(), Error> {
        let mut inner = self.inner();
        let Id { instance, rev } = inner.snapshot.id.clone();
        let id = Id { instance, rev: rev + 1 };
        inner.ring.push_back(event(&id, change)?);
        if inner.ring.len() > RING {
            inner.ring.pop_front();
        }
        inner.snapshot = Arc::new(Snapshot { id, shown: Shown::Page(document) });
        drop(inner);
        self.changed.send_replace(());
        Ok(())
    }

    /// Shows that there is nothing to show.
    pub fn wait(&self, waiting: Waiting) {
        let same = matches!(&self.now().shown, Shown::Waiting(known) if *known == waiting);
        if !same {
            self.replace(Shown::Waiting(waiting));
        }
    }

    /// Whether a page is shown.
    #[must_use]
    pub fn has_page(&self) -> bool {
        matches!(self.now().shown, Shown::Page(_))
    }

    fn replace(&self, shown: Shown) {
        let mut inner = self.inner();
        let id = Id { instance: format!("{}{:x}", self.nonce, inner.instances), rev: 0 };
        inner.instances += 1;
        inner.ring.clear();
        inner.snapshot = Arc::new(Snapshot { id, shown });
        drop(inner);
        self.changed.send_replace(());
    }

    /// What follows on `at`; `None`: on nothing that is known.
    #[must_use]
    pub fn after(&self, at: Option<&Id>) -> Next {
        let inner = self.inner();
        let now = &inner.snapshot.id;
        let behind = at.filter(|at| at.instance == now.instance).and_then(|at| now.rev.checked_sub(at.rev));
        let behind = behind.and_then(|behind| usize::try_from(behind).ok()).filter(|&behind| behind <= inner.ring.len());
        match behind {
            None => Next::Reset(now.clone()),
            Some(0) if inner.closed => Next::End,
            Some(0) => Next::Wait,
            Some(behind) => Next::Change(inner.ring[inner.ring.len() - behind].clone(), now.rev - behind as u64 + 1),
        }
    }

    /// Streams end once they have sent everything.
    pub fn close(&self) {
        self.inner().closed = true;
        self.changed.send_replace(());
    }
}

/// The event of a change, as it is sent. JSON has no line breaks.
fn event(id: &Id, change: &Change) -> Result<Bytes, Error> {
    #[derive(Serialize)]
    struct Data<'a> {
        id: String,
        #[serde(flatten)]
        change: &'a Change,
    }
    let data =
        serde_json::to_string(&Data { id: id.to_string(), change }).map_err(|error| Error::Unexpected(error.to_string()))?;
    Ok(format!("id: {id}\nevent: change\ndata: {data}\n\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(instance: &str, rev: u64) -> Id {
        Id { instance: instance.to_owned(), rev }
    }

    fn changed(feed: &Feed) {
        // Only the ring and the revs are looked at here.
        let mut inner = feed.inner();
        let Id { instance, rev } = inner.snapshot.id.clone();
        let id = Id { instance, rev: rev + 1 };
        inner.ring.push_back(Bytes::from(id.to_string()));
        if inner.ring.len() > RING {
            inner.ring.pop_front();
        }
        inner.snapshot = Arc::new(Snapshot { id, shown: Shown::Waiting(Waiting::default()) });
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        for written in [id("ab0", 0), id("a-b", 7)] {
            assert_eq!(Id::read(&written.to_string()), Some(written));
        }
        assert!(["", "ab", "ab-", "ab-x", "-"].iter().all(|text| Id::read(text).is_none()));
    }

    #[test]
    fn what_was_missed_is_replayed_or_reset() {
        let feed = Feed::new("f".to_owned(), Waiting::default());
        let instance = feed.now().id.instance.clone();
        let at = |rev: u64| feed.after(Some(&id(&instance, rev)));
        assert_eq!(at(0), Next::Wait);
        assert_eq!(
            (feed.after(None), feed.after(Some(&id("other", 0)))),
            (Next::Reset(feed.now().id.clone()), Next::Reset(feed.now().id.clone()))
        );
        for _ in 0..RING {
            changed(&feed);
        }
        assert_eq!(at(0), Next::Change(Bytes::from(format!("{instance}-1")), 1), "the ring has them all");
        changed(&feed);
        let last = RING as u64 + 1;
        assert_eq!(at(0), Next::Reset(id(&instance, last)), "one too many");
        assert_eq!(at(1), Next::Change(Bytes::from(format!("{instance}-2")), 2));
        assert_eq!(at(last - 1), Next::Change(Bytes::from(format!("{instance}-{last}")), last));
        assert_eq!(at(last), Next::Wait);
        assert_eq!(at(last + 1), Next::Reset(id(&instance, last)), "a rev that never was");
        feed.close();
        assert_eq!(at(last - 1), Next::Change(Bytes::from(format!("{instance}-{last}")), last), "what is left is sent");
        assert_eq!(at(last), Next::End);
        feed.wait(Waiting { why: "gone".to_owned(), ..Waiting::default() });
        assert_ne!(feed.now().id.instance, instance);
    }
}
