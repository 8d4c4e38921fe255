//! The view model of an explanation: what every format renders, and what `--format json` prints as it is. Every number that a
//! sentence quotes is a field.

use imbalance::metric::calibration::Judgement;
use imbalance::metric::certainty::Crossed;
use serde::Serialize;

use super::super::convergence::Convergence;
use super::super::lint::Lint;
use super::super::question::Split;
use super::super::summary::{RunTally, Spread};
use super::choice::Candidates;
use super::groups::{Groups, LabelGroup};
use super::measure::Repair;

/// Why the strategies of a sweep differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    pub sweep: String,
    /// `running`, `done`, `failed` or `interrupted`.
    pub state: String,
    pub runs: RunTally,
    pub rope: Rope,
    /// What makes a label rare or frequent.
    pub groups: Groups,
    /// Nominal coverage of all intervals of one metric together.
    pub level: f64,
    /// The same for the labels, and for groups of labels.
    pub label_level: f64,
    /// Resamples of the rows.
    pub replicates: usize,
    pub settings: Vec<Setting>,
    pub warnings: Vec<Lint>,
    pub notes: Vec<String>,
}

/// Differences up to these mean nothing in practice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rope {
    pub ap: f64,
    pub f1: f64,
}

impl Default for Rope {
    fn default() -> Self {
        Self { ap: 0.005, f1: 0.01 }
    }
}

/// Strategies that share data, network and training loop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Its difference from the sweep's other settings; empty if there are none.
    pub setting: String,
    /// Hash of the data's content.
    pub content: String,
    /// The split that strategies are judged on: test, or val where there are no test scores.
    pub judged: Split,
    pub rows: RowCounts,
    pub labels: Vec<Label>,
    pub baseline: Option<Reference>,
    /// Macro F1 on the split that judges of predicting every label for every row.
    pub all_positive: f64,
    /// Of its training, unless each strategy got its own (`candidates`).
    pub learning_rate: f64,
    /// What its seeds can tell; `None` without pairs.
    pub certainty: Option<Certainty>,
    pub recommendation: Recommendation,
    /// Every candidate, where the sweep tunes its strategies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// A sentence where no strategy ranks better on val than a logistic regression on the same features.
    pub outdone: Option<String>,
    /// In the order of the plan, the baseline first.
    pub arms: Vec<Arm>,
    /// Strategies without a recorded run.
    pub missing: Vec<String>,
}

impl Setting {
    /// The places of all labels, the rarest on the split that judges first.
    #[must_use]
    pub fn rarest_first(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.labels.len()).collect();
        places.sort_by(|&a, &b| self.labels[a].prevalence.total_cmp(&self.labels[b].prevalence));
        places
    }
}

/// Rows of each split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RowCounts {
    pub train: usize,
    pub val: usize,
    pub test: usize,
}

/// A label and its frequency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Label {
    pub label: String,
    /// On the split that judges.
    pub prevalence: f64,
    pub val_positives: usize,
    /// On the split that judges.
    pub positives: usize,
    pub group: LabelGroup,
}

/// What the seeds of a setting can tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certainty {
    /// Pairs of runs of the comparison with the most.
    pub seeds: usize,
    /// Splits of the data (`data.split.seed`), which take the place of seeds where there are several.
    pub splits: usize,
    /// Comparisons with a baseline in the whole sweep: all intervals hold together.
    pub comparisons: usize,
    /// Standard deviation over seeds of a strategy's difference in macro AP from the baseline, pooled over the strategies.
    pub seed_sd: Option<f64>,
    /// The smallest difference in macro AP that so many seeds can tell from 0 on these rows: half of the usual interval. `None` below
    /// three seeds.
    pub detectable: Option<f64>,
    /// More seeds that are worth while, the smallest difference with them, and the minutes that they would take here.
    pub further_seeds: usize,
    pub then_detectable: Option<f64>,
    pub minutes: Option<f64>,
}

/// What the others are compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    pub arm: String,
    /// Whether it is plain bce; otherwise it is the nearest to it in the sweep.
    pub exact: bool,
}

/// One strategy; means are over its seeds, on the split that judges unless it says val.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arm {
    pub arm: String,
    /// The three parts of its name.
    pub loss: String,
    pub pos_weight: String,
    pub sampler: String,
    pub baseline: bool,
    /// Fingerprints of its recorded runs, and the runs that were asked for.
    pub runs: Vec<String>,
    pub of: usize,
    /// Ranking: macro AP.
    pub ap: Change,
    /// Macro F1 at 0.5.
    pub f1_half: Change,
    /// Macro F1 at thresholds with the largest F1 on val.
    pub f1_tuned: Change,
    /// Macro AP on val: strategies are chosen there. Where they are tuned on it, less what that choice is worth
    /// ([`super::ArmCandidates::cost`]).
    pub val_ap: Change,
    /// Macro F1 of tuned thresholds on val rows that they were not tuned on, and how much higher it is on those that they were.
    pub val_f1_held_out: f64,
    /// Macro F1 at 0.5 on val, which chooses for that threshold.
    pub val_f1_half: f64,
    pub optimism: f64,
    /// How many of its runs have not converged. Verdicts are withheld where too many of its or of the baseline's have not.
    pub convergence: Convergence,
    /// Of the ranking, on the split that judges and on val; `None` for the baseline or without one.
    pub ranking: Option<Verdict>,
    pub val_ranking: Option<Verdict>,
    /// Of the F1 at tuned thresholds.
    pub tuned: Option<Verdict>,
    /// Means over labels.
    pub calibration: Calibration,
    pub labels: Vec<ArmLabel>,
    /// Policies that turn its scores into decisions, the simplest first, and the one to take.
    pub policies: Vec<ArmPolicy>,
    pub policy: usize,
    /// The groups that the labels make; empty where all are in one.
    pub groups: Vec<GroupChange>,
    /// (label, resample) pairs without a positive, which were left out of the resampled means.
    pub left_out: usize,
    /// A sentence about what the strategy did.
    pub sentence: String,
}

