//! `sweep serve` and `sweep run --serve`, over plain connections: who may ask, what is answered, what changes are told, and what a server
//! survives. The runs are made up (`--on fake`).

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

#[path = "serve/client.rs"]
mod client;
#[path = "serve/follow.rs"]
mod follow;
#[path = "serve/gate.rs"]
mod gate;
#[path = "serve/stop.rs"]
mod stop;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Place;

/// Longest wait for anything that has to happen; generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something has happened.
fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs of one epoch after the other: three strategies under two policies, of `seeds` seeds.
fn file(name: &str, epochs: usize, seeds: usize) -> String {
    let seeds: Vec<usize> = (0..seeds).collect();
    format!(
        r#"
name = {name:?}
[data]
kind = "letters"
samples = 300
image_size = 16
label_rates = {{ A = 0.3, "</script><img src=x onerror=alert(1)> \u001b[31m" = 0.4 }}
[model]
arch = "linear"
[train]
epochs = {epochs}
[grid]
loss = ["bce", "focal", "asl"]
threshold = [0.3, 0.5]
seed = {seeds:?}
"#
    )
}

/// A process that serves, and what it has said.
struct Served {
    child: Child,
    port: u16,
    token: String,
    said: Arc<Mutex<String>>,
}

impl Served {
    /// Starts the command and waits for its address.
    fn start(mut command: Command) -> Self {
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

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits for the end: the exit code.
    fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        wait_for("the end of the process", || child.try_wait().unwrap()).code()
    }

    fn signal(&self, signal: rustix::process::Signal) {
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

impl Place {
    /// `sweep serve`, on any port.
    fn serve(&self, arguments: &[&str]) -> Served {
        Served::start(self.command(&[&["serve", "--port", "0"], arguments].concat()))
    }

    /// `sweep run` with made-up runs whose epochs take so long.
    fn pretend(&self, seconds: f64, arguments: &[&str]) -> Command {
        let mut command = self.command(&[&["run", "sweep.toml", "--on", "fake", "--devices", "cpu"], arguments].concat());
        command.env("SWEEP_FAKE_EPOCH_SECONDS", seconds.to_string());
        command
    }

    fn pretended(&self) {
        let output = self.pretend(0.0, &[]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Kills what is left of a test that fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything that a command says on stderr.
fn stderr(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}
