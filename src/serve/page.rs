//! `GET ./` and `GET ./model`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderMap, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::App;
use super::feed::{Shown, Snapshot};
use super::reply::{self, HTML, JSON, Text};
use super::waiting::{self, Waiting};
use crate::error::Error;
use crate::report::page::{Page, Place};

/// The document.
pub async fn document(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    let snapshot = app.feed.fresh().await;
    if let Shown::Waiting(waiting) = &snapshot.shown {
        let html = Text::new(waiting::html(waiting, &snapshot.id));
        return busy(policed(html.answer(StatusCode::SERVICE_UNAVAILABLE, HTML, &asked), &waiting::policy()));
    }
    let answer = written(snapshot, asked, |snapshot, asked| match &snapshot.shown {
        Shown::Page(page) => Ok(page.html(&snapshot.id)?.answer(StatusCode::OK, HTML, asked)),
        Shown::Waiting(_) => Ok(reply::sentence(StatusCode::SERVICE_UNAVAILABLE, "nothing to show")),
    });
    policed(answer.await, &Page::policy(Place::Live))
}

/// The model and the parts.
pub async fn model(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct Nothing<'a> {
        id: String,
        #[serde(flatten)]
        waiting: &'a Waiting,
    }
    let snapshot = app.feed.fresh().await;
    let answer = written(snapshot, asked, |snapshot, asked| match &snapshot.shown {
        Shown::Page(page) => Ok(page.model(&snapshot.id)?.answer(StatusCode::OK, JSON, asked)),
        Shown::Waiting(waiting) => {
            let nothing = Nothing { id: snapshot.id.to_string(), waiting };
            Ok(busy(reply::json(StatusCode::SERVICE_UNAVAILABLE, &nothing)))
        }
    });
    answer.await
}

/// Writes and compresses a large page beside the threads that answer.
async fn written(
    snapshot: Arc<Snapshot>,
    asked: HeaderMap,
    write: impl FnOnce(&Snapshot, &HeaderMap) -> Result<Response, Error> + Send + 'static,
) -> Response {
    let answer = spawn_blocking(move || write(&snapshot, &asked)).await;
    let failed = |why: String| reply::sentence(StatusCode::INTERNAL_SERVER_ERROR, &format!("the page cannot be written: {why}"));
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => failed(error.to_string()),
        Err(error) => failed(error.to_string()),
    }
}

fn policed(mut answer: Response, policy: &str) -> Response {
    if let Ok(policy) = HeaderValue::from_str(policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn busy(mut answer: Response) -> Response {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    answer
}
