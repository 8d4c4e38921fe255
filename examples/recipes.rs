//! `cargo run --example recipes -- DIR [SEED]`: random strategies, twenty for every loss, each as the recipe that `sweep recipe` would write
//! (`DIR/N.py`) and as our own numbers (`DIR/N.json`): loss and gradient of a batch, draws of the sampler, thresholds and decisions.
//! `tests/oracle/recipes.py DIR` runs the recipes and compares; `.ci/extended recipes` does both.

use std::error::Error;
use std::fs;
use std::path::Path;

use imbalance::evaluation::FittedPolicy;
use imbalance::loss::{self, Batch, Context, start};
use imbalance::metric::Decide;
use imbalance::rng::Rng;
use imbalance::sampler::{self, Train};
use imbalance::threshold::{self, Policy};
use imbalance::{Absent, Choice, Entry, LabelMatrix, PosWeight, Takes, UNKNOWN, complete, pos_weight};
use plan::Start;
use serde_json::json;
use sweep::recipe::{Bias, Decisions, Recipe, Strategy};

/// Strategies of each loss.
const EACH: usize = 20;
/// Passes of our sampler whose draws are counted.
const PASSES: u64 = 2000;
/// Names that a careless writer of Python would trip over.
const LABELS: [&str; 6] = ["A", "\"\"\"\n#", "\\N{x}\\", "it's \u{202e} so", "é 日本語", "{{ x }}{% y %}"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("cargo run --example recipes -- DIR [SEED]")?;
    let seed = arguments.next().map_or(Ok(0), |seed| seed.parse())?;
    fs::create_dir_all(&folder)?;
    let kinds = (0..EACH).flat_map(|_| loss::REGISTRY);
    for (case, entry) in kinds.enumerate() {
        let mut rng = Rng::new(seed, "recipes", &[case as u64]);
        // What does not go together (weights that are both 0, a batch that is too small) is drawn again.
        while !write(Path::new(&folder), case, entry.kind, &mut rng)? {}
    }
    Ok(())
}

/// One of `items`.
fn any<'a, T>(items: &'a [T], rng: &mut Rng) -> &'a T {
    &items[rng.below(items.len() as u64) as usize]
}

/// A random choice of the entry: parameters at an end of their range, near their default, or somewhere, mostly low.
fn random<B>(entry: &'static Entry<B>, rng: &mut Rng) -> Result<Choice, Box<dyn Error>> {
    let mut given = std::collections::BTreeMap::new();
    for param in entry.params {
        if param.absent == Absent::Off && rng.uniform() < 0.5 {
            continue;
        }
        let default = if let Absent::Number(number) = param.absent { number } else { 1.0 };
        let number = |min: f64, max: f64, rng: &mut Rng| match rng.below(10) {
            0 => min,
            1 => max,
            2..=6 => (default * (3.0 * rng.uniform() - 1.5).exp2()).clamp(min, max),
            _ => min + (max - min) * rng.uniform().powi(4),
        };
        let value = match param.takes {
            Takes::Number { min, max } => number(min, max, rng).into(),
            Takes::Whole { min, max } => number(min.into(), max.min(12).into(), rng).round().into(),
            Takes::Word(words) => (*any(words, rng)).into(),
        };
        given.insert(param.name.to_owned(), value);
    }
    Ok(complete(entry, given)?)
}

/// Rows of labels with some of each class; about a seventh unknown where `unknown` says so.
fn truth(rows: usize, labels: usize, unknown: bool, rng: &mut Rng) -> LabelMatrix {
    let rates: Vec<f64> = (0..labels).map(|_| 0.05 + 0.5 * rng.uniform()).collect();
    let cell = |at: usize, rng: &mut Rng| match at / labels {
        0 => 1,
        1 => 0,
        _ if unknown && rng.uniform() < 0.15 => UNKNOWN,
        _ => u8::from(rng.uniform() < rates[at % labels]),
    };
    let values = (0..rows * labels).map(|at| cell(at, rng)).collect();
    LabelMatrix { names: LABELS[..labels].iter().map(|&label| label.to_owned()).collect(), values }
}

