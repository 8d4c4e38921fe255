//! Warnings that need scores.

use serde::Serialize;

use super::super::kept_scores::KeptRows;
use super::{Kind, Lint, Lints, listed};
use imbalance::shown::shown;

/// sigmoid(1), the most that a sigmoid of a probability can be, rounded up.
const TWICE: f32 = 0.7311;
/// A larger share of scores that are exactly 0 or 1 is reported.
const RIM: f64 = 0.01;
/// Larger optimism of macro F1 is reported.
const OPTIMISTIC: f64 = 0.02;

/// Properties of scores that do not depend on the truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    pub lowest: f32,
    pub highest: f32,
    /// Share of scores that are exactly 0 or 1.
    pub rim: f64,
    /// Whether logits keep the order of these.
    pub logits: bool,
    /// Labels (by position) with one score for every row.
    pub constant: Vec<usize>,
}

impl Health {
    /// The properties of a split's scores.
    #[must_use]
    pub fn of(rows: &KeptRows) -> Self {
        let (scores, labels) = (&rows.scores, rows.truth.names.len());
        let rim = scores.iter().filter(|score| **score == 0.0 || **score == 1.0).count();
        let constant = |label: &usize| {
            let mut column = rows.ranked().iter().skip(*label).step_by(labels.max(1));
            column.next().is_some_and(|first| column.all(|score| score == first))
        };
        Self {
            lowest: scores.iter().copied().fold(f32::INFINITY, f32::min),
            highest: scores.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            rim: rim as f64 / scores.len().max(1) as f64,
            logits: rows.logits.is_some(),
            constant: (0..labels).filter(constant).collect(),
        }
    }
}

/// The values of one run that these warnings need.
pub struct Trained<'a> {
    /// The strategy.
    pub name: &'a str,
    pub labels: &'a [String],
    /// Of its val scores.
    pub health: &'a Health,
    /// Macro F1 on test at 0.5 and at tuned thresholds, and of predicting everything.
    pub f1_half: f64,
    pub f1_tuned: f64,
    pub all_positive: f64,
    /// Of the tuned macro F1 on val.
    pub optimism: f64,
    pub label_optimism: &'a [f64],
}

