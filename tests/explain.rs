//! `sweep compare`, `sweep explain` and the warnings of `sweep plan`, on a small sweep that really trains: their statements agree
//! with what is recorded.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;
use std::sync::{Mutex, OnceLock};

use common::Place;
use serde_json::Value;
use store::Reader;
use sweep::report::explain::{self, ExplainOptions};

/// Five strategies x 2 seeds of a linear model; weights and a sampler at once, and a schedule that ends after its first epoch.
const SWEEP: &str = r#"
name = "why"
[data]
kind = "letters"
samples = 1200
image_size = 16
signal = 2.0
label_rates = { A = 0.12, B = 0.45 }
[model]
arch = "linear"
[train]
epochs = 3
batch_size = 32
learning_rate = 0.01
schedule = { kind = "step", every = 1, factor = 0.1 }
[grid]
loss = ["bce", "focal"]
pos_weight = ["none", "neg_over_pos"]
sampler = ["shuffle", "class_aware"]
threshold = [0.5, "max_f1"]
seed = [0, 1]
[[grid.exclude]]
loss = "focal"
pos_weight = "neg_over_pos"
[[grid.exclude]]
loss = "focal"
sampler = "class_aware"
"#;

/// The sweep, trained once for all tests.
fn trained() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Place::new(SWEEP);
        place.succeed(&["run", "sweep.toml", "--quiet"]);
        place
    })
}

fn said(arguments: &[&str]) -> String {
    let output = trained().succeed(arguments);
    // On a slow machine progress is told.
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.lines().all(|line| line.starts_with("explaining runs: ")), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&said(&[arguments, &["--format", "json"]].concat())).unwrap()
}

/// Exit status and stderr of a command that does not succeed.
fn refused(place: &Place, arguments: &[&str]) -> (i32, String) {
    let output = place.run(arguments);
    assert!(output.stdout.is_empty(), "{arguments:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn close(a: &Value, b: &Value) -> bool {
    a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() < 1e-9)
}

fn arm<'j>(explanation: &'j Value, name: &str) -> &'j Value {
    let arms = explanation["settings"][0]["arms"].as_array().unwrap();
    arms.iter().find(|arm| arm["arm"] == name).unwrap_or_else(|| panic!("no {name} in {arms:?}"))
}

fn row<'j>(report: &'j Value, strategy: [&str; 3], policy: &str) -> &'j Value {
    let [loss, weight, sampler] = strategy;
    let is = |row: &&Value| {
        row["strategy"]["loss"] == loss
            && row["strategy"]["pos_weight"] == weight
            && row["strategy"]["sampler"] == sampler
            && row["policy"] == policy
    };
    report["rows"].as_array().unwrap().iter().find(is).unwrap()
}

const ARMS: [(&str, [&str; 3]); 5] = [
    ("bce", ["bce", "none", "shuffle"]),
    ("bce + class_aware", ["bce", "none", "class_aware"]),
    ("bce + neg_over_pos", ["bce", "neg_over_pos", "shuffle"]),
    ("bce + neg_over_pos + class_aware", ["bce", "neg_over_pos", "class_aware"]),
    ("focal(gamma=2)", ["focal", "none", "shuffle"]),
];

