//! The columns of the leaderboard as statistics that can be resampled.

use super::super::evidence::{Evidence, Rows};
use super::super::question::Split;
use imbalance::metric::certainty::{Decided, Ranked, RankedMetric, RowValues, Statistic};
use imbalance::metric::{Decide, Rate};
use imbalance::threshold::{Policy, Rule};

/// Whether a metric needs no threshold.
#[must_use]
pub fn is_of_rankings(metric: &str) -> bool {
    matches!(metric, "macro_ap" | "macro_auc")
}

/// A run's scores on a split, made ready.
pub enum Judged {
    Ranked(Ranked),
    Decided { decided: Decided, rows: PerRow },
}

/// What each row's decisions come to.
pub struct PerRow {
    f1: RowValues,
    exact: RowValues,
    wrong: RowValues,
}

impl Judged {
    /// As rankings, or under `policy`, fitted on val.
    #[must_use]
    pub fn new(evidence: &Evidence, split: Split, policy: Option<&Policy>) -> Self {
        let Rows { scores, truth } = evidence.on(split);
        let Some(policy) = policy else { return Self::Ranked(Ranked::new(scores, truth)) };
        let rule = policy.fit(&evidence.val.scores, &evidence.val.truth);
        Self::Decided { decided: Decided::new(scores, truth, &rule), rows: PerRow::new(evidence.on(split), &rule) }
    }

    /// The statistic that `metric` names; macro F1 for a name that is none of the leaderboard's.
    #[must_use]
    pub fn statistic(&self, metric: &str) -> Box<dyn Statistic + '_> {
        match (self, metric) {
            (Self::Ranked(ranked), "macro_auc") => Box::new(ranked.metric(RankedMetric::RocAuc)),
            (Self::Ranked(ranked), _) => Box::new(ranked.metric(RankedMetric::AveragePrecision)),
            (Self::Decided { decided, .. }, "micro_f1") => Box::new(decided.micro(Rate::F(1.0))),
            (Self::Decided { decided, .. }, "weighted_f1") => Box::new(decided.weighted(Rate::F(1.0))),
            (Self::Decided { decided, .. }, "macro_precision") => Box::new(decided.rate(Rate::Precision)),
            (Self::Decided { decided, .. }, "macro_recall") => Box::new(decided.rate(Rate::Recall)),
            (Self::Decided { rows, .. }, "samples_f1") => Box::new(rows.f1.clone()),
            (Self::Decided { rows, .. }, "subset_accuracy") => Box::new(rows.exact.clone()),
            (Self::Decided { rows, .. }, "hamming_loss") => Box::new(rows.wrong.clone()),
            (Self::Decided { decided, .. }, _) => Box::new(decided.rate(Rate::F(1.0))),
        }
    }
}

impl PerRow {
    fn new(rows: &Rows, rule: &Rule) -> Self {
        let labels = rows.truth.names.len();
        let mut predicted = vec![false; labels];
        let [mut f1, mut exact, mut wrong] = [const { Vec::new() }; 3];
        for (row, scores) in rows.scores.chunks_exact(labels.max(1)).enumerate() {
            rule.row(scores, &mut predicted);
            let truth = rows.truth.row(row);
            let count = |hit: bool| predicted.iter().zip(truth).filter(|(p, y)| (**p == (**y == 1)) == hit).count();
            let hits = predicted.iter().zip(truth).filter(|(p, y)| **p && **y == 1).count();
            let missed = count(false);
            f1.push(if hits > 0 { (2 * hits) as f64 / (2 * hits + missed) as f64 } else { 0.0 });
            exact.push(f64::from(u8::from(missed == 0)));
            wrong.push(missed as f64 / labels.max(1) as f64);
        }
        let one = |values| RowValues { labels: vec![values] };
        Self { f1: one(f1), exact: one(exact), wrong: one(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::LabelMatrix;
    use imbalance::metric::average::{Averages, mean_defined};
    use imbalance::metric::certainty::{Resampling, bootstrap};
    use imbalance::metric::{decide, rank};
    use imbalance::rng::Rng;
    use store::METRICS;

    /// 3 labels, 90 rows.
    fn rows(seed: u64) -> Rows {
        let mut rng = Rng::new(seed, "rows", &[]);
        let scores: Vec<f32> = (0..270).map(|_| rng.uniform() as f32).collect();
        let values = scores.iter().map(|&score| u8::from(rng.uniform() < f64::from(score))).collect();
        let names = ["a", "b", "c"].map(str::to_owned);
        Rows { scores, truth: LabelMatrix { names: names.into(), values } }
    }

    /// The point estimate of every column is the leaderboard's own.
    #[test]
    fn every_metric_is_the_leaderboards() {
        let evidence = Evidence { val: rows(1), test: rows(2) };
        let Rows { scores, truth } = &evidence.test;
        let policies = ["0.4", "max_f1", "rcut(r=1)"].map(imbalance::threshold::parse);
        for policy in policies.map(Result::unwrap) {
            let decisions = decide(scores, truth, &policy.fit(&evidence.val.scores, &evidence.val.truth));
            let (averages, ranking) = (Averages::of(&decisions.counts), rank(scores, truth));
            for metric in METRICS {
                let judged = Judged::new(&evidence, Split::Test, (!is_of_rankings(metric)).then_some(&policy));
                let resampling = Resampling { rows: 90, groups: None, replicates: 2, seed: 0, jackknife: 0 };
                let found = bootstrap(&resampling, &[judged.statistic(metric).as_ref()])[0].mean.point;
                let wanted = match metric {
                    "macro_f1" => averages.macro_f1,
                    "micro_f1" => averages.micro_f1,
                    "weighted_f1" => averages.weighted_f1,
                    "samples_f1" => decisions.samples_f1,
                    "macro_precision" => averages.macro_precision,
                    "macro_recall" => averages.macro_recall,
                    "macro_ap" => mean_defined(&ranking.ap).unwrap().mean,
                    "macro_auc" => mean_defined(&ranking.auc).unwrap().mean,
                    "hamming_loss" => averages.hamming_loss,
                    _ => decisions.subset_accuracy,
                };
                assert!((found - wanted).abs() < 1e-12, "{metric} under {policy}: {found} {wanted}");
            }
        }
    }
}
