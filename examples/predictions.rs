//! Table 8.2 of the theory behind docs/predictions.md, from a sweep's kept test scores at each run's best epoch:
//! `cargo run --release --example predictions -- DB SWEEP`.
//!
//! A row per strategy, means over its seeds: recall and predicted rate at 0.5, macro-F1 at 0.5 and at thresholds tuned on
//! validation, mAP, calibration before and after the loss's own inverse (LINK). Then how much the strategies differ, by each
//! measure.

use std::collections::BTreeMap;
use std::path::Path;

use archive::{Kept, runs_folder};
use imbalance::Choice;
use imbalance::loss::{self, Context};
use imbalance::metric::average::mean_defined;
use imbalance::metric::calibration::{invert_link, judge};
use imbalance::metric::{Counts, Rate, decide, rank};
use imbalance::threshold::Policy;
use plan::Fingerprint;
use store::Reader;

/// One run, or the mean of several.
#[derive(Clone, Default)]
struct Numbers {
    recall: Vec<f64>,
    predicted: Vec<f64>,
    gap: Vec<f64>,
    f1: f64,
    tuned: f64,
    map: f64,
    first_ap: f64,
    ece: f64,
    /// Calibration error and macro-F1 at 0.5 after LINK; NaN where the loss has none.
    linked: [f64; 2],
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values.iter().copied());
    (values.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}

fn macro_f1(counts: &[Counts]) -> f64 {
    mean(counts.iter().map(|counts| counts.rate(Rate::F(1.0))))
}

async fn numbers(reader: &mut Reader, folder: &Path, run: &str) -> Result<Numbers, Box<dyn std::error::Error>> {
    let row = reader.find_run(run).await?;
    let best = usize::try_from(row.best_epoch.ok_or("the run has no best epoch")?)?;
    let kept = Kept::open(&folder.join(run))?;
    let (val, kept_test, truth) = (kept.val(best)?.scores, kept.test(best)?, &kept.test_truth);
    let ranking = rank(kept_test.ranked(), truth);
    let test = kept_test.scores;
    let half = decide(&test, truth, &Policy::Fixed(0.5).fit(&val, &kept.val_truth));
    let tuned = decide(&test, truth, &Policy::Fitted(Choice::plain("max_f1")).fit(&val, &kept.val_truth));
    let labels = truth.names.len();
    let context =
        Context { pos_weight: row.pos_weight.clone(), counts: row.facts.train.clone(), epochs: row.config.train.epochs };
    let loss = loss::build(&row.config.loss, &context)?;
    let ece = |scores: &[f32]| mean(judge(scores, truth, None, 0).into_iter().map(|label| label.ece));
    let linked = invert_link(&test, labels, |label, z| loss.implied_probability(label, z)).map(|scores| {
        let decisions = decide(&scores, truth, &Policy::Fixed(0.5).fit(&scores, truth));
        [ece(&scores), macro_f1(&decisions.counts)]
    });
    let of = |rate: fn(&Counts) -> f64| half.counts.iter().map(rate).collect::<Vec<f64>>();
    Ok(Numbers {
        recall: of(|counts| counts.rate(Rate::Recall)),
        predicted: of(|counts| (counts.tp + counts.fp) as f64 / (counts.tp + counts.fp + counts.fn_ + counts.tn) as f64),
        gap: judge(&test, truth, None, 0).into_iter().map(|label| label.gap).collect(),
        f1: macro_f1(&half.counts),
        tuned: macro_f1(&tuned.counts),
        map: mean_defined(&ranking.ap).ok_or("no label has positives")?.mean,
        first_ap: ranking.ap[0].unwrap_or(f64::NAN),
        ece: ece(&test),
        linked: linked.unwrap_or([f64::NAN; 2]),
    })
}

/// Kendall's tau-a of two lists of the same length.
fn kendall(a: &[f64], b: &[f64]) -> f64 {
    let pairs = || (0..a.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs().map(|(i, j)| ((a[i] - a[j]) * (b[i] - b[j])).signum()).sum::<f64>() / pairs().count() as f64
}

fn list(rows: &[Numbers], values: fn(&Numbers) -> &Vec<f64>) -> String {
    let cells = (0..values(&rows[0]).len()).map(|label| format!("{:.3}", mean(rows.iter().map(|row| values(row)[label]))));
    cells.collect::<Vec<_>>().join(" ")
}

#[expect(clippy::print_stdout, reason = "the table is for stdout")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(db), Some(name)) = (arguments.next(), arguments.next()) else { return Err("DB SWEEP".into()) };
    let mut reader = Reader::open(Path::new(&db)).await?;
    let folder = runs_folder(Path::new(&db));
    let sweep = reader.find_sweep(&name).await?;
    let mut order: Vec<String> = Vec::new();
    let mut strategies: BTreeMap<String, Vec<Numbers>> = BTreeMap::new();
    for run in reader.sweep_runs(sweep.id).await?.into_iter().filter(|run| run.state == "succeeded") {
        let gamma = run.gamma.map_or_else(String::new, |gamma| format!(" gamma {gamma}"));
        let params = if run.params == "{}" { String::new() } else { format!(" {}", run.params) };
        let strategy = format!("{}{gamma} / {} / {}{params}", run.loss, run.pos_weight, run.sampler);
        if !order.contains(&strategy) {
            order.push(strategy.clone());
        }
        let found = numbers(&mut reader, &folder, &Fingerprint(run.run).0).await?;
        strategies.entry(strategy).or_default().push(found);
    }
    println!(
        "| strategy | n | recall at 0.5 | predicted rate at 0.5 | mean q - prevalence | macro-F1 at 0.5 | tuned | mAP | AP of the first | ECE | ECE after LINK | macro-F1 at 0.5 after LINK |"
    );
    println!("|---|---:|---|---|---|---:|---:|---:|---:|---:|---:|---:|");
    let (mut halves, mut tuned, mut maps) = (Vec::new(), Vec::new(), Vec::new());
    for strategy in &order {
        let rows = &strategies[strategy];
        let of = |value: fn(&Numbers) -> f64| mean(rows.iter().map(value));
        let spread = |value: fn(&Numbers) -> f64| deviation(&rows.iter().map(value).collect::<Vec<_>>());
        println!(
            "| {strategy} | {} | {} | {} | {} | {:.4} | {:.4} ± {:.4} | {:.4} ± {:.4} | {:.4} | {:.4} | {:.4} | {:.4} |",
            rows.len(),
            list(rows, |row| &row.recall),
            list(rows, |row| &row.predicted),
            list(rows, |row| &row.gap),
            of(|row| row.f1),
            of(|row| row.tuned),
            spread(|row| row.tuned),
            of(|row| row.map),
            spread(|row| row.map),
            of(|row| row.first_ap),
            of(|row| row.ece),
            of(|row| row.linked[0]),
            of(|row| row.linked[1]),
        );
        halves.push(of(|row| row.f1));
        tuned.push(of(|row| row.tuned));
        maps.push(of(|row| row.map));
    }
    let span = |values: &[f64]| values.iter().copied().fold(f64::MIN, f64::max) - values.iter().copied().fold(f64::MAX, f64::min);
    println!(
        "\n{} strategies; largest - smallest: macro-F1 at 0.5 {:.3}, tuned {:.3}, mAP {:.3}",
        order.len(),
        span(&halves),
        span(&tuned),
        span(&maps)
    );
    println!(
        "Kendall's tau of macro-F1 at 0.5 with tuned macro-F1: {:.2}; with mAP: {:.2}",
        kendall(&halves, &tuned),
        kendall(&halves, &maps)
    );
    Ok(())
}