/// A metric of a strategy, and how it differs from the baseline's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub value: Option<Spread>,
    /// Over pairs of equal seed, with an interval for other trainings and other rows; `None` for the baseline or without pairs.
    pub difference: Option<Crossed>,
}

/// A strategy under a policy: macro F1, mean over seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmPolicy {
    pub policy: String,
    /// On val, each tenth under the rule that the others give.
    pub val_f1_held_out: f64,
    /// On the split that judges.
    pub f1: f64,
    /// Whether val has enough positives of every label for it.
    pub trusted: bool,
}

/// AP of a group of labels, against the baseline's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupChange {
    pub group: LabelGroup,
    /// Labels in it.
    pub labels: usize,
    pub ap: Change,
    /// `None` for the baseline.
    pub verdict: Option<Verdict>,
}

/// The verdict on a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Better,
    Same,
    Worse,
    /// The runs do not decide.
    Unknown,
    /// Not said, because its runs or the baseline's have not converged.
    Withheld,
}

/// How far scores are from probabilities, as if every label were as frequent as in train: what a split with other prevalences adds is
/// not the strategy's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error, and over bins of equal mass (on the rows as they are).
    pub ece: f64,
    pub ece_equal_mass: f64,
    /// The label whose mean score is furthest from its prevalence, and by how much.
    pub worst_label: usize,
    pub worst_gap: f64,
    /// After `repaired_by`.
    pub repaired_ece: f64,
    pub repaired_by: Repair,
}

/// One label of a strategy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmLabel {
    pub label: String,
    /// The true probability that a score of 0.5 stands for, by the loss's formula; `None` where there is none.
    pub eta: Option<f64>,
    /// The same as measured on val.
    pub stands_for: f64,
    pub ap: Option<f64>,
    /// Against the baseline: AP, and F1 at tuned thresholds. All labels of all strategies of a sweep are one family each.
    pub ap_difference: Option<Crossed>,
    pub f1_difference: Option<Crossed>,
    /// `None` for the baseline, without pairs, and with too few positives.
    pub ap_verdict: Option<Verdict>,
    pub f1_verdict: Option<Verdict>,
    /// Share of the draws of the first epoch that carried it, and of the train rows; `None` where no run recorded its draws.
    pub shown: Option<f64>,
    pub train_prevalence: f64,
    /// On the split that judges.
    pub prevalence: f64,
    /// Share of the rows that are predicted at 0.5, and at the tuned threshold.
    pub predicted_rate: f64,
    pub predicted_rate_tuned: f64,
    /// Share of the rows that are predicted at 0.5 minus the prevalence, as if that were the prevalence of train.
    pub over_predicted: f64,
    pub f1_half: f64,
    pub f1_tuned: f64,
    pub precision_tuned: f64,
    pub recall_tuned: f64,
    /// Tuned on val.
    pub threshold: f64,
    pub optimism: f64,
    pub ece: f64,
    /// Mean score minus prevalence, as if that were the prevalence of train.
    pub gap: f64,
    /// Whether its scores are probabilities; the gravest judgement of its runs, and `None` without runs.
    pub judgement: Option<Judgement>,
    /// Slope of the truth on the scores' logits: below 1 is overconfident. `None` where no run has one.
    pub slope: Option<f64>,
    pub repaired_ece: f64,
}

impl ArmLabel {
    /// What a score of 0.5 stands for: by formula if there is one, else as measured.
    #[must_use]
    pub fn decision_point(&self) -> f64 {
        self.eta.unwrap_or(self.stands_for)
    }
}

/// The recommendation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    pub rule: Rule,
    /// The strategy that is recommended; `None` where there is nothing to compare.
    pub arm: Option<String>,
    /// The strategy that may be better, were there more seeds.
    pub candidate: Option<String>,
    /// Sentences, most important first.
    pub sentences: Vec<String>,
}

/// Why it is recommended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Rankings are equal: choose by operating point.
    OperatingPoint,
    /// One ranks better, and enough seeds say so.
    RanksBetter,
    /// One may rank better; more seeds would tell.
    MoreSeeds,
    /// Too many runs have not converged: their differences would say how fast strategies learn, not how well.
    NotConverged,
    /// Some rankings cannot be told apart from the baseline's, and none is seen to be better.
    Undecided,
    /// There is no baseline, or nothing but it.
    NothingToCompare,
}
