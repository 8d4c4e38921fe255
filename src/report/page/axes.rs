//! How much each axis of the grid explains: one-way analysis of variance, effect size ω² (Hays, Statistics for Psychologists, 1963).
//! Pure.
//!
//! ω² = (SS_between - (k - 1) MS_within) / (SS_total + MS_within) estimates the share of the variance of the results that an axis of k
//! values accounts for, without the share that k groups get by luck. What it cannot say: which value is better; what axes do together
//! (interactions are in nobody's share); anything beyond the values that were tried. Where the grid is not full, axes share what they
//! explain.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::load::Loaded;
use super::super::question::every_column;
use super::super::score::{Score, place};
use super::super::summary::Summary;

/// The share of one axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AxisShare {
    pub axis: String,
    /// Values of the axis.
    pub levels: usize,
    /// ω² of macro AP on val, over runs; `None` for the policy, which ranks nothing.
    pub ap: Option<f64>,
    /// ω² of the metric that ranks, held out, over runs and policies.
    pub metric: Option<f64>,
}

/// ω² of `values` grouped by `group`; negative estimates are 0. `None` with fewer than two groups, or no more values than groups.
#[must_use]
pub fn omega_squared(values: &[f64], groups: &[String]) -> Option<f64> {
    let mut members: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (value, group) in values.iter().zip(groups) {
        members.entry(group).or_default().push(*value);
    }
    let (n, k) = (values.len(), members.len());
    if k < 2 || n <= k {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let grand = mean(values);
    let total: f64 = values.iter().map(|value| (value - grand).powi(2)).sum();
    let between: f64 = members.values().map(|group| group.len() as f64 * (mean(group) - grand).powi(2)).sum();
    let within = (total - between).max(0.0) / (n - k) as f64;
    let share = (between - (k - 1) as f64 * within) / (total + within);
    (total > 0.0).then_some(share.max(0.0))
}

/// What each axis explains, the most first.
#[must_use]
pub fn shares(loaded: &Loaded, summary: &Summary) -> Vec<AxisShare> {
    let metric = |score: &&Score| score.held_out.or(score.values[place(summary.metric)]);
    let of_grid = |run: usize| loaded.runs[run].row.reference().is_none();
    let scores: Vec<_> = loaded.val.iter().filter(|score| of_grid(score.run) && metric(score).is_some()).collect();
    let mut ap: BTreeMap<usize, f64> = BTreeMap::new();
    for score in &scores {
        ap.extend(score.values[place("macro_ap")].map(|value| (score.run, value)));
    }
    let values: Vec<f64> = scores.iter().filter_map(metric).collect();
    let ranked: Vec<f64> = ap.values().copied().collect();
    let mut found = Vec::new();
    for column in every_column(&loaded.keys) {
        let text = |run: usize| column.value(&loaded.runs[run].row, &loaded.runs[run].params).to_string();
        let groups: Vec<String> = scores.iter().map(|score| text(score.run)).collect();
        let by_run: Vec<String> = ap.keys().map(|&run| text(run)).collect();
        let levels = groups.iter().collect::<BTreeSet<_>>().len();
        if levels > 1 {
            let (ap, metric) = (omega_squared(&ranked, &by_run), omega_squared(&values, &groups));
            found.push(AxisShare { axis: column.name().to_owned(), levels, ap, metric });
        }
    }
    if loaded.policies.len() > 1 {
        let groups: Vec<String> = scores.iter().map(|score| loaded.policies[score.policy].clone()).collect();
        let levels = loaded.policies.len();
        found.push(AxisShare { axis: "threshold".to_owned(), levels, ap: None, metric: omega_squared(&values, &groups) });
    }
    // Of one run there is nothing to explain.
    found.retain(|share| share.ap.is_some() || share.metric.is_some());
    found.sort_by(|a, b| b.metric.unwrap_or(0.0).total_cmp(&a.metric.unwrap_or(0.0)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// By hand: groups (1, 2, 3) and (4, 5, 6): SS_between 13.5, SS_within 4, MS_within 1; (13.5 - 1) / (17.5 + 1).
    #[test]
    fn shares_are_those_of_the_formula() {
        let by = groups(&["a", "a", "a", "b", "b", "b"]);
        let found = omega_squared(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &by).unwrap();
        assert!((found - 12.5 / 18.5).abs() < 1e-12, "{found}");
        // An axis that does nothing has no share, not a negative one.
        assert_eq!(omega_squared(&[1.0, 2.0, 3.0, 1.0, 2.0, 3.0], &by), Some(0.0));
    }

    #[test]
    fn nothing_is_said_without_a_comparison() {
        assert_eq!(omega_squared(&[1.0, 2.0], &groups(&["a", "a"])), None);
        assert_eq!(omega_squared(&[1.0, 2.0], &groups(&["a", "b"])), None);
        assert_eq!(omega_squared(&[1.0; 4], &groups(&["a", "a", "b", "b"])), None);
    }
}
