//! A process that serves a page.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for anything that has to happen; generous, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something has happened.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that serves, and what it has said.
pub struct Served {
    pub child: Child,
    pub port: u16,
    pub token: String,
    said: Arc<Mutex<String>>,
}

impl Served {
    /// Starts the command and waits for its address.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut stderr, into) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|read| read > 0) {
                into.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let url = wait_for("the address", || {
            let said = said.lock().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{status}: {said}");
            }
            said.lines().find(|line| line.starts_with("http://")).map(str::to_owned)
        });
        let rest = url.strip_prefix("http://127.0.0.1:").unwrap();
        let (port, token) = rest.split_once("/#token=").unwrap();
        Self { child, port: port.parse().unwrap(), token: token.to_owned(), said }
    }

    /// What to open in a browser.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/#token={}", self.port, self.token)
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits for the end: the exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        wait_for("the end of the process", || child.try_wait().unwrap()).code()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
