//! The default experiment on data of kinds that real sets have and that went wrong before: few rows of many sparse features, many
//! rare labels, a test split whose prevalences are others than train's. Made here, nothing is copied.

#![cfg(feature = "worker")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]
#![expect(clippy::print_stdout, reason = "the numbers that are compared")]

mod common;

use std::fmt::Write;

use common::Place;
use imbalance::rng::Rng;
use serde_json::Value;

/// Rows with words: a label has a few keywords, which occur more often in rows that carry it; the other words are noise, a few of them
/// frequent. `splits`: the share of train and val, and by how much more frequent labels are in test.
struct Words {
    rows: usize,
    words: usize,
    labels: usize,
    /// How fast labels get rarer.
    decay: f64,
    shifted: f64,
}

const SPARSE: Words = Words { rows: 430, words: 1449, labels: 45, decay: 1.0, shifted: 1.0 };
const MANY: Words = Words { rows: 1600, words: 400, labels: 159, decay: 0.7, shifted: 1.0 };
const SHIFTED: Words = Words { rows: 1500, words: 300, labels: 12, decay: 0.5, shifted: 2.5 };

impl Words {
    /// A place with the features, the labels and a sweep of `linear` or `mlp` on them.
    fn place(&self, arch: &str, grid: &str) -> Place {
        let &Self { rows, words, labels, decay, shifted } = self;
        let mut rng = Rng::new(5, "twin", &[rows as u64, labels as u64]);
        let noise: Vec<f64> = (0..words).map(|_| (2.0 / (1.0 + words as f64 * rng.uniform()).powf(0.9)).min(0.5)).collect();
        let keywords: Vec<Vec<usize>> =
            (0..labels).map(|_| (0..6).map(|_| (rng.uniform() * words as f64) as usize).collect()).collect();
        let shares: Vec<f64> = (1..=labels).map(|k| (k as f64).powf(-decay)).collect();
        let (total, mut x) = (shares.iter().sum::<f64>(), vec![0.0_f32; rows * words]);
        let mut csv = "id,split".to_owned();
        (0..labels).for_each(|label| write!(csv, ",L{label}").unwrap());
        for row in 0..rows {
            let split = ["train", "val", "test"][usize::from(row >= rows * 7 / 10) + usize::from(row >= rows * 17 / 20)];
            write!(csv, "\nr{row},{split}").unwrap();
            let own = &mut x[row * words..(row + 1) * words];
            own.iter_mut().zip(&noise).for_each(|(x, p)| *x = f32::from(u8::from(rng.uniform() < *p)));
            let more = if split == "test" { shifted } else { 1.0 };
            for label in 0..labels {
                let on = rng.uniform() < (1.5 * more * shares[label] / total).min(0.6);
                write!(csv, ",{}", u8::from(on)).unwrap();
                for &word in keywords[label].iter().filter(|_| on) {
                    if rng.uniform() < 0.4 {
                        own[word] = 1.0;
                    }
                }
            }
        }
        let place = Place::new(&format!(
            "name = \"twin\"\n[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"y.csv\"\nignore_columns = []\n[model]\narch = \"{arch}\"\n[grid]\n{grid}\n"
        ));
        archive::write_matrix(&place.path("x.npy"), words, &x).unwrap();
        std::fs::write(place.path("y.csv"), csv + "\n").unwrap();
        place.ignore_absent();
        place
    }
}

impl Place {
    /// Puts the labels that no train row carries where `sweep plan` says: this is what a user would paste.
    fn ignore_absent(&self) {
        let plan = self.run(&["plan", "sweep.toml"]);
        let words = format!("{}{}", String::from_utf8_lossy(&plan.stdout), String::from_utf8_lossy(&plan.stderr));
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(line) = words.split_once("ignore_columns = [") {
            let names = line.1.split_once(']').unwrap().0;
            let file = std::fs::read_to_string(self.path("sweep.toml")).unwrap();
            let file = file.replace("ignore_columns = []", &format!("ignore_columns = [{names}]"));
            std::fs::write(self.path("sweep.toml"), file).unwrap();
        }
    }

    /// Macro AP of the runs of plain bce: (mean, standard deviation) on val and test, and the largest number of steps.
    fn trained(&self, set: &[&str]) -> ([(f64, f64); 2], i64) {
        let set: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let mut steps = 0;
        let of = |row: &Value, metric: &str| {
            let spread = &row["metrics"][metric];
            (spread["mean"].as_f64().unwrap(), spread["sd"].as_f64().unwrap_or(0.0))
        };
        let found = ["val", "test"].map(|split| {
            if split == "val" {
                self.succeed(&[&["run", "sweep.toml", "--quiet"], &set[..]].concat());
            }
            let report = self.json(&["report", "--split", split]);
            let bce = report["rows"].as_array().unwrap().iter().find(|row| row["strategy"]["loss"] == "bce").unwrap().clone();
            steps = bce["steps"].as_i64().unwrap();
            of(&bce, "macro_ap")
        });
        (found, steps)
    }
}

/// A training that ends on its own is as good as one of eight times its length, on val and on test.
fn is_long_enough(words: &Words, arch: &str) {
    let place = words.place(arch, "loss = \"bce\"\nseed = [0, 1, 2]");
    let (auto, steps) = place.trained(&[]);
    let long = 8 * steps;
    let settings = ["max_steps", "patience", "min_steps"].map(|key| format!("train.{key}={long}"));
    let (eight, longest) = place.trained(&settings.each_ref().map(String::as_str));
    assert!(longest >= long, "{longest} of {long}");
    println!("{arch} on {} rows, {} labels: {steps} steps {auto:?}, {longest} steps {eight:?}", words.rows, words.labels);
    for ((auto, sd), (eight, other)) in auto.into_iter().zip(eight) {
        assert!(auto >= eight - f64::max(0.005, sd.max(other)), "{arch}: {auto} is short of {eight}");
    }
}

#[test]
fn a_training_that_ends_on_its_own_is_long_enough_for_few_sparse_rows() {
    is_long_enough(&SPARSE, "linear");
    is_long_enough(&SPARSE, "mlp");
}

#[test]
fn a_training_that_ends_on_its_own_is_long_enough_for_many_labels() {
    is_long_enough(&MANY, "linear");
}

#[test]
fn a_training_that_ends_on_its_own_is_long_enough_under_a_shift() {
    is_long_enough(&SHIFTED, "linear");
    is_long_enough(&SHIFTED, "mlp");
}

/// Adam fits the rare words: the default does not.
#[test]
fn sparse_features_are_learned_by_default() {
    for (arch, gain) in [("linear", 0.2), ("mlp", 0.01)] {
        let place = SPARSE.place(arch, "loss = \"bce\"\nseed = [0, 1]");
        let ([_, (default, _)], _) = place.trained(&[]);
        let ([_, (adam, _)], _) = place.trained(&["train.optimizer=\"adam\""]);
        println!("{arch}: {default} by default, {adam} with adam");
        assert!(default > adam + gain, "{arch}: {default} by default, {adam} with adam");
    }
}