/// The warnings of runs that have trained.
#[must_use]
pub fn trained(runs: &[Trained<'_>]) -> Vec<Lint> {
    let mut lints = Lints::default();
    for run in runs {
        scores(run, &mut lints);
    }
    below(runs, &mut lints);
    optimism(runs, &mut lints);
    lints.sorted()
}

fn scores(run: &Trained<'_>, lints: &mut Lints) {
    let health = run.health;
    if health.lowest >= 0.5 {
        let why = if health.highest <= TWICE {
            "this is what a sigmoid applied twice looks like; look for one in the model and one in the loss or the evaluation"
        } else {
            "its loss or its weights have pushed everything up; a sigmoid applied twice it is not, for some scores are above 0.731"
        };
        let what =
            format!("no score is below 0.5, so every label is predicted for every row and precision is the prevalence: {why}");
        lints.add(Kind::DoubleSigmoid, run.name, what);
    }
    for &label in &health.constant {
        let label = run.labels.get(label).map_or_else(|| "?".to_owned(), |label| shown(label));
        let what =
            format!("{label} has one score for every row: the model has learnt nothing about it, its AP is its prevalence");
        lints.add(Kind::ConstantLabel, run.name, what);
    }
    if health.rim > RIM {
        let lost = if health.logits {
            "no threshold parts them, and as probabilities they are certain (rankings are taken on the logits, which keep their order)"
        } else {
            "their order is lost"
        };
        let what =
            format!("more than 1 % of the scores are exactly 0 or 1: float32 has rounded them, {lost}; the logits are too large");
        lints.add(Kind::RimScores, run.name, what);
    }
}

/// Strategies whose mean F1 is below that of predicting everything.
fn below(runs: &[Trained<'_>], lints: &mut Lints) {
    let mut names: Vec<&str> = runs.iter().map(|run| run.name).collect();
    names.dedup();
    for (where_, f1) in [("0.5", (|run| run.f1_half) as fn(&Trained<'_>) -> f64), ("tuned thresholds", |run| run.f1_tuned)] {
        let below: Vec<String> = names
            .iter()
            .filter(|name| {
                let of: Vec<f64> = runs.iter().filter(|run| run.name == **name).map(|run| f1(run) - run.all_positive).collect();
                of.iter().sum::<f64>() < 0.0
            })
            .map(|name| (*name).to_owned())
            .collect();
        let Some(all_positive) = runs.first().map(|run| run.all_positive).filter(|_| !below.is_empty()) else { continue };
        let what = format!(
            "at {where_} worse than predicting every label for every row (macro F1 {all_positive:.3}): nothing that scores below that is worth its training; \
             move the threshold first, then look at the data"
        );
        for name in below {
            lints.add(Kind::WorseThanAllPositive, &name, what.clone());
        }
    }
}

/// One sentence for all: optimism is about val, not about a strategy.
fn optimism(runs: &[Trained<'_>], lints: &mut Lints) {
    let Some(worst) = runs.iter().max_by(|a, b| a.optimism.total_cmp(&b.optimism)) else { return };
    if worst.optimism <= OPTIMISTIC {
        return;
    }
    let mut labels: Vec<(&String, f64)> = worst.labels.iter().zip(worst.label_optimism.iter().copied()).collect();
    labels.sort_by(|a, b| b.1.total_cmp(&a.1));
    let labels: Vec<String> =
        labels.iter().filter(|label| label.1 > OPTIMISTIC).map(|(name, o)| format!("{} by {o:.2}", shown(name))).collect();
    let of = if labels.is_empty() { String::new() } else { format!("; most: {}", listed(&labels)) };
    lints.add(
        Kind::Optimism,
        "",
        format!(
            "thresholds of max_f1 flatter val, by up to {:.3} of macro F1 in a run: expect that much less on new rows, or give val more \
             rows{of}",
            worst.optimism
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::super::super::explain::testing::evidence;
    use super::*;
    use imbalance::loss::sigmoid;

    fn lints(health: &Health, f1: [f64; 2], optimism: f64) -> Vec<Lint> {
        let labels = ["A", "D"].map(str::to_owned);
        let run = Trained {
            name: "bce",
            labels: &labels,
            health,
            f1_half: f1[0],
            f1_tuned: f1[1],
            all_positive: 0.4,
            optimism,
            label_optimism: &[optimism * 2.0, 0.0],
        };
        trained(&[run])
    }

    fn kinds(health: &Health, f1: [f64; 2], optimism: f64) -> Vec<Kind> {
        lints(health, f1, optimism).iter().map(|lint| lint.kind).collect()
    }

    #[test]
    fn a_sigmoid_applied_twice_is_seen() {
        let twice = Health::of(&evidence(0, |_, u, _| sigmoid(sigmoid(u))).val);
        assert!(twice.lowest >= 0.5 && twice.highest < 0.732);
        assert_eq!(kinds(&twice, [0.5, 0.5], 0.0), [Kind::DoubleSigmoid]);
        assert!(lints(&twice, [0.5, 0.5], 0.0)[0].sentence.contains("look for one in the model"));
        // Everything is above 0.5 here too, but no second sigmoid reaches that high.
        let up = Health::of(&evidence(0, |_, u, _| 0.5 + 0.5 * sigmoid(u)).val);
        assert!(up.highest > TWICE && lints(&up, [0.5, 0.5], 0.0)[0].sentence.contains("pushed everything up"));
        let once = Health::of(&evidence(0, |_, u, _| sigmoid(u)).val);
        assert_eq!(kinds(&once, [0.5, 0.5], 0.0), []);
    }

    #[test]
    fn constant_and_rounded_scores_are_seen() {
        let constant = Health::of(&evidence(0, |label, u, _| if label == 0 { 0.3 } else { sigmoid(u) }).val);
        assert_eq!((constant.constant.as_slice(), kinds(&constant, [0.5, 0.5], 0.0)), (&[0][..], vec![Kind::ConstantLabel]));
        let rim = Health::of(&evidence(0, |_, u, _| sigmoid(40.0 * u)).val);
        assert_eq!(kinds(&rim, [0.5, 0.5], 0.0), [Kind::RimScores]);
        assert!(lints(&rim, [0.5, 0.5], 0.0)[0].sentence.contains("their order is lost"));
        // With logits their order is known, and so is that of a label whose scores are all 1.
        let mut rows = evidence(0, |_, _, _| 1.0).val;
        assert_eq!(Health::of(&rows).constant, [0, 1]);
        rows.logits = Some((0..8000).map(|cell| 20.0 + cell as f32 / 1000.0).collect());
        let kept = Health::of(&rows);
        assert_eq!(kept.constant, [0usize; 0]);
        let words = lints(&kept, [0.5, 0.5], 0.0).iter().map(|lint| lint.sentence.clone()).collect::<Vec<_>>().join("\n");
        assert!(words.contains("no threshold parts them") && !words.contains("order is lost"), "{words}");
    }

    #[test]
    fn what_is_worse_than_nothing_and_what_is_too_good_is_seen() {
        let fine = Health::of(&evidence(0, |_, u, _| sigmoid(u)).val);
        assert_eq!(kinds(&fine, [0.3, 0.5], 0.0), [Kind::WorseThanAllPositive]);
        assert_eq!(kinds(&fine, [0.3, 0.3], 0.03), [Kind::WorseThanAllPositive, Kind::WorseThanAllPositive, Kind::Optimism]);
    }
}
