//! Boundaries are the dependencies of each crate (docs/architecture.md): this test reads them from `cargo tree`.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::process::Command;

/// Names of all crates that `package` is built from, itself included; development and build dependencies are left out.
fn built_from(package: &str, options: &[&str]) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--locked",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--package",
        package,
    ]);
    let output = tree.args(options).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Those of `names` that begin with one of `prefixes`.
fn found(names: &BTreeSet<String>, prefixes: &[&str]) -> Vec<String> {
    names.iter().filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))).cloned().collect()
}

const NOTHING: [String; 0] = [];

#[test]
fn the_pure_crates_have_no_candle_no_runtime_no_database_and_no_command_line() {
    for package in ["sweep-imbalance", "sweep-plan", "sweep-protocol", "sweep-data", "sweep-archive"] {
        let names = built_from(package, &[]);
        assert!(names.contains(package) && names.contains("serde"), "{names:?}");
        assert_eq!(found(&names, &["candle", "tokio", "sqlx", "clap"]), NOTHING, "{package}");
    }
    // The strategies and the plan read no files and decode no images either.
    for package in ["sweep-imbalance", "sweep-plan"] {
        assert_eq!(found(&built_from(package, &[]), &["image", "memmap2", "tempfile", "csv"]), NOTHING, "{package}");
    }
}

#[test]
fn each_crate_depends_only_on_those_below_it() {
    for (package, below) in [
        ("sweep-imbalance", &[][..]),
        ("sweep-plan", &["imbalance"]),
        ("sweep-protocol", &["imbalance", "plan"]),
        ("sweep-data", &["archive", "imbalance", "plan"]),
        ("sweep-archive", &["imbalance"]),
        ("sweep-inference", &["imbalance"]),
        ("sweep-kernel", &["imbalance"]),
        ("sweep-store", &["archive", "imbalance", "plan", "protocol"]),
        ("sweep-train", &["archive", "data", "imbalance", "inference", "kernel", "plan", "protocol"]),
    ] {
        let ours: Vec<_> = found(&built_from(package, &[]), &["sweep"]).into_iter().filter(|name| name != package).collect();
        assert_eq!(ours, below.iter().map(|name| format!("sweep-{name}")).collect::<Vec<_>>(), "{package}");
    }
}

#[test]
fn a_worker_cannot_open_the_database() {
    assert_eq!(found(&built_from("sweep-train", &[]), &["sqlx", "sweep-store", "libsqlite3"]), NOTHING);
}

#[test]
fn the_controller_alone_has_no_candle() {
    let controller = built_from("sweep", &["--no-default-features"]);
    assert_eq!(found(&controller, &["candle", "cudarc", "sweep-train", "sweep-kernel", "sweep-inference", "gemm"]), NOTHING);
    // With its default feature it is its own worker.
    assert!(built_from("sweep", &[]).contains("candle-core"));
}
