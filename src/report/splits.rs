//! What the division of the rows does to the numbers, whatever the strategy: labels without positives in a split, and labels whose
//! prevalence has shifted since train. From counts alone. Pure.

use super::group::counts;
use super::question::Split;
use super::summary::WithoutPositives;
use super::text_grid::{number, percent};
use imbalance::shift::{Shift, shifts};
use imbalance::shown::shown;
use plan::DataFacts;

/// Labels that a sentence names.
const NAMED: usize = 8;

/// `A, B, C`; of many the first ones, and how many more there are.
fn named(mut labels: Vec<String>) -> String {
    let more = labels.len().saturating_sub(NAMED);
    labels.truncate(NAMED);
    labels.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// Labels without a positive in the split; none if the split has no rows.
#[must_use]
pub fn absent(facts: &DataFacts, split: Split) -> Vec<usize> {
    let counts = counts(facts, split);
    (0..counts.positives.len()).filter(|&label| counts.rows > 0 && counts.positives[label] == 0).collect()
}

/// The labels without a positive, by split.
#[must_use]
pub fn without_positives(facts: &DataFacts) -> WithoutPositives {
    let names = |split| absent(facts, split).into_iter().map(|label| facts.labels[label].clone()).collect();
    WithoutPositives { val: names(Split::Val), test: names(Split::Test) }
}

/// The same as a short line beside means over labels.
#[must_use]
pub fn undefined(facts: &DataFacts, split: Split) -> Option<String> {
    let absent = absent(facts, split);
    let (name, all, left) = (split.name(), facts.labels.len(), facts.labels.len() - absent.len());
    let left_out = match left {
        0 => "macro AP and AUC are undefined".to_owned(),
        left => format!("macro AP and AUC are means over the other {left}"),
    };
    (!absent.is_empty()).then(|| {
        format!(
            "{name} has no positive of {} of {all} labels ({}): macro F1, precision and recall count them as 0 (macro F1 is {} at most), {left_out}",
            absent.len(),
            named(absent.iter().map(|&label| shown(&facts.labels[label])).collect()),
            number(left as f64 / all as f64),
        )
    })
}

/// What labels without positives in the split do to macro F1 and macro AP, and why they have none.
#[must_use]
pub fn absence(facts: &DataFacts, split: Split) -> Option<String> {
    let absent = absent(facts, split);
    let (name, all, left) = (split.name(), facts.labels.len(), facts.labels.len() - absent.len());
    if absent.is_empty() {
        return None;
    }
    let total = |label: usize| facts.train.positives[label] + facts.val.positives[label] + facts.test.positives[label];
    let known = facts.train.rows > 0;
    let of = |label: &usize| {
        let in_all = if known { format!(" ({} in all)", total(*label)) } else { String::new() };
        format!("{}{in_all}", shown(&facts.labels[*label]))
    };
    let why = match absent.iter().filter(|&&label| total(label) > 2).count() {
        _ if !known => "",
        0 => " Fewer than three positives cannot be in three splits.",
        _ => " Three or more can be in three splits, unless a split column or a group keeps them together.",
    };
    let undefined = match left {
        0 => "is undefined".to_owned(),
        left => format!("is a mean over the other {left}"),
    };
    let fitted = if split == Split::Val { " Thresholds that are fitted on val stay at 0.5 for them." } else { "" };
    Some(format!(
        "{name} has no positive of {} of {all} labels: {}. Macro F1 on {name} is a mean over all labels, with 0 for these (as in \
         scikit-learn), so it cannot exceed {}; macro AP {undefined}.{fitted}{why}",
        absent.len(),
        named(absent.iter().map(of).collect()),
        number(left as f64 / all as f64),
    ))
}

/// How many cells of the split nobody knows, the labels with most of them first, and what metrics do with them.
#[must_use]
pub fn unknown(facts: &DataFacts, split: Split) -> Option<String> {
    let counts = counts(facts, split);
    let mut labels: Vec<usize> = (0..counts.positives.len()).filter(|&label| counts.known(label) < counts.rows).collect();
    labels.sort_by_key(|&label| counts.known(label));
    let of = |label: &usize| format!("{} {} of {}", shown(&facts.labels[*label]), counts.known(*label), counts.rows);
    (!labels.is_empty()).then(|| {
        format!(
            "known rows of {}: {}. Every number of a label is of the rows that know it, and one of rows (samples_f1, subset_accuracy) of \
             their known labels",
            split.name(),
            named(labels.iter().map(of).collect())
        )
    })
}

/// The labels that are more or less frequent in the split than in train.
#[must_use]
pub fn shifted(facts: &DataFacts, split: Split) -> Vec<Shift> {
    shifts(&facts.train, counts(facts, split))
}

/// Which labels have shifted between train and the split, and what follows from it for every strategy alike.
#[must_use]
pub fn shift(facts: &DataFacts, split: Split) -> Option<String> {
    let shifted = shifted(facts, split);
    let name = split.name();
    let of = |shift: &Shift| {
        let label = shown(&facts.labels[shift.label]);
        format!("{label} ({} to {})", percent(shift.train), percent(shift.split))
    };
    (!shifted.is_empty()).then(|| {
        format!(
            "prevalences differ between train and {name} by more than chance: {}. That is the split's doing, not a strategy's: mean scores and \
             predicted shares that fit train are off on {name}",
            named(shifted.iter().map(of).collect())
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::explain::testing::facts;
    use super::*;

    fn sparse() -> DataFacts {
        let mut facts = facts();
        facts.val.positives[0] = 0;
        facts
    }

    #[test]
    fn unknown_cells_are_counted_label_by_label() {
        let mut facts = facts();
        assert_eq!(unknown(&facts, Split::Val), None);
        let (rows, labels) = (facts.val.rows, facts.labels.len());
        facts.val = facts.val.with_unknown((0..labels).map(|label| if label == 1 { 3 } else { 0 }).collect());
        let said = unknown(&facts, Split::Val).unwrap();
        assert!(said.starts_with(&format!("known rows of val: {} {} of {rows}. Every", facts.labels[1], rows - 3)), "{said}");
        assert_eq!(unknown(&facts, Split::Test), None);
    }

    #[test]
    fn a_label_without_positives_is_named_with_what_it_does_to_the_means() {
        assert_eq!(absence(&facts(), Split::Val), None);
        let said = absence(&sparse(), Split::Val).unwrap();
        let of = facts().labels.len();
        assert!(said.starts_with(&format!("val has no positive of 1 of {of} labels: A (1187 in all). ")), "{said}");
        assert!(said.contains("cannot exceed 0.500; macro AP is a mean over the other 1"), "{said}");
        assert!(said.contains("stay at 0.5") && said.contains("a split column or a group"), "{said}");
        let mut two = sparse();
        (two.train.positives[0], two.test.positives[0]) = (1, 1);
        assert!(absence(&two, Split::Val).unwrap().contains("Fewer than three positives"));
        assert_eq!(absence(&two, Split::Test), None);
        let mut none = sparse();
        none.val = imbalance::LabelCounts::new(0, vec![0; of]);
        assert_eq!(absence(&none, Split::Val), None, "a split that nobody knows of misses nothing");
    }

    #[test]
    fn a_shift_is_said_of_the_split() {
        assert_eq!(shift(&facts(), Split::Test), None);
        let mut facts = facts();
        facts.test.positives[0] += facts.test.rows / 4;
        let said = shift(&facts, Split::Test).unwrap();
        assert!(said.contains("A (8.5% to 33") && said.contains("not a strategy's"), "{said}");
    }
}
