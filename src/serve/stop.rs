//! `POST ./stop`.

use axum::http::StatusCode;
use axum::response::Response;

use super::reply;

/// Nothing can be stopped yet.
pub async fn stop() -> Response {
    reply::sentence(StatusCode::CONFLICT, "nothing can be stopped")
}
