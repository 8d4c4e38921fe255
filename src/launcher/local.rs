//! Workers as processes of this machine: orders through stdin, stdout as the wake pipe, stderr into a log file.
//!
//! They never outlive the controller: their stdin ends with it, they ask the kernel for a signal at its death, and what it
//! drops is killed. A next controller ends those of one that was killed itself ([`end_orphan`]).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, mpsc};

use super::{Birth, Exit, Launcher, Signal, WorkerId, memory};
use protocol::Order;

/// A program that takes the place of `sweep worker` (docs/protocol.md).
const WORKER: &str = "SWEEP_WORKER";

struct Handle {
    orders: mpsc::UnboundedSender<String>,
    kill: Arc<Notify>,
}

/// The launcher.
pub struct Local {
    program: PathBuf,
    signals: mpsc::Sender<Signal>,
    workers: HashMap<WorkerId, Handle>,
    /// The kernel's count of out-of-memory kills when last looked at.
    oom_kills: Arc<AtomicU64>,
}

impl Local {
    /// A launcher of this program's own workers; of `sweep-worker` beside it where this program was built without workers.
    ///
    /// # Errors
    /// The program cannot tell where it lies.
    pub fn new(signals: mpsc::Sender<Signal>) -> io::Result<Self> {
        let itself = std::env::current_exe()?;
        let program = match std::env::var_os(WORKER) {
            Some(program) => program.into(),
            None if !cfg!(feature = "worker") => itself.with_file_name("sweep-worker"),
            None => itself,
        };
        let oom_kills = Arc::new(AtomicU64::new(memory::oom_kills()));
        Ok(Self { program, signals, workers: HashMap::new(), oom_kills })
    }
}

impl Launcher for Local {
    #[expect(clippy::disallowed_methods, reason = "this is the launcher")]
    fn start(&mut self, birth: Birth) -> io::Result<()> {
        let threads = birth.slot.threads.to_string();
        let mut child = Command::new(&self.program)
            .arg("worker")
            .args(["--device", &birth.slot.device, "--threads", &threads, "--name", &birth.name])
            .arg("--journal")
            .arg(&birth.journal)
            .envs(protocol::environment(&threads))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(archive::file::regular(File::options().append(true).create(true), &birth.log)?)
            // Its own group: Ctrl-C is for the controller, which tells the workers what it means.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.program.display())))?;
        let (orders, queue) = mpsc::unbounded_channel();
        if let Some(stdin) = child.stdin.take() {
            tokio::spawn(feed(stdin, queue));
        }
        let kill = Arc::new(Notify::new());
        tokio::spawn(watch(birth.id, child, Arc::clone(&kill), self.signals.clone(), Arc::clone(&self.oom_kills)));
        self.workers.insert(birth.id, Handle { orders, kill });
        Ok(())
    }

    fn send(&mut self, worker: WorkerId, order: &Order) {
        if let Some(handle) = self.workers.get(&worker) {
            // Its stdin is closed: it is dying, and its exit will be told.
            let _ = handle.orders.send(order.line() + "\n");
        }
    }

    fn kill(&mut self, worker: WorkerId) {
        if let Some(handle) = self.workers.remove(&worker) {
            handle.kill.notify_one();
        }
    }
}

