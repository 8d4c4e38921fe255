//! Features on which ranking is hard, after the simulation of docs/predictions.md:
//! `cargo run --release --example simulation -- FOLDER SAMPLES [SEED]`.
//!
//! Writes `features.npy` (float32 `[samples, 32]`, x ~ N(0, 1)) and `labels.csv` (id, A, B, C, D) into FOLDER, with
//! y ~ Bern(sigmoid(u + b)) and u = 1.2 (0.63 linear + 0.55 product + 0.55 shared): the linear and the product part are a label's own,
//! the shared part is common to all. Each part has variance 1, b gives the question's prevalences. A network has to find the products;
//! how well it ranks therefore depends on how it is trained, which it hardly does on the letters.

use std::io::Write;
use std::path::PathBuf;

use archive::write_matrix;
use imbalance::loss::sigmoid;
use imbalance::rng::Rng;

const WIDTH: usize = 32;
const LABELS: usize = 4;
/// 19,000, 65,000, 38,000 and 105,000 of 224,000.
const RATES: [f64; LABELS] = [0.0848, 0.2902, 0.1696, 0.4688];

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A random direction of length 1 at right angles to `other`.
fn direction(seed: u64, name: u64, other: Option<&[f64]>) -> Vec<f64> {
    let mut rng = Rng::new(seed, "simulation directions", &[name]);
    let mut vector: Vec<f64> = (0..WIDTH).map(|_| rng.normal()).collect();
    if let Some(other) = other {
        let along = dot(&vector, other);
        vector.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
    }
    let length = dot(&vector, &vector).sqrt();
    vector.iter().map(|value| value / length).collect()
}

/// b such that the mean of sigmoid(u + b) is `rate`, by bisection.
fn intercept(u: &[f64], rate: f64) -> f64 {
    let (mut low, mut high) = (-30.0, 30.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        let mean = u.iter().map(|u| sigmoid(u + middle)).sum::<f64>() / u.len() as f64;
        if mean < rate { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from(arguments.first().ok_or("FOLDER SAMPLES [SEED]")?);
    let samples: usize = arguments.get(1).ok_or("FOLDER SAMPLES [SEED]")?.parse()?;
    let seed: u64 = arguments.get(2).map_or(Ok(0), |text| text.parse())?;
    let parts: Vec<[Vec<f64>; 3]> = (0..LABELS as u64)
        .map(|label| {
            let left = direction(seed, 3 * label + 1, None);
            let right = direction(seed, 3 * label + 2, Some(&left));
            [direction(seed, 3 * label, None), left, right]
        })
        .collect();
    let shared = direction(seed, 99, None);
    let (mut features, mut latents) = (Vec::new(), vec![Vec::new(); LABELS]);
    for row in 0..samples as u64 {
        let mut rng = Rng::new(seed, "simulation rows", &[row]);
        let x: Vec<f64> = (0..WIDTH).map(|_| rng.normal()).collect();
        let common = dot(&shared, &x);
        for ([linear, left, right], latents) in parts.iter().zip(&mut latents) {
            let product = dot(left, &x) * dot(right, &x);
            latents.push(1.2 * (0.63 * dot(linear, &x) + 0.55 * product + 0.55 * common));
        }
        features.extend(x.iter().map(|value| *value as f32));
    }
    let intercepts: Vec<f64> = latents.iter().zip(RATES).map(|(u, rate)| intercept(u, rate)).collect();
    std::fs::create_dir_all(&folder)?;
    let mut labels = std::io::BufWriter::new(std::fs::File::create(folder.join("labels.csv"))?);
    writeln!(labels, "id,A,B,C,D")?;
    for row in 0..samples {
        let mut rng = Rng::new(seed, "simulation labels", &[row as u64]);
        let cells = latents.iter().zip(&intercepts).map(|(u, b)| u8::from(rng.uniform() < sigmoid(u[row] + b)).to_string());
        writeln!(labels, "{row},{}", cells.collect::<Vec<_>>().join(","))?;
    }
    labels.flush()?;
    write_matrix(&folder.join("features.npy"), WIDTH, &features)?;
    Ok(())
}
