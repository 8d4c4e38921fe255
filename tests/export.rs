//! `sweep export --predictions` through the real program: every row with its name, the scores that were kept, and decisions that come
//! to what is reported.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::Place;
use imbalance::LabelMatrix;
use imbalance::metric::probability;
use imbalance::rng::Rng;

const SWEEP: &str = r#"
name = "small"
[data]
kind = "features"
features = "x.npy"
labels = "labels.csv"
[model]
arch = "linear"
[train]
epochs = 8
learning_rate = 0.05
reference = false
[grid]
pos_weight = "neg_over_pos"
threshold = [0.5, "max_f1"]
"#;

/// 900 rows of four features and two labels, named and divided by the CSV, in another order than that of the splits.
fn place() -> Place {
    let place = Place::new(SWEEP);
    let (mut rng, mut csv, mut values) = (Rng::new(3, "features", &[]), "id,split,A,\"B, b\"\n".to_owned(), Vec::new());
    for row in 0..900 {
        let x: Vec<f64> = (0..4).map(|_| rng.normal()).collect();
        let of = |sum: f64| u8::from(sum > 1.4);
        let split = ["val", "train", "test"][row % 3];
        csv +=
            &format!("img/{row}.png,{split},{},{}\n", of(x[0] + x[1] + 0.7 * rng.normal()), of(x[2] - x[3] + 0.7 * rng.normal()));
        values.extend(x.iter().map(|&x| x as f32));
    }
    archive::write_matrix(&place.path("x.npy"), 4, &values).unwrap();
    fs::write(place.path("labels.csv"), csv).unwrap();
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    place
}

fn run_of(place: &Place) -> String {
    place.json(&["report"])["rows"][0]["runs"][0].as_str().unwrap().to_owned()
}

/// Lines as (column, value).
fn read(place: &Place, name: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(place.path(name)).unwrap();
    reader.deserialize().map(|line| line.unwrap()).collect()
}

/// Rows with the label true and decided, decided only, true only.
fn counts(lines: &[BTreeMap<String, String>], split: &str, label: &str) -> [i64; 3] {
    let lines = lines.iter().filter(|line| line["split"] == split);
    lines.fold([0; 3], |[tp, fp, fn_], line| {
        match (line[&format!("truth.{label}")].as_str(), line[&format!("decision.{label}")].as_str()) {
            ("1", "1") => [tp + 1, fp, fn_],
            ("0", "1") => [tp, fp + 1, fn_],
            ("1", "0") => [tp, fp, fn_ + 1],
            _ => [tp, fp, fn_],
        }
    })
}