/// Writes orders to a worker's stdin, which closes with the handle.
async fn feed(mut stdin: ChildStdin, mut orders: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = orders.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Tells of a worker's wake bytes and of its end.
async fn watch(id: WorkerId, mut child: Child, kill: Arc<Notify>, signals: mpsc::Sender<Signal>, oom_kills: Arc<AtomicU64>) {
    let mut stdout = child.stdout.take();
    let mut bytes = [0; 4096];
    let status = loop {
        let wake = async {
            match &mut stdout {
                Some(stdout) => stdout.read(&mut bytes).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = wake => match read {
                Ok(0) | Err(_) => stdout = None,
                // The receiver is gone only when the controller is.
                Ok(_) => drop(signals.send(Signal::Wake(id)).await),
            },
            status = child.wait() => break status,
            () = kill.notified() => drop(child.start_kill()),
        }
    };
    drop(signals.send(Signal::Exited(id, exit(status, &oom_kills))).await);
}

fn exit(status: io::Result<ExitStatus>, oom_kills: &AtomicU64) -> Exit {
    let Ok(status) = status else { return Exit::default() };
    let kills = memory::oom_kills();
    let out_of_memory = kills > oom_kills.swap(kills, Ordering::Relaxed);
    Exit { code: status.code(), signal: status.signal(), out_of_memory }
}

/// Kills a worker that outlived its controller: process `pid`, if its command line names `journal`. Waits until it is gone.
///
/// # Errors
/// It does not go.
pub fn end_orphan(pid: u32, journal: &Path) -> io::Result<()> {
    let name = journal.file_name().unwrap_or_default().as_encoded_bytes();
    let alive = || {
        let words = command_line(pid);
        words.windows(name.len().max(1)).any(|window| window == name)
    };
    let Some(process) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return Ok(()) };
    let start = Instant::now();
    while alive() {
        // It may have gone meanwhile: the next look tells.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        if start.elapsed() > Duration::from_secs(10) {
            return Err(io::Error::other(format!("worker {pid} of an earlier sweep does not end")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The command line of a process; empty where there is none. One that has only just been started shows none for a moment.
fn command_line(pid: u32) -> Vec<u8> {
    let read = || fs::read(format!("/proc/{pid}/cmdline")).ok();
    for _ in 0..20 {
        match read() {
            Some(words) if words.is_empty() => std::thread::sleep(Duration::from_millis(5)),
            Some(words) => return words,
            None => break,
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::{Slot, channel};

    fn birth(folder: &Path) -> Birth {
        Birth {
            id: WorkerId(3),
            name: "w".into(),
            slot: Slot { device: "cpu".into(), threads: 1 },
            journal: folder.join("w.jsonl"),
            log: folder.join("w.log"),
        }
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join("worker.sh");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn local(program: PathBuf) -> (Local, mpsc::Receiver<Signal>) {
        let (signals, heard) = channel();
        (Local { program, ..Local::new(signals).unwrap() }, heard)
    }

    #[tokio::test]
    async fn orders_arrive_wakes_and_the_exit_are_told_and_stderr_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "read line; echo \"$line\" >&2; printf .; exit 74");
        let (mut local, mut heard) = local(program).await;
        let birth = birth(folder.path());
        local.start(birth.clone()).unwrap();
        local.send(birth.id, &Order::Stop);
        let mut told = Vec::new();
        while let Some(signal) = heard.recv().await {
            let last = matches!(signal, Signal::Exited(..));
            told.push(signal);
            if last {
                break;
            }
        }
        let exit = Exit { code: Some(74), signal: None, out_of_memory: false };
        assert_eq!(told.last(), Some(&Signal::Exited(birth.id, exit)));
        assert_eq!(fs::read_to_string(birth.log).unwrap().trim(), r#"{"k":"stop"}"#);
    }

    #[tokio::test]
    async fn a_killed_worker_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "exec sleep 60");
        let (mut local, mut heard) = local(program).await;
        local.start(birth(folder.path())).unwrap();
        local.kill(WorkerId(3));
        let Some(Signal::Exited(_, exit)) = heard.recv().await else { panic!("no exit") };
        assert_eq!((exit.code, exit.signal), (None, Some(9)));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (mut local, _heard) = local("/nowhere/sweep-worker".into()).await;
        let error = local.start(birth(folder.path())).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/sweep-worker: "), "{error}");
    }

    #[test]
    fn an_orphan_is_ended_and_a_stranger_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "read line");
        let mut command = std::process::Command::new(program);
        let mut child = command.arg(folder.path().join("j-1.jsonl")).stdin(Stdio::piped()).spawn().unwrap();
        let _open = child.stdin.take();
        let pid = child.id();
        end_orphan(pid, Path::new("other.jsonl")).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "a stranger was killed");
        let waiter = std::thread::spawn(move || child.wait().unwrap());
        end_orphan(pid, Path::new("j-1.jsonl")).unwrap();
        assert_eq!(waiter.join().unwrap().signal(), Some(9));
    }
}