#[test]
fn every_number_of_an_explanation_is_the_recorded_one() {
    let explanation = json(&["explain"]);
    let report = json(&["report", "--split", "test"]);
    let setting = &explanation["settings"][0];
    assert_eq!(setting["baseline"], serde_json::json!({"arm": "bce", "exact": true}));
    assert_eq!((setting["arms"].as_array().unwrap().len(), &setting["arms"][0]["arm"]), (5, &Value::from("bce")));
    let baseline = report["rows"].as_array().unwrap().iter().find(|row| row["baseline"] == true).unwrap();
    assert!(close(&setting["all_positive"], &baseline["metrics"]["macro_f1"]["mean"]));
    for (name, strategy) in ARMS {
        let arm = arm(&explanation, name);
        let (half, tuned) = (row(&report, strategy, "0.5"), row(&report, strategy, "max_f1"));
        assert_eq!(arm["runs"].as_array().unwrap().len(), 2);
        for (change, row, metric) in [("ap", half, "macro_ap"), ("f1_half", half, "macro_f1"), ("f1_tuned", tuned, "macro_f1")] {
            assert!(close(&arm[change]["value"]["mean"], &row["metrics"][metric]["mean"]), "{name} {change}: {}", arm[change]);
            let first = row_mean(&report, ARMS[0].1, if change == "f1_tuned" { "max_f1" } else { "0.5" }, metric);
            let difference = &arm[change]["difference"];
            if name == "bce" {
                assert!(difference.is_null());
                continue;
            }
            let expected = row["metrics"][metric]["mean"].as_f64().unwrap() - first;
            assert!((difference["mean"].as_f64().unwrap() - expected).abs() < 1e-9, "{name} {change}");
            let bound = |side: &str| difference[side].as_f64().unwrap();
            assert!(bound("low") <= expected && bound("high") >= expected && bound("p") > 0.0, "{difference}");
        }
        for (label, line) in arm["labels"].as_array().unwrap().iter().zip(half["labels"].as_array().unwrap()) {
            for key in ["ap", "prevalence", "predicted_rate"] {
                assert!(close(&label[key], &line[key]), "{name} {key}: {label} {line}");
            }
            assert!(close(&label["f1_half"], &line["f1"]));
        }
        for (label, line) in arm["labels"].as_array().unwrap().iter().zip(tuned["labels"].as_array().unwrap()) {
            assert!(close(&label["threshold"], &line["threshold"]) && close(&label["f1_tuned"], &line["f1"]), "{label} {line}");
        }
    }
}

fn row_mean(report: &Value, strategy: [&str; 3], policy: &str, metric: &str) -> f64 {
    row(report, strategy, policy)["metrics"][metric]["mean"].as_f64().unwrap()
}

/// Progress counts every run once it is judged and resampled, and ends with all of them.
#[tokio::test]
async fn progress_is_told_run_by_run() {
    let mut reader = Reader::open(&trained().path("sweep.db")).await.unwrap();
    let sweep = reader.find_sweep("latest").await.unwrap();
    let told = Mutex::new(Vec::new());
    let tell = |done: usize, of: usize| told.lock().unwrap().push((done, of));
    explain::explain(&mut reader, &sweep, &ExplainOptions::default(), &tell).await.unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.iter().all(|(done, of)| done <= of && *of == 10), "{told:?}");
    assert_eq!(told.iter().max(), Some(&(10, 10)));
    assert!(told.len() > 10, "{told:?}");
}

#[test]
fn sentences_say_what_the_numbers_say() {
    let explanation = json(&["explain"]);
    // the decision point is 1 / (1 + w), w being the weight that the plan resolved
    let plan = json(&["plan", "sweep.toml"]);
    let planned =
        plan["runs"].as_array().unwrap().iter().find(|run| run["pos_weight"] == "neg_over_pos" && run["sampler"] == "shuffle");
    let weights = planned.unwrap()["weights"].as_array().unwrap();
    let weighted = arm(&explanation, "bce + neg_over_pos");
    for (label, weight) in weighted["labels"].as_array().unwrap().iter().zip(weights) {
        assert!((label["eta"].as_f64().unwrap() - 1.0 / (1.0 + weight.as_f64().unwrap())).abs() < 1e-12);
    }
    let point = format!("{:.3}", weighted["labels"][0]["eta"].as_f64().unwrap());
    let sentence = weighted["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with(&format!("moved the decision point of A to {} (bce: 0.5)", point.trim_end_matches('0'))),
        "{sentence}"
    );
    for value in ["f1_half", "f1_tuned"] {
        let value = format!("{:.3}", weighted[value]["value"]["mean"].as_f64().unwrap());
        assert!(sentence.contains(&value), "{value}: {sentence}");
    }
    let label = &weighted["labels"][0];
    assert!(label["predicted_rate"].as_f64().unwrap() > label["prevalence"].as_f64().unwrap());
    // focal leaves the decision point, and a sampler has no formula
    assert!(
        arm(&explanation, "focal(gamma=2)")["sentence"].as_str().unwrap().starts_with("left the decision point where bce has it")
    );
    let sampler = arm(&explanation, "bce + class_aware");
    assert!(sampler["labels"][0]["eta"].is_null() && sampler["calibration"]["repaired_by"] == "platt", "{sampler}");
    // from two seeds nothing is said, and the recommendation does not pretend
    let certainty = &explanation["settings"][0]["certainty"];
    assert_eq!((&certainty["seeds"], &certainty["comparisons"], &certainty["detectable"]), (&2.into(), &4.into(), &Value::Null));
    assert!(certainty["minutes"].as_f64().unwrap() > 0.0, "{certainty}");
    for arm in explanation["settings"][0]["arms"].as_array().unwrap() {
        for verdict in ["ranking", "val_ranking", "tuned"] {
            assert!(arm[verdict].is_null() || arm[verdict] == "unknown", "{arm}");
        }
    }
    let advice = &explanation["settings"][0]["recommendation"];
    assert_ne!(advice["rule"], "ranks_better");
    assert_eq!(advice["arm"], "bce");
}

