//! Policies on validation rows that they were not fitted on. On the rows of its fit a fitted policy flatters itself: predicting
//! everything is one of the cuts that `max_f1` chooses from, so that there it is never worse than that. Policies are compared, with
//! each other and with a number, by these counts instead.

use rayon::prelude::*;

use super::LeaderboardMetric;
use crate::metric::average::Averages;
use crate::metric::certainty::deal;
use crate::metric::{Counts, Decisions, FallingCells, decide};
use crate::threshold::{Policy, Rule};
use crate::{LabelMatrix, StrategyError};

/// Parts of the rows; each is decided under the rule that the others give.
pub const PARTS: usize = 10;
/// The rows are dealt in the same way wherever they are.
const SEED: u64 = 0;

/// The decisions of one policy on rows that it was not fitted on, those of all parts together.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// One entry per label.
    pub counts: Vec<Counts>,
    /// Mean over rows of the row's F1 on the labels that it knows; 0 where truth and decision are both empty.
    pub samples_f1: f64,
    /// Share of rows with every known label right. Rows that know no label count in neither.
    pub subset_accuracy: f64,
}

impl HeldOut {
    /// A metric of the leaderboard; `None` for those of rankings, which nothing is fitted for.
    #[must_use]
    pub fn value(&self, metric: LeaderboardMetric) -> Option<f64> {
        match metric {
            LeaderboardMetric::SamplesF1 => Some(self.samples_f1),
            LeaderboardMetric::SubsetAccuracy => Some(self.subset_accuracy),
            of_counts => of_counts.of_averages(&Averages::of(&self.counts)),
        }
    }

    /// The sum of the decisions on parts of the rows, each with its rows that know a label.
    fn sum(parts: impl Iterator<Item = (usize, Decisions)>, labels: usize) -> Self {
        let mut sum = Self { counts: vec![Counts::default(); labels], samples_f1: 0.0, subset_accuracy: 0.0 };
        let mut all = 0;
        for (rows, decisions) in parts {
            sum.counts.iter_mut().zip(decisions.counts).for_each(|(sum, counts)| *sum = *sum + counts);
            sum.samples_f1 += rows as f64 * decisions.samples_f1;
            sum.subset_accuracy += rows as f64 * decisions.subset_accuracy;
            all += rows;
        }
        sum.samples_f1 /= all.max(1) as f64;
        sum.subset_accuracy /= all.max(1) as f64;
        sum
    }
}

/// Rows of one part, or all but those.
struct Rows {
    scores: Vec<f32>,
    truth: LabelMatrix,
}

impl Rows {
    fn pick(scores: &[f32], truth: &LabelMatrix, keep: impl Fn(usize) -> bool) -> Self {
        let rows: Vec<u32> = (0..truth.rows()).filter(|&row| keep(row)).map(|row| row as u32).collect();
        let labels = truth.names.len();
        let scores = rows.iter().flat_map(|&row| &scores[row as usize * labels..][..labels]).copied().collect();
        Self { scores, truth: truth.select(&rows) }
    }
}

/// Each of `policies` on the rows of validation (`scores` `[rows, labels]` row-major probabilities), of which every tenth is decided
/// under the rule that the other nine give: dealt at random under a fixed seed, rows of one of `groups` together. (Cross-validation;
/// `metric::certainty::cross_fit` is the same for any rule and any number of parts.) A number decides as it does. In the order of
/// `policies`; `None` where the rows cannot be divided, because there is only one or because all are of one group.
///
/// The counts are those of thresholds fitted on a tenth fewer rows, so they are, if anything, a little too low. Choosing the best of
/// several policies by them flatters the chosen one again, by much less than its own fit does.
///
/// # Errors
/// An unknown kind or parameter of a policy, which may come from a database of another version.
pub fn held_out(
    policies: &[Policy],
    scores: &[f32],
    truth: &LabelMatrix,
    groups: Option<&[u32]>,
) -> Result<Option<Vec<HeldOut>>, StrategyError> {
    let labels = truth.names.len();
    let policies = policies.iter().map(Policy::admitted).collect::<Result<Vec<_>, _>>()?;
    let part = deal(truth.rows(), groups, PARTS, SEED);
    let mut parts: Vec<usize> = part.clone();
    parts.sort_unstable();
    parts.dedup();
    if parts.len() < 2 {
        return Ok(None);
    }
    let fitted: Vec<&Policy> = policies.iter().filter(|policy| matches!(policy, Policy::Fitted(_))).collect();
    let (by_label, whole): (Vec<&Policy>, Vec<&Policy>) = fitted.iter().partition(|policy| policy.is_by_label());
    let (mut by_label, mut whole) = (
        label_by_label(&by_label, scores, truth, &part, &parts).into_iter(),
        all_at_once(&whole, scores, truth, &part, &parts).into_iter(),
    );
    let held: Vec<Rows> = parts.par_iter().map(|held| Rows::pick(scores, truth, |row| part[row] == *held)).collect();
    let found = policies.iter().map(|policy| {
        let rules = match policy {
            Policy::Fixed(_) => {
                return HeldOut::sum(
                    std::iter::once((truth.known_rows(), decide(scores, truth, &policy.fit(&[], truth)))),
                    labels,
                );
            }
            Policy::Fitted(_) if policy.is_by_label() => by_label.next(),
            Policy::Fitted(_) => whole.next(),
        };
        let decided = held.iter().zip(rules.unwrap_or_default());
        HeldOut::sum(decided.map(|(rows, rule)| (rows.truth.known_rows(), decide(&rows.scores, &rows.truth, &rule))), labels)
    });
    Ok(Some(found.collect()))
}

