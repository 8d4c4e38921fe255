//! The columns of the leaderboard as statistics that can be resampled.

use super::super::kept_scores::{Evidence, KeptRows};
use super::super::question::Split;
use imbalance::UNKNOWN;
use imbalance::evaluation::LeaderboardMetric;
use imbalance::metric::certainty::{Decided, Ranked, RankedMetric, RowValues, Statistic};
use imbalance::metric::{Decide, Rate};
use imbalance::threshold::{Policy, Rule};

/// A run's scores on a split, prepared for resampling.
pub enum Judged {
    Ranked(Ranked),
    Decided { decided: Decided, rows: PerRow },
}

/// The decisions of each row.
pub struct PerRow {
    f1: RowValues,
    exact: RowValues,
    /// `None` where rows have more or fewer known labels, so that the loss is no mean over rows.
    wrong: Option<RowValues>,
}

impl Judged {
    /// As rankings, or under `policy`, fitted on val. `None` on test where there is none.
    #[must_use]
    pub fn new(evidence: &Evidence, split: Split, policy: Option<&Policy>) -> Option<Self> {
        let rows = evidence.on(split)?;
        let KeptRows { scores, truth, .. } = rows;
        let Some(policy) = policy else { return Some(Self::Ranked(Ranked::new(rows.ranked(), truth))) };
        let rule = policy.fit(&evidence.val.scores, &evidence.val.truth);
        Some(Self::Decided { decided: Decided::new(scores, truth, &rule), rows: PerRow::new(rows, &rule) })
    }

    /// A metric as a statistic; `None` for a metric of decisions of rankings, or the other way round.
    #[must_use]
    pub fn statistic(&self, metric: LeaderboardMetric) -> Option<Box<dyn Statistic + '_>> {
        let (decided, rows) = match self {
            Self::Ranked(ranked) => {
                return match metric {
                    LeaderboardMetric::MacroAp => Some(Box::new(ranked.metric(RankedMetric::AveragePrecision))),
                    LeaderboardMetric::MacroAuc => Some(Box::new(ranked.metric(RankedMetric::RocAuc))),
                    _ => None,
                };
            }
            Self::Decided { decided, rows } => (decided, rows),
        };
        match metric {
            LeaderboardMetric::MacroF1 => Some(Box::new(decided.rate(Rate::F(1.0)))),
            LeaderboardMetric::MicroF1 => Some(Box::new(decided.micro(Rate::F(1.0)))),
            LeaderboardMetric::WeightedF1 => Some(Box::new(decided.weighted(Rate::F(1.0)))),
            LeaderboardMetric::MacroPrecision => Some(Box::new(decided.rate(Rate::Precision))),
            LeaderboardMetric::MacroRecall => Some(Box::new(decided.rate(Rate::Recall))),
            LeaderboardMetric::SamplesF1 => Some(Box::new(rows.f1.clone())),
            LeaderboardMetric::SubsetAccuracy => Some(Box::new(rows.exact.clone())),
            LeaderboardMetric::HammingLoss => Some(match &rows.wrong {
                Some(wrong) => Box::new(wrong.clone()),
                None => Box::new(decided.micro(Rate::Error)),
            }),
            LeaderboardMetric::MacroAp | LeaderboardMetric::MacroAuc => None,
        }
    }
}

impl PerRow {
    fn new(rows: &KeptRows, rule: &Rule) -> Self {
        let labels = rows.truth.names.len();
        let mut predicted = vec![false; labels];
        let [mut f1, mut exact, mut wrong] = [const { Vec::new() }; 3];
        for (row, scores) in rows.scores.chunks_exact(labels.max(1)).enumerate() {
            rule.row(scores, &mut predicted);
            let known = || predicted.iter().zip(rows.truth.row(row)).filter(|(_, y)| **y != UNKNOWN);
            if known().next().is_none() {
                [&mut f1, &mut exact, &mut wrong].into_iter().for_each(|values| values.push(f64::NAN));
                continue;
            }
            let hits = known().filter(|(p, y)| **p && **y == 1).count();
            let missed = known().filter(|(p, y)| **p != (**y == 1)).count();
            f1.push(if hits > 0 { (2 * hits) as f64 / (2 * hits + missed) as f64 } else { 0.0 });
            exact.push(f64::from(u8::from(missed == 0)));
            wrong.push(missed as f64 / labels.max(1) as f64);
        }
        let one = |values| RowValues { labels: vec![values] };
        Self { f1: one(f1), exact: one(exact), wrong: (!rows.truth.has_unknown()).then(|| one(wrong)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::LabelMatrix;
    use imbalance::evaluation::Evaluation;
    use imbalance::metric::certainty::{Resampling, bootstrap};
    use imbalance::rng::Rng;
    use store::{COLUMNS, MetricColumn};

    /// 3 labels, 90 rows, of which `unknown` know a label seldom and the first one none.
    fn rows(seed: u64, unknown: bool) -> KeptRows {
        let mut rng = Rng::new(seed, "rows", &[]);
        let scores: Vec<f32> = (0..270).map(|_| rng.uniform() as f32).collect();
        let mut values: Vec<u8> = scores.iter().map(|&score| u8::from(rng.uniform() < f64::from(score))).collect();
        if unknown {
            values.iter_mut().enumerate().filter(|(at, _)| *at < 3 || at % 4 == 1).for_each(|(_, y)| *y = UNKNOWN);
        }
        let names = ["a", "b", "c"].map(str::to_owned);
        KeptRows::of(scores, LabelMatrix { names: names.into(), values })
    }

    /// The point estimate of every column is the leaderboard's own.
    #[test]
    fn every_metric_is_the_leaderboards() {
        for unknown in [false, true] {
            is_the_leaderboards(&Evidence { val: rows(1, unknown), test: Some(rows(2, unknown)) });
        }
    }

    fn is_the_leaderboards(evidence: &Evidence) {
        let KeptRows { scores, truth, .. } = evidence.judged();
        let policies = ["0.4", "max_f1", "rcut(r=1)"].map(imbalance::threshold::parse);
        for policy in policies.map(Result::unwrap) {
            let rule = policy.fit(&evidence.val.scores, &evidence.val.truth);
            let evaluation = Evaluation::new(scores, truth, &rule);
            for MetricColumn { name, metric, .. } in COLUMNS {
                let judged = Judged::new(evidence, Split::Test, metric.needs_threshold().then_some(&policy)).unwrap();
                let resampling = Resampling { rows: 90, groups: None, replicates: 2, seed: 0, jackknife: 0 };
                let found = bootstrap(&resampling, &[judged.statistic(metric).unwrap().as_ref()])[0].mean.point;
                let wanted = evaluation.value(metric).unwrap();
                assert!((found - wanted).abs() < 1e-12, "{name} under {policy}: {found} {wanted}");
            }
        }
    }
}
