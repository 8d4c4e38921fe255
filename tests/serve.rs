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
#[path = "serve/served.rs"]
mod served;
#[path = "serve/stop.rs"]
mod stop;

use std::io::Read;
use std::process::{Child, Command, Stdio};

use common::Place;
use served::{PATIENCE, Served, wait_for};

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
