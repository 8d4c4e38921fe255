//! Workers as processes of this machine: orders through stdin, stdout as the wake pipe, stderr into a log file.
//!
//! They do not outlive the controller: their stdin ends with it, they ask the kernel for a signal at its death, and dropping a
//! worker kills it. The next controller ends those that are left over ([`super::end_leftover`]).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, mpsc};

use super::{Exit, Launcher, Place, Signal, Standing, WorkerId, WorkerSpec, memory, no_room};
use protocol::Order;

/// Environment variable with a program that replaces `sweep worker` (docs/protocol.md).
const WORKER: &str = "SWEEP_WORKER";

struct Handle {
    orders: mpsc::UnboundedSender<String>,
    kill: Arc<Notify>,
}

/// The launcher.
pub struct Local {
    places: Vec<Place>,
    program: PathBuf,
    signals: mpsc::Sender<Signal>,
    /// Workers that are not released.
    workers: HashMap<WorkerId, Handle>,
    /// The kernel's count of out-of-memory kills when last read.
    oom_kills: Arc<AtomicU64>,
}

impl Local {
    /// A launcher of `command`, else of this program's own workers at `places`; of `sweep-worker` beside it where this program was
    /// built without workers.
    ///
    /// # Errors
    /// The path of the program itself cannot be determined.
    pub fn new(places: Vec<Place>, command: Option<PathBuf>, signals: mpsc::Sender<Signal>) -> io::Result<Self> {
        let program = match command.or_else(|| std::env::var_os(WORKER).map(PathBuf::from)) {
            Some(program) => program,
            None if !cfg!(feature = "worker") => std::env::current_exe()?.with_file_name("sweep-worker"),
            None => std::env::current_exe()?,
        };
        let oom_kills = Arc::new(AtomicU64::new(memory::oom_kills()));
        Ok(Self { places, program, signals, workers: HashMap::new(), oom_kills })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the launcher")]
    fn spawn(&self, worker: &WorkerSpec) -> io::Result<Child> {
        let Place { device, threads } = &self.places[worker.place];
        let threads = threads.to_string();
        let named = |error: io::Error, path: &Path| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        Command::new(&self.program)
            .arg("worker")
            .args(["--device", device, "--threads", &threads, "--name", &worker.name])
            .arg("--journal")
            .arg(&worker.journal)
            .envs(protocol::environment(&threads))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log(&worker.log).map_err(|error| named(error, &worker.log))?)
            // Its own process group: Ctrl-C is for the controller, which decides what the workers do.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| named(error, &self.program))
    }
}

impl Launcher for Local {
    fn places(&self) -> usize {
        self.places.len()
    }

    fn device(&self, place: usize) -> &str {
        &self.places[place].device
    }

    fn start(&mut self, worker: WorkerSpec) {
        let signals = self.signals.clone();
        match self.spawn(&worker) {
            Ok(child) => {
                let (orders, queue) = mpsc::unbounded_channel();
                let kill = Arc::new(Notify::new());
                tokio::spawn(watch(worker.id, child, queue, Arc::clone(&kill), signals, Arc::clone(&self.oom_kills)));
                self.workers.insert(worker.id, Handle { orders, kill });
            }
            Err(error) => {
                let exit = Exit::NotStarted { no_room: no_room(&error), why: error.to_string() };
                let gone = Signal::Stands(worker.id, Standing::Gone(exit));
                tokio::spawn(async move { drop(signals.send(gone).await) });
            }
        }
    }

    fn send(&mut self, worker: WorkerId, order: &Order) {
        if let Some(handle) = self.workers.get(&worker) {
            // Its stdin is closed: it is about to end, which is signalled separately.
            let _ = handle.orders.send(order.line() + "\n");
        }
    }

    fn kill(&mut self, worker: WorkerId) {
        if let Some(handle) = self.workers.get(&worker) {
            handle.kill.notify_one();
        }
    }

    fn released(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }
}

/// The log of a worker, in which nothing is but what it says; never through a link.
fn log(path: &Path) -> io::Result<File> {
    archive::file::regular(File::options().append(true).create(true), path)
}

