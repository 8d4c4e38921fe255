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

/// The folders of the cache.
fn folders(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path("sweep.cache")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

/// That of features of this width.
fn width_folder(place: &Place, width: usize) -> PathBuf {
    let meta = |folder: &Path| -> Value { serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap() };
    folders(place).into_iter().find(|folder| meta(folder)["shape"]["features"]["width"] == width).unwrap()
}

/// Writes the features that the cache holds, with labels and splits, as a user would have exported them.
fn export(place: &Place) -> PathBuf {
    let features = width_folder(place, 1280);
    let all: Vec<PathBuf> = folders(place);
    assert_eq!(all.len(), 2, "pictures and features, and nothing else: {all:?}");
    let images = all.iter().find(|folder| **folder != features).unwrap();
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
    features
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

/// In bf16 they are others, each for its own runs, also where one worker trains all of them; where the CPU has no instructions for it,
/// that is said.
#[test]
fn features_in_each_precision_are_kept_beside_each_other() {
    let text = file("one", "bce")
        .replace("per_device = 2", "per_device = 1")
        .replace("seed = [0, 1]", "seed = 0\n\"model.precision\" = [\"f32\", \"bf16\"]");
    let place = Place::new(&text);
    weights(&place.path("weights.safetensors"), "");
    let run = place.run(&["run", "sweep.toml"]);
    if !run.status.success() {
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(told.contains("needs a CPU with AVX512-BF16"), "{told}");
        println!("skipped: {told}");
        return;
    }
    let computed = ["efficientnet_b0: computed", "efficientnet_b0 in bf16: computed"].map(|words| said(&place, words));
    assert_eq!(computed, [1, 1]);
    let features: Vec<Vec<f32>> = folders(&place)
        .iter()
        .map(|folder| fs::read(folder.join("inputs.bin")).unwrap())
        .filter(|bytes| bytes.len() == 4 * 1280 * ROWS)
        .map(|bytes| bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect())
        .collect();
    let largest = features[0].iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let off = features[0].iter().zip(&features[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
    assert!(features.len() == 2 && off > 1e-5, "{off}");
    // One of the grid in each precision, and two reference runs.
    let models: BTreeSet<_> = runs(&place, "sweep").iter().map(|run| fs::read(run.join("model.safetensors")).unwrap()).collect();
    assert_eq!((runs(&place, "sweep").len(), models.len()), (6, 6));
    assert_eq!(place.json(&["gc", "--cache"])["bytes"], 0, "both are used");
}

/// Everything is killed while features are computed: what is there stays, no lock does, and the next start computes the rest, to the
/// same bits as without an interruption.
#[test]
fn a_kill_while_features_are_computed_costs_a_batch() {
    let file = file("one", "bce").replace(&format!("samples = {ROWS}"), "samples = 800");
    let at = |place: &Place, ending: &str| -> Option<PathBuf> {
        let entries = fs::read_dir(place.path("sweep.cache")).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.into_iter().find(|path| path.to_string_lossy().ends_with(ending))
    };
    let begin = || {
        let place = Place::new(&file);
        weights(&place.path("weights.safetensors"), "");
        place
    };
    let (undisturbed, place) = (begin(), begin());
    let mut controller = place.start(&["run", "sweep.toml"]);
    // Batches of 64 images, each with a number and a hash.
    let piece = 4 + 32 + 64 * 4 * 1280;
    let pieces = || at(&place, ".part").and_then(|part| fs::metadata(part).ok()).map_or(0, |meta| meta.len() / piece);
    while pieces() < 3 {
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
    let done = 64 * pieces() as usize;
    assert!(done < 800, "it was over before it was killed");
    let foreseen = &place.json(&["plan", "sweep.toml"])["features"][0];
    assert_eq!((&foreseen["images"], &foreseen["done"], &foreseen["complete"]), (&800.into(), &done.into(), &false.into()));
    let told = place.succeed(&["run", "sweep.toml"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains(&format!("features of efficientnet_b0: 800 images, {done} of them there already, about ")), "{told}");
    assert_eq!(runs(&place, "sweep").len(), 4);
    let words = format!("computed for 800 rows ({done} of them by a worker before)");
    assert_eq!((said(&place, &words), said(&place, ": found in ")), (1, 1));
    assert_eq!((at(&place, ".part"), at(&place, ".lock")), (None, None));
    undisturbed.succeed(&["run", "sweep.toml", "--set", "train.reference=false", "--quiet"]);
    let features = |place: &Place| fs::read(width_folder(place, 1280).join("inputs.bin")).unwrap();
    assert!(features(&place) == features(&undisturbed), "other bits after a kill");
}

/// The speed of the last time, the time that is left, and how much features may take.
#[test]
fn features_are_foreseen_bounded_and_used_again() {
    let place = Place::new(&file("one", "bce"));
    weights(&place.path("weights.safetensors"), "");
    let plan = || place.json(&["plan", "sweep.toml"]);
    let foreseen = plan()["features"][0].clone();
    assert_eq!(
        (&foreseen["backbone"], &foreseen["done"], &foreseen["measured"]),
        (&"efficientnet_b0".into(), &0.into(), &false.into())
    );
    let slot = plan()["workers"][0].clone();
    let speed = serde_json::json!([{
        "backbone": "efficientnet_b0", "edge": 32, "host": protocol::host(), "device": slot["device"], "threads": slot["threads"],
        "images": 1000, "images_per_s": 0.25,
    }]);
    fs::write(place.path("sweep.cache/speeds.json"), speed.to_string()).unwrap();
    let foreseen = plan();
    assert_eq!((&foreseen["features"][0]["seconds"], &foreseen["features"][0]["measured"]), (&480.0.into(), &true.into()));
    assert!(foreseen["estimate"]["seconds"].as_f64().unwrap() > 480.0);
    // On one line.
    let text = |arguments: &[&str]| -> String {
        let text = String::from_utf8(place.succeed(arguments).stdout).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let told = text(&["plan", "sweep.toml"]);
    assert!(told.contains("features efficientnet_b0: 120 images, about 8m 00s (0.2 images/s, measured here), "), "{told}");
    assert!(told.contains("8m 00s of it for features, from"), "{told}");

    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let other = ["plan", "sweep.toml", "--set", "grid.seed=[2]"];
    assert_eq!(place.json(&other)["features"][0]["complete"], true);
    assert!(text(&other).contains("features efficientnet_b0: 120 images, found in "), "{}", text(&other));

    // Recorded runs use them: they stay unless a size is asked for.
    let features = width_folder(&place, 1280);
    let kept = place.json(&["gc", "--cache"]);
    assert!(kept["bytes"] == 0 && kept["notes"][0].as_str().unwrap().starts_with("recorded runs use "), "{kept}");
    assert_eq!(place.json(&["gc", "--max-features-size", "1GiB", "--delete"])["bytes"], 0);
    // Not those in the cache of another database, which a copy knows of.
    fs::copy(place.path("sweep.db"), place.path("other.db")).unwrap();
    let other = place.json(&["gc", "--db", "other.db", "--max-features-size", "100KiB", "--delete"]);
    assert!(!other["kinds"].to_string().contains("\"features\"") && features.exists(), "{other}");
    let bounded = place.json(&["gc", "--max-features-size", "100KiB", "--delete"]);
    assert_eq!((&bounded["kinds"][0]["kind"], &bounded["kinds"][0]["count"]), (&"features".into(), &1.into()), "{bounded}");
    assert!(!features.exists());
    let refused = place.run(&["gc", "--max-features-size", "much"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("as in 500MiB or 20GiB"));
    place.succeed(&["run", "sweep.toml", "--set", "grid.seed=[2]", "--quiet"]);
    assert!(features.exists(), "computed again");
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
