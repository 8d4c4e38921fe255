//! Where a process runs: a process number means nothing without it.

/// The name of this machine; empty where the kernel does not tell.
#[must_use]
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}