/// Text with its line breaks undone.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_form_says_the_same() {
    let explanation = json(&["explain", "why"]);
    let page = said(&["explain"]);
    assert!(page.lines().count() <= 60, "{page}");
    let (table, markdown) = (said(&["explain", "--all"]), said(&["explain", "latest", "--format", "markdown", "--all"]));
    assert!(table.lines().all(|line| line.chars().count() <= 120) && !table.contains('\u{1b}'), "{table}");
    let flat = unwrapped(&table);
    for arm in explanation["settings"][0]["arms"].as_array().unwrap() {
        let item = format!("- {}: {}", arm["arm"].as_str().unwrap(), arm["sentence"].as_str().unwrap());
        assert!(flat.contains(&unwrapped(&item)), "{item}: {table}");
    }
    for sentence in explanation["settings"][0]["recommendation"]["sentences"].as_array().unwrap() {
        let sentence = unwrapped(sentence.as_str().unwrap());
        assert!(flat.contains(&sentence) && unwrapped(&page).contains(&sentence), "{sentence}: {table}");
    }
    assert!(markdown.starts_with("### why: what the strategies changed") && markdown.contains("| strategy |"), "{markdown}");
    assert_eq!(said(&["explain", "--all", "--output", "why.txt"]), "");
    assert_eq!(fs::read_to_string(trained().path("why.txt")).unwrap(), table);
    // the report ends with the short form, and its JSON form has it
    let report = json(&["report"]);
    assert_eq!(report["why"]["settings"][0]["recommendation"], explanation["settings"][0]["recommendation"]);
    assert_eq!(report["why"]["warnings"].as_u64().unwrap() as usize, explanation["warnings"].as_array().unwrap().len());
    let text = said(&["report"]);
    let first = explanation["settings"][0]["recommendation"]["sentences"][0].as_str().unwrap();
    assert!(unwrapped(&text).contains(&unwrapped(first)) && text.contains("\nwhy\n"), "{text}");
    assert!(said(&["report", "--format", "markdown"]).contains("**Why**"));
    assert!(!said(&["report", "--format", "csv"]).contains("why:"));
}

#[test]
fn mistakes_are_told_before_and_after() {
    let plan = json(&["plan", "sweep.toml"]);
    let kinds = |warnings: &Value| -> Vec<String> {
        warnings.as_array().unwrap().iter().map(|lint| lint["kind"].as_str().unwrap().to_owned()).collect()
    };
    let before = kinds(&plan["warnings"]);
    for kind in ["double_correction", "schedule_spent", "few_seeds"] {
        assert!(before.iter().any(|known| known == kind), "{kind}: {before:?}");
    }
    let double = &plan["warnings"].as_array().unwrap().iter().find(|lint| lint["kind"] == "double_correction").unwrap();
    assert_eq!(double["about"], serde_json::json!(["bce + neg_over_pos + class_aware"]));
    let after = kinds(&json(&["explain"])["warnings"]);
    assert!(before.iter().all(|kind| after.contains(kind)), "{before:?} {after:?}");
    let text = said(&["plan", "sweep.toml"]);
    assert!(
        unwrapped(&text).contains(
            "bce + neg_over_pos + class_aware: the same imbalance is corrected twice, by a sampler and positive weights:"
        ),
        "{text}"
    );
}

