//! Code shared by the programs that measure.

#![allow(dead_code, reason = "each program takes what it needs")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Continues in the environment of a worker of `threads` threads. Libraries read it at start, so a program that was started
/// in another one executes itself again.
pub fn as_a_worker(threads: usize) -> io::Result<()> {
    let threads = threads.to_string();
    let environment = protocol::environment(&threads);
    if environment.iter().all(|(name, value)| std::env::var(name).as_deref() == Ok(*value)) {
        return Ok(());
    }
    Err(Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).envs(environment).exec())
}

/// What `/proc/self/status` says under `name`, in KiB.
pub fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
