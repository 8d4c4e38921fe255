//! What can be wrong with a choice or a strategy, as values: the words come last, from whoever knows names and places.

use crate::shown::shown;
use crate::{Param, Takes};

/// A choice that its family of kinds does not have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChoiceError {
    /// An unknown kind. `what` names the family: `loss`, `threshold policy`.
    #[error("no {what} is called {}; allowed: {}{}", shown(&format!("{typed:?}")), .allowed.join(", "), hint(.typed, .allowed))]
    Kind { what: &'static str, typed: String, allowed: Vec<&'static str> },
    /// A parameter that the kind does not have.
    #[error("{kind} has no parameter `{}`; {}", shown(typed), params(.typed, .allowed))]
    Param { kind: String, typed: String, allowed: Vec<&'static str> },
    /// A value that the parameter does not take; `kind` where the parameter stands beside its kind.
    #[error("`{param}`{} must be {takes}, not {}{}", of(.kind.as_ref()), shown(given), takes.hint(.given))]
    Value { kind: Option<String>, param: &'static str, takes: Takes, given: String },
    /// A required parameter that was not given.
    #[error("{kind} needs `{}`: {}", .param.name, .param.takes)]
    Missing { kind: String, param: &'static Param },
    /// Text that is not of the form `kind(name=value,...)`.
    #[error("`{}` {why}", shown(text))]
    Form { text: String, why: &'static str },
}

fn params(typed: &str, allowed: &[&str]) -> String {
    if allowed.is_empty() {
        return "it has none at all".to_owned();
    }
    format!("allowed: {}{}", allowed.join(", "), hint(typed, allowed))
}

fn of(kind: Option<&String>) -> String {
    kind.map_or_else(String::new, |kind| format!(" of {kind}"))
}

/// The name that is nearest to what was typed, whatever its case; `None` where none is near.
#[must_use]
pub fn nearest<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // No name is so long, and the distance of a text of megabytes takes its square in memory.
    if typed.len() > 100 {
        return None;
    }
    let lower = typed.to_lowercase();
    names
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, known), known))
        .filter(|&(distance, known)| distance <= 1 + known.len().min(lower.len()) / 3)
        .min()
        .map(|(_, known)| known)
}

/// `; did you mean `x`?` where a name is near, else nothing.
#[must_use]
pub fn hint(typed: &str, names: &[&str]) -> String {
    nearest(typed, names.iter().copied()).map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
}

/// A strategy that cannot be built, for this data or at all.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StrategyError {
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Text that is no threshold policy.
    #[error("{0} (a number from 0 to 1 is a policy, too)")]
    Policy(ChoiceError),
    /// A label with one class only in train: there is nothing to weigh against. `missing` is `positive` or `negative`.
    #[error("{what}: label {label} (from 0) has no {missing} among the {rows} train rows")]
    OneClass { what: String, label: usize, missing: &'static str, rows: usize },
    /// A vector of weights of the wrong length.
    #[error("pos_weight has {weights} weights for {labels} labels: give one per label")]
    WeightCount { weights: usize, labels: usize },
    /// A weight that is not a positive number.
    #[error("weight {weight} of label {label} (from 0) must be a number above 0")]
    Weight { label: usize, weight: f64 },
    /// A threshold that no probability can reach or miss.
    #[error("threshold {0} must be from 0 to 1: scores are probabilities")]
    Threshold(f64),
    /// Data on which the strategy has no meaning, or parameters that contradict each other; what would do is in the sentence.
    #[error("{0}")]
    Unfit(String),
}

impl StrategyError {
    /// The message with names of labels instead of their numbers.
    #[must_use]
    pub fn with_labels(&self, labels: &[String]) -> String {
        let name =
            |label: usize| labels.get(label).map_or_else(|| format!("{label} (from 0)"), |name| shown(&format!("{name:?}")));
        match self {
            Self::OneClass { what, label, missing, rows } => {
                format!("{what}: label {} has no {missing} among the {rows} train rows", name(*label))
            }
            Self::Weight { label, weight } => format!("weight {weight} of label {} must be a number above 0", name(*label)),
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("epoch", ["epochs", "batch_size"]), Some("epochs"));
        assert_eq!(hint("Fokal", &["bce", "focal"]), "; did you mean `focal`?");
        assert_eq!(hint("zzz", &["bce", "focal"]), "");
    }

    #[test]
    fn labels_are_named_by_whoever_knows_them() {
        let error = StrategyError::OneClass { what: "pos_weight sqrt".to_owned(), label: 1, missing: "positive", rows: 9 };
        assert_eq!(error.to_string(), "pos_weight sqrt: label 1 (from 0) has no positive among the 9 train rows");
        let names = ["a".to_owned(), "b \"c\"".to_owned()];
        assert_eq!(error.with_labels(&names), "pos_weight sqrt: label \"b \\\"c\\\"\" has no positive among the 9 train rows");
        assert_eq!(
            StrategyError::Weight { label: 7, weight: 0.0 }.with_labels(&names),
            "weight 0 of label 7 (from 0) must be a number above 0"
        );
    }
}