/// Writes one case; `false` where its parts do not go together.
fn write(folder: &Path, case: usize, kind: &str, rng: &mut Rng) -> Result<bool, Box<dyn Error>> {
    let labels = 1 + rng.below(LABELS.len() as u64) as usize;
    let unknown = rng.uniform() < 0.3;
    let train = truth(30 + rng.below(30) as usize, labels, unknown, rng);
    let counts = train.counts();
    let (epochs, batch_size) = (1 + rng.below(12) as usize, 12 + rng.below(20) as usize);
    let entry = loss::REGISTRY.iter().find(|entry| entry.kind == kind).ok_or("no such loss")?;
    let loss_choice = loss::simplify(random(entry, rng)?);
    if loss_choice.kind != kind {
        return Ok(false);
    }
    let weight = PosWeight::Formula(random(any(pos_weight::REGISTRY, rng), rng)?);
    let Ok(weights) = pos_weight::resolve(&weight, &counts) else { return Ok(false) };
    let context = Context { pos_weight: weights.clone(), counts: counts.clone(), epochs };
    let Ok(loss) = loss::build(&loss_choice, &context) else { return Ok(false) };
    let sampler_choice = random(any(sampler::REGISTRY, rng), rng)?;
    let features = || Some(vec![0.0; train.rows()]);
    let sampling = Train { labels: &train, batch_size, features: &features, progress: &|_, _| {} };
    let Ok(sampler) = sampler::build(&sampler_choice, &sampling) else { return Ok(false) };

    // A batch of logits that are tame, wide or extreme.
    let rows = 2 + rng.below(8) as usize;
    let scale = *any(if kind == "focal_seed" { &[1.0, 2.0] } else { &[1.0, 4.0, 12.0] }, rng);
    let targets = truth(rows, labels, unknown, rng).values;
    let logits: Vec<f32> = targets.iter().map(|_| (rng.normal() * scale) as f32).collect();
    let epoch = rng.below(epochs as u64) as usize;
    let mut gradient = vec![0.0; logits.len()];
    let value = loss.evaluate(Batch { labels, logits: &logits, targets: &targets, epoch }, &mut gradient);

    // Draws of each row in a pass, and positives that batches lack: mean and variance over the passes.
    let passes: Vec<Vec<u32>> = (0..PASSES).map(|seed| sampler.epoch(seed, seed as usize % 3)).collect();
    let mut drawn = vec![vec![0.0; passes.len()]; train.rows()];
    for (pass, rows) in passes.iter().enumerate() {
        rows.iter().for_each(|&row| drawn[row as usize][pass] += 1.0);
    }
    let least = sampler_choice.find("min").unwrap_or(1.0);
    let lacking = |rows: &Vec<u32>| -> f64 {
        let of_batch = |batch: &[u32]| -> f64 {
            let found = |label| batch.iter().filter(|&&row| train.row(row as usize)[label] == 1).count() as f64;
            (0..labels).map(|label| (least - found(label)).max(0.0)).sum()
        };
        rows.chunks(batch_size).map(of_batch).sum()
    };
    let lacking: Vec<f64> = passes.iter().map(lacking).collect();

    // Scores with ties, some of them at a threshold.
    let val_truth = truth(40, labels, unknown, rng);
    let digits = *any(&[10.0, 1000.0, 1e9], rng);
    let score = |rng: &mut Rng| ((rng.uniform() * digits).round() / digits) as f32;
    let val: Vec<f32> = val_truth.values.iter().map(|_| score(rng)).collect();
    let policy = match rng.below(5) {
        0 => Policy::Fixed((rng.uniform() * 100.0).round() / 100.0),
        _ => Policy::Fitted(random(any(threshold::REGISTRY, rng), rng)?),
    };
    let rule = FittedPolicy::new(&policy, &val, &val_truth)?.rule;
    let mut scores: Vec<f32> = (0..40 * labels).map(|_| score(rng)).collect();
    let thresholds = rule.thresholds(labels);
    for (row, ends) in scores.chunks_exact_mut(labels).zip([f32::next_down, f32::next_up, |x| x]) {
        row.iter_mut().zip(&thresholds).for_each(|(score, &threshold)| *score = ends(threshold));
    }
    let mut decisions = vec![false; scores.len()];
    rule.rows(&scores, labels, &mut decisions);

    let bias = start::link(&*loss, &train, &counts, batch_size);
    let strategy = Strategy {
        loss: &loss_choice,
        pos_weight: &weight,
        weights: &weights,
        sampler: &sampler_choice,
        counts: &counts,
        epochs,
        batch_size,
        bias: Ok(Bias { start: Start::Link, values: bias.clone(), zero_weights: false }),
    };
    let recipe = Recipe {
        remarks: vec![format!("case {case}: {}\nimport nothing", LABELS.join(" "))],
        labels: &train.names,
        strategy: Ok(strategy),
        decisions: Ok(Decisions { policy: &policy, rule: &rule }),
    };
    fs::write(folder.join(format!("{case}.py")), recipe.python())?;
    let numbers = json!({
        "labels": &train.names[..],
        "loss": { "kind": kind, "choice": loss_choice.to_string(), "epoch": epoch, "logits": logits, "targets": targets,
                  "pos_weight": weights, "value": value, "gradient": gradient },
        "start": bias.iter().map(|&bias| bias as f32).collect::<Vec<_>>(),
        "sampler": { "kind": sampler_choice.kind, "choice": sampler_choice.to_string(), "passes": PASSES, "targets": train.values,
                     "batch_size": batch_size, "least": least, "drawn": drawn.iter().map(|counts| moments(counts)).collect::<Vec<_>>(),
                     "lacking": moments(&lacking) },
        "policy": { "name": policy.to_string(), "thresholds": thresholds, "scores": scores, "decisions": decisions },
    });
    fs::write(folder.join(format!("{case}.json")), numbers.to_string())?;
    Ok(true)
}

/// Mean and variance.
fn moments(values: &[f64]) -> [f64; 2] {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    [mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64]
}
