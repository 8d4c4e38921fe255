//! `sweep export --to`, `--refit` and `sweep predict` through the real program: a model outside of the database scores as it did when it
//! was recorded, and no file, kill or stranger's folder makes it score something else.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use common::Place;
use imbalance::rng::Rng;
use serde_json::Value;
use train::model::save_tensors;

/// Pictures of random rectangles, red ones for A, wide ones for B; in folders, of several sizes.
fn pictures(place: &Place, count: usize) {
    let mut rng = Rng::new(5, "pictures", &[]);
    let mut csv = "path,split,A,B\n".to_owned();
    for folder in ["one", "two"] {
        fs::create_dir_all(place.path("photos").join(folder)).unwrap();
    }
    for number in 0..count {
        let (red, wide) = (rng.uniform() < 0.4, rng.uniform() < 0.6);
        let (width, height) = (24 + (number % 7) as u32, 20 + (number % 5) as u32);
        let noise: Vec<u8> = (0..3 * width * height).map(|_| rng.below(90) as u8).collect();
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            let inside = x > 4 && y > 6 && x < if wide { 20 } else { 10 } && y < 14;
            let at = 3 * (y * width + x) as usize;
            image::Rgb([if inside && red { 240 } else { noise[at] }, if inside { 120 } else { noise[at + 1] }, noise[at + 2]])
        });
        let name = format!("{}/{number}.png", ["one", "two"][number % 2]);
        picture.save(place.path("photos").join(&name)).unwrap();
        csv += &format!("{name},{},{},{}\n", ["train", "train", "val", "test"][number % 4], u8::from(red), u8::from(wide));
    }
    fs::write(place.path("labels.csv"), csv).unwrap();
}

fn file(model: &str, size: u32, epochs: usize) -> String {
    format!(
        r#"
name = "small"
[data]
kind = "images"
root = "photos"
labels = "labels.csv"
image_size = {size}
[model]
{model}
[train]
epochs = {epochs}
batch_size = 16
reference = false
[grid]
pos_weight = "sqrt"
threshold = [0.5, "max_f1", "rcut"]
"#
    )
}

const CNN: &str = "arch = \"cnn\"\nhidden = [8]";

