//! `sweep recipe`: the file of a real run through the real program, and its formulas beside what torch makes of them. Every loss has a
//! snapshot in tests/fixtures/recipes, written by `UPDATE_SNAPSHOT=1 cargo test --test recipe`; tests/oracle/recipes.py ran it.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]
#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Place;
use imbalance::loss::{self, Batch, Context, start};
use imbalance::rng::Rng;
use imbalance::threshold::{self, Rule};
use imbalance::{Choice, LabelCounts, PosWeight, pos_weight, sampler};
use plan::Start;
use sha2::{Digest, Sha256};
use sweep::recipe::{Bias, Decisions, Recipe, Strategy};

/// Losses, each with a sampler, so that every one of both occurs.
const SNAPSHOTS: [(&str, &str, &str); 25] = [
    ("bce", "bce", "shuffle"),
    ("bce-unknown", "bce", "shuffle"),
    ("focal", "focal", "class_aware"),
    ("focal-alpha", "focal(gamma=1.5,alpha=0.25)", "weighted"),
    ("focal_seed", "focal_seed", "weighted(by=mean)"),
    ("class_balanced", "class_balanced(beta=0.99999)", "weighted(by=sum,empty=0)"),
    ("class_balanced-average_n", "class_balanced(beta=0.99999,by=average_n)", "repeat_factor"),
    ("class_balanced-average_w", "class_balanced(beta=0.99999,by=average_w,gamma=2)", "balanced_batch(min=2)"),
    ("class_balanced-min_n", "class_balanced(beta=0.99999,by=min_n)", "ml_ros"),
    ("asl", "asl", "ml_rus"),
    ("asl-detach", "asl(detach=1)", "ml_rus(protect=1)"),
    ("asl-unclipped", "asl(clip=0,detach=1,gamma_pos=0)", "lp_ros"),
    ("logit_adjust", "logit_adjust", "lp_rus"),
    ("ldam", "ldam", "mlsmote"),
    ("ldam-negatives", "ldam(negatives=1,drw=1,scale=2)", "remedial"),
    ("db", "db", "shuffle"),
    ("db-plain", "db(gamma=0)", "shuffle"),
    ("soft_f1", "soft_f1", "shuffle"),
    ("soft_f1-unknown", "soft_f1(absent=skip,power=0.75,smooth=1)", "shuffle"),
    ("poly1", "poly1", "shuffle"),
    ("two_way", "two_way", "shuffle"),
    ("two_way-unknown", "two_way", "shuffle"),
    ("zlpr-unknown", "zlpr", "shuffle"),
    ("hill-unknown", "hill", "shuffle"),
    ("splc", "splc(start=5)", "shuffle"),
];
const EPOCHS: usize = 10;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The counts of the question, with some rows that do not know a label if the name says so; weights where the loss reads them.
fn setting(name: &str, loss: &Choice) -> (LabelCounts, PosWeight, Vec<f64>) {
    let counts = LabelCounts::new(224_000, vec![19_000, 65_000, 38_000, 105_000]);
    let counts = if name.ends_with("unknown") { counts.with_unknown(vec![1000, 0, 0, 50_000]) } else { counts };
    let reads = sweep::recipe::loss::reads_pos_weight(&loss.kind);
    let weight = PosWeight::Formula(Choice::plain(if reads { "neg_over_pos" } else { "none" }));
    let weights = pos_weight::resolve(&weight, &counts).unwrap();
    (counts, weight, weights)
}

fn loss_of(name: &str, choice: &Choice) -> Box<dyn loss::Loss> {
    let (counts, _, pos_weight) = setting(name, choice);
    loss::build(choice, &Context { pos_weight, counts, epochs: EPOCHS }).unwrap()
}

