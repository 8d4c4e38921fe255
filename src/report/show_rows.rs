//! What a run's kept scores say row by row: rates of rows under each policy, and how well each row ranks its own labels.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::kept_scores::KeptRows;
use super::show::LabelLine;
use imbalance::metric::{LabelRanking, SampleRates, ZeroDivision, label_ranking, sample_rates};
use imbalance::threshold::{self, Rule};

/// Means over the rows of one split, as scikit-learn's functions of these names; where a row lacks what is divided by, 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowMetrics {
    pub rows: u64,
    /// Rows of which no label is true. In `samples_ap` they count 0, in `label_ranking_average_precision` 1.
    pub rows_without_labels: u64,
    pub samples_ap: Option<f64>,
    pub label_ranking_average_precision: f64,
    /// Labels one has to go down the row's ranking until its own are covered.
    pub coverage_error: f64,
    /// Share of a row's (true, false) pairs of labels in the wrong order.
    pub ranking_loss: f64,
    /// By policy.
    pub policies: BTreeMap<String, RowRates>,
}

/// Means over rows of each row's rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RowRates {
    pub samples_precision: Option<f64>,
    pub samples_recall: Option<f64>,
    pub samples_f1: Option<f64>,
    pub samples_jaccard: Option<f64>,
}

/// The means of the rows of one split; `judged` are the label rows of its policies with their thresholds, `val` what they were
/// fitted on; `labels` are their names, which kept scores do not know.
#[must_use]
pub fn row_metrics(on: &KeptRows, val: &KeptRows, labels: &[String], judged: &BTreeMap<String, Vec<LabelLine>>) -> RowMetrics {
    let LabelRanking { coverage_error, ranking_loss, ranking_average_precision, average_precision } =
        label_ranking(on.ranked(), &on.truth);
    let rates = |(policy, lines): (&String, &Vec<LabelLine>)| {
        let rule = rule(policy, lines, labels, val)?;
        let SampleRates { precision, recall, f1, jaccard } = sample_rates(&on.scores, &on.truth, &rule);
        let [samples_precision, samples_recall, samples_f1, samples_jaccard] =
            [precision, recall, f1, jaccard].map(|rate| rate.mean(ZeroDivision::Zero));
        Some((policy.clone(), RowRates { samples_precision, samples_recall, samples_f1, samples_jaccard }))
    };
    RowMetrics {
        rows: average_precision.rows,
        rows_without_labels: average_precision.rows - average_precision.defined,
        samples_ap: average_precision.mean(ZeroDivision::Zero),
        label_ranking_average_precision: ranking_average_precision,
        coverage_error,
        ranking_loss,
        policies: judged.iter().filter_map(rates).collect(),
    }
}

/// What the policy decides by: the recorded thresholds, or whole rows. `None` where one of the `labels` has no threshold.
fn rule(policy: &str, lines: &[LabelLine], labels: &[String], val: &KeptRows) -> Option<Rule> {
    let fitted = threshold::parse(policy).ok().map(|policy| policy.fit(&val.scores, &val.truth));
    if let Some(rule @ Rule::Top(_)) = fitted {
        return Some(rule);
    }
    let thresholds: HashMap<&str, f64> = lines.iter().map(|line| (line.row.label.as_str(), line.row.threshold)).collect();
    let thresholds = labels.iter().map(|name| thresholds.get(name.as_str()).map(|&threshold| threshold as f32));
    thresholds.collect::<Option<_>>().map(Rule::Thresholds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::LabelMatrix;
    use store::LabelRow;

    fn line(label: &str, threshold: f64) -> LabelLine {
        let row = LabelRow {
            run: String::new(),
            policy: String::new(),
            label: label.to_owned(),
            threshold,
            support: 0,
            tp: 0,
            fp: 0,
            fn_: 0,
            tn: 0,
            precision: 0.0,
            recall: 0.0,
            f1: 0.0,
            ap: None,
            auc: None,
            mean_score: None,
            prevalence: 0.0,
            predicted_rate: 0.0,
        };
        LabelLine::from(row)
    }

    /// scikit-learn on the same three rows: label_ranking_average_precision_score 0.833, coverage_error 1.333, label_ranking_loss
    /// 0.167, average_precision_score(average="samples") 0.5 and precision_recall_fscore_support(average="samples").
    #[test]
    fn rows_are_judged_as_scikit_learn_does() {
        let truth = LabelMatrix { names: ["0", "1", "2"].map(str::to_owned).into(), values: vec![1, 0, 0, 0, 1, 1, 0, 0, 0] };
        let rows = KeptRows::of(vec![0.4, 0.9, 0.1, 0.2, 0.8, 0.6, 0.1, 0.2, 0.3], truth);
        let labels = ["A", "B", "C"].map(str::to_owned);
        // In another order than the labels', as a query may give them.
        let half = vec![line("C", 0.5), line("A", 0.5), line("B", 0.85)];
        let judged = BTreeMap::from([("0.5".to_owned(), half), ("rcut(r=2)".to_owned(), vec![]), ("gone".to_owned(), vec![])]);
        let found = row_metrics(&rows, &rows, &labels, &judged);
        let near = |ours: f64, theirs: f64| assert!((ours - theirs).abs() < 1e-12, "{ours} is not {theirs}: {found:?}");
        near(found.coverage_error, 4.0 / 3.0);
        near(found.ranking_loss, 0.5 / 3.0);
        near(found.label_ranking_average_precision, 2.5 / 3.0);
        near(found.samples_ap.unwrap(), 0.5);
        assert_eq!((found.rows, found.rows_without_labels, found.policies.len()), (3, 1, 2));
        // Predicted: B, C, none; and by rcut A B, B C, B C.
        let (half, two) = (found.policies["0.5"], found.policies["rcut(r=2)"]);
        near(half.samples_precision.unwrap(), 1.0 / 3.0);
        near(half.samples_recall.unwrap(), 0.5 / 3.0);
        near(half.samples_f1.unwrap(), 2.0 / 9.0);
        near(half.samples_jaccard.unwrap(), 0.5 / 3.0);
        near(two.samples_recall.unwrap(), 2.0 / 3.0);
        near(two.samples_f1.unwrap(), (2.0 / 3.0 + 1.0) / 3.0);
    }
}
