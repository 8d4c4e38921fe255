//! `POST ./stop`: a request to the controller, left beside the database. Without a controller on this machine the answer says so, with
//! the command to look with.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::App;
use super::feed::Shown;
use super::reply;
use crate::controller::{Request, control};
use crate::shell;
use imbalance::shown::shown;
use store::{Reader, StoreError};

/// What is to be stopped: `{"run": "<fingerprint or its start>"}` or `{"sweep": true}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    run: Option<String>,
    #[serde(default)]
    sweep: bool,
}

/// Why not.
#[derive(Debug, Serialize)]
struct No {
    why: String,
    /// What to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// What was asked of whom.
#[derive(Debug, Serialize)]
struct Asked {
    asked: String,
}

fn no(status: StatusCode, why: impl Into<String>, command: Option<String>) -> Response {
    reply::json(status, &No { why: why.into(), command })
}

/// Leaves the request.
pub async fn stop(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let wish: Wish = match serde_json::from_slice(&body) {
        Ok(wish) => wish,
        Err(error) => return no(StatusCode::BAD_REQUEST, format!("not {{\"run\": ...}} or {{\"sweep\": true}}: {error}"), None),
    };
    if wish.sweep == wish.run.is_some() {
        return no(StatusCode::BAD_REQUEST, "either {\"run\": ...} or {\"sweep\": true}", None);
    }
    // The futures of the database stay on one thread.
    let asked = spawn_blocking(move || Handle::current().block_on(ask(&app, wish.run.as_deref()))).await;
    match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(StoreError::NotFound(why))) => no(StatusCode::NOT_FOUND, why, None),
        Ok(Err(other)) => no(StatusCode::SERVICE_UNAVAILABLE, other.to_string(), None),
        Err(error) => no(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), None),
    }
}

async fn ask(app: &App, run: Option<&str>) -> Result<Response, StoreError> {
    let snapshot = app.feed.fresh().await;
    let document = match &snapshot.shown {
        Shown::Page(document) => document,
        Shown::Waiting(waiting) => {
            return Ok(no(StatusCode::CONFLICT, waiting.why.clone(), Some(waiting.command.clone())));
        }
    };
    let mut reader = Reader::open(&app.db).await?;
    let sweep = reader.sweep(document.sweep).await?;
    let conflict = |why: String| Ok(no(StatusCode::CONFLICT, why, Some(shell::sweep(&["status", &sweep.title], &app.db))));
    let title = shown(&sweep.title);
    let listening = match control::listening(&app.db) {
        Some(listening) if listening.sweep == sweep.id => listening,
        Some(other) => {
            return conflict(format!("`{title}` is not being trained: {} trains another sweep of this database", other.holder));
        }
        None => {
            return conflict(match store::holder(&app.db) {
                Some(holder) => format!("{holder} has the database and takes no requests (now): Ctrl-C there stops it"),
                None => format!("nobody on this machine trains `{title}`; a `sweep run` elsewhere is stopped there, by Ctrl-C"),
            });
        }
    };
    let request = match run {
        None => Request::Stop,
        Some(run) => {
            let found = reader.find_run(run).await?;
            if found.state != "running" {
                return conflict(format!("run {} is not under way: it is {}", found.fingerprint.short(), found.state));
            }
            Request::StopRun(found.fingerprint)
        }
    };
    Ok(match control::send(&app.db, &listening, &request) {
        Ok(()) => reply::json(StatusCode::ACCEPTED, &Asked { asked: listening.holder }),
        Err(error) => {
            no(StatusCode::INTERNAL_SERVER_ERROR, format!("the request cannot be left beside the database: {error}"), None)
        }
    })
}
