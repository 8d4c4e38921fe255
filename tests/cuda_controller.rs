//! In a CUDA build the controller needs no CUDA library to start (docs/decisions/0003-two-binaries-with-cuda.md).
#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::process::Command;

/// The shared libraries that a program names: `DT_NEEDED` of its ELF file, as readelf prints them.
fn needed(program: &str) -> Vec<String> {
    let output = Command::new("readelf").args(["-d", program]).output().expect("readelf (binutils) is needed here");
    let text = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| Some(line.split_once("Shared library: [")?.1.trim_end_matches(']').to_owned());
    text.lines().filter(|line| line.contains("NEEDED")).filter_map(name).collect()
}

#[test]
fn the_controller_names_no_cuda_library_and_the_worker_does() {
    let of_cuda = |name: &&String| name.starts_with("libcu") || name.starts_with("libnv");
    let controller = needed(env!("CARGO_BIN_EXE_sweep"));
    assert!(!controller.is_empty());
    assert_eq!(controller.iter().filter(of_cuda).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(needed(env!("CARGO_BIN_EXE_sweep-worker")).iter().any(|name| name.starts_with("libcuda.so")));
}

#[test]
fn the_controller_says_which_program_trains() {
    let worker = ["worker", "--device", "cuda:0", "--journal", "unused", "--name", "w"];
    let output = Command::new(env!("CARGO_BIN_EXE_sweep")).args(worker).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && words.contains("`sweep-worker`"), "{:?}: {words}", output.status);
}
