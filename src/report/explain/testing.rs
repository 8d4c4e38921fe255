//! Hand-made sweeps and scores for the tests of explanations.

use std::collections::BTreeMap;

use super::super::kept_scores::{Evidence, KeptRows};
use super::arms::Case;
use imbalance::LabelCounts;
use imbalance::LabelMatrix;
use imbalance::loss::sigmoid;
use imbalance::rng::Rng;
use plan::InputShape;
use plan::{self, DataFacts, Plan};

/// Prevalences of the question's A and D.
pub const RATES: [f64; 2] = [0.0848, 0.4688];

/// Facts of two labels: 10,000 train rows, 4,000 of val and of test.
pub fn facts() -> DataFacts {
    let counts = |rows: usize| LabelCounts::new(rows, RATES.map(|rate| (rate * rows as f64) as usize).to_vec());
    DataFacts {
        content: "c0ffee".to_owned(),
        labels: vec!["A".to_owned(), "D".to_owned()],
        input: InputShape::Image { channels: 1, height: 16, width: 16 },
        train: counts(10_000),
        val: counts(4000),
        test: counts(4000),
        folder: "".into(),
    }
}

/// The plan of a grid on letters.
pub fn plan(grid: &str) -> Plan {
    let text = format!(
        "name = \"hand\"\n[data]\nkind = \"letters\"\nimage_size = 16\nlabel_rates = {{ A = 0.0848, D = 0.4688 }}\n[model]\narch = \"linear\"\n[grid]\n{grid}"
    );
    let sweep = plan::parse("hand.toml", &text, &[]).unwrap();
    // Every data set has a content of its own.
    let of = |at: usize| DataFacts { content: format!("c0ffee{at}"), ..facts() };
    let facts: Vec<DataFacts> = (0..sweep.data_configs().len()).map(of).collect();
    sweep.plan(&facts, &BTreeMap::new()).unwrap()
}

/// Its runs, as if recorded.
pub fn cases(grid: &str) -> Vec<Case<'static>> {
    // For as long as the tests run.
    let plan = Box::leak(Box::new(plan(grid)));
    plan.runs.iter().map(|run| Case { epoch: Some(0), ..Case::planned(run, &[]) }).collect()
}

/// Scores of 4,000 rows per split: `y ~ Bern(sigmoid(u))` with `u = 1.5 g + b`, the same rows for every run; `score(label, u, noise)`
/// is the score by a run with this `seed`, `noise` being a normal number of that run.
pub fn evidence(seed: u64, score: impl Fn(usize, f64, f64) -> f64) -> Evidence {
    let split = |name: &str| {
        let (mut rows, mut own) = (Rng::new(7, name, &[]), Rng::new(seed, "noise", &[name.len() as u64]));
        let (mut scores, mut values) = (Vec::new(), Vec::new());
        for cell in 0..2 * 4000 {
            let label = cell % 2;
            let u = 1.5 * rows.normal() + [-3.17465, -0.17702][label];
            values.push(u8::from(rows.uniform() < sigmoid(u)));
            scores.push(score(label, u, own.normal()) as f32);
        }
        let names = ["0", "1"].map(str::to_owned);
        KeptRows::of(scores, LabelMatrix { names: names.into(), values })
    };
    Evidence { val: split("val"), test: Some(split("test")) }
}
