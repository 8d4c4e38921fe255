//! Real data sets, if they are present (in `../shared/data`, outside of the repository): every run, epoch, label and policy is recorded.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, its helpers too")]

use std::path::Path;

use serde_json::Value;

/// Runs `tests/real/NAME.toml`, shortened to one epoch, into a fresh folder, and returns what `run --format json` printed.
fn sweep(name: &str, arguments: &[&str]) -> Option<(tempfile::TempDir, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join("../shared/data").join(name).exists() {
        println!("skipped: ../shared/data/{name} is not here");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = assert_cmd::Command::cargo_bin("sweep")
        .unwrap()
        .arg("run")
        .arg(root.join(format!("tests/real/{name}.toml")))
        .args(["--format", "json", "--set", "train.epochs=1", "--quiet"])
        .args(arguments)
        .arg("--db")
        .arg(folder.path().join("real.db"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let value = serde_json::from_slice(&output.stdout).unwrap();
    Some((folder, value))
}

/// One row per strategy, policy and label, in the long form of `report --format csv`.
fn report_rows(folder: &Path, split: &str) -> usize {
    let output = assert_cmd::Command::cargo_bin("sweep")
        .unwrap()
        .args(["report", "--format", "csv", "--split", split, "--db"])
        .arg(folder.join("real.db"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().count() - 1
}

#[test]
fn images_of_every_kind_are_trained_on() {
    for name in ["bccd", "chest64"] {
        if let Some((folder, _)) = sweep(name, &["--set", "data.image_size=32", "--set", "grid.seed=[0]"]) {
            assert!(report_rows(folder.path(), "val") > 0 && report_rows(folder.path(), "test") > 0, "{name}");
        }
    }
}

#[test]
fn features_with_awkward_label_names_are_trained_on() {
    for name in ["emotions", "birds"] {
        if let Some((folder, _)) = sweep(name, &["--set", "grid.seed=[0]"]) {
            assert!(report_rows(folder.path(), "val") > 0 && report_rows(folder.path(), "test") > 0, "{name}");
        }
    }
}
