//! Workers that outlived their controller: ended where that can be done from here, recognised by their journal elsewhere.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::host;

/// How long the journal of a worker on another machine is watched. A training worker writes every second; an idle one leaves when
/// its controller is gone.
const WATCHED: Duration = Duration::from_secs(3);

/// A worker of an earlier controller, as its journal names it.
#[derive(Clone, Copy, Debug)]
pub struct Leftover<'a> {
    pub host: &'a str,
    pub pid: u32,
    pub journal: &'a Path,
}

/// Makes sure that a worker of an earlier controller is gone. On this machine it is killed; on another machine it counts as gone if
/// its journal does not grow.
///
/// # Errors
/// The worker does not end, or is alive on another machine.
pub fn end_leftover(worker: &Leftover<'_>) -> io::Result<()> {
    let Leftover { host: other, pid, journal } = *worker;
    if other.is_empty() || other == host() {
        return end_here(pid, journal);
    }
    let length = || fs::metadata(journal).map(|meta| meta.len());
    let (before, start) = (length()?, Instant::now());
    while start.elapsed() < WATCHED {
        std::thread::sleep(WATCHED / 10);
        if length()? != before {
            let words =
                format!("its worker still runs on {other} (process {pid}): end it there, then give the same command again");
            return Err(io::Error::other(words));
        }
    }
    Ok(())
}

/// Kills process `pid` if its command line names `journal`, and waits until it is gone.
fn end_here(pid: u32, journal: &Path) -> io::Result<()> {
    let name = journal.file_name().unwrap_or_default().as_encoded_bytes();
    let alive = || {
        let words = command_line(pid);
        words.windows(name.len().max(1)).any(|window| window == name)
    };
    let Some(process) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return Ok(()) };
    let start = Instant::now();
    while alive() {
        // It may have ended meanwhile: the next check tells.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        if start.elapsed() > Duration::from_secs(10) {
            return Err(io::Error::other(format!("worker {pid} of an earlier sweep does not end")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The command line of a process; empty where there is none, which includes a process that has only just been started.
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
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_leftover_is_ended_and_a_stranger_is_left_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker.sh");
        fs::write(&program, "#!/bin/sh\nread line\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = std::process::Command::new(program);
        let mut child = command.arg(folder.path().join("j-1.jsonl")).stdin(Stdio::piped()).spawn().unwrap();
        let _open = child.stdin.take();
        let (pid, host) = (child.id(), host());
        let worker = |host, journal| Leftover { host, pid, journal };
        end_leftover(&worker(&host, Path::new("other.jsonl"))).unwrap();
        // The same number on another machine is another process.
        let journal = folder.path().join("j-1.jsonl");
        fs::write(&journal, "{}").unwrap();
        end_leftover(&worker("elsewhere", &journal)).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "a stranger was killed");
        let waiter = std::thread::spawn(move || child.wait().unwrap());
        end_leftover(&worker(&host, Path::new("j-1.jsonl"))).unwrap();
        assert_eq!(waiter.join().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_worker_that_writes_on_another_machine_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("j-1.jsonl");
        let mut file = fs::File::create(&journal).unwrap();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            file.write_all(b"{}\n").unwrap();
        });
        let error = end_leftover(&Leftover { host: "elsewhere", pid: 7, journal: &journal }).unwrap_err().to_string();
        writer.join().unwrap();
        assert!(error.contains("elsewhere (process 7)"), "{error}");
    }
}