fn snapshot((name, loss, sampler): (&str, &str, &str)) -> String {
    let loss = imbalance::parse(loss::REGISTRY, "loss", loss).unwrap();
    let sampler = imbalance::parse(sampler::REGISTRY, "sampler", sampler).unwrap();
    let (counts, weight, weights) = setting(name, &loss);
    let values = start::linked(&*loss_of(name, &loss), &counts);
    let (policy, rule) = match name {
        "zlpr-unknown" => ("rcut", Rule::Top(2)),
        _ => ("max_f1", Rule::Thresholds(vec![0.1, 0.275, 1.000_000_1, 0.5])),
    };
    let recipe = Recipe {
        remarks: vec![format!("The snapshot {name}.")],
        labels: &["A", "B", "C", "D"].map(str::to_owned),
        strategy: Ok(Strategy {
            loss: &loss,
            pos_weight: &weight,
            weights: &weights,
            sampler: &sampler,
            counts: &counts,
            epochs: EPOCHS,
            batch_size: 64,
            bias: values
                .map(|values| Bias { start: Start::Link, values, zero_weights: false })
                .ok_or_else(|| "a snapshot has no rows".to_owned()),
        }),
        decisions: Ok(Decisions { policy: &threshold::parse(policy).unwrap(), rule: &rule }),
    };
    recipe.python()
}

/// The snapshots are what the program writes.
#[test]
fn recipes_are_as_they_were() {
    for snapshot_of in SNAPSHOTS {
        let path = root().join(format!("fixtures/recipes/{}.py", snapshot_of.0));
        let text = snapshot(snapshot_of);
        if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, kept, "{}: UPDATE_SNAPSHOT=1, then tests/oracle/recipes.py", path.display());
        assert!(text.lines().count() <= 125 && text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
    let of = |part: fn(&(&str, &'static str, &'static str)) -> &'static str| -> BTreeSet<String> {
        SNAPSHOTS.iter().map(|snapshot| part(snapshot).split('(').next().unwrap().to_owned()).collect()
    };
    assert_eq!(of(|snapshot| snapshot.1), loss::REGISTRY.iter().map(|entry| entry.kind.to_owned()).collect());
    assert_eq!(of(|snapshot| snapshot.2), sampler::REGISTRY.iter().map(|entry| entry.kind.to_owned()).collect());
}