/// Random weights under torchvision's names.
fn backbone(path: &Path) {
    let nets: Value = serde_json::from_str(include_str!("oracle/backbones.json")).unwrap();
    let mut rng = Rng::new(1, "weights", &[]);
    let mut tensors = BTreeMap::new();
    for (name, shape) in nets["resnet18"]["tensors"].as_object().unwrap() {
        let shape: Vec<usize> = shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let fan: usize = shape.iter().skip(1).product();
        let scale = (if shape.len() > 1 { 6.0 / fan as f64 } else { 0.01 }).sqrt();
        let middle = if shape.len() == 1 && (name.ends_with("weight") || name.ends_with("var")) { 1.0 } else { 0.0 };
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| (middle + scale * (2.0 * rng.uniform() - 1.0)) as f32).collect();
        tensors.insert(name.clone(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    }
    save_tensors(&tensors, None, path).unwrap();
}

fn run_of(place: &Place) -> String {
    place.json(&["report"])["rows"][0]["runs"][0].as_str().unwrap().to_owned()
}

/// Lines by id, as they are written: equal text is equal bits.
fn lines(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let lines = reader.deserialize().map(|line: Result<BTreeMap<String, String>, _>| line.unwrap());
    lines.map(|mut line| (line.remove("id").unwrap(), line)).collect()
}

fn read(place: &Place, name: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    lines(&fs::read_to_string(place.path(name)).unwrap())
}

fn words(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Trains `sweep.toml` and compares what `predict` says of the test rows, from the database and from an exported folder, in their order
/// and in another, with what was recorded.
fn as_recorded(place: &Place) {
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let run = run_of(place);
    place.succeed(&["export", &run, "--to", "home", "--predictions", "recorded.csv", "--threshold", "max_f1", "--quiet"]);
    let recorded = read(place, "recorded.csv");
    let test: Vec<&String> = recorded.iter().filter(|(_, line)| line["split"] == "test").map(|(id, _)| id).collect();
    let list = |name: &str, ids: &[&String]| {
        let rows: String = ids.iter().map(|id| format!("{id}\n")).collect();
        fs::write(place.path(name), format!("path\n{rows}")).unwrap();
    };
    list("all.csv", &test);
    list("few.csv", &test.iter().rev().take(3).copied().collect::<Vec<_>>());
    for (model, csv, rows) in [(&run[..], "all.csv", test.len()), ("home", "all.csv", test.len()), ("home", "few.csv", 3)] {
        let found = place.succeed(&["predict", model, csv, "--root", "photos", "--threshold", "max_f1"]);
        let found = lines(&String::from_utf8(found.stdout).unwrap());
        assert_eq!(found.len(), rows);
        for (id, line) in &found {
            for (column, value) in line {
                assert_eq!(value, &recorded[id][column], "{model} {csv} {id} {column}");
            }
        }
    }
}

#[test]
fn a_cnn_scores_test_as_it_was_recorded() {
    let place = Place::new(&file(CNN, 16, 2));
    pictures(&place, 240);
    as_recorded(&place);
}

#[test]
fn a_densenet_scores_test_as_it_was_recorded() {
    let place = Place::new(&file("arch = \"densenet121\"", 32, 1));
    pictures(&place, 48);
    as_recorded(&place);
    // torchvision's names, but for the counters that it adds by itself.
    let bytes = fs::read(place.path("home/model.safetensors")).unwrap();
    let tensors = safetensors_names(&bytes);
    let known: Value = serde_json::from_str(include_str!("oracle/densenet.json")).unwrap();
    let known: Vec<&String> = known["tensors"].as_object().map(|tensors| tensors.keys().collect()).unwrap_or_default();
    assert!(tensors.contains(&"features.denseblock4.denselayer16.conv2.weight".to_owned()), "{tensors:?}");
    assert!(known.iter().all(|name| name.ends_with("num_batches_tracked") || tensors.contains(name)));
}

fn safetensors_names(bytes: &[u8]) -> Vec<String> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    header.as_object().unwrap().keys().filter(|name| *name != "__metadata__").cloned().collect()
}

#[test]
fn a_frozen_backbone_scores_test_as_it_was_recorded() {
    let place = Place::new(&file("arch = \"resnet18\"\nweights = \"w.safetensors\"\nfreeze = \"backbone\"", 32, 4));
    pictures(&place, 120);
    backbone(&place.path("w.safetensors"));
    as_recorded(&place);
    let card: Value = serde_json::from_slice(&fs::read(place.path("home/model.json")).unwrap()).unwrap();
    let weights = blake3::hash(&fs::read(place.path("w.safetensors")).unwrap()).to_hex().to_string();
    let found = &card["model"]["backbone"];
    assert_eq!((found["arch"].as_str(), found["blake3"].as_str()), (Some("resnet18"), Some(&weights[..])));
    assert_eq!(
        safetensors_names(&fs::read(place.path("home/model.safetensors")).unwrap()),
        ["classifier.bias", "classifier.weight"]
    );
    // Another backbone gives other features: it is refused.
    let mut other = fs::read(place.path("w.safetensors")).unwrap();
    *other.last_mut().unwrap() ^= 1;
    fs::write(place.path("w.safetensors"), other).unwrap();
    let refused = place.run(&["predict", "home", "photos"]);
    assert_eq!(refused.status.code(), Some(4), "{}", words(&refused));
    assert!(words(&refused).contains("w.safetensors"), "{}", words(&refused));
}

/// 300 rows of five features, standardised by train.
fn features(place: &Place) {
    let (mut rng, mut csv, mut values) = (Rng::new(3, "features", &[]), "id,split,A,B\n".to_owned(), Vec::new());
    for row in 0..300 {
        let x: Vec<f64> = (0..5).map(|column| 3.0 * rng.normal() + f64::from(column)).collect();
        csv += &format!("{row},{},{},{}\n", ["train", "val", "test"][row % 3], u8::from(x[0] > 1.0), u8::from(x[1] + x[2] > 5.0));
        values.extend(x.iter().map(|&x| x as f32));
    }
    archive::write_matrix(&place.path("x.npy"), 5, &values).unwrap();
    fs::write(place.path("labels.csv"), csv).unwrap();
}

fn of_features(model: &str) -> String {
    file(model, 8, 5)
        .replace("kind = \"images\"\nroot = \"photos\"", "kind = \"features\"\nfeatures = \"x.npy\"")
        .replace("image_size = 8\n", "")
}

#[test]
fn features_are_standardised_as_train_was() {
    let place = Place::new(&of_features("arch = \"linear\""));
    features(&place);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let run = run_of(&place);
    place.succeed(&["export", &run, "--predictions", "recorded.csv", "--to", "home", "--quiet"]);
    let recorded = read(&place, "recorded.csv");
    // The prepared data is not needed any more.
    fs::remove_dir_all(place.path("sweep.cache")).unwrap();
    let found = place.succeed(&["predict", "home", "x.npy", "--output", "scores.csv"]);
    assert!(words(&found).contains("scores.csv: 300 inputs; decisions under"), "{}", words(&found));
    let found = read(&place, "scores.csv");
    assert_eq!(found.len(), 300);
    for (id, line) in &recorded {
        for column in ["score.A", "score.B", "decision.A", "decision.B"] {
            assert_eq!(found[id][column], line[column], "{id} {column}");
        }
    }
    assert!(!place.path("scores.csv.partial").exists());
    // Of the run itself the means and deviations are those of the prepared data, which is gone.
    let gone = place.run(&["predict", &run, "x.npy"]);
    assert_eq!(gone.status.code(), Some(4));
    assert!(words(&gone).contains("sweep run FILE"), "{}", words(&gone));
    let pictures = place.run(&["predict", "home", "labels.csv"]);
    assert_eq!(pictures.status.code(), Some(4));
    assert!(
        words(&pictures).contains("labels.csv: the model reads features, from a .npy or .safetensors file"),
        "{}",
        words(&pictures)
    );
    archive::write_matrix(&place.path("wide.npy"), 6, &[0.0f32; 12]).unwrap();
    let wide = place.run(&["predict", "home", "wide.npy"]);
    assert_eq!(wide.status.code(), Some(4));
    assert!(words(&wide).contains("wide.npy: 6 features per row, but the model was trained on 5"), "{}", words(&wide));
}

#[test]
fn probabilities_and_json() {
    let place = Place::new(&of_features("arch = \"linear\"").replace("\"sqrt\"", "\"neg_over_pos\""));
    features(&place);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let run = run_of(&place);
    place.succeed(&["export", &run, "--to", "home", "--quiet"]);
    place.succeed(&["export", &run, "--predictions", "recorded.csv", "--calibrated", "--split", "test", "--quiet"]);
    let recorded = read(&place, "recorded.csv");
    let asked = ["predict", "home", "x.npy", "--calibrated", "--threshold", "0.3", "--format", "json"];
    let found: Value = serde_json::from_slice(&place.succeed(&asked).stdout).unwrap();
    assert_eq!(
        (found["threshold"].as_str(), found["calibrated"].as_bool(), found["run"].as_str()),
        (Some("0.3"), Some(true), Some(&run[..]))
    );
    let plain = place.succeed(&["predict", "home", "x.npy", "--threshold", "0.3"]);
    let plain = lines(&String::from_utf8(plain.stdout).unwrap());
    for row in found["predictions"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        if let Some(recorded) = recorded.get(id) {
            assert_eq!(row["scores"]["A"].as_f64().unwrap() as f32, recorded["score.A"].parse::<f32>().unwrap(), "{id}");
        }
        // Decisions are those of the scores.
        let labels: Vec<&str> = row["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
        let wanted: Vec<&str> = ["A", "B"].into_iter().filter(|label| plain[id][&format!("decision.{label}")] == "1").collect();
        assert_eq!(labels, wanted, "{id}");
        assert_eq!(plain[id]["decision.A"] == "1", plain[id]["score.A"].parse::<f32>().unwrap() >= 0.3);
    }
    let unfitted = place.run(&["predict", "home", "x.npy", "--threshold", "prior_match"]);
    assert_eq!(unfitted.status.code(), Some(2));
    assert!(
        words(&unfitted).contains("--threshold prior_match: the exported model has 0.5, max_f1, rcut"),
        "{}",
        words(&unfitted)
    );
    // Of a run it is fitted.
    place.succeed(&["predict", &run, "x.npy", "--threshold", "prior_match", "--quiet"]);
}

#[test]
fn the_card_keeps_to_its_schema_and_to_what_is_reported() {
    let place = Place::new(&file(CNN, 16, 2));
    pictures(&place, 240);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let run = run_of(&place);
    place.succeed(&["export", &run, "--to", "home", "--quiet"]);
    let card: Value = serde_json::from_slice(&fs::read(place.path("home/model.json")).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../docs/model.schema.json")).unwrap();
    let faults: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&card).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    let bytes = fs::read(place.path("home/model.safetensors")).unwrap();
    assert_eq!(card["model"]["blake3"].as_str().unwrap(), blake3::hash(&bytes).to_hex().as_str());
    let chosen = card["thresholds"]["chosen"].as_str().unwrap();
    for (number, split) in ["val", "test"].into_iter().enumerate() {
        let reported = place.json(&["report", "--split", split, "--threshold", chosen]);
        let (found, wanted) = (&card["metrics"][number], &reported["rows"][0]);
        assert_eq!(found["split"], split);
        for metric in ["macro_ap", "macro_f1", "macro_precision", "macro_recall"] {
            let (found, wanted) = (&found[metric], wanted["metrics"][metric]["mean"].as_f64().unwrap());
            assert!((found["value"].as_f64().unwrap() - wanted).abs() < 1e-12, "{split} {metric}: {found} {wanted}");
            assert!(found["low"].as_f64() <= found["value"].as_f64() && found["value"].as_f64() <= found["high"].as_f64());
        }
    }
    // Umask, not the secrecy of a temporary file.
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("home/model.json"), mode("sweep.toml"));
    let again = place.run(&["export", &run, "--to", "home"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(words(&again).contains("home has an exported model already: --force writes over it"), "{}", words(&again));
    place.succeed(&["export", &run, "--to", "home", "--force", "--quiet"]);
}

#[test]
fn what_is_not_the_model_that_was_exported_is_refused() {
    let place = Place::new(&file(CNN, 16, 1));
    pictures(&place, 40);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let run = run_of(&place);
    place.succeed(&["export", &run, "--to", "home", "--quiet"]);
    let card = fs::read_to_string(place.path("home/model.json")).unwrap();
    let refused = |what: &str, code: i32| {
        let output = place.run(&["predict", "home", "photos/one/0.png"]);
        assert_eq!(output.status.code(), Some(code), "{}", words(&output));
        assert!(words(&output).contains(what) && output.stdout.is_empty(), "{}", words(&output));
    };
    for (from, to, what) in [
        ("\"format\": 1", "\"format\": 9", "model.json: is of format 9, and this sweep reads format 1"),
        ("\"format\": 1", "\"form\": 1", "has no `format`"),
        ("\"labels\": [", "\"labels\": [\"C\", ", "one number for each of the 3 labels"),
        ("\"model.safetensors\"", "\"../home/model.safetensors\"", "must be the name of a file beside it"),
        ("{", "{{", "is not the JSON of an exported model"),
    ] {
        fs::write(place.path("home/model.json"), card.replacen(from, to, 1)).unwrap();
        refused(what, 4);
    }
    fs::write(place.path("home/model.json"), &card).unwrap();
    let model = fs::read(place.path("home/model.safetensors")).unwrap();
    let mut damaged = model.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(place.path("home/model.safetensors"), damaged).unwrap();
    refused("is not the model that was asked for: it is damaged, or has changed", 4);
    fs::write(place.path("home/model.safetensors"), &model).unwrap();
    // The run's own parameters, too.
    fs::write(place.path(&format!("sweep.runs/{run}/model.safetensors")), &model[1..]).unwrap();
    let lost = place.run(&["export", &run, "--to", "other"]);
    assert_eq!(lost.status.code(), Some(4));
    assert!(words(&lost).contains("is damaged") && !place.path("other").exists(), "{}", words(&lost));
    fs::write(place.path(&format!("sweep.runs/{run}/model.safetensors")), &model).unwrap();
    fs::remove_file(place.path("home/model.json")).unwrap();
    refused("model.json: is not there: `sweep export RUN --to DIR` writes it", 4);
    for (arguments, code, what) in [
        (vec!["predict", "ffff", "photos"], 1, "has no run ffff"),
        (vec!["predict", "modle", "photos"], 2, "`modle` is neither a folder with an exported model nor a run"),
        (vec!["export", &run], 2, "--to <DIR>"),
        (vec!["export", &run, "--to", "labels.csv"], 2, "labels.csv is a file, and a folder is written"),
        (vec!["predict", &run, "nowhere"], 4, "nowhere: there is no such file or folder"),
        (vec!["predict", &run, "sweep.runs"], 4, "no pictures are below this folder"),
        (vec!["predict", &run, "photos", "--device", "gpu"], 2, "device `gpu`"),
        (vec!["predict", &run, "labels.csv", "--path-column", "file"], 4, "no column `file`; the columns are `path`"),
    ] {
        let output = place.run(&arguments);
        assert!(output.status.code() == Some(code) && words(&output).contains(what), "{arguments:?}: {}", words(&output));
    }
}

#[test]
fn files_that_cannot_be_used_are_named_and_nothing_is_scored_twice() {
    let place = Place::new(&file(CNN, 16, 1));
    pictures(&place, 40);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    place.succeed(&["export", &run_of(&place), "--to", "home", "--quiet"]);
    fs::create_dir(place.path("new")).unwrap();
    for number in 0..6 {
        fs::copy(place.path(&format!("photos/two/{}.png", 2 * number + 1)), place.path(&format!("new/{number}.png"))).unwrap();
    }
    let whole = place.succeed(&["predict", "home", "new"]);
    let whole = lines(&String::from_utf8(whole.stdout).unwrap());
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        (0..6).map(|n| format!("new/{n}.png")).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    let good = fs::read(place.path("new/3.png")).unwrap();
    fs::write(place.path("new/3.png"), &good[..good.len() / 2]).unwrap();
    let command = ["predict", "home", "new", "--output", "scores.csv"];
    let bad = place.run(&command);
    assert_eq!(bad.status.code(), Some(4));
    let said = words(&bad);
    assert!(
        said.contains("1 of 6 inputs cannot be used")
            && said.contains("new/3.png: ")
            && said.contains("--skip-bad leaves them out"),
        "{said}"
    );
    assert!(
        said.contains("the others are scored, and kept in scores.csv.partial") && !place.path("scores.csv").exists(),
        "{said}"
    );
    let skipped = place.succeed(&["predict", "home", "new", "--skip-bad"]);
    assert_eq!(lines(&String::from_utf8(skipped.stdout.clone()).unwrap()).len(), 5);
    assert!(
        words(&skipped).contains("left out: new/3.png") && words(&skipped).contains("5 inputs, 1 left out"),
        "{}",
        words(&skipped)
    );
    fs::write(place.path("new/3.png"), &good).unwrap();
    let mended = place.succeed(&command);
    assert!(words(&mended).contains("5 inputs were scored before an interruption: they are kept"), "{}", words(&mended));
    assert!(
        words(&mended).contains("6 inputs; decisions under") && words(&mended).contains("; 1 scored in"),
        "{}",
        words(&mended)
    );
    assert_eq!(read(&place, "scores.csv"), whole);
    let there = place.run(&command);
    assert_eq!(there.status.code(), Some(2));
    assert!(words(&there).contains("scores.csv exists: --force writes over it"), "{}", words(&there));
    fs::write(place.path("list.csv"), "path\n0.png\ngone.png\n").unwrap();
    let missing = place.run(&["predict", "home", "list.csv", "--root", "new", "--output", "other.csv"]);
    assert_eq!(missing.status.code(), Some(4));
    assert!(
        words(&missing).contains("gone.png: there is no such file") && !place.path("other.csv.partial").exists(),
        "{}",
        words(&missing)
    );
    let rest = place.succeed(&["predict", "home", "list.csv", "--root", "new", "--skip-bad"]);
    assert_eq!(lines(&String::from_utf8(rest.stdout).unwrap()).keys().collect::<Vec<_>>(), ["0.png"]);
}

/// Killed with -9 again and again, it ends with the same file.
#[test]
fn a_killed_prediction_goes_on_where_it_was() {
    let place = Place::new(&file(CNN, 16, 1));
    pictures(&place, 40);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    place.succeed(&["export", &run_of(&place), "--to", "home", "--quiet"]);
    let ids: String = (0..6000).map(|number| format!("{}/{}.png\n", ["one", "two"][number % 2], number % 40)).collect();
    fs::write(place.path("many.csv"), format!("path\n{ids}")).unwrap();
    let command = ["predict", "home", "many.csv", "--root", "photos", "--output", "scores.csv"];
    let wanted = place.succeed(&["predict", "home", "many.csv", "--root", "photos"]).stdout;
    let mut kills = 0;
    for _ in 0..4 {
        let mut child = place.start(&command);
        let begun = Instant::now();
        let told = || {
            let journals = fs::read_dir(place.path("scores.csv.partial")).into_iter().flatten().flatten();
            let journals = journals.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "jsonl"));
            journals
                .map(|entry| fs::read_to_string(entry.path()).unwrap_or_default().matches("\"predicted\"").count())
                .sum::<usize>()
        };
        let before = told();
        while told() == before && child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if child.try_wait().unwrap().is_none() {
            kills += 1;
        }
        let _ = child.kill();
        child.wait().unwrap();
        while !place.processes().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "a worker has outlived its controller");
            std::thread::sleep(Duration::from_millis(20));
        }
        if place.path("scores.csv").exists() {
            break;
        }
    }
    assert!(kills > 0, "it was too quick to be killed");
    if !place.path("scores.csv").exists() {
        let ended = place.succeed(&command);
        assert!(words(&ended).contains("inputs were scored before an interruption: they are kept"), "{}", words(&ended));
    }
    assert!(fs::read(place.path("scores.csv")).unwrap() == wanted);
    assert!(!place.path("scores.csv.partial").exists());
}