#[test]
fn every_row_has_its_name_its_scores_and_the_decisions_that_are_reported() {
    let place = place();
    let run = run_of(&place);
    let output = place.succeed(&["export", &run[..8], "--predictions", "predictions.csv"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.stdout.is_empty() && words.contains("600 rows; decisions under max_f1, the best of the run's policies"),
        "{words}"
    );
    let lines = read(&place, "predictions.csv");
    let truth: BTreeMap<String, BTreeMap<String, String>> =
        read(&place, "labels.csv").into_iter().map(|line| (line["id"].clone(), line)).collect();
    assert_eq!(lines.len(), 600);
    for line in &lines {
        let given = &truth[&line["id"]];
        assert_eq!((&given["split"], &given["A"], &given["B, b"]), (&line["split"], &line["truth.A"], &line["truth.B, b"]));
    }
    let shown = place.json(&["show", &run]);
    for split in ["val", "test"] {
        for label in shown["labels"][split]["max_f1"].as_array().unwrap() {
            let reported = ["tp", "fp", "fn"].map(|count| label[count].as_i64().unwrap());
            assert_eq!(counts(&lines, split, label["label"].as_str().unwrap()), reported);
        }
        // The proper scores of `show` are those of the exported rows.
        let of_split: Vec<_> = lines.iter().filter(|line| line["split"] == split).collect();
        let scores: Vec<f32> = of_split.iter().map(|line| line["score.A"].parse().unwrap()).collect();
        let values = of_split.iter().map(|line| line["truth.A"].parse().unwrap()).collect();
        let truth = LabelMatrix { names: ["A".to_owned()].into(), values };
        let ours = &shown["probabilities"][usize::from(split == "test")]["labels"][0];
        let found = probability(&scores, &truth)[0];
        assert!(
            (ours["brier"].as_f64().unwrap() - found.brier).abs() < 1e-12
                && (ours["nll"].as_f64().unwrap() - found.nll).abs() < 1e-12
        );
    }
    // One split, under a policy that was not in the grid.
    place.succeed(&["export", &run, "--predictions", "test.csv", "--split", "test", "--threshold", "0.25"]);
    let test = read(&place, "test.csv");
    assert_eq!(test.len(), 300);
    for line in &test {
        assert_eq!(line["decision.A"] == "1", line["score.A"].parse::<f32>().unwrap() >= 0.25);
    }
}

/// A weight makes scores that are no probabilities; calibrated they are, and decisions at 0.5 are those of probabilities.
#[test]
fn calibrated_scores_are_probabilities() {
    let place = place();
    let run = run_of(&place);
    let shown = String::from_utf8(place.succeed(&["show", &run]).stdout).unwrap();
    assert!(shown.contains("scores as probabilities on test") && shown.contains("no: gap"), "{shown}");
    let export = |name: &str, more: &[&str]| {
        let output = place.succeed(&[&["export", &run, "--predictions", name, "--threshold", "0.5"], more].concat());
        (read(&place, name), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let ((raw, _), (calibrated, words)) = (export("raw.csv", &[]), export("calibrated.csv", &["--calibrated"]));
    assert!(words.contains("through the loss's formula") || words.contains("(Platt)"), "{words}");
    let sum = |lines: &[BTreeMap<String, String>], column: &str| {
        lines.iter().map(|line| line[column].parse::<f64>().unwrap()).sum::<f64>()
    };
    for label in ["A", "B, b"] {
        let [truth, decided] = ["truth", "decision"].map(|what| format!("{what}.{label}"));
        let gap = |lines: &[BTreeMap<String, String>]| (sum(lines, &format!("score.{label}")) - sum(lines, &truth)) / 600.0;
        assert!(gap(&raw) > 0.05 && gap(&calibrated).abs() < 0.03, "{} {}", gap(&raw), gap(&calibrated));
        assert!(sum(&calibrated, &decided) < sum(&raw, &decided));
    }
}

#[test]
fn a_file_that_exists_and_what_is_gone_are_told_with_the_cure() {
    let place = place();
    let run = run_of(&place);
    let arguments = ["export", &run, "--predictions", "predictions.csv"];
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let output = place.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(words), "{code}: {said}");
    };
    fs::write(place.path("predictions.csv"), "mine").unwrap();
    refused(&arguments, 2, "predictions.csv exists: --force writes over it");
    assert_eq!(fs::read(place.path("predictions.csv")).unwrap(), b"mine");
    place.succeed(&[&arguments[..], &["--force"]].concat());
    assert!(fs::read_to_string(place.path("predictions.csv")).unwrap().starts_with("id,split,truth.A,"));
    refused(&["export", &run, "--predictions", "other.csv", "--threshold", "max_f2"], 2, "max_f1");
    refused(&["export", "ffffffff", "--predictions", "other.csv"], 1, "no run ffffffff");
    fs::rename(place.path("sweep.cache"), place.path("away")).unwrap();
    refused(&["export", &run, "--predictions", "other.csv"], 4, "`sweep run FILE` and `sweep resume` prepare it again");
    // The data is prepared again, as it says.
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    place.succeed(&["export", &run, "--predictions", "other.csv"]);
    assert_eq!(fs::read(place.path("other.csv")).unwrap(), fs::read(place.path("predictions.csv")).unwrap());
    fs::remove_dir_all(place.path("sweep.runs").join(&run)).unwrap();
    refused(&["export", &run, "--predictions", "third.csv"], 1, "put the run's folder back beside the database");
    let shown = String::from_utf8(place.succeed(&["show", &run]).stdout).unwrap();
    assert!(shown.contains("nothing about probabilities: the kept scores cannot be read"), "{shown}");
    assert!(!place.path("third.csv").exists());
}
