//! `GET ./events`: what changed since the page's state, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use super::App;
use super::feed::{Feed, Id, Next};
use super::reply;

/// Proxies cut connections that are silent for half a minute.
const ALIVE: Duration = Duration::from_secs(15);
/// First of all, so that the headers go out: how long a browser waits before it connects again, in milliseconds.
const HELLO: &str = "retry: 2000\n\n";

/// Where a page is that opens the stream anew.
#[derive(Deserialize)]
pub struct Since {
    since: Option<String>,
}

/// Where a stream is.
struct At {
    feed: Arc<Feed>,
    changed: Receiver<()>,
    at: Option<Id>,
    greeted: bool,
}

/// The stream. A browser that connects again says where it is by `Last-Event-ID`.
pub async fn stream(State(app): State<Arc<App>>, Query(Since { since }): Query<Since>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let at = last.or(since).and_then(|id| Id::read(&id));
    let start = At { feed: Arc::clone(&app.feed), changed: app.feed.subscribe(), at, greeted: false };
    app.feed.fresh().await;
    let events = unfold(start, async |mut at| at.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), at)));
    let mut answer = reply::of(StatusCode::OK, "text/event-stream", Body::from_stream(events));
    // nginx would hold events back.
    answer.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

impl At {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(Bytes::from_static(HELLO.as_bytes()));
        }
        loop {
            // Marked as seen before it is looked at, so that no change is missed.
            self.changed.borrow_and_update();
            match self.feed.after(self.at.as_ref()) {
                Next::Change(event, rev) => {
                    if let Some(at) = &mut self.at {
                        at.rev = rev;
                    }
                    return Some(event);
                }
                Next::Reset(at) => {
                    self.at = Some(at);
                    return Some(Bytes::from_static(b"event: reset\ndata: {}\n\n"));
                }
                Next::End => return None,
                Next::Wait => match timeout(ALIVE, self.changed.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    Err(_) => return Some(Bytes::from_static(b": alive\n\n")),
                },
            }
        }
    }
}
