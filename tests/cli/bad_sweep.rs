//! Sweep files and flags that are wrong: exit code 2, the place, what is wrong, what would be right. Nothing starts.

use crate::GRID;
use crate::common::Place;

/// A sweep file with `from` replaced, and the texts of its error.
fn refused(from: &str, to: &str, words: &[&str]) {
    assert!(GRID.contains(from), "{from}");
    let place = Place::new(&GRID.replacen(from, to, 1));
    for command in ["run", "plan", "data"] {
        place.sweep(&[command, "sweep.toml"]).fails(2, words);
    }
    assert!(!place.path("sweep.db").exists() && !place.path("sweep.cache").exists(), "something has started");
}

#[test]
fn what_is_no_toml_is_placed() {
    refused("seed = [0, 1]", "seed = [0, 1", &["error: sweep.toml:15:1"]);
    refused("name = \"small\"", "name = \"a\"\nname = \"b\"", &["sweep.toml:3:", "duplicate key"]);
    let place = Place::new("");
    place.write("sweep.toml", b"name = \"a\"\nx = \"\xff\"\n");
    place.sweep(&["run", "sweep.toml"]).fails(2, &["sweep.toml:2:1", "UTF-8"]);
}

#[test]
fn unknown_keys_have_their_nearest_name() {
    refused("epochs = 2", "epoch = 2", &["sweep.toml:9:1", "`epoch` is not a key in [train]", "did you mean `epochs`?"]);
    refused(
        "loss = [\"bce\", \"focal\"]",
        "loss = [\"bce\", \"fokal\"]",
        &["sweep.toml:11:16", "fokal", "did you mean `focal`?"],
    );
    refused("pos_weight = [\"none\"", "posweight = [\"none\"", &["sweep.toml:12:1", "posweight", "did you mean `pos_weight`?"]);
    refused("kind = \"letters\"", "kind = \"leters\"", &["sweep.toml:4:8", "allowed: letters, images, features"]);
    refused("kind = \"letters\"", "", &["`data.kind` is missing"]);
}

#[test]
fn axes_are_never_empty_nor_doubled() {
    refused("seed = [0, 1]", "seed = []", &["sweep.toml:14:8", "`seed` is empty"]);
    refused("seed = [0, 1]", "seed = [0, 0]", &["sweep.toml:14:12", "twice"]);
    refused("pos_weight = \"sqrt\"", "loss = \"focal\"", &["sweep.toml:17:1"]);
}

#[test]
fn impossible_values_are_refused() {
    for (from, to, words) in [
        ("epochs = 2", "learning_rate = nan", ["sweep.toml:9:17", "nan"]),
        ("epochs = 2", "learning_rate = -1e-3", ["sweep.toml:9:17", "above 0"]),
        ("epochs = 2", "learning_rate = inf", ["sweep.toml:9:17", "inf"]),
        ("epochs = 2", "epochs = 0", ["sweep.toml:9:10", "from 1"]),
        ("epochs = 2", "batch_size = -4", ["sweep.toml:9:14", "from 1"]),
        ("A = 0.2", "A = 1.0", ["sweep.toml:7:", "below 1"]),
        ("samples = 200", "samples = 1.5", ["sweep.toml:5:11", "integer"]),
        ("threshold = [0.5", "threshold = [1.5", ["sweep.toml:13:14", "1.5"]),
        ("seed = [0, 1]", "gamma = [-1.0]", ["sweep.toml:14:10", "-1"]),
        ("pos_weight = [\"none\"", "pos_weight = [[1.0, -2.0]", ["sweep.toml:12:21", "above 0"]),
        ("image_size = 16", "image_size = 4", ["sweep.toml:6:14", "from 8"]),
    ] {
        refused(from, to, &words);
    }
}

#[test]
fn weights_that_do_not_fit_the_data_are_placed() {
    let place = Place::new(&GRID.replacen("\"sqrt\", ", "[1.0, 2.0, 3.0], ", 1));
    place.fake(&[]).fails(2, &["sweep.toml:12:23", "3 weights for 2 labels"]);
    let place = Place::new(&format!("{GRID}[model]\nweights = \"nowhere.safetensors\"\n"));
    place.fake(&[]).fails(4, &["model.weights", "nowhere.safetensors", "does not exist"]);
}

#[test]
fn flags_are_checked_as_keys_are() {
    let place = Place::new(GRID);
    place.fake(&["--set", "train.epoch=2"]).fails(2, &["--set train.epoch", "did you mean `epochs`?"]);
    place.fake(&["--set", "train.epochs=0"]).fails(2, &["--set train.epochs", "from 1"]);
    place.fake(&["--set", "train.epochs"]).fails(2, &["KEY=VALUE"]);
    place.fake(&["--devices", "gpu"]).fails(2, &["device `gpu`", "cuda:N"]);
    place.fake(&["--devices", "cuda:99"]).fails(2, &["device `cuda:99`"]);
    place.fake(&["--per-device", "0"]).fails(2, &["per_device must be at least 1"]);
    place.sweep(&["run", "nowhere.toml"]).fails(2, &["nowhere.toml", "No such file"]);
    place.sweep(&["run", "."]).fails(2, &["the sweep file . cannot be read"]);
    let typo = place.sweep(&["statsu"]);
    assert_eq!((typo.code, typo.out.as_str()), (Some(2), ""));
    assert!(typo.err.contains("'status'"), "{}", typo.err);
    assert!(!place.path("sweep.db").exists(), "something has started");
}
