//! The runs of a group, and pairs of a run of the first group and a run of another. Pure.
//!
//! Two runs are a pair if they are equal in the data and in every column but those that both groups name. A parameter of something
//! that both name (`gamma`, where both name `loss`) is equal where it can be. A column that one of the two does not have is
//! ignored: bce has no gamma.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::load::Run;
use super::super::question::{Column, column, every_column, unknown};
use super::super::text_grid::text;
use super::ask::Selector;
use crate::error::Error;

/// The runs of a selector.
#[derive(Clone, Debug, PartialEq)]
pub struct RunGroup {
    /// As typed.
    pub text: String,
    columns: Vec<Column>,
    /// Indices of runs, recorded or not, in the order of the plan.
    pub runs: Vec<usize>,
}

/// Pairs of two groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// (run of the first group, run of the other).
    pub pairs: Vec<(usize, usize)>,
    /// Columns besides the seed in which pairs differ from each other.
    pub across: Vec<String>,
    /// Runs of either group without a partner.
    pub alone: usize,
}

/// The runs of `selector` among `runs`.
///
/// # Errors
/// A column or a value that no run has.
pub fn select(runs: &[Run], keys: &[String], selector: &Selector) -> Result<RunGroup, Error> {
    // Reference runs are no strategies: they are compared where their name asks for them.
    let by_loss = selector.terms.iter().any(|(name, _)| name == Column::Loss.name());
    let mut found: Vec<usize> = (0..runs.len()).filter(|&at| by_loss || runs[at].row.reference().is_none()).collect();
    let mut columns = Vec::new();
    for (name, wanted) in &selector.terms {
        let what = format!("`{}`: the sweep", selector.text);
        if ["policy", "threshold"].contains(&name.as_str()) {
            return Err(Error::Usage(format!("`{}`: a threshold trains nothing; name it with --threshold", selector.text)));
        }
        let column =
            column(name, keys).map_err(|names| unknown(&what, name, &names.iter().map(String::as_str).collect::<Vec<_>>()))?;
        let value = |at: usize| column.value(&runs[at].row, &runs[at].params);
        let exact = runs.iter().enumerate().any(|(at, _)| equals(&value(at), wanted));
        let fits = |at: usize| if exact { equals(&value(at), wanted) } else { is_kind(&value(at), wanted) };
        if !(0..runs.len()).any(fits) {
            let values: BTreeSet<String> = (0..runs.len()).map(|at| text(Some(&value(at)))).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            return Err(unknown(&format!("`{}`: {}", selector.text, column.name()), wanted, &values));
        }
        found.retain(|&at| fits(at));
        columns.push(column);
    }
    if found.is_empty() {
        return Err(Error::Usage(format!("`{}`: no run of the sweep has all of these values", selector.text)));
    }
    Ok(RunGroup { text: selector.text.clone(), columns, runs: found })
}

/// Whether a typed value equals the recorded one: `2` equals 2.0.
fn equals(value: &Value, wanted: &str) -> bool {
    let numbers = value.as_f64().zip(wanted.parse::<f64>().ok());
    text(Some(value)) == wanted || numbers.is_some_and(|(a, b)| a == b)
}

/// Whether a typed strategy matches: `asl` matches asl with any parameters.
fn is_kind(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(name) => name.split('(').next() == Some(wanted),
        Value::Object(choice) => choice.get("kind").and_then(Value::as_str) == Some(wanted),
        _ => false,
    }
}

/// The strategy column that this axis is a parameter of.
fn parent(column: &Column) -> Option<&str> {
    match column {
        Column::Gamma => Some("loss"),
        Column::Param(key) => match key.rsplit_once('.') {
            // Axes without a dot are parameters of losses.
            None => Some("loss"),
            Some((parent, _)) => Some(parent),
        },
        _ => None,
    }
}

