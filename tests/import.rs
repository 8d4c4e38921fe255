//! `sweep import` through the real program: the imported scores of a trained run give the results of that run, bit by bit.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Place, SWEEP};
use serde_json::Value;

fn json(place: &Place, arguments: &[&str]) -> Value {
    serde_json::from_slice(&place.succeed(arguments).stdout).unwrap()
}

/// Truth of a kept split as CSV lines, with `split` where that is a column.
fn lines(run: &Path, split: &str, column: bool) -> String {
    let truth = npyz::NpyFile::new(fs::File::open(run.join(format!("truth-{split}.npy"))).unwrap()).unwrap();
    let truth: Vec<u8> = truth.into_vec().unwrap();
    let line = |(at, row): (usize, &[u8])| {
        let cells: Vec<String> = row.iter().map(ToString::to_string).collect();
        format!("{split} {at},{}{}\n", if column { format!("{split},") } else { String::new() }, cells.join(","))
    };
    truth.chunks(3).enumerate().map(line).collect()
}

/// The row that is not all-positive.
fn of_row(report: &Value) -> &Value {
    report["rows"].as_array().unwrap().iter().find(|row| row["baseline"] == false).unwrap()
}

const RUN: [&str; 7] = ["run", "sweep.toml", "--set", "grid.seed=[0]", "--set", "model.arch='linear'", "--quiet"];
const LABELS: &str = "A,\"B/b, \"\"b\"\"\",N/A\n";

/// A trained sweep, and one run of it with what a PyTorch user would have: two files of scores, two of labels.
fn trained() -> (Place, PathBuf, String) {
    let place = Place::new(SWEEP);
    place.succeed(&RUN);
    let report = json(&place, &["report", "--format", "json"]);
    let run = report["rows"][0]["runs"][0].as_str().unwrap().to_owned();
    let folder = place.path("sweep.runs").join(&run);
    for split in ["val", "test"] {
        fs::copy(folder.join(format!("scores-{split}.npy")), place.path(&format!("{split}.npy"))).unwrap();
        fs::write(place.path(&format!("{split}.csv")), format!("id,{LABELS}{}", lines(&folder, split, false))).unwrap();
    }
    fs::write(
        place.path("both.csv"),
        format!("id,split,{LABELS}{}{}", lines(&folder, "val", true), lines(&folder, "test", true)),
    )
    .unwrap();
    (place, folder, run)
}

const IMPORT: [&str; 11] = [
    "import",
    "--scores",
    "val.npy",
    "--labels",
    "val.csv",
    "--test-scores",
    "test.npy",
    "--test-labels",
    "test.csv",
    "--name",
    "pytorch",
];

