//! From evaluations to ranked rows. Pure.

use std::collections::HashSet;

use super::baseline::baseline;
use super::group::{PREPARED, StrategyGroups, data_sets};
use super::load::Loaded;
use super::question::{Column, Question};
use super::summary::{Row, RunTally, SCHEMA_VERSION, Summary};

/// Rows, ranked on val, cut to `--top`, without their labels.
#[must_use]
pub fn rank(loaded: &Loaded, question: &Question, columns: &[Column]) -> Summary {
    let (data, of_facts) = data_sets(&loaded.data, question.split);
    let groups = StrategyGroups::new(loaded, columns, &of_facts);
    let (mut rows, without_results) = groups.rows(loaded, question);
    let strategies = rows.iter().filter(|row| row.is_strategy()).count();
    for (index, set) in data.iter().enumerate().filter(|_| strategies > 0) {
        let facts = of_facts.iter().position(|&of| of == index).map(|at| &loaded.data[at]);
        rows.extend(facts.map(|facts| baseline(index, set, facts, question)));
    }
    order(&mut rows, question);
    if let Some(top) = question.top {
        let (mut kept, mut references) = (vec![0; data.len()], HashSet::new());
        rows.retain(|row| {
            kept[row.data] += usize::from(row.is_strategy());
            match row.reference {
                // Its best policy.
                Some(_) => references.insert((row.data, row.runs.clone())),
                None => row.baseline || kept[row.data] <= top,
            }
        });
    }
    let names = columns.iter().map(Column::name).chain(groups.alike.then_some(PREPARED));
    let group_by = names.map(str::to_owned).collect();
    let all = loaded.runs.iter().chain(&loaded.passed_over);
    let mut runs = RunTally { total: all.clone().count(), ..RunTally::default() };
    all.for_each(|run| runs.count(&run.row));
    let mut summary = Summary {
        schema_version: SCHEMA_VERSION,
        sweep: loaded.sweep.title.clone(),
        state: loaded.sweep.state.clone(),
        metric: question.metric,
        lower_is_better: question.lower_is_better(),
        split: question.split,
        epoch: question.at.to_string(),
        group_by,
        policies: loaded.policies.clone(),
        runs,
        data,
        strategies,
        rows,
        samplers: super::samplers::lines(loaded, &of_facts),
        without_results,
        search: loaded.search.clone(),
        notes: vec![],
        why: None,
        curves: None,
    };
    summary.notes = super::notes::notes(&summary, loaded, question);
    summary
}

/// Best first on val rows that thresholds were not fitted on, within each data set, undefined last, equal values by macro_ap, then as planned. Sets the ranks.
fn order(rows: &mut [Row], question: &Question) {
    // Means that are equal but for the order of their sums differ after the twelfth digit at most.
    let key = |row: &Row| {
        let sign = if question.lower_is_better() { 1e12 } else { -1e12 };
        row.ranked_by().map_or(f64::INFINITY, |val| (val.mean * sign).round())
    };
    let ap = |row: &Row| row.val_ap.map_or(f64::INFINITY, |ap| -ap);
    rows.sort_by(|a, b| {
        let by_value = a.data.cmp(&b.data).then(key(a).total_cmp(&key(b)));
        by_value.then(b.is_strategy().cmp(&a.is_strategy())).then(ap(a).total_cmp(&ap(b)))
    });
    let (mut strategies, mut rank, mut last) = (0, 0, None);
    for row in rows.iter_mut() {
        let here = (row.data, key(row));
        if last.is_none_or(|(data, _)| data != row.data) {
            strategies = 0;
        }
        if last != Some(here) {
            rank = strategies + 1;
        }
        strategies += usize::from(row.is_strategy());
        row.rank = row.ranked_by().is_some().then_some(rank);
        last = Some(here);
    }
}
