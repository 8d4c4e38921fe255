//! Who may ask: requests that name this server by a name it goes by, from its own pages. A browser that was led here by another name
//! (DNS rebinding), or by another site's page, is turned away. docs/serve.md#who-may-open-it has the rules.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::App;
use super::reply;
use crate::error::Error;
use imbalance::shown::shown;

/// The header with the token.
pub const TOKEN: &str = "x-sweep-token";

/// The rules.
pub struct Gate {
    /// Lower case.
    names: Vec<String>,
    token: blake3::Hash,
}

impl Gate {
    /// A gate for localhost and these `names`.
    #[must_use]
    pub fn new(names: Vec<String>, token: &str) -> Self {
        Self { names, token: blake3::hash(token.as_bytes()) }
    }

    /// Why a request is turned away, if it is.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let one = hosts.next().is_none();
        let Some(host) = host.filter(|host| one && self.knows(host)) else {
            let typed = host.unwrap_or_default();
            return Err(format!(
                "this server does not go by the name `{}`; if that is how you reach it, start it with --allow-host {}",
                shown(typed),
                without_port(typed).map_or_else(|| "NAME".to_owned(), shown)
            ));
        };
        // A target with a host of its own overrules the header.
        if uri.authority().is_some_and(|authority| !self.knows(authority.as_str())) {
            return Err(format!("the address of the request is not that of `{}`", shown(host)));
        }
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !own.is_some_and(|own| self.knows(own)) {
                return Err(format!(
                    "a page of `{}` may not ask; if it is this server under another name, start it with --allow-host NAME",
                    shown(origin)
                ));
            }
        }
        if method != Method::GET && method != Method::HEAD && !self.has_token(headers) {
            return Err("the token is missing or that of another start; open the address that the server printed".to_owned());
        }
        Ok(())
    }

    /// Whether this server goes by the name in `host:port`.
    fn knows(&self, host: &str) -> bool {
        without_port(host).is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            ["localhost", "127.0.0.1", "[::1]"].contains(&name.as_str()) || self.names.contains(&name)
        })
    }

    /// Hashes are compared in constant time.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        headers.get(TOKEN).is_some_and(|token| blake3::hash(token.as_bytes()) == self.token)
    }
}

/// The name in `name`, `name:port` or `[address]:port`.
fn without_port(host: &str) -> Option<&str> {
    let name = match host.rsplit_once(':') {
        _ if host.ends_with(']') => host,
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        Some(_) => return None,
        None => host,
    };
    let address = name.starts_with('[') && name.ends_with(']');
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (!name.is_empty() && (plain || address)).then_some(name)
}

/// A checked `--allow-host`.
///
/// # Errors
/// [`Error::Usage`] for what is no name of a host.
pub fn name(typed: &str) -> Result<String, Error> {
    let fits = without_port(typed).filter(|name| *name == typed);
    let no =
        || Error::Usage(format!("--allow-host {}: a name such as box.example.org, without scheme, port and path", shown(typed)));
    fits.map(str::to_ascii_lowercase).ok_or_else(no)
}

/// Turns away what may not ask, and sets the headers of every answer.
pub async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let answer = match app.gate.admit(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => reply::sentence(StatusCode::FORBIDDEN, &why),
    };
    reply::guarded(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn admit(method: &Method, headers: &[(&str, &str)]) -> Result<(), String> {
        let gate = Gate::new(vec![name("Box.example").unwrap()], SECRET);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        gate.admit(method, &"/".parse().unwrap(), &map)
    }

    #[test]
    fn hosts_are_known_by_name_with_any_port() {
        for host in
            ["localhost", "LOCALHOST:9", "127.0.0.1", "127.0.0.1:6007", "[::1]", "[::1]:80", "box.example", "Box.Example:443"]
        {
            assert_eq!(admit(&Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "",
            ":6007",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "[::2]",
            "::1",
            "localhost:",
            "127.0.0.2",
            "localhost:80:80",
            "localhost/x",
            "[::1]x",
        ] {
            let answer = admit(&Method::GET, &[("host", host)]);
            // A port may be left out after the colon.
            let fine = host == "localhost:";
            assert_eq!(answer.is_ok(), fine, "{host}: {answer:?}");
            assert!(fine || answer.unwrap_err().contains("--allow-host"), "{host}");
        }
        assert!(admit(&Method::GET, &[]).is_err());
        assert!(admit(&Method::GET, &[("host", "localhost"), ("host", "evil.example")]).is_err());
    }

    #[test]
    fn other_sites_and_posts_without_the_token_are_turned_away() {
        let host = ("host", "localhost:1");
        for origin in ["http://localhost:9", "https://box.example", "http://[::1]:6007"] {
            assert_eq!(admit(&Method::GET, &[host, ("origin", origin)]), Ok(()), "{origin}");
        }
        for origin in ["null", "http://evil.example", "file://", "http://localhost.evil.example", "ftp://localhost", ""] {
            assert!(admit(&Method::GET, &[host, ("origin", origin)]).is_err(), "{origin}");
        }
        assert_eq!(admit(&Method::POST, &[host, (TOKEN, SECRET)]), Ok(()));
        for headers in [&[host][..], &[host, (TOKEN, "")], &[host, (TOKEN, "0123456789abcdee")]] {
            assert!(admit(&Method::POST, headers).unwrap_err().contains("token"));
        }
        assert!(admit(&Method::PUT, &[host]).is_err());
        assert!(admit(&Method::POST, &[host, (TOKEN, SECRET), ("origin", "null")]).is_err());
        assert!(admit(&Method::POST, &[("host", "evil.example"), (TOKEN, SECRET)]).is_err());
    }

    #[test]
    fn names_of_hosts_are_checked() {
        assert_eq!(name("Hub.Example.org").unwrap(), "hub.example.org");
        for typed in ["", "http://box", "box:80", "box/x", "*", "a b"] {
            assert!(name(typed).unwrap_err().to_string().contains("--allow-host"), "{typed}");
        }
    }
}
