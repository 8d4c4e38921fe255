//! The keys of a sweep that runs in a terminal: whole lines of stdin, as the terminal delivers them. Its modes are not changed, so nothing
//! survives a crash or Ctrl-Z.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use tokio::sync::mpsc::UnboundedSender;

use super::request::{Key, Request};

/// How often a process in the background looks whether it is in the foreground again.
const AWAY: Duration = Duration::from_millis(500);
/// Longest line that a terminal delivers.
const LINE: usize = 4096;

/// Whether there are a keyboard to listen to and a screen to answer on.
#[must_use]
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Turns lines of stdin into requests until the receiver is gone, if [`is_there`]. The thread is not waited for: it ends with the process.
pub fn listen(requests: UnboundedSender<Request>) {
    if is_there() {
        // Without it the sweep is as good.
        let _ = thread::Builder::new().name("keyboard".to_owned()).spawn(move || hear(&requests));
    }
}

fn hear(requests: &UnboundedSender<Request>) {
    // What was typed before was not meant for the sweep.
    let mut stale = waits(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    let mut bytes = [0; LINE];
    loop {
        if !stale && !waits(None) {
            return;
        }
        // Nobody needs it any more: what is typed now is for the shell.
        if requests.is_closed() {
            return;
        }
        // A read by a process in the background would stop it (SIGTTIN). Therefore a read never waits either: one that did, would still
        // wait when the process comes back from Ctrl-Z in the background.
        if !is_in_foreground() {
            thread::sleep(AWAY);
            continue;
        }
        match read(io::stdin().as_fd(), &mut bytes) {
            // Ctrl-D, or the terminal is gone.
            Ok(0) => return,
            Ok(_) if stale => {}
            Ok(count) => {
                for line in bytes[..count].split_inclusive(|&byte| byte == b'\n') {
                    let _ = requests.send(Request::Key(key(line)));
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return,
        }
        stale = stale && waits(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    }
}

/// Waits for a line. False: none has come in time, or none ever will.
fn waits(most: Option<&Timespec>) -> bool {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    loop {
        match poll(&mut fds, most) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
            Ok(_) => return fds[0].revents().contains(PollFlags::IN),
        }
    }
}

/// Whether the terminal on stdin is the one of this process, and its keys are for it.
fn is_in_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// What a line asks for.
fn key(line: &[u8]) -> Key {
    match line.trim_ascii() {
        b"" => Key::Status,
        b"?" => Key::Help,
        _ => Key::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_keys() {
        assert_eq!([key(b"\n"), key(b" \r\n"), key(b"?\n"), key(b"ls -l\n"), key(b"")].map(|key| key as u8), {
            [Key::Status, Key::Status, Key::Help, Key::Unknown, Key::Status].map(|key| key as u8)
        });
    }
}
