//! The real program on a small built-in data set, and what it recorded as text that two databases can be compared by.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Column, Connection, Row, ValueRef};

/// Eight runs of three epochs, each well under a second.
pub const SWEEP: &str = r#"
name = "small"
[data]
kind = "letters"
samples = 500
image_size = 16
label_rates = { A = 0.2, "B/b, \"b\"" = 0.5, "N/A" = 0.3 }
[model]
arch = "cnn"
hidden = [8]
[train]
epochs = 3
batch_size = 32
learning_rate = 1e-3
schedule = "cosine"
[grid]
loss = ["bce", { kind = "focal", gamma = 2.0 }]
pos_weight = ["none", "sqrt"]
sampler = "class_aware"
threshold = [0.5, "max_f1", "prior_match"]
seed = [0, 1]
[workers]
attempts = 100
"#;

/// A folder with a sweep file in it.
pub struct Place {
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sweep.toml"), file).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `sweep ARGUMENTS` in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("SWEEP_DB").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it and expects exit code 0.
    pub fn succeed(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What a command that succeeds prints as JSON.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&self.succeed(&[arguments, &["--format", "json"]].concat()).stdout).unwrap()
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Processes whose command line names this folder: its controllers and workers.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let folder = self.folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let process = |entry: fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&folder).then_some((pid, line))
        };
        fs::read_dir("/proc").unwrap().flatten().filter_map(process).collect()
    }

    /// Everything recorded but clocks, attempts and row ids, as text; also checks the database's integrity.
    pub fn rows(&self) -> Vec<String> {
        rows(&self.path("sweep.db"))
    }
}

/// See [`Place::rows`].
pub fn rows(db: &Path) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(db).read_only(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        assert_eq!(sound, "ok");
        assert!(sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap().is_empty());
        let mut rows = Vec::new();
        for question in [
            "SELECT sweep, run, loss, pos_weight, gamma, sampler, seed, params, epoch, split, policy, label, threshold, support, tp, fp, fn, tn,
                    precision, recall, f1, ap, auc, mean_score FROM label_metrics ORDER BY run, epoch, split, policy, label",
            "SELECT * FROM leaderboard ORDER BY run, epoch, split, policy",
            "SELECT r.fingerprint, r.state, r.best_epoch, e.epoch, e.train_loss, e.val_loss, e.learning_rate
             FROM runs r LEFT JOIN epochs e ON e.run = r.id ORDER BY 1, 4",
        ] {
            for row in sqlx::query(question).fetch_all(&mut connection).await.unwrap() {
                let cell = |column: usize| {
                    let value = row.try_get_raw(column).unwrap();
                    let name = row.column(column).name();
                    // Bits, not digits: equal means equal.
                    let text = if value.is_null() {
                        "NULL".to_owned()
                    } else if let Ok(number) = row.try_get::<f64, _>(column) {
                        format!("{:016x}", number.to_bits())
                    } else if let Ok(number) = row.try_get::<i64, _>(column) {
                        number.to_string()
                    } else {
                        row.try_get::<String, _>(column).unwrap()
                    };
                    format!("{name}={text}")
                };
                rows.push((0..row.len()).map(cell).collect::<Vec<_>>().join(" "));
            }
        }
        rows
    })
}
