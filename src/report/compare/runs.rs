//! Two runs on the same rows: paired differences with bootstrap intervals over the rows, thresholds held fixed. Pure.

use serde::Serialize;

use super::super::difference::LEVEL;
use super::super::kept_scores::{Evidence, RowGroups};
use super::super::question::Split;
use super::super::score::{is_of_rankings, lower_is_better};
use super::super::summary::WithoutPositives;
use super::ask::CompareOptions;
use super::statistics::Judged;
use imbalance::metric::certainty::{Estimate, bootstrap};
use imbalance::threshold::Policy;
use store::MetricColumn;

/// Two runs compared; `difference` is always the second minus the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunComparison {
    pub first: Named,
    pub second: Named,
    /// Differences of their configurations: key, first, second.
    pub differ: Vec<[String; 3]>,
    pub labels: Vec<String>,
    /// Labels that the means of a split count as 0 or leave out.
    pub without_positives: WithoutPositives,
    /// Nominal coverage of the intervals.
    pub level: f64,
    pub replicates: usize,
    pub splits: Vec<SplitComparison>,
    pub notes: Vec<String>,
}

/// A run: its fingerprint and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    pub run: String,
    pub name: String,
    pub seed: u64,
}

/// One split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitComparison {
    pub split: Split,
    pub rows: usize,
    /// Groups that were resampled whole, if the rows have any.
    pub groups: Option<usize>,
    pub measures: Vec<Measure>,
}

/// One metric of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    pub metric: &'static str,
    /// `None` for metrics that need no threshold.
    pub policy: Option<String>,
    pub lower_is_better: bool,
    #[serde(flatten)]
    pub all: PairedValue,
    /// Share of the resamples in which the second run is better, ties counting half.
    pub second_better: f64,
    /// Label by label, in the order of the data; empty for metrics of all labels at once.
    pub labels: Vec<PairedValue>,
    /// (label, resample) pairs without a positive, which were left out of the mean.
    pub left_out: usize,
}

/// Two values and their difference; `None` where undefined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedValue {
    pub first: Option<f64>,
    pub second: Option<f64>,
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl PairedValue {
    fn of(first: &Estimate, second: &Estimate) -> Self {
        let defined = |value: f64| (!value.is_nan()).then_some(value);
        let difference = second.minus(first);
        let interval = difference.interval(LEVEL);
        Self {
            first: defined(first.point),
            second: defined(second.point),
            difference: defined(difference.point),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
        }
    }
}

/// The measures of two runs on one split; `None` where one of them has no such split. Rules are fitted on each run's own val scores.
#[must_use]
pub fn on_split(
    split: Split,
    first: &Evidence,
    second: &Evidence,
    groups: Option<&RowGroups>,
    ask: &CompareOptions,
) -> Option<SplitComparison> {
    let rows = first.on(split)?.truth.rows();
    let groups = groups.and_then(|groups| groups.of(split, rows));
    let policies: Vec<(Option<&Policy>, Vec<&'static str>)> = std::iter::once((None, &ask.metrics))
        .chain(ask.policies.iter().map(|policy| (Some(policy), &ask.metrics)))
        .map(|(policy, metrics)| {
            (policy, metrics.iter().copied().filter(|metric| is_of_rankings(metric) == policy.is_none()).collect())
        })
        .collect();
    let judge = |policy: Option<&Policy>| Some([Judged::new(first, split, policy)?, Judged::new(second, split, policy)?]);
    let judged: Vec<[Judged; 2]> = policies.iter().map(|(policy, _)| judge(*policy)).collect::<Option<_>>()?;
    let asked = policies.iter().zip(&judged).flat_map(|((policy, metrics), judged)| {
        metrics.iter().map(move |metric| (*metric, policy.map(ToString::to_string), judged))
    });
    let asked: Vec<_> = asked.collect();
    let statistic = |metric: &str, judged| Judged::statistic(judged, MetricColumn::named(metric)?.metric);
    let statistics = asked.iter().flat_map(|(metric, _, judged)| judged.iter().map(|judged| statistic(metric, judged)));
    let statistics: Vec<_> = statistics.collect::<Option<_>>()?;
    let references: Vec<_> = statistics.iter().map(AsRef::as_ref).collect();
    let estimates = bootstrap(&ask.resampling(rows, groups), &references);
    let measures = asked.iter().zip(estimates.chunks_exact(2)).map(|((metric, policy, _), pair)| {
        let [first, second] = pair else { unreachable!("chunks of two") };
        let lower_is_better = lower_is_better(metric);
        let above = second.mean.minus(&first.mean).share_above(0.0);
        let labels = first.labels.iter().zip(&second.labels).map(|(first, second)| PairedValue::of(first, second));
        Measure {
            metric,
            policy: policy.clone(),
            lower_is_better,
            all: PairedValue::of(&first.mean, &second.mean),
            second_better: if lower_is_better { 1.0 - above } else { above },
            labels: if first.labels.len() > 1 { labels.collect() } else { Vec::new() },
            left_out: first.dropped,
        }
    });
    let count = |groups: &[u32]| groups.iter().collect::<std::collections::BTreeSet<_>>().len();
    Some(SplitComparison { split, rows, groups: groups.map(count), measures: measures.collect() })
}