/// Pairs the runs of `first` with those of `other`.
///
/// # Errors
/// There is no pair, with the reason; or a run has several partners, with the column to name.
pub fn pair(runs: &[Run], keys: &[String], first: &RunGroup, other: &RunGroup) -> Result<Pairing, Error> {
    let every = every_column(keys);
    let both = |column: &Column| first.columns.contains(column) && other.columns.contains(column);
    let follows = |column: &Column| parent(column).is_some_and(|name| every.iter().any(|c| c.name() == name && both(c)));
    let value = |column: &Column, at: usize| column.value(&runs[at].row, &runs[at].params);
    let alike = |column: &Column, a: usize, b: usize| {
        let (a, b) = (value(column, a), value(column, b));
        a.is_null() || b.is_null() || a == b
    };
    let strict: Vec<&Column> = every.iter().filter(|column| !both(column) && !follows(column)).collect();
    let soft: Vec<&Column> = every.iter().filter(|column| !both(column) && follows(column)).collect();
    let partners = |a: usize, data: bool| -> Vec<usize> {
        let fits = |b: &usize| *b != a && (!data || runs[a].data == runs[*b].data) && strict.iter().all(|c| alike(c, a, *b));
        let all: Vec<usize> = other.runs.iter().copied().filter(fits).collect();
        let close: Vec<usize> = all.iter().copied().filter(|&b| soft.iter().all(|column| alike(column, a, b))).collect();
        if close.is_empty() { all } else { close }
    };
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for &a in &first.runs {
        match partners(a, true)[..] {
            [] => {}
            [b] => match pairs.iter().find(|pair| pair.1 == b) {
                Some(&(twin, _)) => return Err(ambiguous(runs, &every, first, other, b, &[twin, a])),
                None => pairs.push((a, b)),
            },
            ref many => return Err(ambiguous(runs, &every, other, first, a, many)),
        }
    }
    if pairs.is_empty() {
        return Err(Error::Usage(if first.runs.iter().any(|&a| !partners(a, false).is_empty()) {
            format!(
                "{} and {} are on different data sets or splits: only runs that were judged on the same rows can be paired",
                first.text, other.text
            )
        } else {
            format!(
                "no run of {} has a partner in {}: pairs agree in every column but those that both groups name; \
                 name in both what shall differ, such as `loss=bce,sampler=shuffle loss=bce,sampler=class_aware`",
                first.text, other.text
            )
        }));
    }
    let varies = |column: &&Column| {
        let values: BTreeSet<String> = pairs.iter().map(|pair| text(Some(&value(column, pair.1)))).collect();
        **column != Column::Seed && !both(column) && values.len() > 1
    };
    let across = every.iter().filter(varies).map(|column| column.name().to_owned()).collect();
    Ok(Pairing { alone: first.runs.len() + other.runs.len() - 2 * pairs.len(), pairs, across })
}

