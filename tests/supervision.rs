//! What a sweep survives: workers that die, signals to every process, a database that another program holds, files that may not grow,
//! and long work without records. Real processes, real signals.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

#[path = "supervision/descriptors.rs"]
mod descriptors;
#[path = "supervision/foreign_lock.rs"]
mod foreign_lock;
#[path = "supervision/limits.rs"]
mod limits;
#[path = "supervision/preempted.rs"]
mod preempted;
#[path = "supervision/stages.rs"]
mod stages;
#[path = "supervision/stop_run.rs"]
mod stop_run;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use common::Place;

/// Longest wait for anything that has to happen; generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something has happened.
fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a process that may be gone already.
fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// Waits for the end of a process: its exit code; `None` where a signal ended it.
fn ended(child: &mut Child) -> Option<i32> {
    let mut status = None;
    wait_for("the end of the process", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Place {
    /// Workers of this folder that live, oldest first.
    fn workers(&self) -> Vec<u32> {
        let mut workers: Vec<u32> =
            self.processes().into_iter().filter(|(_, line)| line.contains(" worker ")).map(|(pid, _)| pid).collect();
        workers.sort_unstable();
        workers
    }

    /// `sweep status --format json`; null before there is a sweep.
    fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.run(&["status", "--format", "json"]).stdout).unwrap_or_default()
    }

    /// A program of this folder that takes the place of a worker.
    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}
