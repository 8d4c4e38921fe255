//! A database whose recorded kinds and parameters this version does not know: commands report that and do not panic.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::path::Path;

use common::Place;
use sqlx::{Connection, SqliteConnection};

const SWEEP: &str = r#"
name = "old"
[data]
kind = "letters"
samples = 300
image_size = 16
[model]
arch = "linear"
[train]
epochs = 2
schedule = { kind = "step", every = 1, factor = 0.5 }
[grid]
loss = ["bce", "focal", { kind = "class_balanced", beta = 0.9 }]
pos_weight = ["none", { kind = "effective_number", beta = 0.9 }]
sampler = ["shuffle", { kind = "repeat_factor", t = 0.4 }]
threshold = [0.5, "max_f1", "max_fbeta"]
"#;

fn change(db: &Path, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&format!("sqlite:{}", db.display())).await.unwrap();
        let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        assert!(done.rows_affected() > 0, "{statement}");
        connection.close().await.unwrap();
    });
}

/// What a renamed, new or forgotten kind or parameter looks like in a database.
const CHANGES: &[&str] = &[
    "UPDATE runs SET config = replace(config, '\"gamma\"', '\"focus\"')",
    "UPDATE runs SET config = replace(config, '\"kind\":\"focal\"', '\"kind\":\"fokal\"')",
    "UPDATE runs SET config = replace(config, '\"beta\"', '\"betta\"')",
    "UPDATE runs SET config = replace(config, '\"t\":0.4', '\"rate\":0.4')",
    "UPDATE runs SET config = replace(config, '\"t\":0.4', '\"t\":\"high\"')",
    "UPDATE runs SET config = replace(config, '\"every\":1.0', '\"each\":1.0')",
    "UPDATE runs SET config = replace(config, '\"every\":1.0', '\"every\":0.0')",
    "UPDATE runs SET config = replace(config, '\"kind\":\"step\"', '\"kind\":\"stairs\"')",
    "UPDATE runs SET config = replace(config, '\"kind\":\"repeat_factor\"', '\"kind\":\"repeat\"')",
    "UPDATE runs SET config = replace(config, '\"kind\":\"effective_number\"', '\"kind\":\"effective\"')",
    "UPDATE runs SET config = replace(config, '\"kind\":\"adam\"', '\"kind\":\"adamax\"')",
    "UPDATE runs SET config = replace(config, '\"beta1\"', '\"b1\"')",
    "UPDATE policies SET json = replace(json, 'max_fbeta', 'max_gbeta'), name = replace(name, 'max_fbeta', 'max_gbeta')",
    "UPDATE policies SET json = replace(json, '\"beta\"', '\"betta\"') WHERE name LIKE 'max_fbeta%'",
    "UPDATE policies SET json = '1.5' WHERE json = '0.5'",
    "UPDATE sweeps SET text = replace(text, 'loss =', 'looss =')",
];

#[test]
fn recorded_values_that_nobody_knows_are_told_as_they_are() {
    let place = Place::new(SWEEP);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let db = place.path("sweep.db");
    let sound = std::fs::read(&db).unwrap();
    let run = {
        let report = place.succeed(&["report", "--format", "json"]);
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        report["rows"][0]["runs"][0].as_str().unwrap().to_owned()
    };
    for statement in CHANGES {
        std::fs::write(&db, &sound).unwrap();
        change(&db, statement);
        for arguments in [
            &["report"][..],
            &["report", "--format", "json"],
            &["report", "--format", "csv"],
            &["report", "--format", "markdown"],
            &["report", "--threshold", "youden"],
            &["explain", "--replicates", "50"],
            &["explain", "--format", "json", "--replicates", "50"],
            &["compare", "loss=bce", "loss=focal"],
            &["show", &run],
            &["show", &run, "--format", "json"],
            &["status"],
            &["plan", "sweep.toml"],
        ] {
            let output = place.run(arguments);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(!error.contains("panicked"), "{statement}\n{arguments:?}: {error}");
            assert_eq!(output.status.code(), Some(0), "{statement}\n{arguments:?}: {error}");
        }
    }
    // Runs that cannot be trained are reported before anything is trained.
    std::fs::write(&db, &sound).unwrap();
    change(&db, "UPDATE runs SET state = 'queued', config = replace(config, '\"gamma\"', '\"focus\"')");
    let output = place.run(&["resume"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("focal has no parameter `focus`") && error.contains("as recorded"), "{error}");
}