/// Loss and gradient of each snapshot, as torch computed them, are ours.
#[test]
fn losses_are_those_of_torch() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(root().join("oracle/recipes.json")).unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    for case in &cases {
        let file = case["snapshot"].as_str().unwrap();
        let (name, loss, _) = *SNAPSHOTS.iter().find(|snapshot| file.strip_suffix(".py") == Some(snapshot.0)).unwrap();
        let hash = Sha256::digest(fs::read(root().join("fixtures/recipes").join(file)).unwrap());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(case["sha256"], hash, "{file} is not what torch was asked about: run tests/oracle/recipes.py");
        let numbers = |key: &str| -> Vec<f64> { case[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
        let logits: Vec<f32> = numbers("logits").into_iter().map(|z| z as f32).collect();
        let targets: Vec<u8> = numbers("targets").into_iter().map(|y| y as u8).collect();
        let epoch = case["epoch"].as_u64().unwrap() as usize;
        let mut gradient = vec![0.0; logits.len()];
        let loss = loss_of(name, &imbalance::parse(loss::REGISTRY, "loss", loss).unwrap());
        let value = loss.evaluate(Batch { labels: 4, logits: &logits, targets: &targets, epoch }, &mut gradient);
        let theirs = numbers("gradient");
        let largest = theirs.iter().fold(0.0, |most: f64, slope| most.max(slope.abs()));
        // The question's own loss is float32 by its definition.
        let allowed = if name == "focal_seed" { 1e-3 } else { 1e-6 };
        let expected = case["value"].as_f64().unwrap();
        assert!((value - expected).abs() <= allowed * expected.abs(), "{name}: {value} is not {expected}");
        for (ours, theirs) in gradient.iter().zip(theirs) {
            let error = (f64::from(*ours) - theirs).abs();
            assert!(error <= allowed * (theirs.abs() + 1e-2 * largest), "{name}, epoch {epoch}: {ours} is not {theirs}");
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), SNAPSHOTS.len(), "a snapshot is missing in recipes.json: run tests/oracle/recipes.py");
}

const SWEEP: &str = r#"
name = "it's \"small\""
[data]
kind = "features"
features = "x.npy"
labels = "labels.csv"
[model]
arch = "linear"
[train]
epochs = 4
learning_rate = 0.05
[grid]
loss = ["bce", "db"]
pos_weight = "neg_over_pos"
threshold = [0.5, "max_f1", "rcut"]
"#;
/// Labels that would end a literal, or turn a line around.
const LABELS: [&str; 3] = ["\"\"\"; import os #", "back\\slash\\", "it's {{ x }}"];

/// 600 rows of four features.
fn place() -> Place {
    let place = Place::new(SWEEP);
    let (mut rng, mut values) = (Rng::new(3, "features", &[]), Vec::new());
    let mut csv = csv::Writer::from_path(place.path("labels.csv")).unwrap();
    csv.write_record(["id", "split"].into_iter().chain(LABELS)).unwrap();
    for row in 0..600 {
        let x: Vec<f64> = (0..4).map(|_| rng.normal()).collect();
        let of = |sum: f64| u8::from(sum > 1.2).to_string();
        let labels = [of(x[0] + x[1]), of(x[2] - x[3] + rng.normal()), of(x[1] + rng.normal())];
        let split = ["val", "train", "test"][row % 3].to_owned();
        csv.write_record([row.to_string(), split].into_iter().chain(labels)).unwrap();
        values.extend(x.iter().map(|&x| x as f32));
    }
    csv.flush().unwrap();
    archive::write_matrix(&place.path("x.npy"), 4, &values).unwrap();
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    place
}

/// The run of this loss.
fn run_of(place: &Place, loss: &str) -> String {
    let report = place.json(&["report"]);
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["strategy"]["loss"] == loss).unwrap();
    row["runs"][0].as_str().unwrap().to_owned()
}

fn recipe(place: &Place, arguments: &[&str]) -> (String, String) {
    let output = place.succeed(&[&["recipe"], arguments].concat());
    compiles(&output.stdout);
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Python reads it, where there is Python.
fn compiles(text: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recipe.py");
    fs::write(&file, text).unwrap();
    match Command::new("python3").args(["-m", "py_compile"]).arg(&file).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("skipped: no python3 to compile recipes: {error}"),
    }
}

fn thresholds(text: &str) -> Vec<f32> {
    let rest = text.split("THRESHOLDS = torch.tensor([").nth(1).unwrap();
    rest.split(']').next().unwrap().split(',').map(str::trim).filter(|x| !x.is_empty()).map(|x| x.parse().unwrap()).collect()
}

