//! What a strategy comes to on the letters in closed form (docs/strategies.md#closed-form, `imbalance::oracle`), beside what a
//! report measured.

#![allow(dead_code, reason = "the example and the test each read their part of it")]

use imbalance::PosWeight;
use imbalance::loss::{self, Context};
use imbalance::oracle::{Decision, LatentCurve};
use imbalance::{LabelCounts, parse, pos_weight};
use serde_json::Value;

/// The rates of the question.
pub const RATES: [f64; 4] = [0.0848, 0.2902, 0.1696, 0.4688];

/// The closed form of every label.
pub struct Truth {
    curves: Vec<LatentCurve>,
    counts: LabelCounts,
}

/// A number of one label under one strategy, by theory and by measurement.
#[derive(Clone, Debug)]
pub struct Pair {
    pub strategy: String,
    pub policy: String,
    pub label: usize,
    pub what: &'static str,
    /// On the true probability, where the number depends on one.
    pub threshold: f64,
    pub expected: f64,
    pub measured: f64,
    /// Test rows that `measured` is a mean over.
    pub rows: f64,
}

impl Truth {
    /// The curves of letters with this signal.
    #[must_use]
    pub fn new(signal: f64) -> Self {
        let rows = 1_000_000;
        let positives = RATES.iter().map(|rate| (rate * rows as f64) as usize).collect();
        Self {
            curves: RATES.iter().map(|rate| LatentCurve::new(signal, *rate)).collect(),
            counts: LabelCounts::new(rows, positives),
        }
    }

    /// The largest average precision.
    #[must_use]
    pub fn ap(&self, label: usize) -> f64 {
        self.curves[label].ranking().0
    }

    /// The decision of the largest F1.
    #[must_use]
    pub fn best(&self, label: usize) -> Decision {
        self.curves[label].best()
    }

    /// What a perfectly trained loss decides at a score of 0.5; `None` where it has no link.
    ///
    /// # Errors
    /// Not the name of a strategy.
    pub fn at_half(&self, loss: &str, gamma: Option<f64>, weight: &str, label: usize) -> Result<Option<Decision>, String> {
        let weight = parse(pos_weight::REGISTRY, "pos_weight", weight).map_err(|error| error.to_string())?;
        let pos_weight = pos_weight::resolve(&PosWeight::Formula(weight), &self.counts).map_err(|error| error.to_string())?;
        let mut choice = parse(loss::REGISTRY, "loss", loss).map_err(|error| error.to_string())?;
        if let Some(gamma) = gamma {
            choice = choice.with("gamma", gamma);
        }
        let context = Context { pos_weight, counts: self.counts.clone(), epochs: 1 };
        let loss = loss::build(&choice, &context).map_err(|error| error.to_string())?;
        Ok(loss.implied_probability(label, 0.0).map(|eta| self.curves[label].decide(eta)))
    }

    /// Every number of a report (`sweep report --split test --format json`) that theory predicts: recall and predicted rate at
    /// 0.5, the threshold and F1 of plain BCE under `max_f1`, and average precision.
    ///
    /// # Errors
    /// Not the JSON of `sweep report`, or a report of other labels.
    pub fn compare(&self, report: &Value) -> Result<Vec<Pair>, String> {
        let rows = report["data"][0]["rows"].as_f64().ok_or("no report: `data` is missing")?;
        let mut pairs = Vec::new();
        for row in report["rows"].as_array().ok_or("no report: `rows` is missing")?.iter().filter(|row| row["baseline"] == false)
        {
            let text = |key: &str| row["strategy"][key].as_str().unwrap_or_default().to_owned();
            let (loss, weight, gamma) = (text("loss"), text("pos_weight"), row["strategy"]["gamma"].as_f64());
            let policy = row["policy"].as_str().unwrap_or_default().to_owned();
            let strategy = if weight == "none" { loss.clone() } else { format!("{loss} {weight}") };
            let labels = row["labels"].as_array().filter(|labels| labels.len() == RATES.len()).ok_or("four labels are wanted")?;
            for (label, line) in labels.iter().enumerate() {
                let mut add = |what: &'static str, key: &str, threshold: f64, expected: f64| {
                    let measured = line[key].as_f64().ok_or_else(|| format!("a label has no {key}"))?;
                    let (strategy, policy) = (strategy.clone(), policy.clone());
                    pairs.push(Pair { strategy, policy, label, what, threshold, expected, measured, rows });
                    Ok::<(), String>(())
                };
                match policy.as_str() {
                    "0.5" => {
                        if let Some(decision) = self.at_half(&loss, gamma, &weight, label)? {
                            add("recall", "recall", decision.threshold, decision.recall)?;
                            add("predicted rate", "predicted_rate", decision.threshold, decision.predicted_rate)?;
                        }
                        add("AP", "ap", f64::NAN, self.ap(label))?;
                    }
                    "max_f1" => {
                        let best = self.best(label);
                        add("tuned F1", "f1", best.threshold, best.f1)?;
                        if strategy == "bce" {
                            add("tuned threshold", "threshold", best.threshold, best.threshold)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(pairs)
    }
}
