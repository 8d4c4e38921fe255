//! `sweep report` and `sweep show` on a database that a sweep of made-up results has filled, and the queries of `reports/`.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::Place;
use npyz::WriterBuilder;
use plan::Fingerprint;
use protocol::Outcome;
use serde_json::Value;
use store::Writer;
use sweep::command::load;
use sweep::command::preparing::Preparing;
use sweep::controller::progress::Verbosity;

/// 2 losses (one with 2 gammas) x 2 weights x 3 seeds, two policies.
const SWEEP: &str = r#"
name = "made up"
[data]
kind = "letters"
samples = 200
image_size = 16
[model]
arch = "linear"
[train]
epochs = 3
[grid]
loss = ["bce", "focal"]
gamma = [1.0, 2.0]
pos_weight = ["none", "sqrt"]
threshold = [0.5, "max_f1"]
seed = [0, 1, 2]
"#;

/// A sweep with a database.
struct Bed {
    place: Place,
    /// As planned.
    runs: Vec<Fingerprint>,
    sweep: i64,
}

impl Bed {
    /// Plans and begins the sweep, and fails the first `failing` runs; trains the rest with made-up results if `train`.
    async fn new(failing: usize, train: bool) -> Self {
        let place = Place::new(SWEEP);
        let db = place.path("sweep.db");
        let loaded = load::read(&place.path("sweep.toml"), &[]).unwrap().plan(&db, &Preparing::new(Verbosity::Quiet)).unwrap();
        let mut writer = Writer::open(&db).await.unwrap();
        let sweep = writer.begin_sweep(&loaded.plan, &loaded.path, loaded.text.clone()).await.unwrap();
        let runs: Vec<Fingerprint> = loaded.plan.runs.into_iter().map(|run| run.fingerprint).collect();
        for run in &runs[..failing] {
            let attempt = writer.begin_attempts(std::slice::from_ref(run), "cpu").await.unwrap()[0];
            writer.end_attempt(run, attempt, Outcome::Diverged, "the loss is NaN", "step 12: loss NaN", false).await.unwrap();
        }
        writer.close().await.unwrap();
        let bed = Self { place, runs, sweep };
        if train {
            let (code, _, stderr) = bed.sweep(&["run", "sweep.toml", "--on", "fake", "--devices", "cpu"]);
            assert_eq!(code, if failing > 0 { 3 } else { 0 }, "{stderr}");
        }
        bed
    }

