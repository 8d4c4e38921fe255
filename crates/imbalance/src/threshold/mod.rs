//! Threshold policies: how scores become decisions. A number, or a rule fitted on the known cells of validation.
//!
//! Most rules look at one label at a time and choose a cut of its validation scores (`cut`). On few rows such a cut is chosen for
//! its luck: below some 2,000 validation rows `folds = 5` is worth its time (docs/strategies.md#few-validation-rows). It fits the
//! rule on each four fifths of a label's rows and takes the mean threshold, which varies less (`mean_of_parts`).

mod cost;
mod cut;
mod interval;
mod max_f1;
mod max_fbeta;
mod max_micro_f1;
mod precision_at_least;
mod prior_match;
mod rcut;
mod recall_at_least;
mod scutfbr;
mod youden;

pub use interval::{middle, resampled_max_f1};

use super::{Absent, Entry, Param, StrategyError, Takes};
use crate::Choice;
use crate::LabelMatrix;
use crate::metric::{Curve, Decide, column, row_by_row};

/// A policy of the sweep file. Serialised as a number or a choice.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Policy {
    /// The same number for every label: predicted where score >= threshold.
    Fixed(f64),
    /// A rule fitted on the validation scores.
    Fitted(Choice),
}

impl std::fmt::Display for Policy {
    /// The name in the database: `0.5`, `max_f1`, `max_fbeta(beta=2)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(number) => write!(f, "{number}"),
            Self::Fitted(choice) => write!(f, "{choice}"),
        }
    }
}

/// The result of fitting a policy on validation: all that [`crate::metric::decide()`] needs on any split.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// One threshold per label: predicted where score >= threshold.
    Thresholds(Vec<f32>),
    /// The labels with this many highest scores of each row, whatever these are; of equal scores the first label's.
    Top(usize),
}

impl Decide for Rule {
    fn row(&self, scores: &[f32], predicted: &mut [bool]) {
        match self {
            Self::Thresholds(thresholds) => thresholds.row(scores, predicted),
            Self::Top(count) => {
                let mut order: Vec<usize> = (0..scores.len()).collect();
                order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
                predicted.fill(false);
                order.iter().take(*count).for_each(|&label| predicted[label] = true);
            }
        }
    }

    fn rows(&self, scores: &[f32], labels: usize, predicted: &mut [bool]) {
        match self {
            Self::Thresholds(thresholds) => thresholds.rows(scores, labels, predicted),
            Self::Top(_) => row_by_row(self, scores, labels, predicted),
        }
    }

    /// 0 for every label where a rule decides on whole rows: no score is too low to be among the highest.
    fn thresholds(&self, labels: usize) -> Vec<f32> {
        match self {
            Self::Thresholds(thresholds) => thresholds.thresholds(labels),
            Self::Top(_) => vec![0.0; labels],
        }
    }
}

/// Fits a rule on validation scores (`[rows, labels]` row-major, float32 probabilities).
pub type Fit = fn(&Choice, scores: &[f32], truth: &LabelMatrix) -> Rule;

/// Every fitted policy.
pub const REGISTRY: &[Entry<Fit>] = &[
    max_f1::ENTRY,
    max_fbeta::ENTRY,
    max_micro_f1::ENTRY,
    scutfbr::ENTRY,
    prior_match::ENTRY,
    rcut::ENTRY,
    cost::ENTRY,
    youden::ENTRY,
    recall_at_least::ENTRY,
    precision_at_least::ENTRY,
];

impl Policy {
    /// The policy with every parameter that this version knows, checked: for policies read from a database.
    ///
    /// # Errors
    /// A number outside 0 to 1; an unknown kind or parameter.
    pub fn admitted(&self) -> Result<Self, StrategyError> {
        match self {
            Self::Fixed(number) => fixed(*number),
            Self::Fitted(choice) => Ok(Self::Fitted(super::admit(REGISTRY, "threshold policy", choice)?.1)),
        }
    }

    /// Whether the threshold of each label follows from the scores of that label alone, whatever the order of the rows. Rows that a policy
    /// itself divides into `folds` are dealt in their order.
    pub(crate) fn is_by_label(&self) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Fitted(choice) => !["max_micro_f1", "rcut"].contains(&choice.kind.as_str()) && choice.find("folds").is_none(),
        }
    }

    /// Fits the policy on validation scores; test scores are never passed here.
    ///
    /// # Panics
    /// If the policy was neither parsed nor [`Self::admitted`] and its kind or a parameter is unknown.
    #[must_use]
    pub fn fit(&self, val_scores: &[f32], val_truth: &LabelMatrix) -> Rule {
        match self {
            Self::Fixed(number) => Rule::Thresholds(vec![*number as f32; val_truth.names.len()]),
            Self::Fitted(choice) => {
                let entry = super::find(REGISTRY, &choice.kind).expect("the policy is admitted");
                (entry.build)(choice, val_scores, val_truth)
            }
        }
    }
}

