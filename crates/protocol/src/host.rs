//! What the program's processes need from the operating system.

const SIGXFSZ: i32 = 25;
const SIG_IGN: usize = 1;

unsafe extern "C" {
    /// POSIX: what a signal does.
    fn signal(number: i32, handler: usize) -> usize;
}

/// From now on a write beyond the limit on the size of files (`ulimit -f`) is an error, as on a full disk, instead of the end of the
/// process. Processes that this one starts inherit it.
pub fn outlive_the_file_size_limit() {
    // SAFETY: SIG_IGN is a handler that exists; ignoring a signal touches no state of this program.
    unsafe {
        signal(SIGXFSZ, SIG_IGN);
    }
}

/// The name of this machine, without which a process number means nothing; empty where the kernel does not tell.
#[must_use]
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}
