//! The ten metrics of the view `leaderboard`, each with its name, its SQL, its function and its direction: the one table that
//! queries, reports and comparisons read. A test holds it against the view.

use imbalance::evaluation::LeaderboardMetric;

/// One metric of the view.
#[derive(Debug, PartialEq)]
pub struct MetricColumn {
    /// As the view names it.
    pub name: &'static str,
    /// The same value as a function of scores and truth: [`imbalance::evaluation::Evaluation::value`].
    pub metric: LeaderboardMetric,
    pub higher_is_better: bool,
    /// The same value in SQL, given an evaluation `e`, its label counts `c` and the ranking `k` of its scores.
    pub(crate) sql: &'static str,
}

impl MetricColumn {
    /// The metric of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        const ALL: &[MetricColumn] = &COLUMNS;
        ALL.iter().find(|column| column.name == name)
    }
}

const fn column(name: &'static str, metric: LeaderboardMetric, sql: &'static str) -> MetricColumn {
    MetricColumn { name, metric, higher_is_better: !matches!(metric, LeaderboardMetric::HammingLoss), sql }
}

/// In the order of the view.
pub const COLUMNS: [MetricColumn; 10] = [
    column("macro_f1", LeaderboardMetric::MacroF1, "avg(c.f1)"),
    column("micro_f1", LeaderboardMetric::MicroF1, "coalesce(2.0 * sum(c.tp) / (2 * sum(c.tp) + sum(c.fp) + sum(c.fn)), 0.0)"),
    column("weighted_f1", LeaderboardMetric::WeightedF1, "coalesce(sum(c.f1 * c.support) / sum(c.support), 0.0)"),
    column("samples_f1", LeaderboardMetric::SamplesF1, "e.samples_f1"),
    column("macro_precision", LeaderboardMetric::MacroPrecision, "avg(c.precision)"),
    column("macro_recall", LeaderboardMetric::MacroRecall, "avg(c.recall)"),
    column("macro_ap", LeaderboardMetric::MacroAp, "k.macro_ap"),
    column("macro_auc", LeaderboardMetric::MacroAuc, "k.macro_auc"),
    column(
        "hamming_loss",
        LeaderboardMetric::HammingLoss,
        "coalesce(CAST(sum(c.fp + c.fn) AS REAL) / sum(c.tp + c.fp + c.fn + c.tn), 0.0)",
    ),
    column("subset_accuracy", LeaderboardMetric::SubsetAccuracy, "e.subset_accuracy"),
];

/// Their names.
pub const METRICS: [&str; COLUMNS.len()] = {
    let mut names = [""; COLUMNS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = COLUMNS[at].name;
        at += 1;
    }
    names
};

/// A value of each metric, in their order; serialised under their names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MetricValues(pub [Option<f64>; COLUMNS.len()]);

impl MetricValues {
    /// The value of the metric `name`; `None` where it is undefined, or for an unknown name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        METRICS.iter().position(|known| *known == name).and_then(|at| self.0[at])
    }
}

impl serde::Serialize for MetricValues {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(METRICS.iter().zip(&self.0))
    }
}
