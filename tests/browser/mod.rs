//! A real browser for tests: Chromium and its driver, as Debian packages them, by the WebDriver protocol over plain HTTP. Without them the
//! tests say so in a line and pass, unless `SWEEP_BROWSER=required`: a machine that lacks a browser must not look like one where the page
//! works.
//!
//! No client library: the usual ones bring an HTTP stack of their own, and keep the keys of JSON objects in the order of arrival, which
//! then holds for the program under test, too.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything on a page may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keys as WebDriver writes them (<https://www.w3.org/TR/webdriver2/#keyboard-actions>).
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const SPACE: &str = " ";
pub const RIGHT: &str = "\u{e014}";

/// A browser with one page.
pub struct Browser {
    port: u16,
    session: String,
    process: Child,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub dark: bool,
    pub scripts: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 1280, dark: false, scripts: true }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With the browser that it has started, which would outlive a test that failed.
        if let Some(group) = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a test in a browser, if there is one; the browser is gone afterwards, whatever happened.
pub fn in_browser(look: Look, test: impl FnOnce(&Browser)) {
    let is_here = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !is_here("chromedriver") || !["chromium", "google-chrome"].into_iter().any(is_here) {
        assert_ne!(std::env::var("SWEEP_BROWSER").as_deref(), Ok("required"), "chromium and chromedriver are not here");
        println!("skipped: chromium and chromedriver are not here");
        return;
    }
    test(&Browser::start(look));
}

impl Browser {
    fn start(look: Look) -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // "ChromeDriver was started successfully on port 34567."
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // The rest is read, so that the driver is never blocked.
        std::thread::spawn(move || lines.for_each(drop));
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--no-first-run",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ];
        let blocked = if look.scripts { 1 } else { 2 };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags, "prefs": { "profile.managed_default_content_settings.javascript": blocked } },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let mut browser = Self { port: port.unwrap(), session: String::new(), process };
        browser.session = browser.send("POST", "/session", &wanted)["sessionId"].as_str().unwrap().to_owned();
        browser.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": look.width, "height": 1000, "deviceScaleFactor": 1, "mobile": look.width < 600 }),
        );
        if look.dark {
            let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
            browser.devtools("Emulation.setEmulatedMedia", &dark);
        }
        browser
    }

    /// One exchange with the driver: the `value` of its answer.
    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        // The driver may leave the connection open: its answer says how long it is.
        let mut some = [0; 1 << 16];
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let length =
                    head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
                if length.is_some_and(|length: usize| answer.len() >= answer.len() - rest.len() + length && rest.len() >= length)
                {
                    break;
                }
            }
            match stream.read(&mut some).unwrap() {
                0 => break,
                read => answer.extend(&some[..read]),
            }
        }
        let text = String::from_utf8(answer).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}"));
        let value = answer["value"].clone();
        if let Some(error) = value["error"].as_str() {
            panic!("{method} {path}: {error}: {}", value["message"]);
        }
        value
    }

    /// A command to this session.
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.send(method, &format!("/session/{}{path}", self.session), body)
    }

    /// A command of Chromium's own protocol.
    fn devtools(&self, method: &str, params: &Value) {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": method, "params": params }));
    }

    /// Opens an address.
    pub fn goto(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// Opens a file.
    pub fn open_file(&self, path: &Path, hash: &str) {
        self.open(&format!("file://{}{hash}", path.display()));
    }

    /// Opens an address and waits until the page is ready.
    pub fn open(&self, url: &str) {
        // Another fragment alone would not load the page again.
        self.goto("about:blank");
        self.goto(url);
        self.until("document.documentElement.dataset.ready === 'yes'");
    }

    /// What a script returns.
    pub fn ask(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": format!("return {script}"), "args": [] }))
    }

    /// Runs a script.
    pub fn tell(&self, script: &str) {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }));
    }

    /// Waits until a condition holds.
    pub fn until(&self, condition: &str) {
        let begun = Instant::now();
        while self.ask(&format!("Boolean({condition})")) != json!(true) {
            if begun.elapsed() > PATIENCE {
                let seen = self.ask("document.body.innerText.slice(0, 2000)");
                panic!("waited in vain for {condition}\n{:?}\n{seen}", self.console());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Types into the element that has the focus.
    pub fn press(&self, keys: &str) {
        let active = self.command("GET", "/element/active", &Value::Null);
        let id = active.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.command("POST", &format!("/element/{id}/value"), &json!({ "text": keys }));
    }

    /// The elements that a selector finds, where no script may run.
    fn elements(&self, selector: &str) -> Vec<String> {
        let found = self.command("POST", "/elements", &json!({ "using": "css selector", "value": selector }));
        let id = |element: &Value| element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        found.as_array().unwrap().iter().map(id).collect()
    }

    /// How many elements a selector finds.
    pub fn count(&self, selector: &str) -> usize {
        self.elements(selector).len()
    }

    /// The text of the first element that a selector finds, as it can be seen.
    pub fn text(&self, selector: &str) -> String {
        self.command("GET", &format!("/element/{}/text", self.elements(selector)[0]), &Value::Null).as_str().unwrap().to_owned()
    }

    fn log(&self, kind: &str) -> Vec<String> {
        let entries = self.command("POST", "/se/log", &json!({ "type": kind }));
        entries.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Console entries since it was last asked.
    pub fn console(&self) -> Vec<String> {
        self.log("browser")
    }

    /// Addresses that were asked for since it was last asked, beside data in addresses.
    pub fn requests(&self) -> Vec<String> {
        let sent = |message: &String| {
            let message: Value = serde_json::from_str(message).unwrap();
            let event = &message["message"];
            (event["method"] == "Network.requestWillBeSent")
                .then(|| event["params"]["request"]["url"].as_str().unwrap().to_owned())
        };
        let all = self.log("performance");
        all.iter().filter_map(sent).filter(|url| !url.starts_with("data:") && !url.starts_with("about:")).collect()
    }
}
