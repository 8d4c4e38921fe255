//! Evaluation, in one place: scores, truth and a policy in; ranking, decisions and the metrics of the leaderboard out. Training, new
//! policies on recorded runs, imports and reports all evaluate through here. Rankings are those of logits, decisions those of their
//! float32 probabilities. Pure.

mod held_out;

pub use held_out::{HeldOut, PARTS, held_out};

use crate::loss::sigmoid;
use crate::metric::average::{Averages, mean_defined};
use crate::metric::{Counts, Decisions, Ranking, decide, rank_logits};
use crate::threshold::{Policy, Rule};
use crate::{LabelMatrix, StrategyError, vectorized};

/// The float32 probabilities of float32 logits: their sigmoid in f64, rounded once. The same bits on every machine.
#[must_use]
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    vectorized(
        #[inline(always)]
        || logits.iter().map(|&logit| sigmoid(logit.into()) as f32).collect(),
    )
}

/// A policy and the rule that it chose on validation.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedPolicy {
    pub policy: Policy,
    pub rule: Rule,
}

impl FittedPolicy {
    /// Fits `policy` on the validation scores (`[rows, labels]` row-major probabilities).
    ///
    /// # Errors
    /// An unknown kind or parameter of the policy, which may come from a database of another version.
    pub fn new(policy: &Policy, val_scores: &[f32], val_truth: &LabelMatrix) -> Result<Self, StrategyError> {
        Ok(Self { policy: policy.clone(), rule: policy.admitted()?.fit(val_scores, val_truth) })
    }

    /// What it decides on the scores of any split.
    #[must_use]
    pub fn decide(&self, scores: &[f32], truth: &LabelMatrix) -> Decisions {
        decide(scores, truth, &self.rule)
    }
}

/// Fits every policy on the validation scores.
///
/// # Errors
/// As [`FittedPolicy::new`].
pub fn fit(policies: &[Policy], val_scores: &[f32], val_truth: &LabelMatrix) -> Result<Vec<FittedPolicy>, StrategyError> {
    policies.iter().map(|policy| FittedPolicy::new(policy, val_scores, val_truth)).collect()
}

/// The scores of one split under one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    pub ranking: Ranking,
    pub decisions: Decisions,
    averages: Averages,
}

impl Evaluation {
    /// Ranks and decides by `scores` (`[rows, labels]` row-major float32 probabilities).
    #[must_use]
    pub fn new(scores: &[f32], truth: &LabelMatrix, rule: &Rule) -> Self {
        Self::of_logits(scores, scores, truth, rule)
    }

    /// Ranks by `logits`, decides by their probabilities, `scores`.
    #[must_use]
    pub fn of_logits(logits: &[f32], scores: &[f32], truth: &LabelMatrix, rule: &Rule) -> Self {
        let decisions = decide(scores, truth, rule);
        let averages = Averages::of(&decisions.counts);
        Self { ranking: rank_logits(logits, scores, truth), decisions, averages }
    }

    /// A metric of the leaderboard; `None` where it is undefined.
    #[must_use]
    pub fn value(&self, metric: LeaderboardMetric) -> Option<f64> {
        match metric {
            LeaderboardMetric::MacroAp => mean_defined(&self.ranking.ap).map(|mean| mean.mean),
            LeaderboardMetric::MacroAuc => mean_defined(&self.ranking.auc).map(|mean| mean.mean),
            LeaderboardMetric::SamplesF1 => Some(self.decisions.samples_f1),
            LeaderboardMetric::SubsetAccuracy => Some(self.decisions.subset_accuracy),
            of_counts => of_counts.of_averages(&self.averages),
        }
    }
}

/// The metrics that runs are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderboardMetric {
    MacroF1,
    MicroF1,
    WeightedF1,
    SamplesF1,
    MacroPrecision,
    MacroRecall,
    MacroAp,
    MacroAuc,
    HammingLoss,
    SubsetAccuracy,
}

