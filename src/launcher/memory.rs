//! Whether the kernel has killed a process for lack of memory, by the kernel's own counters.

use std::fs;
use std::path::Path;

/// Processes killed for lack of memory so far, on this machine and in this cgroup. 0 where the kernel does not tell.
pub fn oom_kills() -> u64 {
    let machine = fs::read_to_string("/proc/vmstat").map_or(0, |text| counter(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/').to_owned();
        fs::read_to_string(Path::new("/sys/fs/cgroup").join(path).join("memory.events")).ok()
    });
    machine + group.map_or(0, |text| counter(&text))
}

fn counter(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_read_and_its_namesakes_are_not() {
        assert_eq!(counter("oom 7\noom_kill 3\noom_kill_x 9\n"), 3);
        assert_eq!(counter("pgfault 12\n"), 0);
    }
}
