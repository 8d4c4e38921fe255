//! The whole program, from its arguments to its exit code: one JSON value on stdout, everything else on stderr.
//! Workers are fake ones, which record made-up results at once, except where a result matters.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

#[path = "cli/bad_data.rs"]
mod bad_data;
#[path = "cli/bad_place.rs"]
mod bad_place;
#[path = "cli/bad_sweep.rs"]
mod bad_sweep;
#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/stop.rs"]
mod stop;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::Place;
use serde_json::Value;

/// 3 losses and weights, 2 seeds, 2 thresholds: 24 points, 10 runs.
const GRID: &str = r#"
name = "small"
[data]
kind = "letters"
samples = 200
image_size = 16
label_rates = { A = 0.2, B = 0.4 }
[train]
epochs = 2
[grid]
loss = ["bce", "focal"]
pos_weight = ["none", "sqrt", "neg_over_pos"]
threshold = [0.5, "max_f1"]
seed = [0, 1]
[[grid.exclude]]
loss = "focal"
pos_weight = "sqrt"
"#;

/// The output of a process and its exit code.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
        let said = Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
        assert!(!said.err.contains("panicked"), "{}", said.err);
        assert!(
            !said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'),
            "escape codes in a pipe:\n{}{}",
            said.out,
            said.err
        );
        said
    }

    /// Succeeded, with one JSON value on stdout.
    fn json(&self) -> Value {
        assert!(self.code.is_some_and(|code| code == 0 || code == 3 || code == 130), "{:?}: {}", self.code, self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// Failed with this code, nothing on stdout, and one error that contains all these texts.
    fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert_eq!(self.out, "");
        assert_eq!(self.err.matches("error: ").count(), 1, "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "`{word}` is missing: {}", self.err);
        }
    }
}

/// The first run of a leaderboard (baselines have none).
fn first_run(run: &Value) -> &str {
    let rows = run["leaderboard"]["rows"].as_array().expect("rows");
    rows.iter().find_map(|row| row["runs"][0].as_str()).expect("a row with runs")
}

/// Waits until something has happened.
fn wait_for(ready: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !ready() {
        assert!(start.elapsed().as_secs() < 120, "it does not happen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

impl Place {
    fn sweep(&self, arguments: &[&str]) -> Said {
        Said::new(&self.run(arguments))
    }

    /// `sweep run sweep.toml --on fake --format json`, more arguments behind it.
    fn fake(&self, arguments: &[&str]) -> Said {
        let mut all = vec!["run", "sweep.toml", "--on", "fake", "--format", "json"];
        all.extend(arguments);
        self.sweep(&all)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        fs::write(path, content).unwrap();
    }
}
