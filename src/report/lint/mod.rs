//! Warnings about common mistakes, each with its reason: those that a plan shows before anything trains (`planned`) and those that
//! scores show afterwards (`trained`). Pure.

mod planned;
mod trained;

use serde::Serialize;

pub use planned::{FEW, of_data, planned};
pub use trained::{Health, Trained, trained};

/// A mistake, or something that looks like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No score is below 0.5.
    DoubleSigmoid,
    /// One score for every row.
    ConstantLabel,
    /// Scores that float32 has rounded to 0 or 1.
    RimScores,
    /// Worse than predicting every label for every row.
    WorseThanAllPositive,
    /// Two or three at once of: a rebalancing sampler, positive weights, a loss that makes up for rarity itself.
    DoubleCorrection,
    /// Weights by effective number that are all one.
    EqualWeights,
    /// Repeat factors that are all one.
    NothingRepeated,
    /// A schedule that spends its learning rate in the first epoch.
    ScheduleSpent,
    /// Labels without a positive in val or test.
    AbsentLabels,
    /// Cells of labels that the data leaves open.
    UnknownCells,
    /// Labels whose prevalence in val or test is not that of train.
    Shifted,
    /// Too few positives in val to tune a threshold on.
    FewPositives,
    /// Tuned thresholds that flatter val.
    Optimism,
    /// Too few seeds for any difference to be significant.
    FewSeeds,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lint {
    pub kind: Kind,
    /// The strategies it is about; empty if it is about all of them.
    pub about: Vec<String>,
    /// What is wrong, why, and what would be right.
    pub sentence: String,
}

/// Whether a sampler changes how often labels are shown.
#[must_use]
pub fn moves_prevalence(sampler: &str) -> bool {
    imbalance::sampler::balances(sampler)
}

/// Equal warnings as one, the gravest first.
#[must_use]
pub fn merged(lints: Vec<Lint>) -> Vec<Lint> {
    let mut all = Lints::default();
    for lint in lints {
        let about = if lint.about.is_empty() { vec![String::new()] } else { lint.about };
        about.iter().for_each(|name| all.add(lint.kind, name, lint.sentence.clone()));
    }
    all.sorted()
}

/// Collects warnings: those with equal kinds and sentences are one, about several strategies.
#[derive(Default)]
struct Lints(Vec<Lint>);

impl Lints {
    fn add(&mut self, kind: Kind, about: &str, sentence: String) {
        let known = self.0.iter_mut().find(|lint| lint.kind == kind && lint.sentence == sentence);
        let lint = match known {
            Some(lint) => lint,
            None => {
                self.0.push(Lint { kind, about: Vec::new(), sentence });
                let last = self.0.len() - 1;
                &mut self.0[last]
            }
        };
        if !about.is_empty() && !lint.about.iter().any(|name| name == about) {
            lint.about.push(about.to_owned());
        }
    }

    /// The gravest first.
    fn sorted(mut self) -> Vec<Lint> {
        self.0.sort_by_key(|lint| lint.kind);
        self.0
    }
}

/// `A`, `A and B`, `A, B and 3 more`.
#[must_use]
pub fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, two, three] => format!("{one}, {two} and {three}"),
        [one, two, rest @ ..] => format!("{one}, {two} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_warnings_are_one() {
        let mut lints = Lints::default();
        lints.add(Kind::ScheduleSpent, "bce", "late".to_owned());
        lints.add(Kind::ScheduleSpent, "focal", "late".to_owned());
        lints.add(Kind::ScheduleSpent, "focal", "late".to_owned());
        lints.add(Kind::DoubleSigmoid, "bce", "twice".to_owned());
        let found = lints.sorted();
        assert_eq!((found.len(), found[0].kind, found[1].about.len()), (2, Kind::DoubleSigmoid, 2));
    }

    #[test]
    fn lists_are_short() {
        let names: Vec<String> = ["A", "B", "C", "D", "E"].map(str::to_owned).into();
        assert_eq!([0, 1, 2, 3, 5].map(|n| listed(&names[..n])), ["", "A", "A and B", "A, B and C", "A, B and 3 more"]);
    }
}