/// The error for `many` runs of `group` that fit the run `one` of `partner`.
fn ambiguous(runs: &[Run], every: &[Column], group: &RunGroup, partner: &RunGroup, one: usize, many: &[usize]) -> Error {
    let values = |column: &Column| -> BTreeSet<String> {
        many.iter().map(|&at| text(Some(&column.value(&runs[at].row, &runs[at].params)))).collect()
    };
    let differ = every.iter().map(|column| (column.name(), values(column))).find(|(_, values)| values.len() > 1);
    let (name, values) = differ.unwrap_or(("run", BTreeSet::new()));
    let example = values.first().cloned().unwrap_or_default();
    let values: Vec<String> = values.into_iter().collect();
    Error::Usage(format!(
        "{} runs of {} could be compared with one run of {} (seed {}): they differ in {name} ({}); name one: {},{name}={example}",
        many.len(),
        group.text,
        partner.text,
        runs[one].row.seed,
        values.join(", "),
        group.text
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use store::SweepRun;

    /// (loss, pos_weight, gamma, sampler) x 2 seeds.
    fn runs(strategies: &[(&str, &str, Option<f64>, &str)]) -> Vec<Run> {
        let run = |(loss, pos_weight, gamma, sampler): &(&str, &str, Option<f64>, &str), seed| {
            let row = SweepRun {
                run: format!("{loss}{pos_weight}{gamma:?}{sampler}{seed}"),
                state: "succeeded".to_owned(),
                stopped_early: false,
                left_out: false,
                data: 1,
                epochs: 1,
                best_epoch: Some(0),
                loss: (*loss).to_owned(),
                pos_weight: (*pos_weight).to_owned(),
                gamma: *gamma,
                sampler: (*sampler).to_owned(),
                seed,
                params: "{}".to_owned(),
                format: plan::FORMAT,
                steps: None,
                rise: None,
                val_ap: None,
            };
            Run { row, params: Map::new(), data: 0 }
        };
        strategies.iter().flat_map(|strategy| [run(strategy, 0), run(strategy, 1)]).collect()
    }

    fn paired(runs: &[Run], keys: &[&str], first: &str, other: &str) -> Result<Pairing, String> {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let group = |text: &str| select(runs, &keys, &Selector::read(text).unwrap());
        let groups = group(first).and_then(|first| Ok((first, group(other)?)));
        groups.and_then(|(first, other)| pair(runs, &keys, &first, &other)).map_err(|error| error.to_string())
    }

    #[test]
    fn pairs_agree_in_all_that_is_not_named_twice() {
        let all = runs(&[
            ("bce", "none", None, "shuffle"),
            ("bce", "sqrt", None, "shuffle"),
            ("asl(clip=0.05)", "none", None, "shuffle"),
            ("asl(clip=0.05)", "sqrt", None, "shuffle"),
            ("asl(clip=0.05)", "none", None, "class_aware"),
        ]);
        let found = paired(&all, &[], "loss=bce", "loss=asl").unwrap();
        assert_eq!(found.pairs, [(0, 4), (1, 5), (2, 6), (3, 7)]);
        assert_eq!((found.across, found.alone), (vec!["pos_weight".to_owned()], 2));
        assert_eq!(paired(&all, &[], "loss=bce", "loss=asl,pos_weight=none").unwrap().pairs, [(0, 4), (1, 5)]);
        let weights = paired(&all, &[], "loss=bce,pos_weight=none", "loss=bce,pos_weight=sqrt").unwrap();
        assert_eq!(weights.pairs, [(0, 2), (1, 3)]);
        let error = paired(&all, &[], "loss=bce,pos_weight=none", "pos_weight=sqrt,sampler=class_aware").unwrap_err();
        assert!(error.contains("no run of the sweep has all of these values"), "{error}");
        let error = paired(&all, &[], "loss=bce", "sampler=class_aware").unwrap_err();
        assert!(error.contains("name in both what shall differ"), "{error}");
        assert!(paired(&all, &[], "loss=bce,pos_weight=none", "loss=bce,pos_weight=none").is_err());
    }

    #[test]
    fn a_parameter_of_what_differs_is_no_obstacle_but_two_candidates_are() {
        let all = runs(&[
            ("bce", "none", None, "shuffle"),
            ("focal", "none", Some(1.0), "shuffle"),
            ("focal", "none", Some(2.0), "shuffle"),
            ("poly1", "none", Some(0.0), "shuffle"),
        ]);
        assert_eq!(paired(&all, &[], "loss=bce", "loss=focal,gamma=2.0").unwrap().pairs, [(0, 4), (1, 5)]);
        assert_eq!(paired(&all, &[], "loss=focal,gamma=1", "loss=poly1").unwrap().pairs, [(2, 6), (3, 7)]);
        for (first, other) in [("loss=bce", "loss=focal"), ("loss=focal", "loss=bce")] {
            let error = paired(&all, &[], first, other).unwrap_err();
            assert!(error.contains("2 runs of loss=focal") && error.contains("loss=focal,gamma=1"), "{error}");
        }
    }

    #[test]
    fn other_data_is_never_paired() {
        let mut all = runs(&[("bce", "none", None, "shuffle"), ("asl", "none", None, "shuffle")]);
        for run in &mut all[2..] {
            run.data = 1;
        }
        assert!(paired(&all, &[], "loss=bce", "loss=asl").unwrap_err().contains("different data sets or splits"));
    }

    #[test]
    fn wrong_columns_and_values_are_told() {
        let all = runs(&[("bce", "none", None, "shuffle"), ("asl", "none", None, "shuffle")]);
        let told = |first: &str, what: &str| {
            let error = paired(&all, &["train.learning_rate"], first, "loss=asl").unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        told("los=bce", "did you mean `loss`?");
        told("loss=bec", "did you mean `bce`?");
        told("threshold=0.5", "--threshold");
    }
}