#[test]
fn a_run_is_written_with_the_thresholds_that_are_recorded() {
    let place = place();
    let run = run_of(&place, "bce");
    let (text, words) = recipe(&place, &[&run[..8], "--threshold", "max_f1"]);
    assert_eq!(words, "thresholds of max_f1\n");
    let recorded: Vec<f32> = place.json(&["show", &run])["labels"]["val"]["max_f1"]
        .as_array()
        .unwrap()
        .iter()
        .map(|label| label["threshold"].as_f64().unwrap() as f32)
        .collect();
    assert_eq!(thresholds(&text), recorded);
    for part in [
        r#"LABELS = ["\"\"\"; import os #", "back\\slash\\", "it's {{ x }}"]"#,
        "loss = torch.nn.BCEWithLogitsLoss(pos_weight=POS_WEIGHT)",
        "head.weight.zero_()",
        "# Positive weights neg_over_pos: ",
        "of \"it's \"small\"\"",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // By default the policy is the one that `export` chooses.
    let (text, words) = recipe(&place, &[&run]);
    let exported = place.succeed(&["export", &run, "--predictions", "predictions.csv"]);
    let exported = String::from_utf8(exported.stderr).unwrap();
    let of = |words: &str, before: &str| words.split(before).nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert_eq!(of(&words, "thresholds of "), of(&exported, "decisions under "));
    assert!(text.contains("(held out)") && words.contains("the best of the run's policies on val"), "{words}");
    let (text, _) = recipe(&place, &[&run, "--threshold", "rcut(r=2)", "--quiet"]);
    assert!(text.contains("TOP = 2 "), "{text}");
}

#[test]
fn a_file_is_written_over_only_if_that_is_asked_for() {
    let place = place();
    let run = run_of(&place, "bce");
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let output = place.run(&[&["recipe"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(words), "{code}: {said}");
    };
    let output = place.succeed(&["recipe", &run, "--output", "recipe.py"]);
    assert!(output.stdout.is_empty() && String::from_utf8(output.stderr).unwrap().starts_with("recipe.py: thresholds of "));
    refused(&[&run, "--output", "recipe.py"], 2, "recipe.py exists: --force writes over it");
    place.succeed(&["recipe", &run, "--output", "recipe.py", "--force", "--threshold", "0.25"]);
    assert_eq!(thresholds(&fs::read_to_string(place.path("recipe.py")).unwrap()), [0.25; 3]);
    refused(&["ffffffff"], 1, "no run ffffffff");
    refused(&[&run, "--force"], 2, "--output");
    refused(&[&run, "--threshold", "max_f2"], 2, "max_f1");
}

/// What is gone leaves its part out, with a reason; what never was a strategy has thresholds alone.
#[test]
fn what_there_is_none_of_is_said() {
    let place = place();
    let run = run_of(&place, "db");
    assert!(recipe(&place, &[&run]).0.contains("START = torch.tensor(["));
    fs::rename(place.path("sweep.cache"), place.path("away")).unwrap();
    let (text, _) = recipe(&place, &[&run]);
    assert!(text.contains("# No start of the head's bias: ") && text.contains("def loss("), "{text}");
    fs::remove_dir_all(place.path("sweep.runs").join(&run)).unwrap();
    let (text, words) = recipe(&place, &[&run]);
    assert!(text.contains("# No thresholds: ") && text.contains("def loss(") && words.starts_with("no thresholds: "), "{words}");
    assert_eq!(thresholds(&recipe(&place, &[&run, "--threshold", "0.5"]).0), [0.5; 3]);
    let output = place.run(&["recipe", &run, "--threshold", "max_f1"]);
    assert_eq!(output.status.code(), Some(1));
    let (text, words) = recipe(&place, &[&run_of(&place, "logistic")]);
    assert!(text.contains("LogisticRegression(C=") && !text.contains("loss ="), "{text}");
    assert!(words.contains("thresholds alone: this is a reference run"), "{words}");
}

#[test]
fn imported_scores_have_thresholds_alone() {
    let place = Place::new("");
    fs::write(place.path("labels.csv"), "id,A,B\n0,1,0\n1,0,1\n2,1,1\n3,0,0\n").unwrap();
    archive::write_matrix(&place.path("scores.npy"), 2, &[0.9f32, 0.2, 0.3, 0.7, 0.6, 0.8, 0.1, 0.4]).unwrap();
    place.succeed(&["import", "--scores", "scores.npy", "--labels", "labels.csv", "--name", "mine"]);
    let run = place.json(&["report"])["rows"][0]["runs"][0].as_str().unwrap().to_owned();
    let (text, words) = recipe(&place, &[&run]);
    assert!(text.contains("# No loss, weights or sampler: the scores were imported") && words.contains("not known"), "{text}");
    assert_eq!(thresholds(&text).len(), 2);
}