/// `[policy][part]`: the rules that the rows outside of each part give. Every label is sorted once; what lies outside of a part is then
/// in order, too.
fn label_by_label(policies: &[&Policy], scores: &[f32], truth: &LabelMatrix, part: &[usize], parts: &[usize]) -> Vec<Vec<Rule>> {
    if policies.is_empty() {
        return Vec::new();
    }
    let labels = truth.names.len();
    // [label][part][policy]
    let thresholds = (0..labels).into_par_iter().map(|label| {
        let falling = FallingCells::of(scores, truth, label, part);
        let mut cells = (Vec::new(), LabelMatrix { names: vec![String::new()].into(), values: Vec::new() });
        let fit = |held: &usize| {
            falling.outside(*held, &mut cells.0, &mut cells.1.values);
            policies.iter().map(|policy| policy.fit(&cells.0, &cells.1)).map(first).collect::<Vec<f32>>()
        };
        parts.iter().map(fit).collect::<Vec<_>>()
    });
    let thresholds: Vec<Vec<Vec<f32>>> = thresholds.collect();
    let rule = |policy: usize, part: usize| Rule::Thresholds(thresholds.iter().map(|label| label[part][policy]).collect());
    (0..policies.len()).map(|policy| (0..parts.len()).map(|part| rule(policy, part)).collect()).collect()
}

/// The threshold of the one label.
fn first(rule: Rule) -> f32 {
    match rule {
        Rule::Thresholds(thresholds) => thresholds.first().copied().unwrap_or_default(),
        Rule::Top(_) => 0.0,
    }
}

