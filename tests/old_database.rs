//! A database that the program recorded when its schema was of version 2, with the files of its runs: everything in it can be used.

#![cfg(feature = "worker")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;
use std::path::Path;

use common::Place;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// A copy of the old database: `old` has eight recorded runs of linear networks, `unfinished` two that were never trained. Another
/// database has two recorded runs of an mlp, `deep`, without their files.
fn old() -> Place {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema-2");
    let place = Place::new(&fs::read_to_string(fixture.join("old.toml")).unwrap());
    copy(&fixture, place.folder.path());
    place
}

/// The result of a query, as text.
fn ask(place: &Place, question: &'static str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(place.path("old.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let answer: String = sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        answer
    })
}

fn change(place: &Place, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(place.path("old.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    });
}

const RESULTS: &str =
    "SELECT json_array(count(*), sum(c.tp), sum(c.fp), sum(c.fn), sum(c.tn), total(c.threshold), total(e.samples_f1))
     FROM label_counts c JOIN evaluations e ON e.id = c.evaluation JOIN runs r ON r.id = e.run WHERE r.id <= 8";

fn said(place: &Place, arguments: &[&str]) -> String {
    let output = place.succeed(&[arguments, &["--db", "old.db"]].concat());
    String::from_utf8(output.stdout).unwrap()
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    place.json(&[arguments, &["--db", "old.db"]].concat())
}

/// What it does not have recorded is computed from the kept scores; where these are lost, fitted policies rank by the rows of their fit, and
/// the report says so.
#[test]
fn old_runs_are_ranked_by_rows_that_their_policies_were_not_fitted_on() {
    let place = old();
    let report = json(&place, &["report", "old"]);
    let fitted = |report: &Value| -> Vec<Value> {
        let rows = report["rows"].as_array().unwrap().iter();
        rows.filter(|row| row["policy"] == "max_f1").cloned().collect()
    };
    let rows = fitted(&report);
    assert!(!rows.is_empty() && rows.iter().all(|row| row["held_out"]["n"] == row["n"]), "{rows:?}");
    assert!(rows.iter().any(|row| row["held_out"]["mean"] != row["val"]["mean"]));
    assert!(!report["notes"].to_string().contains("known only on"), "{}", report["notes"]);
    assert_eq!(ask(&place, "SELECT json_array(count(*)) FROM held_out"), "[0]", "a report writes nothing");
    let views = "SELECT json_array(count(*), count(held_out_macro_f1), count(macro_f1)) FROM leaderboard WHERE policy = 'max_f1' AND split = 'val'";
    let views: [u64; 3] = serde_json::from_str(&ask(&place, views)).unwrap();
    assert!(views[0] > 0 && views[1] == 0 && views[2] == views[0], "{views:?}");
    fs::remove_dir_all(place.path("old.runs")).unwrap();
    let report = json(&place, &["report", "old"]);
    assert!(fitted(&report).iter().all(|row| row["held_out"].is_null() && row["rank"].is_u64()), "{report}");
    let notes = report["notes"].to_string();
    assert!(notes.contains("are known only on the val rows that they were fitted on (run "), "{notes}");
}

#[test]
fn an_old_database_is_reported_explained_shown_and_resumed() {
    let place = old();
    let before = ask(&place, RESULTS);
    let report = said(&place, &["report", "old", "--split", "test"]);
    assert!(report.contains("focal") && report.contains("class_aware"), "{report}");
    assert!(said(&place, &["report", "old", "--threshold", "0.25"]).contains("0.25"), "from the kept scores");
    let explained = json(&place, &["explain", "old"]);
    assert!(explained["settings"].as_array().is_some_and(|settings| !settings.is_empty()), "{explained}");
    let runs: Vec<String> = {
        let list = ask(&place, "SELECT json_group_array(fingerprint) FROM runs WHERE state = 'succeeded'");
        serde_json::from_str(&list).unwrap()
    };
    assert_eq!(runs.len(), 8);
    let shown = json(&place, &["show", &runs[0][..8]]);
    assert_eq!(shown["config"]["train"]["optimizer"]["kind"], "sgd", "{shown}");
    assert!(said(&place, &["compare", &runs[0], &runs[1]]).contains("macro_f1"));
    said(&place, &["resume", "unfinished"]);
    assert_eq!(ask(&place, RESULTS), before, "what was recorded stays as it was");
    assert_eq!(ask(&place, "SELECT json_array(count(*)) FROM runs WHERE state = 'succeeded'"), "[10]");
    assert_eq!(ask(&place, "PRAGMA integrity_check"), "ok");
}

/// The same plan is the same runs on the same data set: nothing is trained again, unless its numbers would be others.
#[test]
fn what_an_old_database_has_is_not_trained_again() {
    let place = old();
    let as_then = ["--set", "train.start=prior", "--set", "train.budget=epochs"];
    let run = |file: &str, database: &str, more: &[&str]| {
        let output = place.succeed(&[&["run", file, "--db", database], more].concat());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let words = run("deep.toml", "deep.db", &as_then);
    assert!(words.contains("2 recorded, nothing to train"), "an mlp's numbers are what they were: {words}");
    // The default training has changed since, and is another experiment on the same data set.
    let words = run("deep.toml", "deep.db", &[]);
    assert!(words.contains("2 runs, 0 recorded, 2 to train"), "{words}");
    // So has the arithmetic of linear networks.
    let before = ask(&place, RESULTS);
    let words = run("old.toml", "old.db", &as_then);
    assert!(words.contains("8 runs, 0 recorded, 8 to train"), "{words}");
    assert_eq!(ask(&place, RESULTS), before, "what was recorded stays as it was");
    assert_eq!(ask(&place, "SELECT json_array(count(*)) FROM datasets"), "[1]");
}

/// Runs of another format are told apart, and not trained by this version.
#[test]
fn other_formats_are_never_mixed_without_a_word() {
    let place = old();
    said(&place, &["report", "old"]);
    change(&place, "UPDATE runs SET format = 1 WHERE state = 'queued' OR id <= 4");
    assert!(said(&place, &["report", "old"]).contains("different versions of the program (formats 1 and 3)"));
    assert!(said(&place, &["explain", "old"]).contains("formats 1 and 3"));
    let ids = ask(
        &place,
        "SELECT json_array((SELECT fingerprint FROM runs WHERE id = 1), (SELECT fingerprint FROM runs WHERE id = 5))",
    );
    let ids: Vec<String> = serde_json::from_str(&ids).unwrap();
    assert!(said(&place, &["compare", &ids[0], &ids[1]]).contains("formats 1 and 3"));
    let output = place.run(&["resume", "unfinished", "--db", "old.db"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("format 1") && words.contains("plans all of them anew"), "{words}");
}

/// Strategies change between versions: parameters come, go and change their names, and so do strategies.
#[test]
fn strategies_that_are_not_known_any_more_are_reported_all_the_same() {
    for change_of in [
        "UPDATE runs SET config = json_remove(config, '$.train.optimizer.params', '$.loss.params', '$.train.precision')",
        "UPDATE runs SET config = json_set(json_remove(config, '$.loss.params.gamma'), '$.loss.params.focus', 2.0)",
        "UPDATE runs SET config = json_set(config, '$.loss.kind', 'hope', '$.sampler.kind', 'luck', '$.pos_weight.kind', 'fate')",
        "UPDATE runs SET config = json_set(config, '$.train.patience', 3, '$.surprise', json('{\"a\": [1]}'))",
        "UPDATE policies SET json = '{\"kind\":\"max_luck\",\"params\":{\"x\":1.0}}', name = 'max_luck(x=1)' WHERE name = 'max_f1'",
        "UPDATE datasets SET facts = json_set(facts, '$.surprise', 1)",
    ] {
        let place = old();
        said(&place, &["report", "old"]);
        change(&place, change_of);
        said(&place, &["report", "old"]);
        said(&place, &["explain", "old"]);
        let run = ask(&place, "SELECT fingerprint FROM runs WHERE state = 'succeeded' LIMIT 1");
        said(&place, &["show", &run]);
        // What can be trained is trained; the rest is reported, and nothing panics.
        let output = place.run(&["resume", "unfinished", "--db", "old.db"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{change_of}: {words}");
        assert!(!words.contains("panicked"), "{words}");
    }
}

/// Their strategies are written in PyTorch.
#[test]
fn old_runs_have_recipes() {
    let place = old();
    let report = json(&place, &["report", "old"]);
    let runs: Vec<&str> = report["rows"].as_array().unwrap().iter().filter_map(|row| row["runs"][0].as_str()).collect();
    assert!(!runs.is_empty());
    for run in runs {
        let text = said(&place, &["recipe", run]);
        assert!(text.contains("loss(") && text.contains("START = ") && text.contains("def decide("), "{text}");
    }
}
