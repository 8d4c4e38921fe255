//! The scores of one run as probabilities: proper scores, calibration with its judgement, and reliability, label by label. Pure.

use serde::Serialize;

use super::difference::SEED;
use super::kept_scores::{Evidence, KeptRows};
use super::lint;
use imbalance::loss::{self, Context, Loss};
use imbalance::metric::calibration::{BINS, Bin, Calibration, equal_width, judge};
use imbalance::metric::probability;
use imbalance::{LabelCounts, UNKNOWN};
use plan::{DataFacts, RunConfig};

/// One split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitProbabilities {
    pub split: &'static str,
    /// Whether gaps and errors are as they were at the prevalences of train; else train has no known rows, and they are as they are.
    pub at_train: bool,
    /// Means over labels.
    pub brier: f64,
    pub nll: f64,
    pub ece: f64,
    pub labels: Vec<LabelProbabilities>,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelProbabilities {
    pub label: String,
    /// Mean squared difference of score and truth.
    pub brier: f64,
    /// Mean negative log-likelihood in nats.
    pub nll: f64,
    #[serde(flatten)]
    pub calibration: Calibration,
    /// Bins of equal width over 0 to 1, on the rows as they are.
    pub reliability: Vec<Bin>,
}

impl SplitProbabilities {
    /// Both splits, val first.
    #[must_use]
    pub fn of_run(evidence: &Evidence, facts: &DataFacts) -> Vec<Self> {
        let of_split = |(split, rows)| Self::new(split, rows, facts);
        std::iter::once(("val", &evidence.val)).chain(evidence.test.as_ref().map(|rows| ("test", rows))).map(of_split).collect()
    }

    fn new(split: &'static str, rows: &KeptRows, facts: &DataFacts) -> Self {
        let KeptRows { scores, truth, .. } = rows;
        let prevalences = facts.train.prevalences();
        let judged = judge(scores, truth, prevalences.as_deref(), SEED);
        let width = truth.names.len().max(1);
        let line = |(at, (calibration, proper)): (usize, (Calibration, imbalance::metric::Probability))| {
            let cells = scores.iter().zip(&truth.values).skip(at).step_by(width).map(|(&score, &y)| (score, y));
            let cells = cells.filter(|(_, y)| *y != UNKNOWN);
            LabelProbabilities {
                label: facts.labels.get(at).cloned().unwrap_or_default(),
                brier: proper.brier,
                nll: proper.nll,
                calibration,
                reliability: equal_width(&cells.collect::<Vec<_>>(), BINS),
            }
        };
        let labels: Vec<_> = judged.into_iter().zip(probability(scores, truth)).enumerate().map(line).collect();
        let mean = |value: fn(&LabelProbabilities) -> f64| labels.iter().map(value).sum::<f64>() / labels.len().max(1) as f64;
        let (brier, nll, ece) = (mean(|label| label.brier), mean(|label| label.nll), mean(|label| label.calibration.ece));
        Self { split, at_train: prevalences.is_some(), brier, nll, ece, labels }
    }
}

/// The loss of a run on data with these counts of `train` where its LINK holds: not where a sampler moves the prevalences, or where the loss is unknown to this version.
#[must_use]
pub fn link_of(config: &RunConfig, weights: &[f64], train: &LabelCounts) -> Option<Box<dyn Loss>> {
    let context = Context { pos_weight: weights.to_vec(), counts: train.clone(), epochs: config.train.epochs };
    loss::build(&config.loss, &context).ok().filter(|_| !lint::moves_prevalence(&config.sampler.kind))
}