impl LeaderboardMetric {
    /// Whether it depends on a threshold; the others judge the ranking alone.
    #[must_use]
    pub fn needs_threshold(self) -> bool {
        !matches!(self, Self::MacroAp | Self::MacroAuc)
    }

    /// The value where counts suffice; `None` for a metric that needs scores or rows.
    #[must_use]
    pub fn of_averages(self, averages: &Averages) -> Option<f64> {
        match self {
            Self::MacroF1 => Some(averages.macro_f1),
            Self::MicroF1 => Some(averages.micro_f1),
            Self::WeightedF1 => Some(averages.weighted_f1),
            Self::MacroPrecision => Some(averages.macro_precision),
            Self::MacroRecall => Some(averages.macro_recall),
            Self::HammingLoss => Some(averages.hamming_loss),
            Self::SamplesF1 | Self::MacroAp | Self::MacroAuc | Self::SubsetAccuracy => None,
        }
    }
}

/// Mean over labels of the share of rows for which the label is predicted.
#[must_use]
pub fn predicted_rate(counts: &[Counts]) -> f64 {
    counts.iter().map(Counts::predicted_rate).sum::<f64>() / counts.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Choice;

    fn truth(values: &[u8]) -> LabelMatrix {
        LabelMatrix { names: ["a", "b"].map(str::to_owned).into(), values: values.to_vec() }
    }

    #[test]
    fn every_metric_of_a_small_split_is_the_textbook_value() {
        let truth = truth(&[1, 0, 0, 1, 1, 1]);
        let scores = [0.9, 0.2, 0.6, 0.7, 0.3, 0.4];
        let fitted = fit(&[Policy::Fixed(0.5)], &scores, &truth).unwrap();
        let evaluation = Evaluation::new(&scores, &truth, &fitted[0].rule);
        // a: 1 of 2 hit, 1 false alarm; b: 1 of 2 hit
        let wanted = [
            (LeaderboardMetric::MacroF1, (0.5 + 2.0 / 3.0) / 2.0),
            (LeaderboardMetric::MicroF1, 4.0 / 7.0),
            (LeaderboardMetric::WeightedF1, (0.5 + 2.0 / 3.0) / 2.0),
            (LeaderboardMetric::SamplesF1, (1.0 + 2.0 / 3.0) / 3.0),
            (LeaderboardMetric::MacroPrecision, 0.75),
            (LeaderboardMetric::MacroRecall, 0.5),
            (LeaderboardMetric::MacroAp, ((1.0 + 2.0 / 3.0) / 2.0 + 1.0) / 2.0),
            (LeaderboardMetric::MacroAuc, 0.75),
            (LeaderboardMetric::HammingLoss, 0.5),
            (LeaderboardMetric::SubsetAccuracy, 1.0 / 3.0),
        ];
        for (metric, wanted) in wanted {
            let found = evaluation.value(metric).unwrap();
            assert!((found - wanted).abs() < 1e-12, "{metric:?}: {found} {wanted}");
            let of_counts = metric.of_averages(&Averages::of(&evaluation.decisions.counts));
            assert!(of_counts.is_none_or(|value| value == found), "{metric:?}");
        }
        assert_eq!(fitted[0].decide(&scores, &truth), evaluation.decisions);
        assert!((predicted_rate(&evaluation.decisions.counts) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_policy_of_another_version_is_an_error() {
        let (scores, truth) = ([0.9, 0.2], truth(&[1, 0]));
        for policy in [
            Policy::Fitted(Choice::plain("max_f9")),
            Policy::Fitted(Choice::plain("max_fbeta").with("betta", 2.0)),
            Policy::Fitted(Choice::plain("max_fbeta").with("beta", "high")),
            Policy::Fixed(1.5),
        ] {
            assert!(fit(std::slice::from_ref(&policy), &scores, &truth).is_err(), "{policy}");
        }
        // one recorded before a parameter was added has its default
        assert!(fit(&[Policy::Fitted(Choice::plain("max_fbeta"))], &scores, &truth).is_ok());
    }
}
