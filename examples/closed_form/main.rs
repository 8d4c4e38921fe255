//! Reports beside the closed form of the letters, as Markdown tables:
//! `cargo run --release --example closed_form -- SIGNAL REPORT.json...`, where each REPORT is
//! `sweep report SWEEP --split test --format json` of a sweep on `kind = "letters"` or on the latents that `letters_latents` writes.
//!
//! Several reports (or a report with an axis `data.seed`) are independent samples of the same data. z is how many standard errors the
//! measurement lies from theory, by their spread or by that of a perfectly trained model on test sets of the same size (`sampling`),
//! whichever is larger: few samples may agree by luck.

mod expected;
mod sampling;

use std::collections::BTreeMap;

use expected::{Pair, Truth};
use sampling::Sampling;

/// Name of a label.
const LABELS: [&str; 4] = ["A", "B", "C", "D"];

/// Mean and sample standard deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

#[expect(clippy::print_stdout, reason = "the tables are for stdout")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let signal: f64 = arguments.next().ok_or("SIGNAL REPORT.json...")?.parse()?;
    let truth = Truth::new(signal);
    let mut pairs: Vec<Pair> = Vec::new();
    for path in arguments {
        let report = serde_json::from_slice(&std::fs::read(&path)?)?;
        pairs.extend(truth.compare(&report).map_err(|error| format!("{path}: {error}"))?);
    }
    let sampling = Sampling::new(signal, pairs.first().ok_or("SIGNAL REPORT.json...")?.rows)?;
    let mut groups: BTreeMap<(&str, &str, &str), [Vec<&Pair>; 4]> = BTreeMap::new();
    for pair in &pairs {
        groups.entry((pair.what, &pair.strategy, &pair.policy)).or_default()[pair.label].push(pair);
    }
    let (mut far, mut numbers, mut last) = (0, 0, "");
    for ((what, strategy, policy), labels) in &groups {
        if *what != last {
            println!("\n| {what} | policy | n | {} |", LABELS.map(|label| format!("{label}: theory | measured | z")).join(" | "));
            println!("|---|---|---:|{}", "---:|".repeat(12));
            last = what;
        }
        let cells = labels.iter().map(|pairs| {
            let values: Vec<f64> = pairs.iter().map(|pair| pair.measured).collect();
            let (expected, luck) = pairs.first().map_or((f64::NAN, 0.0), |pair| (pair.expected, sampling.deviation(pair)));
            let (mean, sd) = moments(&values);
            let z = (mean - expected) / (sd.max(luck) / (values.len() as f64).sqrt());
            numbers += usize::from(z.is_finite());
            far += usize::from(z.abs() > 3.0);
            format!("{expected:.4} | {mean:.4} ± {sd:.4} | {z:+.1}")
        });
        let cells: Vec<String> = cells.collect();
        println!("| {strategy} | {policy} | {} | {} |", labels[0].len(), cells.join(" | "));
    }
    println!("\n{} of {numbers} numbers lie within 3 standard errors of theory", numbers - far);
    Ok(())
}