/// The fingerprints of a strategy, by seed.
fn runs(strategy: [&str; 3]) -> Vec<String> {
    let plan = json(&["plan", "sweep.toml"]);
    let [loss, weight, sampler] = strategy;
    let is = |run: &&Value| run["loss"] == loss && run["pos_weight"] == weight && run["sampler"] == sampler;
    plan["runs"].as_array().unwrap().iter().filter(is).map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn two_runs_are_compared_row_by_row() {
    let (bce, weighted) = (runs(ARMS[0].1), runs(ARMS[2].1));
    let found = json(&["compare", &bce[0], &weighted[0]]);
    assert_eq!((&found["kind"], found["splits"].as_array().unwrap().len()), (&"runs".into(), 2));
    let shown = [json(&["show", &bce[0]]), json(&["show", &weighted[0]])];
    let recorded = |run: &Value, split: &str, policy: &str, metric: &str| {
        let best = &run["best_epoch"];
        let results = run["results"].as_array().unwrap();
        let is = |row: &&Value| row["split"] == split && row["policy"] == policy && row["epoch"] == *best;
        results.iter().find(is).unwrap()[metric].as_f64().unwrap()
    };
    for split in found["splits"].as_array().unwrap() {
        let measures = split["measures"].as_array().unwrap();
        assert_eq!(measures.len(), 5, "ranking, and two metrics under two policies");
        for measure in measures {
            let policy = measure["policy"].as_str().unwrap_or("0.5");
            let value = |run| recorded(run, split["split"].as_str().unwrap(), policy, measure["metric"].as_str().unwrap());
            let (first, second) = (value(&shown[0]), value(&shown[1]));
            assert!((measure["first"].as_f64().unwrap() - first).abs() < 1e-9, "{measure} {first}");
            assert!((measure["difference"].as_f64().unwrap() - (second - first)).abs() < 1e-9, "{measure}");
            let (low, high) = (measure["low"].as_f64().unwrap(), measure["high"].as_f64().unwrap());
            assert!(low <= high && low < second - first + 0.05 && high > second - first - 0.05, "{measure}");
        }
        assert_eq!((measures[0]["metric"].as_str(), measures[0]["labels"].as_array().unwrap().len()), (Some("macro_ap"), 2));
        assert_eq!(measures[2]["labels"].as_array().unwrap().len(), 0, "micro F1 is one number");
    }
    let one = json(&[
        "compare",
        &bce[0][..8],
        &weighted[0][..8],
        "--metric",
        "hamming_loss",
        "--split",
        "test",
        "--threshold",
        "prior_match",
    ]);
    let measure = &one["splits"][0]["measures"][0];
    assert_eq!((&measure["policy"], &measure["lower_is_better"]), (&"prior_match".into(), &true.into()));
    let text = said(&["compare", &bce[0], &weighted[0]]);
    assert!(text.contains("they differ in pos_weight (none | neg_over_pos)") && text.contains("macro_f1 at max_f1"), "{text}");
    assert_eq!(said(&["compare", &bce[0], &weighted[0]]), text, "one question, one answer");
}

#[test]
fn groups_are_compared_seed_by_seed() {
    let found = json(&["compare", "loss=bce,pos_weight=none", "loss=focal", "--split", "test"]);
    assert!(found["groups"][0]["pairs"].as_array().unwrap().len() == 2, "{found}");
    assert_eq!(found["groups"][0]["pairs"][0]["seed"], found["groups"][0]["pairs"][0]["seed"]);
    let explanation = json(&["explain"]);
    let difference = |metric: &str, policy: Value| {
        let families = found["families"].as_array().unwrap();
        let family = families.iter().find(|family| family["metric"] == metric && family["policy"] == policy).unwrap();
        family["lines"][0]["difference"]["mean"].clone()
    };
    let focal = arm(&explanation, "focal(gamma=2)");
    assert!(close(&difference("macro_ap", Value::Null), &focal["ap"]["difference"]["mean"]));
    assert!(close(&difference("macro_f1", "0.5".into()), &focal["f1_half"]["difference"]["mean"]));
    assert!(close(&difference("macro_f1", "max_f1".into()), &focal["f1_tuned"]["difference"]["mean"]));
    let line = &found["families"][0]["lines"][0]["difference"];
    assert!(line["runs"] == 2 && line["p"].as_f64().is_some(), "{line}");
    let text = said(&[
        "compare",
        "sampler=shuffle,pos_weight=none,loss=bce",
        "sampler=class_aware,pos_weight=none",
        "pos_weight=neg_over_pos,sampler=shuffle",
    ]);
    assert!(
        text.contains("(2 comparisons together)") && text.contains("sampler=class_aware,pos_weight=none (2 pairs)"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let bce = runs(ARMS[0].1);
    let (code, stderr) = refused(trained(), &["compare", &bce[0], &bce[0][..10]]);
    assert_eq!(code, 2);
    assert!(stderr.contains("both are the run"), "{stderr}");
    let (code, stderr) = refused(trained(), &["compare", "loss=bce", "loss=fokal"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("did you mean `focal`?"), "{stderr}");
    let (code, stderr) = refused(trained(), &["compare", "loss=bce", "loss=focal", "--sweep", "nothing"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("has no sweep `nothing`"), "{stderr}");
    let (code, stderr) = refused(trained(), &["explain", "--rope-ap", "3"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--rope-ap 3"), "{stderr}");
}

#[test]
fn other_splits_are_not_paired_and_lost_scores_are_told() {
    let place = Place::new(
        &SWEEP
            .replace("seed = [0, 1]", "seed = [0]\n\"data.split.seed\" = [0, 1]")
            .replace(r#"["none", "neg_over_pos"]"#, r#""none""#),
    );
    place.succeed(&["run", "sweep.toml", "--quiet", "--set", "grid.sampler=\"shuffle\"", "--set", "train.epochs=1"]);
    let plan = place.succeed(&[
        "plan",
        "sweep.toml",
        "--format",
        "json",
        "--set",
        "grid.sampler=\"shuffle\"",
        "--set",
        "train.epochs=1",
    ]);
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let of = |seed: u64| {
        let runs = plan["runs"].as_array().unwrap();
        let run = runs.iter().find(|run| run["params"]["data.split.seed"] == seed && run["loss"] == "bce").unwrap();
        run["run"].as_str().unwrap().to_owned()
    };
    let (code, stderr) = refused(&place, &["compare", &of(0), &of(1)]);
    assert_eq!(code, 2);
    assert!(stderr.contains("are on different data sets or splits"), "{stderr}");
    // splits are replicates of one setting, paired as seeds are
    let explanation: Value = serde_json::from_slice(&place.succeed(&["explain", "--format", "json"]).stdout).unwrap();
    let settings = explanation["settings"].as_array().unwrap();
    assert_eq!((settings.len(), &settings[0]["certainty"]["splits"]), (1, &2.into()));
    let focal = arm(&explanation, "focal(gamma=2)");
    let difference = &focal["ap"]["difference"];
    let (sd, se) = (difference["sd"].as_f64().unwrap(), difference["se"].as_f64().unwrap());
    let rows = |split: &str| settings[0]["rows"][split].as_f64().unwrap();
    assert!((se / sd - (0.5 + rows("test") / rows("train")).sqrt()).abs() < 1e-9, "{difference}");
    // one run's scores are lost: the rest is explained; all are: an error says so
    fs::remove_dir_all(place.path("sweep.runs").join(of(0))).unwrap();
    let explanation: Value = serde_json::from_slice(&place.succeed(&["explain", "--format", "json"]).stdout).unwrap();
    assert!(explanation["notes"][0].as_str().unwrap().contains("is left out: "), "{}", explanation["notes"]);
    assert_eq!((&explanation["settings"][0]["certainty"]["seeds"], &arm(&explanation, "bce")["of"]), (&1.into(), &2.into()));
    fs::remove_dir_all(place.path("sweep.runs")).unwrap();
    let (code, stderr) = refused(&place, &["explain"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("nothing can be explained without kept scores"), "{stderr}");
    let report: Value = serde_json::from_slice(&place.succeed(&["report", "--format", "json"]).stdout).unwrap();
    assert!(report["why"].is_null());
}
