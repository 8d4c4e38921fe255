//! A frozen backbone from the sweep file to the results: its features are computed once for all runs and sweeps, and a head on them
//! trains as it does on the same features in a file.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use common::Place;
use serde_json::Value;
use train::model::save_tensors;

const ROWS: usize = 120;

fn file(name: &str, loss: &str) -> String {
    format!(
        r#"
name = "{name}"
[data]
kind = "letters"
samples = {ROWS}
image_size = 32
label_rates = {{ A = 0.3, B = 0.5 }}
[model]
arch = "efficientnet_b0"
weights = "weights.safetensors"
freeze = "backbone"
{TRAINING}
loss = "{loss}"
"#
    )
}

const TRAINING: &str = r#"
[train]
epochs = 2
batch_size = 16
[workers]
devices = ["cpu"]
per_device = 2
[grid]
seed = [0, 1]
"#;

/// Random weights under torchvision's names, small enough that no feature explodes.
fn weights(path: &Path, without: &str) {
    let nets: Value = serde_json::from_str(include_str!("oracle/backbones.json")).unwrap();
    let mut state = 1u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let mut tensors = BTreeMap::new();
    for (name, shape) in nets["efficientnet_b0"]["tensors"].as_object().unwrap() {
        let shape: Vec<usize> = shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let fan: usize = shape.iter().skip(1).product();
        let scale = (if shape.len() > 1 { 9.0 / fan as f32 } else { 0.01 }).sqrt();
        let middle = if shape.len() == 1 && (name.ends_with("weight") || name.ends_with("var")) { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| middle + scale * uniform()).collect();
        if name != without {
            tensors.insert(name.clone(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
        }
    }
    save_tensors(&tensors, None, path).unwrap();
}

fn runs(place: &Place, db: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(place.path(&format!("{db}.runs"))).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|folder| folder.join("model.safetensors").exists()).collect()
}

/// How often the logs of all runs contain `words`.
fn said(place: &Place, words: &str) -> usize {
    let logs = runs(place, "sweep").into_iter().map(|run| fs::read_to_string(run.join("log.txt")).unwrap());
    logs.map(|log| log.matches(words).count()).sum()
}

/// Writes the features that the cache holds, with labels and splits, as a user would have exported them.
fn export(place: &Place) -> PathBuf {
    let folders = fs::read_dir(place.path("sweep.cache")).unwrap().map(|entry| entry.unwrap().path());
    let meta = |folder: &Path| -> Value { serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap() };
    let all: Vec<PathBuf> = folders.collect();
    assert_eq!(all.len(), 2, "pictures and features, and nothing else: {all:?}");
    let features = all.iter().find(|folder| meta(folder)["shape"]["features"]["width"] == 1280).unwrap();
    let images = all.iter().find(|folder| *folder != features).unwrap();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({ROWS}, 1280), }}");
    header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend(fs::read(features.join("inputs.bin")).unwrap());
    fs::write(place.path("x.npy"), npy).unwrap();
    let split = fs::read(images.join("split-iterative-0-0.7-0.15-0.15.bin")).unwrap();
    let labels = fs::read(features.join("labels.bin")).unwrap();
    let rows = split.iter().zip(labels.chunks(2)).enumerate();
    let line = |(row, (split, labels)): (usize, (&u8, &[u8]))| {
        format!("{row},{},{},{}\n", ["train", "val", "test"][usize::from(*split)], labels[0], labels[1])
    };
    fs::write(place.path("y.csv"), format!("id,split,A,B\n{}", rows.map(line).collect::<String>())).unwrap();
    features.clone()
}

