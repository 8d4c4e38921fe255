//! Who may ask, and the headers of the answers.

use super::client::try_ask;
use super::{Place, file, stderr};

#[test]
fn only_own_names_own_pages_and_the_token_are_let_in() {
    let place = Place::new(&file("gate", 1, 1));
    place.pretended();
    let served = place.serve(&["--allow-host", "Box.example"]);
    let port = served.port;
    let (local, elsewhere) = (format!("localhost:{port}"), "localhost:1".to_owned());
    for path in ["/", "/model", "/nothing"] {
        let status = |headers: &[(&str, &str)]| try_ask(port, "GET", path, headers, "").unwrap().status;
        let usual = if path == "/nothing" { 404 } else { 200 };
        for host in [local.as_str(), &elsewhere, "127.0.0.1", "[::1]:8888", "box.example", "LOCALHOST"] {
            assert_eq!(status(&[("Host", host)]), usual, "{path} {host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "", "box.example.evil"] {
            let answer = try_ask(port, "GET", path, &[("Host", host)], "").unwrap();
            assert_eq!(answer.status, 403, "{path} {host}");
            assert!(answer.text().contains("--allow-host"), "{}", answer.text());
        }
        for origin in ["http://evil.example", "null", "https://localhost.evil.example"] {
            assert_eq!(status(&[("Host", &local), ("Origin", origin)]), 403, "{path} {origin}");
        }
        assert_eq!(status(&[("Host", &local), ("Origin", "http://localhost:99")]), usual);
    }
    assert_eq!(try_ask(port, "GET", "http://evil.example/", &[("Host", &local)], "").unwrap().status, 403);
    let post = |headers: &[(&str, &str)]| try_ask(port, "POST", "/stop", headers, "{\"sweep\": true}").unwrap();
    let token = ("X-Sweep-Token", served.token.as_str());
    assert_eq!(post(&[("Host", &local), token]).status, 409, "nobody trains");
    let mut wrong = served.token.clone().into_bytes();
    wrong[0] ^= 1;
    let wrong = String::from_utf8(wrong).unwrap();
    for headers in [
        &[("Host", local.as_str())][..],
        &[("Host", &local), ("X-Sweep-Token", "")],
        &[("Host", &local), ("X-Sweep-Token", &wrong)],
        &[("Host", &local), token, ("Origin", "http://evil.example")],
        &[("Host", "evil.example"), token],
    ] {
        let answer = post(headers);
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    assert_eq!(served.token.len(), 48, "192 bits");
    assert!(served.said().contains(&format!("ssh -L {port}:127.0.0.1:{port} ")), "{}", served.said());
}

#[test]
fn answers_are_guarded_and_compressed() {
    // Long enough to be worth it.
    let place = Place::new(&file("guarded", 1, 4));
    place.pretended();
    let served = place.serve(&[]);
    for (path, status) in [("/", 200), ("/model", 200), ("/nothing", 404)] {
        let answer = served.get(path, &[]);
        assert_eq!(answer.status, status);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-eval"), "{policy}");
    }
    let plain = served.get("/model", &[]);
    let zipped = served.get("/model", &[("Accept-Encoding", "br;q=0.5, gzip")]);
    assert_eq!((plain.header("content-encoding"), zipped.header("content-encoding")), (None, Some("gzip")));
    assert_eq!(zipped.header("vary"), Some("accept-encoding"));
    assert!(zipped.body.len() < plain.body.len() / 2, "{} {}", zipped.body.len(), plain.body.len());
    assert_eq!(zipped.json(), plain.json());
    assert_eq!(served.get("/", &[("Accept-Encoding", "gzip")]).text(), served.get("/", &[]).text());
}

#[test]
fn a_port_that_is_taken_is_said() {
    let place = Place::new(&file("ports", 1, 1));
    place.pretended();
    let served = place.serve(&[]);
    let port = served.port.to_string();
    let (code, said) = stderr(&mut place.command(&["serve", "--port", &port]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another program listens there") && said.contains("--port 0"), "{said}");
    // Whoever has the usual port: it is taken now.
    let _taken = std::net::TcpListener::bind("127.0.0.1:6007");
    let other = super::Served::start(place.command(&["serve"]));
    assert!(other.port > 6007 && other.said().contains("port 6007 is taken"), "{}", other.said());
    let (code, said) = stderr(&mut place.command(&["serve", "--allow-host", "http://x/"]));
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = stderr(&mut place.command(&["run", "sweep.toml", "--port", "0"]));
    assert!(code == Some(2) && said.contains("--serve"), "{said}");
}