#[test]
fn a_refit_learns_from_val_too_and_keeps_the_thresholds() {
    let place = Place::new(&file(CNN, 16, 3));
    pictures(&place, 120);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let run = run_of(&place);
    place.succeed(&["export", &run, "--to", "plain", "--quiet"]);
    let said = place.succeed(&["export", &run, "--to", "refit", "--refit"]);
    assert!(words(&said).contains("on the 90 rows of train and val"), "{}", words(&said));
    let card =
        |folder: &str| -> Value { serde_json::from_slice(&fs::read(place.path(folder).join("model.json")).unwrap()).unwrap() };
    let (plain, refit) = (card("plain"), card("refit"));
    for same in ["labels", "preprocessing", "thresholds", "calibration", "metrics"] {
        assert_eq!(plain[same], refit[same], "{same}");
    }
    assert_ne!(plain["model"]["blake3"], refit["model"]["blake3"]);
    assert_eq!((refit["provenance"]["refit"]["rows"].as_u64(), plain["provenance"]["refit"].is_null()), (Some(90), true));
    // It is trained once, and the same each time.
    let again = place.succeed(&["export", &run, "--to", "again", "--refit"]);
    assert!(!words(&again).contains("refit of"), "{}", words(&again));
    assert_eq!(card("again")["model"], refit["model"]);
    fs::remove_dir_all(place.path(&format!("sweep.runs/{run}/refit"))).unwrap();
    place.succeed(&["export", &run, "--to", "anew", "--refit", "--quiet"]);
    assert_eq!(card("anew")["model"], refit["model"]);
    // The database and the run's own files are as they were.
    place.succeed(&["export", &run, "--to", "plain", "--force", "--quiet"]);
    assert_eq!(card("plain")["model"], plain["model"]);
    place.succeed(&["predict", "refit", "photos", "--quiet"]);
}
