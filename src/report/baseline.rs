//! The trivial model that predicts every label for every row: what any strategy has to beat. From counts alone. Pure.

use serde_json::Map;

use super::group::counts;
use super::labels::lines;
use super::load::Part;
use super::question::Question;
use super::score;
use super::summary::{DataSet, Row, Spread};
use imbalance::evaluation::{LeaderboardMetric, predicted_rate};
use imbalance::metric::Counts;
use imbalance::metric::average::{Averages, mean_defined};
use plan::DataFacts;
use store::{COLUMNS, METRICS};

/// The policy of the baseline, in every format.
pub const ALL_POSITIVE: &str = "all_positive";

/// AP of a constant score: the prevalence (scikit-learn's, ties grouped); `None` without positives.
fn constant_ap(counts: &[Counts]) -> Vec<Option<f64>> {
    counts.iter().map(|counts| (counts.support() > 0).then(|| counts.prevalence())).collect()
}

/// The metrics that follow from counts; `samples_f1` and `subset_accuracy` need the rows themselves and stay empty.
fn baseline_values(counts: &[Counts]) -> [Option<f64>; METRICS.len()] {
    let both = counts.iter().map(|counts| (counts.support() > 0 && counts.support() < counts.rows()).then_some(0.5));
    let (ap, auc) = (mean_defined(&constant_ap(counts)), mean_defined(&both.collect::<Vec<_>>()));
    let averages = Averages::of(counts);
    COLUMNS.map(|column| match column.metric {
        LeaderboardMetric::MacroAp => ap.map(|ap| ap.mean),
        LeaderboardMetric::MacroAuc => auc.map(|auc| auc.mean),
        of_counts => of_counts.of_averages(&averages),
    })
}

/// Its row of the report; ranking sets the rank.
#[must_use]
pub fn baseline(index: usize, set: &DataSet, facts: &DataFacts, question: &Question) -> Row {
    let exact = |value: Option<f64>| value.map(|mean| Spread { mean, sd: None, n: 1 });
    let shown = Counts::all_positive(counts(facts, question.split));
    let val = baseline_values(&Counts::all_positive(&facts.val));
    let scores = score::label_scores(&shown, &constant_ap(&shown), &vec![0.0; shown.len()]);
    Row {
        rank: None,
        data: index,
        baseline: true,
        reference: None,
        strategy: Map::new(),
        policy: ALL_POSITIVE.to_owned(),
        n: 0,
        of: 0,
        metrics: METRICS
            .into_iter()
            .zip(baseline_values(&shown))
            .filter_map(|(name, value)| Some((name, exact(value)?)))
            .collect(),
        val: exact(val[score::place(question.metric)]),
        held_out: exact(val[score::place(question.metric)]),
        predicted_rate: exact(Some(predicted_rate(&shown))),
        runs: vec![],
        equal_to: vec![],
        steps: None,
        labels: lines(&[Part { evaluations: 1, labels: scores }], set),
        curve: vec![],
        val_ap: None,
        members: vec![],
    }
}