    /// Exit status, stdout and stderr of `sweep ARGUMENTS`.
    fn sweep(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.place.run(arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What a successful command printed.
    fn said(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.sweep(arguments);
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.said(arguments)).unwrap()
    }
}

/// Val or test scores that a worker might have kept: 4 labels, the same for every reader.
fn kept_scores(run: &Fingerprint, what: &str, rows: usize) -> Vec<f32> {
    let mut bytes = blake3::Hasher::new().update(format!("{run} {what}").as_bytes()).finalize_xof();
    let mut scores = vec![0u8; rows * 4];
    bytes.fill(&mut scores);
    scores.into_iter().map(|byte| f32::from(byte) / 256.0).collect()
}

fn truth(rows: usize) -> Vec<u8> {
    (0..rows * 4).map(|cell| u8::from((cell / 4 + cell) % (cell % 4 + 2) == 0)).collect()
}

fn write<T: npyz::AutoSerialize + Copy>(path: &Path, values: &[T]) {
    let shape = [values.len() as u64 / 4, 4];
    let file = File::create(path).unwrap();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
}

/// Writes the folder of `run` as a worker leaves it: 3 epochs, test scores of all.
fn keep(bed: &Bed, run: &Fingerprint) {
    let folder = bed.place.path("sweep.runs").join(&run.0);
    fs::create_dir_all(folder.join("epochs")).unwrap();
    for split in ["val", "test"] {
        write(&folder.join(format!("truth-{split}.npy")), &truth(30));
        for epoch in 0..3 {
            write(&folder.join(format!("epochs/{split}-{epoch}.npy")), &kept_scores(run, &format!("{split} {epoch}"), 30));
        }
    }
}

/// Macro F1 of kept scores by its definition.
fn macro_f1(scores: &[f32], truth: &[u8], threshold: f32) -> f64 {
    let label = |label: usize| {
        let cells = || scores.iter().zip(truth).skip(label).step_by(4).map(|(&score, &y)| (score >= threshold, y == 1));
        let count = |wanted: (bool, bool)| cells().filter(|cell| *cell == wanted).count() as f64;
        let (hits, wrong) = (count((true, true)), count((true, false)) + count((false, true)));
        if hits == 0.0 { 0.0 } else { 2.0 * hits / (2.0 * hits + wrong) }
    };
    (0..4).map(label).sum::<f64>() / 4.0
}

#[tokio::test]
async fn the_report_has_every_strategy_in_every_format() {
    let bed = Bed::new(2, true).await;
    let json = bed.json(&["report", "made up", "--format", "json"]);
    let rows = json["rows"].as_array().unwrap();
    assert_eq!((rows.len(), json["strategies"].as_u64()), (6 * 2 + 1, Some(12)));
    assert_eq!(
        json["runs"],
        serde_json::json!({"total": 18, "recorded": 16, "failed": 2, "stopped_early": 0, "left_out": 0, "left": 0})
    );
    // made-up results have no held-out values and no kept scores
    assert!(json["notes"].to_string().contains("are known only on the val rows that they were fitted on"), "{}", json["notes"]);
    assert!(rows.iter().all(|row| row["held_out"].is_null() == (row["policy"] == "max_f1")), "{rows:?}");
    let means: Vec<f64> = rows.iter().map(|row| row["val"]["mean"].as_f64().unwrap()).collect();
    assert!(means.is_sorted_by(|a, b| a >= b), "{means:?}");
    let of: Vec<u64> = rows.iter().filter(|row| row["n"] == 1).map(|row| row["of"].as_u64().unwrap()).collect();
    assert_eq!(of, [3, 3], "two of three seeds failed, under both policies");
    assert!(rows.iter().all(|row| row["labels"].as_array().unwrap().len() == 4));
    let test = bed.json(&["report", "--split", "test", "--format", "json"]);
    let order = |report: &Value| {
        let rows = report["rows"].as_array().unwrap().iter();
        rows.map(|row| (row["rank"].clone(), row["strategy"].clone(), row["policy"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(order(&json), order(&test), "nothing is chosen on test");
    assert_ne!(rows[0]["metrics"], test["rows"][0]["metrics"]);
    let csv = bed.said(&["report", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 1 + 13 * 4);
    let table = bed.said(&["report", "--top", "3"]);
    assert!(table.lines().all(|line| line.chars().count() <= 120) && !table.contains('\u{1b}'), "{table}");
    assert!(
        table.starts_with("made up: macro_f1 on val, best epoch (by val macro_ap); best 3 of 12 rows, 16 of 18 runs recorded")
    );
    assert!(table.contains("all-positive") && table.contains("2 of 18 runs failed"), "{table}");
    assert!(bed.said(&["report", "--format", "markdown"]).starts_with("### made up: macro_f1 on val"));
    let last = bed.json(&["report", "--epoch", "last", "--metric", "hamming_loss", "--group-by", "loss", "--format", "json"]);
    assert_eq!(
        (&last["epoch"], &last["lower_is_better"], last["rows"].as_array().unwrap().len()),
        (&"last".into(), &true.into(), 5)
    );
    let first = bed.json(&["report", "--epoch", "0", "--split", "test", "--format", "json"]);
    assert_eq!(first["rows"].as_array().unwrap().len(), 0, "test is scored at the best and the last epoch");
    // A note names the database as it was typed.
    let here = format!("{}/", bed.place.folder.path().display());
    let found = sweep::command::report::leaderboard_json(&bed.place.path("sweep.db"), bed.sweep).await.unwrap();
    let asked = bed.json(&["report", "--top", "10", "--format", "json"]);
    assert_eq!(found.to_string().replace(&here, ""), asked.to_string());
}

#[tokio::test]
async fn a_policy_that_was_not_in_the_grid_is_evaluated_from_kept_scores() {
    let bed = Bed::new(0, true).await;
    let before = fs::read(bed.place.path("sweep.db")).unwrap();
    let (code, _, stderr) = bed.sweep(&["report", "--threshold", "0.25"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("policy 0.25 was not in the grid") && stderr.contains("truth-val.npy"), "{stderr}");
    // one run's scores stay lost
    for run in &bed.runs[1..] {
        keep(&bed, run);
    }
    let report =
        |split: &str| bed.json(&["report", "--threshold", "0.25", "--split", split, "--format", "json", "--epoch", "last"]);
    for split in ["val", "test"] {
        let report = report(split);
        assert_eq!(report["policies"], serde_json::json!(["0.25"]));
        let rows: Vec<&Value> = report["rows"].as_array().unwrap().iter().filter(|row| row["baseline"] == false).collect();
        assert_eq!(rows.len(), 6);
        assert!(report["notes"].to_string().contains("kept scores of 1 of 18 recorded runs"), "{}", report["notes"]);
        for row in rows {
            let runs = row["runs"].as_array().unwrap();
            let f1 = runs.iter().map(|run| {
                let run = Fingerprint(run.as_str().unwrap().to_owned());
                macro_f1(&kept_scores(&run, &format!("{split} 2"), 30), &truth(30), 0.25)
            });
            let mean = f1.sum::<f64>() / runs.len() as f64;
            assert!((row["metrics"]["macro_f1"]["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{row}");
            assert_eq!(row["labels"][0]["threshold"], 0.25);
        }
    }
    // a fitted one, and one that the database has
    let fitted = bed.json(&["report", "--threshold", "prior_match", "--format", "json"]);
    assert_eq!(fitted["strategies"], 6);
    assert_eq!(bed.json(&["report", "--threshold", "max_f1", "--format", "json"])["runs"]["recorded"], 18);
    assert_eq!(fs::read(bed.place.path("sweep.db")).unwrap(), before, "the database is not written");
}

#[tokio::test]
async fn wrong_names_end_with_2_and_the_right_ones() {
    let bed = Bed::new(0, false).await;
    for (flags, told) in [
        (["--metric", "macro_f2"], "did you mean `macro_f1`?"),
        (["--split", "valid"], "did you mean `val`?"),
        (["--epoch", "7"], "best, last and 0 to 2"),
        (["--epoch", "first"], "best, last, a number"),
        (["--group-by", "loss,samplr"], "did you mean `sampler`?"),
        (["--threshold", "maxf1"], "did you mean `max_f1`?"),
        (["--top", "0"], "at least 1"),
    ] {
        let (code, stdout, stderr) = bed.sweep(&["report", flags[0], flags[1]]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{flags:?}: {stderr}");
        assert!(stderr.contains(told), "{flags:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_sweep_without_results_has_an_empty_report() {
    let bed = Bed::new(0, false).await;
    assert!(bed.said(&["report"]).contains("no results yet"));
    assert!(bed.said(&["report", "--format", "markdown"]).contains("no results yet"));
    assert_eq!(bed.json(&["report", "--format", "json"])["rows"], serde_json::json!([]));
    assert_eq!(bed.said(&["report", "--format", "csv"]).lines().count(), 1);
    let (code, _, stderr) = bed.sweep(&["report", "maid up"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("has no sweep `maid up`; it has made up"), "{stderr}");
}

#[tokio::test]
async fn output_goes_to_a_file_and_only_there() {
    let bed = Bed::new(0, true).await;
    assert_eq!(bed.said(&["report", "--format", "csv", "--output", "report.csv"]), "");
    let written = fs::read_to_string(bed.place.path("report.csv")).unwrap();
    assert_eq!(written, bed.said(&["report", "--format", "csv"]));
    let (code, _, stderr) = bed.sweep(&["report", "--output", "no/such/folder/report.csv"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no/such/folder/report.csv"), "{stderr}");
    let left: Vec<_> = fs::read_dir(bed.place.folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".sweep-report")), "{left:?}");
}

#[tokio::test]
async fn show_tells_one_run() {
    let bed = Bed::new(1, true).await;
    let (failed, run) = (&bed.runs[0], &bed.runs[5]);
    let text = bed.said(&["show", run.short()]);
    for part in [
        run.0.as_str(),
        "succeeded",
        "optimizer adam_mini(",
        "val macro_ap",
        "val, best epoch",
        "test, best epoch",
        "threshold max_f1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    let json = bed.json(&["show", run.short(), "--format", "json"]);
    assert_eq!(json["epochs"].as_array().unwrap().len(), 3);
    assert_eq!(json["epochs"].as_array().unwrap().iter().filter(|epoch| epoch["best"] == true).count(), 1);
    assert!(json["epochs"][2]["macro_ap"].as_f64().unwrap() > 0.0);
    let labels = json["labels"]["test"]["max_f1"].as_array().unwrap();
    assert_eq!(labels.len(), 4);
    for label in labels {
        let count = |name: &str| label[name].as_f64().unwrap();
        let specificity = count("tn") / (count("tn") + count("fp"));
        assert!((count("specificity") - specificity).abs() < 1e-12, "{label}");
        assert!((count("balanced_accuracy") - f64::midpoint(specificity, count("recall"))).abs() < 1e-12, "{label}");
        assert!((-1.0..=1.0).contains(&count("mcc")), "{label}");
    }
    assert_eq!(json["attempts"][0]["outcome"], "ok");
    assert_eq!(json["rows"], serde_json::json!({}), "no kept scores");
    keep(&bed, run);
    let kept = bed.json(&["show", run.short(), "--format", "json"]);
    let rows = &kept["rows"]["test"];
    assert_eq!((&rows["rows"], rows["policies"].as_object().unwrap().len()), (&30.into(), 2));
    assert!(rows["coverage_error"].as_f64().unwrap() >= 1.0 && rows["policies"]["max_f1"]["samples_f1"].is_number(), "{rows}");
    let text = bed.said(&["show", run.short()]);
    assert!(text.contains("over rows: precision") && text.contains("ranking loss"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    let text = bed.said(&["show", &failed.0]);
    assert!(text.contains("diverged") && text.contains("    step 12: loss NaN") && text.contains("no result yet"), "{text}");
    let (code, _, stderr) = bed.sweep(&["show", "xyz"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("names no run"), "{stderr}");
}

/// Column names and rows of a file of `reports/`.
async fn query(db: &Path, name: &str) -> Vec<sqlx::sqlite::SqliteRow> {
    use sqlx::Connection;
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("reports").join(name)).unwrap();
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}?mode=ro", db.display())).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn the_queries_of_the_readme_have_answers() {
    use sqlx::Row;
    let bed = Bed::new(2, true).await;
    let rows = query(&bed.place.path("sweep.db"), "best_per_label.sql").await;
    let labels: Vec<String> = rows.iter().map(|row| row.get("label")).collect();
    assert_eq!(labels.len(), 4, "{labels:?}");
    // the best row of a label is the best of the report's, its differences drawn towards those of its other labels
    let report = bed.json(&["report", "--format", "json"]);
    let strategies: Vec<&Value> = report["rows"].as_array().unwrap().iter().filter(|row| row["baseline"] == false).collect();
    let f1 = |strategy: usize, label: usize| strategies[strategy]["labels"][label]["f1"].as_f64().unwrap();
    let all = strategies.len();
    let usual = |label: usize| (0..all).map(|strategy| f1(strategy, label)).sum::<f64>() / all as f64;
    for row in &rows {
        let (name, found, expected): (String, f64, f64) = (row.get("label"), row.get("val_f1"), row.get("expected_f1"));
        let label = (0..4).find(|&label| strategies[0]["labels"][label]["label"] == name.as_str()).unwrap();
        let positives = row.get::<i64, _>("val_positives") as f64;
        assert!((report["data"][0]["positives"][label].as_f64().unwrap() - positives).abs() < 1e-9);
        let shrunk = |strategy: usize| {
            let others = (0..4).map(|label| f1(strategy, label) - usual(label)).sum::<f64>() / 4.0;
            usual(label) + (positives * (f1(strategy, label) - usual(label)) + 20.0 * others) / (positives + 20.0)
        };
        let best = (0..all).max_by(|&a, &b| shrunk(a).total_cmp(&shrunk(b))).unwrap();
        assert!((expected - shrunk(best)).abs() <= 0.0005 + 1e-9, "{name}: {expected} {}", shrunk(best));
        assert!((found - f1(best, label)).abs() <= 0.0005 + 1e-9, "{name}: {found} {}", f1(best, label));
        assert_eq!(row.get::<String, _>("policy"), strategies[best]["policy"].as_str().unwrap());
    }
    let rows = query(&bed.place.path("sweep.db"), "epochs_of_one_run.sql").await;
    assert_eq!(rows.iter().map(|row| row.get::<i64, _>("epoch")).collect::<Vec<_>>(), [0, 1, 2]);
    let rows = query(&bed.place.path("sweep.db"), "ranked_on_test.sql").await;
    assert_eq!(rows.len(), 6, "a row a strategy, under its best policy");
    let best: f64 = rows[0].get("val_f1");
    let reported = report["rows"][0]["val"]["mean"].as_f64().unwrap();
    assert!((best - reported).abs() <= 0.0005 + 1e-12, "{best} {reported}");
    let rows = query(&bed.place.path("sweep.db"), "overprediction.sql").await;
    assert_eq!(rows.len(), 6, "a row a strategy");
    assert!(rows.iter().all(|row| row.get::<i64, _>("labels") == 4 && row.get::<f64, _>("worst_ratio") >= row.get("ratio")));
    let ratios: Vec<f64> = rows.iter().map(|row| row.get("ratio")).collect();
    assert!(ratios.is_sorted_by(|a, b| a >= b), "{ratios:?}");
    let rows = query(&bed.place.path("sweep.db"), "slow_and_failed.sql").await;
    let states: Vec<String> = rows.iter().map(|row| row.get("outcome")).collect();
    assert_eq!((rows.len(), &states[..3]), (18, &["diverged", "diverged", "ok"].map(str::to_owned)[..]));
    let rows = query(&bed.place.path("sweep.db"), "not_converged.sql").await;
    let rising: i64 = rows.iter().map(|row| row.get::<i64, _>("still_rising")).sum();
    let note = report["notes"].as_array().unwrap().iter().find_map(|note| note.as_str().unwrap().strip_prefix("not converged: "));
    let told = note.map_or(0, |note| note.split("the last in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap());
    assert!(rising > 0 && rising == told, "{rising}: {note:?}");
    assert_eq!(queries().len(), 6, "a query without a test");
}

/// The queries of `reports/`.
fn queries() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Rows of a crashed or unfinished run are in no query of docs/sql.md: not in means, counts of runs, or maxima.
#[tokio::test]
async fn pasted_queries_leave_runs_without_a_result_out() {
    use sqlx::{Column, Connection, Executor, Row};
    let bed = Bed::new(2, true).await;
    let db = bed.place.path("sweep.db");
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", db.display())).await.unwrap();
    let answers = async |connection: &mut sqlx::SqliteConnection, everything: bool| -> Vec<String> {
        let mut all = Vec::new();
        for (name, text) in queries().into_iter().filter(|(name, _)| name != "slow_and_failed.sql") {
            let views = |text: String| {
                text.replace("FROM leaderboard", "FROM leaderboard_all").replace("FROM label_metrics", "FROM label_metrics_all")
            };
            let text = if everything { views(text) } else { text };
            let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&mut *connection).await.unwrap();
            let cell = |row: &sqlx::sqlite::SqliteRow, at: usize| {
                let number = row.try_get::<f64, _>(at).map(|number| number.to_string());
                number
                    .or_else(|_| row.try_get::<i64, _>(at).map(|number| number.to_string()))
                    .unwrap_or_else(|_| row.get::<Option<String>, _>(at).unwrap_or_default())
            };
            all.extend(rows.iter().map(|row| {
                let cells = row.columns().iter().map(|column| format!("{}={}", column.name(), cell(row, column.ordinal())));
                format!("{name} {}", cells.collect::<Vec<_>>().join(" "))
            }));
        }
        all
    };
    let before = answers(&mut connection, false).await;
    // The failed runs had got as far as perfect decisions at every epoch; then they crashed.
    connection
        .execute(
            "UPDATE runs SET best_epoch = 1 WHERE state = 'failed';
             INSERT INTO evaluations (run, epoch, split, policy, attempt, samples_f1, subset_accuracy)
             SELECT f.id, e.epoch, e.split, e.policy, 1, 1.0, 1.0 FROM runs f JOIN evaluations e
             ON e.run = (SELECT id FROM runs WHERE state = 'succeeded' LIMIT 1) WHERE f.state = 'failed';
             INSERT INTO label_counts (evaluation, label, threshold, tp, fp, fn, tn)
             SELECT e.id, l.id, 0.5, 100, 0, 0, 100 FROM runs f JOIN evaluations e ON e.run = f.id JOIN labels l ON l.data = f.data
             WHERE f.state = 'failed'",
        )
        .await
        .unwrap();
    assert_eq!(answers(&mut connection, false).await, before);
    assert_ne!(answers(&mut connection, true).await, before, "the rows are there");
}

#[tokio::test]
async fn a_finished_sweep_says_where_to_look_next() {
    let bed = Bed::new(0, false).await;
    let (code, stdout, stderr) = bed.sweep(&["run", "sweep.toml", "--on", "fake", "--devices", "cpu"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("best 10 of 12 rows") && stdout.contains("sqlite3 -box sweep.db"), "{stdout}");
    let command = stdout.lines().find_map(|line| line.trim().strip_prefix("sweep show ")).unwrap();
    assert!(bed.said(&["show", &command[..8]]).contains("succeeded"));
}