/// Metrics and label rows of `run` in a report, by policy.
fn results(place: &Place, sweep: &str, split: &str, run: &str) -> Vec<(String, Value, Value)> {
    let report = json(place, &["report", sweep, "--split", split, "--group-by", "loss,pos_weight", "--format", "json"]);
    let rows = report["rows"].as_array().unwrap().iter().filter(|row| row["runs"][0] == run);
    let mut found: Vec<_> =
        rows.map(|row| (row["policy"].as_str().unwrap().to_owned(), row["metrics"].clone(), row["labels"].clone())).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn imported_scores_come_to_what_their_run_came_to() {
    let (place, folder, run) = trained();
    let told = json(&place, &[&IMPORT[..], &["--format", "json"]].concat());
    let imported = told["run"].as_str().unwrap().to_owned();
    assert_eq!(
        (told["new"].as_bool(), &told["sweep"]["state"], told["rows"][0].as_u64()),
        (Some(true), &Value::from("done"), Some(75))
    );
    assert_ne!(imported, run);
    for split in ["val", "test"] {
        let (theirs, ours) = (results(&place, "small", split, &run), results(&place, "pytorch", split, &imported));
        assert_eq!(ours.len(), 3, "0.5, max_f1, prior_match");
        assert_eq!(ours, theirs);
    }
    let kept = place.path("sweep.runs").join(&imported);
    for file in ["scores-val.npy", "scores-test.npy", "truth-val.npy", "truth-test.npy"] {
        assert_eq!(fs::read(kept.join(file)).unwrap(), fs::read(folder.join(file)).unwrap(), "{file}");
    }
    // A policy that was not asked for, from the kept scores.
    let fresh = json(&place, &["report", "pytorch", "--threshold", "youden", "--split", "test", "--format", "json"]);
    assert!(fresh["rows"][0]["metrics"]["macro_f1"]["mean"].as_f64().unwrap() > 0.0, "{fresh}");
    let shown = place.succeed(&["show", &imported[..10]]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("kind imported") && shown.contains("val.npy") && shown.contains("macro_f1"), "{shown}");
    for made_up in ["no attempt", "optimizer", "learning_rate", "pos_weight  imported"] {
        assert!(!shown.contains(made_up), "{made_up}: {shown}");
    }
    let resumed = place.run(&["resume", "pytorch"]);
    assert_eq!(resumed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("was imported: it has nothing to train"));
    let status = json(&place, &["status", "pytorch", "--format", "json"]);
    assert_eq!((status["runs"]["succeeded"].as_i64(), status["runs"]["total"].as_i64()), (Some(1), Some(1)));
}

/// The logits that a run keeps, imported, come to what the run came to, and saturated ones keep their ranking where their
/// probabilities have none.
#[test]
fn imported_logits_rank_as_they_are() {
    let (place, folder, run) = trained();
    for split in ["val", "test"] {
        fs::copy(folder.join(format!("logits-{split}.npy")), place.path(&format!("{split}.npy"))).unwrap();
    }
    let told = json(&place, &[&IMPORT[..], &["--logits", "--format", "json"]].concat());
    let imported = told["run"].as_str().unwrap().to_owned();
    for split in ["val", "test"] {
        assert_eq!(results(&place, "pytorch", split, &imported), results(&place, "small", split, &run));
        for file in [format!("scores-{split}.npy"), format!("logits-{split}.npy")] {
            let read = |folder: &Path| fs::read(folder.join(&file)).unwrap();
            assert_eq!(read(&place.path("sweep.runs").join(&imported)), read(&folder), "{file}");
        }
    }
    let shifted = |name: &str, by: f32| {
        let mut bytes = fs::read(folder.join("logits-val.npy")).unwrap();
        let start = bytes.len() - 75 * 3 * 4;
        for cell in bytes[start..].chunks_exact_mut(4) {
            let logit = f32::from_le_bytes(cell.try_into().unwrap()) + by;
            cell.copy_from_slice(&logit.to_le_bytes());
        }
        fs::write(place.path("shifted.npy"), bytes).unwrap();
        let import = ["import", "--scores", "shifted.npy", "--labels", "val.csv", "--logits", "--format", "json", "--name", name];
        let told = json(&place, &import);
        let ap = told["leaderboard"]["rows"][0]["metrics"]["macro_ap"]["mean"].as_f64().unwrap();
        (told["run"].as_str().unwrap().to_owned(), ap)
    };
    let (plain, ap) = shifted("plain", 0.0);
    let (saturated, same) = shifted("saturated", 40.0);
    assert!((ap - same).abs() < 0.002, "float32 logits of 40 are coarser than of 0, but not gone: {ap} {same}");
    let (other, _) = shifted("other", 60.0);
    assert!(other != saturated, "every probability of both is 1, their rankings are not the same");
    // Kept logits rank in every command that reads kept scores.
    let compared = json(&place, &["compare", &plain, &saturated, "--format", "json", "--replicates", "50"]);
    let measures = compared["splits"][0]["measures"].as_array().unwrap();
    let ap = measures.iter().find(|measure| measure["metric"] == "macro_ap").unwrap();
    assert!(ap["difference"].as_f64().unwrap().abs() < 0.002, "{ap}");
    let fresh = json(&place, &["report", "saturated", "--threshold", "youden", "--format", "json"]);
    assert_eq!(of_row(&fresh)["metrics"]["macro_ap"]["mean"].as_f64(), Some(same), "{fresh}");
    assert!(!fresh["notes"].to_string().contains("without logits"), "{fresh}");
    let explained = json(&place, &["explain", "saturated", "--format", "json", "--replicates", "50"]);
    let value = explained["settings"][0]["arms"][0]["ap"]["value"]["mean"].as_f64().unwrap();
    assert!((value - same).abs() < 1e-9, "{value} {same}");
    assert!(explained.to_string().contains("no threshold parts them"), "{}", explained["warnings"]);
}

#[test]
fn importing_twice_changes_nothing() {
    let (place, _, _) = trained();
    let arguments = [&IMPORT[..], &["--format", "json"]].concat();
    let first = json(&place, &arguments);
    let rows = place.rows();
    let second = json(&place, &arguments);
    assert_eq!(
        (second["new"].as_bool(), &second["run"], &second["sweep"]["id"]),
        (Some(false), &first["run"], &first["sweep"]["id"])
    );
    assert_eq!(place.rows(), rows);
    // The same scores in another form: one CSV with a split column. Then one more policy.
    let by_split = [
        "import",
        "--scores",
        "val.npy",
        "--labels",
        "both.csv",
        "--test-scores",
        "test.npy",
        "--name",
        "again",
        "--format",
        "json",
    ];
    let third = json(&place, &by_split);
    assert_eq!((third["new"].as_bool(), &third["run"]), (Some(false), &first["run"]));
    let more = json(&place, &[&by_split[..], &["--threshold", "max_f1", "--threshold", "max_fbeta(beta=2)"]].concat());
    assert_eq!((more["new"].as_bool(), &more["run"]), (Some(true), &first["run"]));
    let policies = more["leaderboard"]["policies"].as_array().unwrap();
    assert_eq!((policies.len(), policies[0].as_str()), (2, Some("max_f1")));
}

#[test]
fn without_test_there_are_no_test_results() {
    let (place, _, _) = trained();
    let told = json(&place, &["import", "--scores", "val.npy", "--labels", "val.csv", "--name", "val only", "--format", "json"]);
    assert_eq!(told["rows"][1].as_u64(), Some(0));
    let report = json(&place, &["report", "val only", "--split", "test", "--format", "json"]);
    assert_eq!(report["rows"].as_array().unwrap().len(), 0, "no invented zeros: {report}");
    assert_eq!(json(&place, &["report", "val only", "--format", "json"])["runs"]["recorded"].as_i64(), Some(1));
    let shown = place.succeed(&["show", told["run"].as_str().unwrap(), "--format", "json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((shown["facts"]["train"]["rows"].as_i64(), shown["facts"]["test"]["rows"].as_i64()), (Some(0), Some(0)));
    // A database whose only sweep is an import is still one that sweeps can use.
    place.succeed(&RUN);
}

#[test]
fn bad_imports_are_refused_before_anything_is_written() {
    let (place, folder, _) = trained();
    let rows = place.rows();
    fs::write(place.path("logits.npy"), {
        let mut bytes = fs::read(folder.join("scores-val.npy")).unwrap();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&(-3.5f32).to_le_bytes());
        bytes
    })
    .unwrap();
    let fails = |arguments: &[&str], code: i32, message: &str| {
        let output = place.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(message) && error.lines().count() == 1, "{error}");
    };
    let import = ["import", "--labels", "val.csv", "--scores"];
    fails(
        &[&import[..], &["logits.npy", "--name", "x"]].concat(),
        4,
        "row 74, column 2 (both from 0; label `N/A`, line 76 of val.csv, `val 74`) is -3.5: a probability lies between 0 and 1. Are these logits? Then use --logits",
    );
    fails(&[&import[..], &["test.csv", "--name", "x"]].concat(), 4, "test.csv: scores must be a .npy or .safetensors file");
    fails(&[&import[..], &["val.npy", "--name", "latest"]].concat(), 2, "--name cannot be \"latest\"");
    fails(&[&import[..], &["val.npy", "--name", "x", "--threshold", "max_f2"]].concat(), 2, "did you mean `max_f1`?");
    assert_eq!(place.rows(), rows);
    let logits = json(&place, &[&import[..], &["logits.npy", "--name", "x", "--logits", "--format", "json"]].concat());
    assert_eq!(logits["new"].as_bool(), Some(true));
}

/// Without test scores val alone judges, and the report says so; a run with test scores and one without are compared on val.
#[test]
fn without_test_scores_val_alone_is_compared_and_explained() {
    let (place, _, run) = trained();
    let import = |name: &str, more: &[&str]| {
        let arguments =
            [&["import", "--scores", "val.npy", "--labels", "val.csv", "--name", name, "--format", "json"], more].concat();
        json(&place, &arguments)["run"].as_str().unwrap().to_owned()
    };
    let alone = import("alone", &[]);
    let other = import("other", &["--logits"]);
    for (first, second, untested) in [(&alone, &other, 2), (&alone, &run, 1), (&run, &alone, 1)] {
        let found = json(&place, &["compare", first, second, "--format", "json", "--replicates", "50"]);
        let splits: Vec<&str> =
            found["splits"].as_array().unwrap().iter().map(|split| split["split"].as_str().unwrap()).collect();
        assert_eq!(splits, ["val"]);
        let told = found["notes"].to_string();
        assert!(told.contains("no test scores") && told.contains("on val alone"), "{told}");
        assert_eq!(told.contains(" and ") && told.contains("have no test"), untested == 2, "{told}");
    }
    let same = json(&place, &["compare", &alone, &run, "--format", "json", "--replicates", "50"]);
    assert!(same["splits"][0]["measures"].as_array().unwrap().iter().all(|measure| measure["difference"] == 0.0), "{same}");
    let output = place.run(&["compare", &alone, &run, "--split", "test"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("has no test scores") && error.contains("--split val"), "{error}");
    let told = place.succeed(&["explain", "alone", "--replicates", "50"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("there are no test scores: val judges instead") && told.contains("on 75 val rows"), "{told}");
    assert!(told.contains("imported scores") && told.contains("sweep compare") && !told.contains("on test"), "{told}");
    let explained = json(&place, &["explain", "alone", "--format", "json", "--replicates", "50"]);
    assert_eq!((&explained["settings"][0]["judged"], &explained["settings"][0]["rows"]["test"]), (&"val".into(), &0.into()));
    let arm = &explained["settings"][0]["arms"][0];
    assert!(
        arm["f1_tuned"]["value"]["mean"].as_f64().unwrap() > 0.0 && arm["calibration"]["ece"].as_f64().unwrap() > 0.0,
        "{arm}"
    );
    assert_eq!(arm["f1_tuned"]["value"]["mean"], arm["val_f1_held_out"], "tuned thresholds are held out");
}

/// Rows of an import are exported under the names that its CSV gives them, or numbered where that has changed.
#[test]
fn imported_rows_are_exported_with_their_names() {
    let (place, _, _) = trained();
    let told = json(&place, &[&IMPORT[..], &["--format", "json"]].concat());
    let run = told["run"].as_str().unwrap();
    let first = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(place.path(name)).unwrap();
        text.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect()
    };
    place.succeed(&["export", run, "--predictions", "one.csv"]);
    assert_eq!(first("one.csv"), [first("val.csv"), first("test.csv")].concat());
    let csv = fs::read_to_string(place.path("val.csv")).unwrap();
    fs::write(place.path("val.csv"), csv.lines().take(10).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let output = place.succeed(&["export", run, "--predictions", "two.csv", "--split", "val"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("rows are numbered from 0 within their split"));
    assert_eq!(first("two.csv"), (0..75).map(|row| row.to_string()).collect::<Vec<_>>());
}

/// Scores that say nothing, 600 rows with the question's prevalences: on the rows of its fit max_f1 beats predicting everything every
/// time. Held out it is about as often below, so that it does not rank above by its fit.
#[test]
fn a_policy_does_not_rank_above_all_positive_by_its_fit() {
    let place = Place::new(SWEEP);
    let (mut above, mut flattered, mut difference) = (0, 0, 0.0);
    for time in 0..6u64 {
        let mut rng = imbalance::rng::Rng::new(time, "import", &[]);
        let mut split = |name: &str| {
            let mut labels = "id,A,B,C,D\n".to_owned();
            let mut scores: Vec<f32> = Vec::new();
            for row in 0..600 {
                let cells = [0.0848, 0.2902, 0.1696, 0.4688].map(|rate| u8::from(rng.uniform() < rate));
                labels += &format!("{row},{}\n", cells.map(|cell| cell.to_string()).join(","));
                scores.extend([(); 4].map(|()| rng.uniform() as f32));
            }
            fs::write(place.path(&format!("{name}.csv")), labels).unwrap();
            archive::write_matrix(&place.path(&format!("{name}-scores.npy")), 4, &scores).unwrap();
        };
        split("val");
        split("test");
        let name = format!("noise {time}");
        let test = ["--test-scores", "test-scores.npy", "--test-labels", "test.csv", "--format", "json"];
        let told = json(
            &place,
            &[&["import", "--scores", "val-scores.npy", "--labels", "val.csv", "--name", &name][..], &test].concat(),
        );
        let rows = told["leaderboard"]["rows"].as_array().unwrap();
        let of =
            |policy: &str, value: &str| rows.iter().find(|row| row["policy"] == policy).unwrap()[value]["mean"].as_f64().unwrap();
        let rank = |policy: &str| rows.iter().find(|row| row["policy"] == policy).unwrap()["rank"].as_u64().unwrap();
        assert_eq!(of("all_positive", "val"), of("all_positive", "held_out"));
        flattered += usize::from(of("max_f1", "val") > of("all_positive", "val"));
        above += usize::from(of("max_f1", "held_out") > of("all_positive", "held_out"));
        difference += of("max_f1", "held_out") - of("all_positive", "held_out");
        assert_eq!(rank("max_f1") < rank("all_positive"), of("max_f1", "held_out") > of("all_positive", "held_out"), "{rows:?}");
    }
    assert!(flattered == 6 && above <= 3 && difference < 0.0, "{flattered}, {above}, {difference}");
}
