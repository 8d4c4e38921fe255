//! Trainings that are too short, and those that end on their own, through the real program.

#![cfg(feature = "worker")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::Place;
use serde_json::Value;

const SWEEP: &str = r#"
name = "length"
[data]
kind = "letters"
samples = 400
image_size = 16
signal = 4.0
label_rates = { A = 0.3, B = 0.5 }
[model]
arch = "linear"
[train]
epochs = 3
learning_rate = 1e-4
optimizer = "adam"
[grid]
loss = ["bce", "focal"]
seed = [0, 1]
"#;

fn said(place: &Place, arguments: &[&str]) -> String {
    let output = place.succeed(arguments);
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(place, arguments)).unwrap()
}

/// What has not converged is said by every command, and not compared.
#[test]
fn trainings_that_are_too_short_are_said_and_not_compared() {
    let place = Place::new(SWEEP);
    let words = "not converged: the best evaluation is the last in 4 of 4 runs, and val macro AP still rises by 0.";
    assert!(said(&place, &["run", "sweep.toml"]).contains(words));
    let report = said(&place, &["report"]);
    assert!(report.contains(words) && report.contains("Nothing is compared yet"), "{report}");
    assert!(!report.contains("ranks better than bce") && !report.contains("Train with"), "{report}");
    let explained = said(&place, &["explain", "--all"]);
    assert!(explained.contains(words) && explained.contains("its ranking is not compared"), "{explained}");
    let view = json(&place, &["explain", "--format", "json"]);
    assert_eq!(view["settings"][0]["recommendation"]["rule"], "not_converged");
    assert_eq!(view["settings"][0]["arms"][1]["convergence"]["rising"], 2, "{view}");
}

/// The same with the default length: runs end on their own, with equal steps for every sampler, and are compared.
#[test]
fn runs_end_on_their_own_and_are_compared() {
    let place = Place::new(SWEEP);
    let auto = ["--set", "train.epochs=auto", "--set", "train.learning_rate=0.03", "--set"];
    let samplers = "grid.sampler=[\"shuffle\", { kind = \"repeat_factor\", t = 0.6 }]";
    let report = json(&place, &[&["run", "sweep.toml", "--format", "json"], &auto[..], &[samplers]].concat());
    let report = &report["leaderboard"];
    let rows: Vec<&Value> = report["rows"].as_array().unwrap().iter().filter(|row| row["baseline"] == false).collect();
    assert_eq!(rows.len(), 4);
    let mut ended = 0;
    for row in rows {
        let steps = row["steps"].as_i64().unwrap();
        // An epoch is 12 passes over 280 rows, in batches of 64; there are 114 epochs at most, and patience is 8.
        assert!(steps % 53 == 0 && (9 * 53..=114 * 53).contains(&steps), "{steps}");
        ended += usize::from(steps < 114 * 53);
    }
    assert!(ended > 0, "no run has ended on its own: {report}");
    assert!(!said(&place, &["explain"]).contains("not compared"));
}

/// The names that version 0.1 had for the start are read, and called by their new ones.
#[test]
fn old_spellings_are_read_and_named() {
    let place = Place::new(&SWEEP.replace("learning_rate", "prior_bias = true\nlearning_rate"));
    let output = place.succeed(&["plan", "sweep.toml"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("sweep.toml:13:14: `train.prior_bias = true` is now called `train.start = \"prior\"`"), "{words}");
    let twice = Place::new(&SWEEP.replace("learning_rate", "prior_bias = true\nstart = \"link\"\nlearning_rate"));
    let output = twice.run(&["plan", "sweep.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is the old name of `train.start`: keep one of them"));
}

/// Each strategy is trained with every value of `train.tune` and compared with its best; all runs are kept, and told apart on request.
#[test]
fn strategies_are_tuned_before_they_are_compared() {
    let place = Place::new(
        &SWEEP.replace("learning_rate = 1e-4", "tune = { \"train.learning_rate\" = [30.0, 0.003] }\nschedule = \"cosine\""),
    );
    let planned = said(&place, &["plan", "sweep.toml"]);
    assert!(planned.contains("tuned x2 each strategy is trained with 2 values of train.learning_rate"), "{planned}");
    let plan = json(&place, &["plan", "sweep.toml", "--format", "json"]);
    assert_eq!((plan["distinct"].as_u64(), plan["tuned"][0].as_str()), (Some(8), Some("train.learning_rate")), "{plan}");
    let report = json(&place, &["run", "sweep.toml", "--format", "json"]);
    let report = &report["leaderboard"];
    assert_eq!(report["runs"]["recorded"], 8);
    let rows: Vec<&Value> = report["rows"].as_array().unwrap().iter().filter(|row| row["baseline"] == false).collect();
    assert_eq!(rows.len(), 2, "{report}");
    assert!(rows.iter().all(|row| row["strategy"]["train.learning_rate"] == 0.003 && row["n"] == 2), "{report}");
    assert!(report["notes"].to_string().contains("train.learning_rate is tuned"), "{report}");
    let both = json(&place, &["report", "--group-by", "loss,learning_rate", "--format", "json"]);
    assert_eq!(both["rows"].as_array().unwrap().len(), 5, "{both}");
    let explained = said(&place, &["explain", "--all"]);
    for words in ["Under each train.learning_rate: macro AP on val (difference from bce under the same)", "cost of choosing"] {
        assert!(explained.contains(words), "{explained}");
    }
    let view = json(&place, &["explain", "--format", "json"]);
    assert_eq!(view["settings"].as_array().unwrap().len(), 1);
    let candidates = &view["settings"][0]["candidates"];
    assert_eq!((candidates["arms"][0]["chosen"].as_u64(), candidates["values"].as_array().unwrap().len()), (Some(1), 2));
}

/// Splits of the data as replicates of tuned strategies: each split chooses its own value by its own rows.
#[test]
fn splits_of_tuned_strategies_are_not_mixed() {
    let tuned = SWEEP
        .replace("learning_rate = 1e-4", "tune = { \"train.learning_rate\" = [30.0, 0.003] }")
        .replace("[grid]", "[grid]\n\"data.split.seed\" = [0, 1, 2]");
    let place = Place::new(&tuned);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let view = json(&place, &["explain", "--format", "json"]);
    let setting = &view["settings"][0];
    assert_eq!((&setting["certainty"]["splits"], view["settings"].as_array().unwrap().len()), (&3.into(), 1), "{view}");
    assert!(!view["notes"].to_string().contains("is left out"), "{}", view["notes"]);
}
