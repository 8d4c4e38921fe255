//! The labels of a row: means over its runs, and which of them are shown. Pure.

use std::collections::HashMap;

use super::load::Part;
use super::question::{LabelChoice, unknown};
use super::score::LabelScore;
use super::summary::{DataSet, LabelLine, Summary};
use crate::error::Error;
use imbalance::LabelCounts;

/// Most labels of a table unless more are asked for: the rarest, and as many that are predicted worst.
pub const SHOWN: usize = 20;

/// Fills in the labels of the rows that have parts.
pub fn describe(summary: &mut Summary, parts: &HashMap<usize, Vec<Part>>) {
    for (place, row) in summary.rows.iter_mut().enumerate() {
        if let Some(parts) = parts.get(&place) {
            row.labels = lines(parts, &summary.data[row.data]);
        }
    }
}

/// The places of at most [`SHOWN`] labels, the rarest first: all if they are so few, otherwise the rarest half of those with positives
/// and, of the others, those with the lowest `f1`. Positives and F1 have the order of the data.
#[must_use]
pub fn rare(positives: &[usize], f1: &[f64]) -> Vec<usize> {
    let mut places = rarest_first(positives);
    if places.len() <= SHOWN {
        return places;
    }
    // Without positives every rate is 0 or undefined.
    places.retain(|&label| positives[label] > 0);
    let mut others = places.split_off(places.len().min(SHOWN / 2));
    let of = |label: &usize| f1.get(*label).copied().unwrap_or(0.0);
    others.sort_by(|a, b| of(a).total_cmp(&of(b)));
    places.extend(others.into_iter().take(SHOWN / 2));
    places.sort_by_key(|&label| positives[label]);
    places
}

/// The places of all labels, the rarest first.
fn rarest_first(positives: &[usize]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..positives.len()).collect();
    places.sort_by_key(|&label| positives[label]);
    places
}

/// Checks the names of a choice against the labels of the data sets.
///
/// # Errors
/// [`Error::Usage`] for a name that no data set has as a label.
pub fn check<'l>(choice: &LabelChoice, sets: impl Iterator<Item = &'l [String]> + Clone) -> Result<(), Error> {
    let every = || sets.clone().flatten().map(String::as_str).collect::<std::collections::BTreeSet<_>>();
    let found: Vec<(Vec<usize>, Vec<&str>)> = sets.clone().filter_map(|labels| choice.find(labels)).collect();
    let Some((_, first)) = found.first() else { return Ok(()) };
    let nowhere = |name: &&&str| found.iter().all(|(_, unknown)| unknown.contains(name));
    if let Some(name) = first.iter().find(nowhere) {
        let (every, some) = (every(), 12);
        let listed: Vec<&str> = every.iter().copied().take(some).collect();
        let error = unknown("--labels", name, &every.into_iter().collect::<Vec<_>>());
        return Err(match error {
            // Of hundreds of labels the nearest is what helps.
            Error::Usage(text) if sets.clone().map(<[String]>::len).sum::<usize>() > some => {
                let hint = text.split_once("; there are ").map_or(text.as_str(), |(hint, _)| hint);
                Error::Usage(format!("{hint}; there are {}, ...", listed.join(", ")))
            }
            error => error,
        });
    }
    if found.iter().all(|(places, _)| places.is_empty()) {
        return Err(Error::Usage("--labels: no name is given; `rare`, `all`, or labels with commas between them".to_owned()));
    }
    Ok(())
}

/// The places of the labels of a choice, the rarest first. `positives` and `f1` have the order of `labels`.
#[must_use]
pub fn places(choice: &LabelChoice, labels: &[String], positives: &[usize], f1: impl FnOnce() -> Vec<f64>) -> Vec<usize> {
    match choice.find(labels) {
        Some((mut places, _)) => {
            places.sort_by_key(|&label| positives[label]);
            places
        }
        None if *choice == LabelChoice::All => rarest_first(positives),
        None => rare(positives, &f1()),
    }
}

/// Leaves each row the labels of the choice: the same ones in all rows of a data set.
pub fn select(summary: &mut Summary, choice: &LabelChoice) {
    for data in 0..summary.data.len() {
        let set = &summary.data[data];
        let best = summary.rows.iter().find(|row| row.data == data && row.is_strategy() && !row.labels.is_empty());
        let f1 = || best.iter().flat_map(|row| &row.labels).map(|line| line.f1).collect();
        let places = places(choice, &set.labels, &set.positives, f1);
        for row in summary.rows.iter_mut().filter(|row| row.data == data && !row.labels.is_empty()) {
            row.labels = places.iter().filter_map(|&label| row.labels.get(label).cloned()).collect();
        }
    }
}

/// Which labels of a data set the tables show, in words; `None` where they show all.
#[must_use]
pub fn chosen(summary: &Summary, data: usize) -> Option<String> {
    let row = summary.rows.iter().find(|row| row.data == data && row.is_strategy() && !row.labels.is_empty())?;
    let (some, all) = (row.labels.len(), summary.data[data].labels.len());
    (some < all).then(|| {
        if some == SHOWN {
            format!(
                "of {all} labels the {0} rarest with positives, and the {0} others with the lowest F1 in the best row (--labels all, --labels NAME,NAME)",
                SHOWN / 2
            )
        } else {
            format!("{some} of {all} labels (--labels all)")
        }
    })
}

/// Means over evaluations, one line per label of the data.
#[must_use]
pub fn lines(parts: &[Part], set: &DataSet) -> Vec<LabelLine> {
    let counts = LabelCounts::new(set.rows, set.positives.clone()).with_unknown(set.unknown.clone());
    let line = |(at, label): (usize, &String)| {
        // A label's AP is defined in all evaluations of a data set or in none.
        let ap = mean(parts, |part| part.labels.get(at).and_then(|score| score.ap));
        let of = |value: fn(&LabelScore) -> f64| mean(parts, |part| part.labels.get(at).map(value)).unwrap_or(0.0);
        LabelLine {
            label: label.clone(),
            ap,
            precision: of(|score| score.precision),
            recall: of(|score| score.recall),
            f1: of(|score| score.f1),
            threshold: of(|score| score.threshold),
            known: Some(counts.known(at)).filter(|_| !set.unknown.is_empty()),
            prevalence: counts.prevalence(at),
            predicted_rate: of(|score| score.predicted_rate),
        }
    };
    set.labels.iter().enumerate().map(line).collect()
}

/// Weighted by evaluations; `None` without values.
fn mean(parts: &[Part], value: impl Fn(&Part) -> Option<f64>) -> Option<f64> {
    let (sum, n) = parts
        .iter()
        .filter_map(|part| Some((value(part)?, part.evaluations as f64)))
        .fold((0.0, 0.0), |(sum, n), (value, weight)| (sum + value * weight, n + weight));
    (n > 0.0).then(|| sum / n)
}
