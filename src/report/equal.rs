//! Strategies that are one on these data: the same counts for every label. A per-label weight does nothing where the optimizer divides
//! it away again, for example. Pure.

use std::collections::{BTreeMap, HashMap};

use super::labels::lines;
use super::load::Part;
use super::summary::{LabelLine, Row, Summary};
use super::text_grid::{NONE, spread};

/// Rows that are compared at most: where thousands are equal, something else is wrong.
const MOST: usize = 200;
/// Rates of equal counts differ by the order of their sums at most.
const EQUAL: f64 = 1e-12;

/// Places of rows that may be equal, by group: strategies of one data set and policy whose values are the same to the digits shown.
#[must_use]
pub fn candidates(summary: &Summary) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(usize, &str, String), Vec<usize>> = BTreeMap::new();
    for (place, row) in summary.rows.iter().enumerate().filter(|(_, row)| row.is_strategy() && row.val.is_some()) {
        groups.entry((row.data, &row.policy, printed(summary, row))).or_default().push(place);
    }
    let mut left = MOST;
    let groups = groups.into_values().filter(|places| places.len() > 1);
    groups.filter(|places| left.checked_sub(places.len()).map(|rest| left = rest).is_some()).collect()
}

/// What a table shows of a row beside its name.
fn printed(summary: &Summary, row: &Row) -> String {
    let shown = [summary.metric, "macro_ap"].map(|metric| spread(row.metrics.get(metric).copied(), false));
    let steps = row.steps.map_or_else(|| NONE.to_owned(), |steps| steps.to_string());
    let on_val = [row.val, row.held_out].map(|value| spread(value, false));
    format!("{shown:?} {on_val:?} {} {steps} {}", row.n, row.of)
}

/// Marks the rows of each group whose counts are equal for every label. `parts` are those of all of them.
pub fn mark(summary: &mut Summary, groups: &[Vec<usize>], parts: &HashMap<usize, Vec<Part>>) {
    let described = |place: usize| Some(lines(parts.get(&place)?, &summary.data[summary.rows[place].data]));
    let mut found: Vec<Vec<usize>> = Vec::new();
    for group in groups {
        let mut classes: Vec<(Vec<LabelLine>, Vec<usize>)> = Vec::new();
        for &place in group {
            let Some(labels) = described(place).filter(|labels| !labels.is_empty()) else { continue };
            match classes.iter_mut().find(|(known, _)| same(known, &labels)) {
                Some((_, places)) => places.push(place),
                None => classes.push((labels, vec![place])),
            }
        }
        found.extend(classes.into_iter().map(|(_, places)| places).filter(|places| places.len() > 1));
    }
    for places in found {
        for &place in &places {
            summary.rows[place].equal_to = places.iter().copied().filter(|&other| other != place).collect();
        }
    }
}

/// Whether the counts are the same: precision, recall and the predicted share fix them, for the split is the same.
fn same(a: &[LabelLine], b: &[LabelLine]) -> bool {
    let counts = |line: &LabelLine| [line.precision, line.recall, line.predicted_rate];
    let equal = |(a, b): (&LabelLine, &LabelLine)| counts(a).into_iter().zip(counts(b)).all(|(a, b)| (a - b).abs() < EQUAL);
    a.len() == b.len() && a.iter().zip(b).all(equal)
}
