//! The small page that is shown while there is nothing to show.

use std::path::Path;

use base64::Engine;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::feed::Id;
use crate::shell;

/// What is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// A sentence.
    pub why: String,
    /// A command that brings it about, or says more.
    pub command: String,
}

/// Before the first look at the database.
#[must_use]
pub fn first(db: &Path, sweep: &str) -> Waiting {
    Waiting { why: format!("reading {}", db.display()), command: shell::sweep(&["status", sweep], db) }
}

/// Loads the page anew when there is something else to show. Its hash stands in the policy.
const SCRIPT: &str = "const events = new EventSource('./events?since=' + document.querySelector('meta[name=sweep-rev]').content);
for (const name of ['reset', 'change']) events.addEventListener(name, () => location.reload());";

/// The page.
#[must_use]
pub fn html(waiting: &Waiting, id: &Id) -> String {
    let Waiting { why, command } = waiting;
    let (why, command) = (escaped(why), escaped(command));
    format!(
        "<!doctype html>
<html lang=\"en\" data-waiting>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta name=\"sweep-rev\" content=\"{id}\">
<title>sweep: waiting</title>
<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}</style>
<h1>Waiting for a sweep</h1>
<p>{why}</p>
<pre><code>{command}</code></pre>
<p>This page follows by itself.</p>
<script>{SCRIPT}</script>
</html>
"
    )
}

/// The page's content security policy.
#[must_use]
pub fn policy() -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        let waiting = Waiting { why: "no </p><script>alert(1)</script> & \"x\"".to_owned(), command: "<b>".to_owned() };
        let html = html(&waiting, &Id { instance: "a".to_owned(), rev: 3 });
        assert!(html.contains("no &lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot;"));
        assert!(html.contains("&lt;b&gt;") && html.contains("content=\"a-3\""));
        assert_eq!(html.matches("<script>").count(), 1);
    }
}
