//! What the fuzz targets were given (fuzz/corpus), and what they have found (fuzz/found), with the usual compiler: nothing panics, and what
//! is read does not contradict itself.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod targets;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn everything_that_was_found_is_taken_without_a_panic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in targets::TARGETS {
        let seeds = files(&root.join("fuzz/corpus").join(name));
        assert!(seeds.len() >= 2, "{name}: no corpus");
        let mut inputs = [seeds, files(&root.join("fuzz/found").join(name))].concat();
        if ["jpeg", "picture"].contains(&name) {
            inputs.extend(files(&root.join("tests/oracle/images")));
        }
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            // A few bytes changed and cut off at random places are enough to find a check that is gone.
            let cuts = (0..24).map(|at| bytes.len() * at / 24);
            let cut = cuts.clone().map(|end| bytes[..end].to_vec());
            let flipped = cuts.map(|at| {
                let mut bytes = bytes.clone();
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(1));
                bytes
            });
            for bytes in std::iter::once(bytes.clone()).chain(cut).chain(flipped) {
                let told = std::panic::catch_unwind(|| target(&bytes));
                assert!(told.is_ok(), "{}", input.display());
            }
        }
    }
}

/// A target without a row in the list, or without its program, is run by nobody.
#[test]
fn every_target_is_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut listed: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    let names = |folder: &str| -> Vec<String> {
        files(&root.join(folder)).iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names("fuzz_targets"), listed);
    assert_eq!(names("corpus"), listed);
    assert_eq!(names("dictionaries"), listed);
}