/// The policy that `text` names, in the form that [`Policy`] displays; parameters may be left out where they have defaults.
///
/// # Errors
/// A number outside 0 to 1, or as [`super::parse`].
pub fn parse(text: &str) -> Result<Policy, StrategyError> {
    match text.trim().parse::<f64>() {
        Ok(number) => fixed(number),
        Err(_) => super::parse(REGISTRY, "threshold policy", text).map(Policy::Fitted).map_err(StrategyError::Policy),
    }
}

fn fixed(number: f64) -> Result<Policy, StrategyError> {
    if (0.0..=1.0).contains(&number) {
        // -0 is 0
        Ok(Policy::Fixed(number + 0.0))
    } else {
        Err(StrategyError::Threshold(number))
    }
}

/// The threshold of a label that cannot be fitted on validation.
const UNFITTED: f32 = 0.5;

/// A parameter of every rule that [`each_label`] applies.
const FOLDS: Param = Param {
    name: "folds",
    help: "cross-fit: fit on each folds - 1 of so many parts of validation, take the mean threshold; off by default (use 5 below 2,000 rows)",
    takes: Takes::Whole { min: 2, max: 100 },
    absent: Absent::Off,
};

/// A rule that looks at one label at a time, applied to all: the label's curve, or that of a part of its rows, and its positives in
/// all of validation give a threshold. Where the choice says `folds`, the parts are of one label: its positives are dealt in turn and
/// its negatives in turn, so that each part has its share of both.
fn each_label(choice: &Choice, scores: &[f32], truth: &LabelMatrix, rule: impl Fn(&Curve, u64) -> f32) -> Rule {
    let label = |label: usize| {
        let whole = Curve::of(scores, truth, label);
        let part = |curve: &Curve| rule(curve, whole.positives);
        let Some(folds) = folds(choice, whole.rows as usize) else { return part(&whole) };
        let mut dealt = [0, whole.positives as usize];
        let cells: Vec<(usize, (f32, u8))> = column(scores, truth, label)
            .map(|cell| {
                // Positives begin with the first fold, negatives where the positives end.
                let next = &mut dealt[usize::from(cell.1 == 0)];
                *next += 1;
                ((*next - 1) % folds, cell)
            })
            .collect();
        mean_of_parts(&whole, folds, &cells, part)
    };
    Rule::Thresholds((0..truth.names.len()).map(label).collect())
}

/// The number of parts of `rows` that the choice wants, if it wants any.
fn folds(choice: &Choice, rows: usize) -> Option<usize> {
    choice.find("folds").map(|folds| (folds as usize).min(rows)).filter(|folds| *folds > 1)
}

/// The mean of the thresholds that `rule` fits to `cells` (fold, score and truth) without one of the folds each. A part that lacks
/// a class (positives or negatives) that the `whole` has says nothing about the threshold and is left out. The parts on which it is
/// best to predict nothing, whose thresholds are above 1, are asked first: where they are the majority nothing is predicted, else
/// the mean is that of the others.
fn mean_of_parts(whole: &Curve, folds: usize, cells: &[(usize, (f32, u8))], rule: impl Fn(&Curve) -> f32) -> f32 {
    let lacks = |part: &Curve| {
        let [all, of_part] = [whole, part].map(|curve| [curve.positives, curve.rows - curve.positives]);
        all.into_iter().zip(of_part).any(|(all, of_part)| all > 0 && of_part == 0)
    };
    let parts = (0..folds).map(|held| Curve::new(cells.iter().filter(|(fold, _)| *fold != held).map(|(_, cell)| *cell)));
    let fitted: Vec<f32> = parts.filter(|part| part.rows > 0 && !lacks(part)).map(|part| rule(&part)).collect();
    let some: Vec<f64> = fitted.iter().filter(|threshold| **threshold <= 1.0).map(|&threshold| threshold.into()).collect();
    match (fitted.len(), some.len()) {
        (0, _) => rule(whole),
        (parts, some) if 2 * some < parts => whole.threshold(0),
        (_, count) => (some.iter().sum::<f64>() / count as f64) as f32,
    }
}

#[cfg(test)]
mod tests;
