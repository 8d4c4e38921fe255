//! Seconds that the metrics take, as JSON: `cargo run --release --example metrics_speed [FOLDER]`.
//!
//! FOLDER holds `ROWSxLABELS.scores` (float32) and `ROWSxLABELS.truth` (bytes), row-major, as `benches/metrics_side_by_side.py`
//! writes them; without it the same sizes are drawn here. With each time it prints a number that the other side can compare.

mod common;

use std::path::Path;
use std::time::Instant;

use imbalance::LabelMatrix;
use imbalance::metric::certainty::{Decided, Estimate, Ranked, RankedMetric, Resampling, bootstrap};
use imbalance::metric::{Counts, Rate, counts_at, rank};
use imbalance::rng::Rng;
use serde_json::json;

/// Scores and truth, read from `folder` or drawn: label k has prevalence 0.3 / (1 + k mod 4) or so.
fn cells(folder: Option<&Path>, rows: usize, labels: usize) -> Result<(Vec<f32>, LabelMatrix), std::io::Error> {
    let (scores, values): (Vec<f32>, Vec<u8>) = if let Some(folder) = folder {
        let read = |kind: &str| std::fs::read(folder.join(format!("{rows}x{labels}.{kind}")));
        let scores =
            read("scores")?.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
        (scores, read("truth")?)
    } else {
        let mut rng = Rng::new(0, "metrics_speed", &[]);
        let mut cell = |cell: usize| {
            let score = rng.uniform();
            (score as f32, u8::from(rng.uniform() < 0.3 / (1 + cell % labels % 4) as f64 * (0.5 + score)))
        };
        (0..rows * labels).map(&mut cell).unzip()
    };
    Ok((scores, LabelMatrix { names: (0..labels).map(|label| label.to_string()).collect(), values }))
}

/// Seconds of the second of two calls, and its result: the first one warms caches and threads.
fn timed<R>(work: impl Fn() -> R) -> (f64, R) {
    let _ = work();
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64(), result)
}

/// Precision, recall and F1 of every label at evenly spread thresholds; the sum of all F1 is for comparison.
fn grid(folder: Option<&Path>, rows: usize, labels: usize, thresholds: usize) -> Result<serde_json::Value, std::io::Error> {
    let (scores, truth) = cells(folder, rows, labels)?;
    let thresholds: Vec<f32> = (0..thresholds).map(|place| (place as f64 / (thresholds - 1) as f64) as f32).collect();
    let (seconds, rates) = timed(|| -> Vec<[f64; 3]> {
        let rates = |counts: &Counts| [Rate::Precision, Rate::Recall, Rate::F(1.0)].map(|rate| counts.rate(rate));
        counts_at(&scores, &truth, &thresholds).counts.iter().flatten().map(rates).collect()
    });
    Ok(json!({ "seconds": seconds, "sum_f1": rates.iter().map(|rates| rates[2]).sum::<f64>() }))
}

/// A percentile interval with its time.
fn interval(seconds: f64, mean: &Estimate) -> serde_json::Value {
    json!({ "seconds": seconds, "point": mean.point, "interval": mean.percentile(0.95).map(|interval| [interval.low, interval.high]) })
}

#[expect(clippy::print_stdout, reason = "the result is for stdout")]
fn main() -> Result<(), std::io::Error> {
    let folder = std::env::args().nth(1);
    let folder = folder.as_deref().map(Path::new);
    let (scores, truth) = cells(folder, 20_000, 20)?;
    let resampling = Resampling { rows: 20_000, groups: None, replicates: 1000, seed: 0, jackknife: 0 };
    // Both from raw scores: deciding and sorting count.
    let (f1, macro_f1) = timed(|| {
        let decided = Decided::new(&scores, &truth, &[0.5; 20]);
        bootstrap(&resampling, &[&decided.rate(Rate::F(1.0))]).remove(0).mean
    });
    let (ap, macro_ap) = timed(|| {
        let ranked = Ranked::new(&scores, &truth);
        bootstrap(&resampling, &[&ranked.metric(RankedMetric::AveragePrecision)]).remove(0).mean
    });
    let (both, _) = timed(|| {
        let (decided, ranked) = (Decided::new(&scores, &truth, &[0.5; 20]), Ranked::new(&scores, &truth));
        let statistics = [decided.rate(Rate::F(1.0)), decided.micro(Rate::F(1.0))];
        bootstrap(&resampling, &[&statistics[0], &statistics[1], &ranked.metric(RankedMetric::AveragePrecision)])
    });
    let (many_scores, many_truth) = cells(folder, 100_000, 20)?;
    let (ranking, ranked) = timed(|| rank(&many_scores, &many_truth));
    let results = json!({
        "threads": std::thread::available_parallelism()?.get(),
        "prf_101_thresholds_20000x4": grid(folder, 20_000, 4, 101)?,
        "prf_1000_thresholds_100000x20": grid(folder, 100_000, 20, 1000)?,
        "ap_and_auc_100000x20": { "seconds": ranking, "sum_ap": ranked.ap.iter().flatten().sum::<f64>() },
        "bootstrap_macro_f1_1000_of_20000x20": interval(f1, &macro_f1),
        "bootstrap_macro_ap_1000_of_20000x20": interval(ap, &macro_ap),
        "bootstrap_macro_f1_micro_f1_macro_ap_1000_of_20000x20": { "seconds": both },
        "peak_kib": common::memory("VmHWM:"),
    });
    println!("{results:#}");
    Ok(())
}
