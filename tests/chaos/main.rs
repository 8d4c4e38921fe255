//! Faults, by chance and by the number: on this machine and on a cluster. `SWEEP_CHAOS=10` injects ten where three are usual; with
//! `SWEEP_SLURM` set the cluster is Slurm, which has to be up, otherwise a stand-in of a few lines of shell (tests/chaos/slurm).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, its helpers too")]

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod local;

/// How many faults of a kind are injected.
fn times() -> u64 {
    std::env::var("SWEEP_CHAOS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return };
    let _ = rustix::process::kill_process(pid, signal);
}

fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}