/// `[policy][part]`, as [`label_by_label`], of rules that look at rows or at all labels.
fn all_at_once(policies: &[&Policy], scores: &[f32], truth: &LabelMatrix, part: &[usize], parts: &[usize]) -> Vec<Vec<Rule>> {
    if policies.is_empty() {
        return Vec::new();
    }
    // [part][policy]
    let rules: Vec<Vec<Rule>> = parts
        .par_iter()
        .map(|held| {
            let others = Rows::pick(scores, truth, |row| part[row] != *held);
            policies.iter().map(|policy| policy.fit(&others.scores, &others.truth)).collect()
        })
        .collect();
    (0..policies.len()).map(|policy| rules.iter().map(|part| part[policy].clone()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::certainty::cross_fit;
    use crate::rng::Rng;
    use crate::threshold::{REGISTRY, parse};

    const PREVALENCES: [f64; 4] = [0.0848, 0.2902, 0.1696, 0.4688];

    /// Scores of so many rows that say `signal` about the truth; some of them equal.
    fn rows(rows: usize, signal: f64, seed: u64) -> (Vec<f32>, LabelMatrix) {
        let mut rng = Rng::new(seed, "held_out", &[]);
        let (mut scores, mut values) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            for prevalence in PREVALENCES {
                let y = rng.uniform() < prevalence;
                let score = rng.uniform() * (1.0 - signal) + if y { signal } else { 0.0 };
                scores.push(((score * 500.0).round() / 500.0) as f32);
                values.push(u8::from(y));
            }
        }
        (scores, LabelMatrix { names: ["A", "B", "C", "D"].map(str::to_owned).into(), values })
    }

    fn every_policy() -> Vec<Policy> {
        let more =
            ["0.5", "max_f1(folds=5)", "max_f1(min_positives=20)", "rcut(r=2)", "cost(by=probability,fn=3)", "scutfbr(fbr=0.6)"];
        REGISTRY.iter().map(|entry| entry.kind).chain(more).map(|name| parse(name).unwrap()).collect()
    }

    /// What is sorted once and filtered is what fitting every part anew gives, for every policy there is.
    #[test]
    fn each_part_is_decided_under_the_rule_of_the_others() {
        let policies = every_policy();
        for (number, signal) in [(7, 0.2), (150, 0.3), (1000, 0.2)] {
            let (scores, truth) = rows(number, signal, 1);
            let groups: Vec<u32> = (0..number as u32).map(|row| row / 3 % 50).collect();
            let mut partly = truth.clone();
            partly.values.iter_mut().step_by(3).for_each(|y| *y = crate::UNKNOWN);
            let cases = [(&truth, None), (&truth, Some(groups.as_slice())), (&partly, Some(groups.as_slice()))];
            for (truth, groups) in cases {
                let found = held_out(&policies, &scores, truth, groups).unwrap().unwrap();
                assert_eq!(found.len(), policies.len());
                for (policy, found) in policies.iter().zip(&found) {
                    let plain = cross_fit(&scores, truth, groups, PARTS, SEED, |scores, truth| policy.fit(scores, truth));
                    assert_eq!(found.counts, plain.held_out, "{policy}, {number} rows");
                }
            }
        }
    }

    #[test]
    fn a_number_is_not_fitted_and_metrics_are_those_of_the_leaderboard() {
        let (scores, truth) = rows(200, 0.3, 2);
        let policies = [parse("0.5").unwrap(), parse("rcut(r=2)").unwrap()];
        for (policy, found) in policies.iter().zip(held_out(&policies, &scores, &truth, None).unwrap().unwrap()) {
            let all = super::super::Evaluation::new(&scores, &truth, &policy.fit(&scores, &truth));
            for metric in [
                LeaderboardMetric::MacroF1,
                LeaderboardMetric::MicroF1,
                LeaderboardMetric::WeightedF1,
                LeaderboardMetric::SamplesF1,
                LeaderboardMetric::MacroPrecision,
                LeaderboardMetric::MacroRecall,
                LeaderboardMetric::HammingLoss,
                LeaderboardMetric::SubsetAccuracy,
            ] {
                let (ours, theirs) = (found.value(metric).unwrap(), all.value(metric).unwrap());
                assert!((ours - theirs).abs() < 1e-12, "{metric:?} of {policy}: {ours} is not {theirs}");
            }
            assert_eq!((found.value(LeaderboardMetric::MacroAp), found.value(LeaderboardMetric::MacroAuc)), (None, None));
        }
    }

    #[test]
    fn rows_that_cannot_be_divided_say_nothing() {
        let (scores, truth) = rows(6, 0.3, 3);
        let policy = [parse("max_f1").unwrap()];
        assert_eq!(held_out(&policy, &scores, &truth, Some(&[4; 6])).unwrap(), None);
        assert_eq!(held_out(&policy, &scores[..4], &truth.select(&[0]), None).unwrap(), None);
        assert_eq!(held_out(&policy, &[], &truth.select(&[]), None).unwrap(), None);
        assert!(held_out(&[Policy::Fitted(crate::Choice::plain("max_f9"))], &scores, &truth, None).is_err());
    }

    /// Scores that say nothing, 600 rows: where max_f1 is judged on the rows of its fit it beats predicting everything every time, which
    /// is one of its cuts. Held out it does not.
    #[test]
    fn max_f1_does_not_beat_predicting_everything_by_its_fit() {
        let policies = ["max_f1", "0"].map(|policy| parse(policy).unwrap());
        let (mut flattered, mut above, mut sum) = (0, 0, 0.0);
        for seed in 0..20 {
            let (scores, truth) = rows(600, 0.0, 100 + seed);
            let value = |held: &HeldOut| held.value(LeaderboardMetric::MacroF1).unwrap();
            let found = held_out(&policies, &scores, &truth, None).unwrap().unwrap();
            let everything = value(&found[1]);
            let fitted = policies[0].fit(&scores, &truth);
            flattered += usize::from(
                super::super::Evaluation::new(&scores, &truth, &fitted).value(LeaderboardMetric::MacroF1).unwrap() > everything,
            );
            above += usize::from(value(&found[0]) > everything);
            sum += value(&found[0]) - everything;
        }
        assert_eq!(flattered, 20, "in sample");
        assert!(above <= 5 && sum < 0.0, "held out above {above} times, {sum}");
    }
}