/// Writes orders to a worker's stdin, which closes with the handle.
async fn feed(mut stdin: ChildStdin, mut orders: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = orders.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Signals a worker's wake bytes and its end.
async fn watch(
    id: WorkerId,
    mut child: Child,
    orders: mpsc::UnboundedReceiver<String>,
    kill: Arc<Notify>,
    signals: mpsc::Sender<Signal>,
    oom_kills: Arc<AtomicU64>,
) {
    // The receiver is dropped only with the controller.
    drop(signals.send(Signal::Stands(id, Standing::Running)).await);
    let feeder = child.stdin.take().map(|stdin| tokio::spawn(feed(stdin, orders)));
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
                // If the channel is full the controller is busy; it reads all journals periodically.
                Ok(_) => drop(signals.try_send(Signal::Wake(id))),
            },
            status = child.wait() => break status,
            () = kill.notified() => drop(child.start_kill()),
        }
    };
    // A process that the worker has left behind may hold the pipe open.
    if let Some(feeder) = feeder {
        feeder.abort();
    }
    drop(signals.send(Signal::Stands(id, Standing::Gone(exit(status, &oom_kills)))).await);
}

fn exit(status: io::Result<ExitStatus>, oom_kills: &AtomicU64) -> Exit {
    let Ok(status) = status else { return Exit::Process { code: None, signal: None, out_of_memory: false } };
    let kills = memory::oom_kills();
    let out_of_memory = kills > oom_kills.swap(kills, Ordering::Relaxed);
    Exit::Process { code: status.code(), signal: status.signal(), out_of_memory }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::launcher::channel;

    fn spec(folder: &Path, id: u32) -> WorkerSpec {
        let (journal, log) = (folder.join("w.jsonl"), folder.join("w.log"));
        WorkerSpec { id: WorkerId(id), name: "w".into(), place: 0, journal, log }
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join("worker.sh");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn local(program: PathBuf) -> (Local, mpsc::Receiver<Signal>) {
        let (signals, heard) = channel();
        let place = Place { device: "cpu".into(), threads: 1 };
        (Local::new(vec![place], Some(program), signals).unwrap(), heard)
    }

    /// All signals up to a worker's end.
    async fn told(heard: &mut mpsc::Receiver<Signal>) -> Vec<Signal> {
        let mut told = Vec::new();
        while let Some(signal) = heard.recv().await {
            let last = matches!(signal, Signal::Stands(_, Standing::Gone(_)));
            told.push(signal);
            if last {
                break;
            }
        }
        told
    }

    #[tokio::test]
    async fn orders_arrive_wakes_and_the_exit_are_told_and_stderr_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "read line; echo \"$line\" >&2; printf .; exit 74");
        let (mut local, mut heard) = local(program);
        let spec = spec(folder.path(), 3);
        local.start(spec.clone());
        local.send(spec.id, &Order::Stop);
        let told = told(&mut heard).await;
        let exit = Exit::Process { code: Some(74), signal: None, out_of_memory: false };
        assert_eq!(told.first(), Some(&Signal::Stands(spec.id, Standing::Running)));
        assert_eq!(told.last(), Some(&Signal::Stands(spec.id, Standing::Gone(exit))));
        assert_eq!(fs::read_to_string(spec.log).unwrap().trim(), r#"{"k":"stop"}"#);
    }

    #[tokio::test]
    async fn a_killed_worker_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "exec sleep 60");
        let (mut local, mut heard) = local(program);
        local.start(spec(folder.path(), 3));
        local.kill(WorkerId(3));
        let exit = Exit::Process { code: None, signal: Some(9), out_of_memory: false };
        assert_eq!(told(&mut heard).await.last(), Some(&Signal::Stands(WorkerId(3), Standing::Gone(exit))));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (mut local, mut heard) = local("/nowhere/sweep-worker".into());
        local.start(spec(folder.path(), 3));
        let told = told(&mut heard).await;
        let [Signal::Stands(_, Standing::Gone(Exit::NotStarted { why, no_room: false }))] = &told[..] else { panic!("{told:?}") };
        assert!(why.starts_with("/nowhere/sweep-worker: "), "{why}");
    }

    /// Also where the worker leaves a process behind that holds its pipes.
    #[tokio::test]
    async fn workers_that_are_released_leave_no_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "sleep 5 >&- 2>&- & exit 1");
        let (mut local, mut heard) = local(program);
        let pipe =
            |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"));
        let pipes = || fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| pipe(entry).then_some(())).count();
        let before = pipes();
        for id in 0..40 {
            local.start(spec(folder.path(), id));
            local.send(WorkerId(id), &Order::Stop);
            told(&mut heard).await;
            local.released(WorkerId(id));
        }
        tokio::task::yield_now().await;
        // Other tests of this process open pipes, too: far fewer than one per worker.
        let left = pipes();
        assert!(left < before + 20, "{before} pipes before, {left} after");
        assert!(local.workers.is_empty());
    }
}
