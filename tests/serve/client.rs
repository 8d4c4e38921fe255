//! As much of HTTP as the tests need.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::{PATIENCE, Served};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body, decompressed where it is compressed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match self.header("content-encoding") {
            Some("gzip") => drop(GzDecoder::new(&self.body[..]).read_to_string(&mut text).unwrap()),
            None => text = String::from_utf8(self.body.clone()).unwrap(),
            Some(other) => panic!("{other}"),
        }
        text
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Reads the head of an answer; what follows it is left in `rest`.
fn head(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<(u16, Vec<(String, String)>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let mut some = [0; 4096];
        let read = stream.read(&mut some).ok().filter(|&read| read > 0)?;
        bytes.extend(&some[..read]);
    };
    rest.extend(&bytes[end + 4..]);
    let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = text.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Some((status, lines.filter_map(header).collect()))
}

/// Sends a request with these headers and nothing else.
pub fn raw(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<(TcpStream, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).ok()?;
    Some((stream, request))
}

/// A whole exchange; `None` where the server is gone.
pub fn try_ask(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
    let headers = [headers, &[("Connection", "close")]].concat();
    let (mut stream, _) = raw(port, method, path, &headers, body)?;
    let mut rest = Vec::new();
    let (status, headers) = head(&mut stream, &mut rest)?;
    stream.read_to_end(&mut rest).ok()?;
    let answer = Answer { status, headers, body: rest };
    if answer.header("transfer-encoding") == Some("chunked") {
        let body = Chunks::default().take(&answer.body);
        return Some(Answer { body, ..answer });
    }
    Some(answer)
}

/// A body that comes in chunks.
#[derive(Default)]
struct Chunks {
    raw: Vec<u8>,
    ended: bool,
}

impl Chunks {
    /// What is whole of it by now.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.raw.extend(bytes);
        let mut body = Vec::new();
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).unwrap(), 16).unwrap();
            if self.raw.len() < line + 2 + size + 2 {
                break;
            }
            self.ended |= size == 0;
            body.extend(&self.raw[line + 2..line + 2 + size]);
            self.raw.drain(..line + 2 + size + 2);
        }
        body
    }
}

/// A server-sent event; comments have neither name nor id.
#[derive(Debug, Default)]
pub struct Event {
    pub id: Option<String>,
    pub name: String,
    pub data: Value,
}

/// An open stream of events.
pub struct Stream {
    socket: TcpStream,
    chunks: Chunks,
    text: String,
    pub headers: Vec<(String, String)>,
}

impl Stream {
    /// The next event; `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Event> {
        let start = Instant::now();
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
                if let Some(name) = field("event:") {
                    let data = field("data:").map_or(Value::Null, |data| serde_json::from_str(&data).unwrap());
                    return Some(Event { id: field("id:"), name, data });
                }
            }
            assert!(start.elapsed() < PATIENCE, "no event arrives");
            let mut some = [0; 65536];
            match self.socket.read(&mut some) {
                Ok(0) | Err(_) if self.chunks.ended => return None,
                Ok(0) => return None,
                Ok(read) => {
                    let body = self.chunks.take(&some[..read]);
                    self.text.push_str(std::str::from_utf8(&body).unwrap());
                    if self.chunks.ended && self.text.is_empty() {
                        return None;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next event, which has this name.
    pub fn expect(&mut self, name: &str) -> Event {
        let event = self.next().unwrap_or_else(|| panic!("the stream has ended before {name}"));
        assert_eq!(event.name, name, "{event:?}");
        event
    }
}

impl Served {
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Asks as a browser does.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let host = self.host();
        let headers = [&[("Host", host.as_str())], headers].concat();
        try_ask(self.port, "GET", path, &headers, "").expect("an answer")
    }

    pub fn model(&self) -> Value {
        self.get("/model", &[]).json()
    }

    /// Asks to stop something, with the token.
    pub fn stop(&self, what: &Value) -> Answer {
        let (host, token) = (self.host(), self.token.clone());
        let headers = [("Host", host.as_str()), ("X-Sweep-Token", &token), ("Content-Type", "application/json")];
        try_ask(self.port, "POST", "/stop", &headers, &what.to_string()).expect("an answer")
    }

    /// A stream of events from this ID on.
    pub fn events(&self, since: &str) -> Stream {
        self.stream(&format!("/events?since={since}"), &[])
    }

    pub fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let host = self.host();
        let headers = [&[("Host", host.as_str())], headers].concat();
        let (mut socket, _) = raw(self.port, "GET", path, &headers, "").expect("a connection");
        let mut rest = Vec::new();
        let (status, headers) = head(&mut socket, &mut rest).expect("an answer");
        assert_eq!(status, 200);
        socket.set_read_timeout(Some(PATIENCE + Duration::from_secs(5))).unwrap();
        let mut chunks = Chunks::default();
        let text = String::from_utf8(chunks.take(&rest)).unwrap();
        Stream { socket, chunks, text, headers }
    }
}

/// What a page does with a change.
pub fn apply(page: &mut Value, change: &Value) {
    page["id"] = change["id"].clone();
    for (name, value) in change["set"].as_object().unwrap() {
        match value {
            Value::Null => drop(page["model"].as_object_mut().unwrap().remove(name)),
            value => page["model"][name] = value.clone(),
        }
    }
    for (name, rows) in change["rows"].as_object().unwrap() {
        let key = |item: &Value| item["key"].as_str().unwrap().to_owned();
        let old = page["model"][name].as_array().unwrap().clone();
        let order: Vec<String> = match rows.get("order") {
            Some(order) => order.as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect(),
            None => old.iter().map(key).collect(),
        };
        let changed = rows["changed"].as_array().unwrap();
        let item = |wanted: &String| changed.iter().chain(&old).find(|item| key(item) == *wanted).unwrap().clone();
        page["model"][name] = order.iter().map(item).collect();
    }
    for (id, html) in change["parts"].as_object().unwrap() {
        match html {
            Value::Null => drop(page["parts"].as_object_mut().unwrap().remove(id)),
            html => page["parts"][id] = html.clone(),
        }
    }
}

/// `{"sweep": true}`.
pub fn the_sweep() -> Value {
    json!({"sweep": true})
}
