//! Answers: texts that are compressed once, and the headers that every answer has.

use std::io::Write;
use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

/// A text, and its gzip once somebody wants it.
pub struct Text {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Text {
    /// This text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { plain: text.into(), gzip: OnceLock::new() }
    }

    /// Shorter texts are not worth it.
    const SHORT: usize = 1024;

    fn gzip(&self) -> &Bytes {
        self.gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::with_capacity(self.plain.len() / 6), Compression::new(4));
            // Writing to memory does not fail; if it did, the text would go out as it is.
            let written = encoder.write_all(&self.plain).and_then(|()| encoder.finish());
            written.map_or_else(|_| self.plain.clone(), Bytes::from)
        })
    }

    /// An answer of this kind, compressed where the client takes that.
    #[must_use]
    pub fn answer(&self, status: StatusCode, kind: &'static str, asked: &HeaderMap) -> Response {
        let zip = takes_gzip(asked) && self.plain.len() >= Self::SHORT;
        let mut answer = of(status, kind, if zip { self.gzip().clone() } else { self.plain.clone() });
        answer.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
        if zip {
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }
}

/// The kinds of answers.
pub const HTML: &str = "text/html; charset=utf-8";
/// See [`HTML`].
pub const JSON: &str = "application/json";

/// An answer.
#[must_use]
pub fn of(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// One sentence.
#[must_use]
pub fn sentence(status: StatusCode, words: &str) -> Response {
    of(status, "text/plain; charset=utf-8", format!("{words}\n"))
}

/// A value.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    of(status, JSON, serde_json::to_vec(value).unwrap_or_default())
}

/// For addresses that nothing is at.
pub async fn not_found() -> Response {
    sentence(StatusCode::NOT_FOUND, "there is nothing at this address; the page is at ./")
}

/// Adds what every answer says: not to be stored, sniffed, framed or read by other sites, and a policy that allows nothing where the
/// answer has none of its own.
#[must_use]
pub fn guarded(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    answer
}

/// Whether `Accept-Encoding` has gzip, with a weight above 0.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let mut words = coding.split(';').map(str::trim);
        let named = words.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let weight = |word: &str| word.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        named && !words.filter_map(weight).any(|weight| weight == 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        for (asked, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("br, deflate", false),
            ("", false),
            ("gzip; q=0.000", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, asked.parse().unwrap());
            assert_eq!(takes_gzip(&headers), takes, "{asked}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