#[test]
fn features_are_computed_once_and_train_like_any_features() {
    let place = Place::new(&file("one", "bce"));
    weights(&place.path("weights.safetensors"), "");
    let foreseen = || place.json(&["plan", "sweep.toml"])["disk"]["features"].as_u64().unwrap();
    let features = foreseen();
    place.succeed(&["run", "sweep.toml"]);
    let taken = (4 * 1280 * ROWS) as u64;
    assert!(features >= taken && features < 2 * taken && foreseen() == 0, "{features} bytes of features are foreseen");
    assert_eq!(place.json(&["gc", "--cache"])["bytes"], 0, "pictures and features are used");
    assert_eq!(runs(&place, "sweep").len(), 4, "two of the grid, two reference runs");
    assert_eq!((said(&place, "computed for 120 rows"), said(&place, ": found in ")), (1, 1), "two workers, one computation");

    // Another sweep, another controller: from the cache.
    let features = export(&place);
    let made = fs::metadata(features.join("inputs.bin")).unwrap().modified().unwrap();
    fs::write(place.path("two.toml"), file("two", "focal")).unwrap();
    place.succeed(&["run", "two.toml"]);
    assert_eq!(runs(&place, "sweep").len(), 6, "the reference runs are recorded");
    assert_eq!((said(&place, "computed for"), said(&place, ": found in ")), (1, 3));
    assert_eq!(fs::metadata(features.join("inputs.bin")).unwrap().modified().unwrap(), made);

    // The same features from a file: the same models and scores to the last bit.
    let data = "[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"y.csv\"\nstandardize = false\n";
    let text = format!("name = \"three\"\n{data}[model]\narch = \"linear\"\n{TRAINING}loss = [\"bce\", \"focal\"]\n");
    fs::write(place.path("three.toml"), text).unwrap();
    place.succeed(&["run", "three.toml", "--db", "other.db"]);
    for name in ["model.safetensors", "scores-val.npy", "scores-test.npy", "logits-val.npy", "logits-test.npy"] {
        let results = |db| runs(&place, db).iter().map(|run| fs::read(run.join(name)).unwrap()).collect::<BTreeSet<_>>();
        assert!(results("sweep") == results("other"), "{name}");
        assert_eq!(results("other").len(), 6, "{name}");
    }

    // With the last sweep both go.
    place.succeed(&["rm", "one", "--delete"]);
    assert_eq!(place.json(&["gc", "--cache"])["bytes"], 0);
    place.succeed(&["rm", "two", "--delete"]);
    assert_eq!(place.json(&["gc", "--cache", "--delete"])["kinds"][0]["count"], 2);
    assert!(!features.exists());
}

/// Everything is killed while the features are being written: nothing half-written is used as features, and no lock stays.
#[test]
fn a_kill_while_features_are_computed_does_no_harm() {
    let place = Place::new(&file("one", "bce").replace(&format!("samples = {ROWS}"), "samples = 800"));
    weights(&place.path("weights.safetensors"), "");
    let mut controller = place.start(&["run", "sweep.toml"]);
    let cache = place.path("sweep.cache");
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&cache).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    // The lock is there before the first row, the temporary folder with it.
    let writing = || names().iter().any(|name| name.ends_with(".lock")) && names().iter().any(|name| name.starts_with('.'));
    while !writing() {
        assert!(controller.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    // Its workers die with it.
    controller.kill().unwrap();
    controller.wait().unwrap();
    while !place.processes().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(runs(&place, "sweep").len(), 0);
    place.succeed(&["resume"]);
    assert_eq!(runs(&place, "sweep").len(), 4);
    assert_eq!((said(&place, "computed for 800 rows"), said(&place, ": found in ")), (1, 1));
    assert!(!names().iter().any(|name| name.ends_with(".lock")), "{:?}", names());
}

#[test]
fn weights_that_do_not_fit_are_told_with_their_keys() {
    let place = Place::new(&file("one", "bce"));
    weights(&place.path("weights.safetensors"), "features.3.1.block.2.fc1.bias");
    let output = place.run(&["run", "sweep.toml"]);
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("1 missing: blocks.2.1.se.conv_reduce.bias [10]"), "{text}");
    assert!(
        !place.path("sweep.cache").exists() && place.run(&["status"]).status.code() != Some(0),
        "nothing was decoded or recorded"
    );
}
