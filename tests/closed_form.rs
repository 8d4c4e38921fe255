//! The program against theory: a linear model on the true latents of the letters, trained by real workers, decides, ranks and is
//! tuned as the closed form says (docs/strategies.md#closed-form). The full version, on more rows and on images, is in
//! docs/predictions.md.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;
#[path = "../examples/closed_form/expected.rs"]
mod expected;

use std::fmt::Write;

use archive::write_matrix;
use common::Place;
use data::letters::Letters;
use expected::{Pair, RATES, Truth};
use serde_json::Value;

const SWEEP: &str = r#"
name = "latents"
[data]
kind = "features"
features = "features.npy"
labels = "labels.csv"
split = { train = 0.5, val = 0.2, test = 0.3 }
[model]
arch = "linear"
[train]
reference = false
epochs = 5
batch_size = 128
learning_rate = 0.03
schedule = "cosine"
[grid]
loss = ["bce", "asl", "logit_adjust"]
pos_weight = ["none", "sqrt", "neg_over_pos", "inverse_share"]
threshold = [0.5, "max_f1"]
[[grid.exclude]]
loss = ["asl", "logit_adjust"]
pos_weight = ["sqrt", "neg_over_pos", "inverse_share"]
"#;
const ROWS: u64 = 20_000;

/// Trains on the latents of `signal` and compares every number with theory.
fn measured(signal: f64) -> (Truth, Vec<Pair>) {
    let place = Place::new(SWEEP);
    let rates: Vec<(String, f64)> = ["A", "B", "C", "D"].map(str::to_owned).into_iter().zip(RATES).collect();
    let letters = Letters::new(&rates, 16, signal, 0).unwrap();
    let (mut features, mut labels) = (Vec::new(), "id,A,B,C,D\n".to_owned());
    for row in 0..ROWS {
        let latents = letters.draw(row);
        features.extend(latents.iter().map(|(g, _)| *g as f32));
        let cells: Vec<String> = latents.iter().map(|(_, y)| y.to_string()).collect();
        writeln!(labels, "{row},{}", cells.join(",")).unwrap();
    }
    write_matrix(&place.path("features.npy"), 4, &features).unwrap();
    std::fs::write(place.path("labels.csv"), labels).unwrap();
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let report = place.succeed(&["report", "--split", "test", "--epoch", "last", "--format", "json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let truth = Truth::new(signal);
    let pairs = truth.compare(&report).unwrap();
    (truth, pairs)
}

/// Four standard errors of a share of `rows` test rows, and the error of a model that is trained on 10,000 rows.
fn tolerance(share: f64, rows: f64) -> f64 {
    4.0 * (share * (1.0 - share) / rows).sqrt() + 0.02
}

fn holds(signal: f64) {
    let (truth, pairs) = measured(signal);
    let close = |pair: &Pair, tolerance: f64| {
        let off = pair.measured - pair.expected;
        assert!(off.abs() <= tolerance, "signal {signal}, {pair:?}: off by {off:.4}, more than {tolerance:.4}");
    };
    let of = |what: &str| pairs.iter().filter(move |pair| pair.what == what).collect::<Vec<_>>();
    // 6 strategies x 4 labels
    assert_eq!((of("recall").len(), of("predicted rate").len(), of("AP").len(), of("tuned threshold").len()), (24, 24, 24, 4));
    for pair in of("predicted rate") {
        close(pair, tolerance(pair.expected, pair.rows));
    }
    for pair in of("recall") {
        close(pair, tolerance(pair.expected, pair.rows * RATES[pair.label]));
    }
    for pair in of("AP") {
        close(pair, tolerance(pair.expected, pair.rows * RATES[pair.label]));
        // Whatever the loss, the same ranking: no threshold moves that.
        let bce = pairs.iter().find(|other| other.what == "AP" && other.strategy == "bce" && other.label == pair.label).unwrap();
        assert!((pair.measured - bce.measured).abs() < 0.01, "signal {signal}: {pair:?}, but {bce:?}");
    }
    for pair in of("tuned F1") {
        close(pair, 0.03);
    }
    // t* = F* / 2 (Lipton 2014); F1 is flat around it, so the fitted threshold is not sharp.
    for pair in of("tuned threshold") {
        close(pair, 0.08);
        assert!((truth.best(pair.label).f1 - 2.0 * pair.expected).abs() < 1e-6);
    }
}

#[test]
fn the_closed_form_of_a_weak_signal_holds() {
    holds(0.8);
}

#[test]
fn the_closed_form_of_a_clear_signal_holds() {
    holds(2.0);
}
