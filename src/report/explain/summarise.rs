//! From the numbers of single runs to the view of a setting: means over seeds, differences, verdicts, sentences. Pure.

use std::collections::BTreeMap;

use super::super::convergence::Convergence;
use super::super::difference::{Difference, Power, families};
use super::super::lint;
use super::super::question::Split;
use super::super::summary::Spread;
use super::advice::{SEEDS_NEEDED, advise};
use super::arms::{self, Case};
use super::choice::Candidates;
use super::effect::{Bounds, OverRows};
use super::measure::{Measured, macro_f1};
use super::verdict::verdict;
use super::view::{
    Arm, ArmLabel, Calibration, Change, Label, Recommendation, Reference, Rope, RowCounts, Rule, Setting, Verdict,
};
use super::words::{ArmFacts, sentence};
use imbalance::LabelCounts;
use imbalance::metric::Counts;
use imbalance::metric::average::{Averages, mean_defined};
use imbalance::sampler::Realised;
use plan::DataFacts;

/// The measurements of the runs, by case.
#[derive(Default)]
pub struct Findings {
    pub measured: BTreeMap<usize, Measured>,
    /// Resampled differences of each arm of the setting from the baseline.
    pub resampled: BTreeMap<usize, OverRows>,
    /// What the samplers of cases drew.
    pub drawn: BTreeMap<usize, Realised>,
    /// Every candidate, where strategies are tuned.
    pub candidates: Option<Candidates>,
}

/// Reads a metric of one run.
type Metric = fn(&Measured) -> Option<f64>;

/// Picks the bounds of a metric.
type PickBounds = fn(&OverRows) -> Option<Bounds>;

fn macro_ap(ap: &[Option<f64>]) -> Option<f64> {
    mean_defined(ap).map(|mean| mean.mean)
}

/// The metrics that are compared, and their bounds over rows.
const METRICS: [(Metric, PickBounds); 4] = [
    (|run| macro_ap(&run.judged.ap), |resampled| resampled.ap),
    (|run| Some(macro_f1(&run.judged.half)), |resampled| resampled.f1_half),
    (|run| Some(macro_f1(&run.judged.tuned)), |resampled| resampled.f1_tuned),
    (|run| macro_ap(&run.val.ap).map(|ap| ap - run.choice), |resampled| resampled.val_ap),
];

/// Where macro AP on val is among them.
const VAL_AP: usize = 3;

/// Takes off the bounds over rows what choosing on val is worth.
fn pay(changes: &mut [Change], pairs: &[Vec<(usize, usize)>], findings: &Findings) {
    for (change, pairs) in changes.iter_mut().zip(pairs) {
        let choice = |case: &usize| findings.measured.get(case).map_or(0.0, |run| run.choice);
        let worth = pairs.iter().map(|(theirs, ours)| choice(ours) - choice(theirs)).sum::<f64>() / pairs.len().max(1) as f64;
        change.over_rows = change.over_rows.map(|Bounds { low, high }| Bounds { low: low - worth, high: high - worth });
    }
}

/// The view of a setting.
#[must_use]
pub fn summarise(setting: &arms::SettingRuns, cases: &[Case<'_>], facts: &DataFacts, findings: &Findings, rope: Rope) -> Setting {
    let order = order(setting);
    let recorded = |arm: usize| -> Vec<usize> {
        setting.arms[arm].cases.iter().copied().filter(|case| findings.measured.contains_key(case)).collect()
    };
    let present: Vec<usize> = order.iter().copied().filter(|&arm| !recorded(arm).is_empty()).collect();
    let baseline = setting.baseline.filter(|baseline| present.contains(&baseline.arm));
    let pairs = |arm: usize| -> Vec<(usize, usize)> {
        let Some(baseline) = baseline.filter(|baseline| baseline.arm != arm) else { return Vec::new() };
        let seed = |case: usize| cases[case].config.seed;
        let theirs = recorded(baseline.arm);
        let partner = |ours: usize| theirs.iter().copied().find(|&theirs| seed(theirs) == seed(ours));
        recorded(arm).into_iter().filter_map(|ours| Some((partner(ours)?, ours))).collect()
    };
    let pairs: Vec<Vec<(usize, usize)>> = present.iter().map(|&arm| pairs(arm)).collect();
    let runs: Vec<(usize, Vec<usize>)> = present.iter().map(|&arm| (arm, recorded(arm))).collect();
    let mut changes = changes(&runs, &pairs, findings, rope);
    pay(&mut changes[VAL_AP], &pairs, findings);
    let mut arms: Vec<Arm> = Vec::new();
    for (at, &place) in present.iter().enumerate() {
        let own: [Change; 4] = std::array::from_fn(|metric| changes[metric][at].clone());
        let is_baseline = baseline.is_some_and(|baseline| baseline.arm == place);
        arms.push(arm(&setting.arms[place], is_baseline, &runs[at], own, cases, findings, (facts, rope)));
    }
    let first = baseline.and_then(|_| arms.first().cloned());
    let too_short = first.as_ref().is_some_and(|first| first.convergence.is_too_short());
    for arm in arms.iter_mut().filter(|arm| too_short || arm.convergence.is_too_short()) {
        for verdict in [&mut arm.ranking, &mut arm.val_ranking, &mut arm.tuned].into_iter().flatten() {
            *verdict = Verdict::Withheld;
        }
    }
    for (arm, &place) in arms.iter_mut().zip(&present) {
        let case = &cases[setting.arms[place].cases[0]];
        let plain = case.config.loss.kind == "bce" && !lint::moves_prevalence(&case.config.sampler.kind);
        let (split, counts) = judges(facts);
        let known = ArmFacts { weights: plain.then_some(&*case.weights), judged: (split.name(), counts.rows), rope_f1: rope.f1 };
        arm.sentence = sentence(arm, first.as_ref(), known);
    }
    let power = Power::of(&pairs.iter().map(Vec::len).collect::<Vec<_>>());
    let (split, counts) = judges(facts);
    let everything = counts.positives.iter().map(|&n| Counts::all_positive(counts.rows, n));
    let missing = order.iter().filter(|arm| !present.contains(arm)).map(|&arm| setting.arms[arm].name.clone());
    let mut view = Setting {
        setting: setting.name.clone(),
        content: facts.content.clone(),
        judged: split,
        rows: RowCounts { train: facts.train.rows, val: facts.val.rows, test: facts.test.rows },
        labels: labels(facts),
        baseline: baseline.map(|baseline| Reference { arm: setting.arms[baseline.arm].name.clone(), exact: baseline.exact }),
        all_positive: Averages::of(&everything.collect::<Vec<_>>()).macro_f1,
        seeds_needed: power.as_ref().map_or(SEEDS_NEEDED, |power| power.pairs_needed.max(SEEDS_NEEDED)),
        power,
        recommendation: Recommendation { rule: Rule::NothingToCompare, arm: None, candidate: None, sentences: Vec::new() },
        candidates: findings.candidates.clone(),
        outdone: None,
        arms,
        missing: missing.collect(),
    };
    view.recommendation = advise(&view, rope);
    view
}

/// The arms, the baseline first.
fn order(setting: &arms::SettingRuns) -> Vec<usize> {
    let first = setting.baseline.map(|baseline| baseline.arm);
    first.into_iter().chain((0..setting.arms.len()).filter(|arm| Some(*arm) != first)).collect()
}

/// The split that judges, and its counts: test, or val where there is no test.
#[must_use]
pub fn judges(facts: &DataFacts) -> (Split, &LabelCounts) {
    if facts.test.rows > 0 { (Split::Test, &facts.test) } else { (Split::Val, &facts.val) }
}

fn labels(facts: &DataFacts) -> Vec<Label> {
    let (_, counts) = judges(facts);
    let label = |(at, label): (usize, &String)| Label {
        label: label.clone(),
        prevalence: counts.positives[at] as f64 / counts.rows.max(1) as f64,
        val_positives: facts.val.positives[at],
    };
    facts.labels.iter().enumerate().map(label).collect()
}

/// Each metric of every arm, which is given with its runs: its mean, and how it differs from the baseline's. The arms are one family of
/// comparisons a metric.
fn changes(
    runs: &[(usize, Vec<usize>)],
    pairs: &[Vec<(usize, usize)>],
    findings: &Findings,
    rope: Rope,
) -> [Vec<Change>; METRICS.len()] {
    let ropes = [rope.ap, rope.f1, rope.f1, rope.ap];
    let compared: [(Vec<Vec<f64>>, f64); METRICS.len()] = std::array::from_fn(|at| {
        let of = |case: &usize| findings.measured.get(case).and_then(METRICS[at].0);
        let differ = |(theirs, ours): &(usize, usize)| Some(of(ours)? - of(theirs)?);
        (pairs.iter().map(|pairs| pairs.iter().filter_map(differ).collect()).collect(), ropes[at])
    });
    let mut tested = families(&compared, false).into_iter();
    METRICS.map(|(value, bounds)| {
        let change = |((arm, runs), difference): (&(usize, Vec<usize>), Option<Difference>)| Change {
            value: Spread::of(runs.iter().filter_map(|case| findings.measured.get(case).and_then(value))),
            difference,
            over_rows: findings.resampled.get(arm).and_then(bounds),
        };
        runs.iter().zip(tested.next().unwrap_or_default()).map(change).collect()
    })
}

fn arm(
    arm: &arms::ArmRuns,
    baseline: bool,
    (place, runs): &(usize, Vec<usize>),
    [ap, f1_half, f1_tuned, val_ap]: [Change; 4],
    cases: &[Case<'_>],
    findings: &Findings,
    (facts, rope): (&DataFacts, Rope),
) -> Arm {
    let measured: Vec<&Measured> = runs.iter().map(|case| &findings.measured[case]).collect();
    let mean =
        |value: &dyn Fn(&Measured) -> f64| measured.iter().map(|run| value(run)).sum::<f64>() / measured.len().max(1) as f64;
    let resampled = findings.resampled.get(place);
    let drawn: Vec<&Realised> = runs.iter().filter_map(|case| findings.drawn.get(case)).collect();
    let labels = (0..facts.labels.len()).map(|at| label(at, facts, &measured, resampled, &drawn)).collect::<Vec<ArmLabel>>();
    let worst = (0..labels.len()).max_by(|&a, &b| labels[a].gap.abs().total_cmp(&labels[b].gap.abs())).unwrap_or(0);
    let over_labels = |pick: fn(&ArmLabel) -> f64| labels.iter().map(pick).sum::<f64>() / labels.len().max(1) as f64;
    let said = |change: &Change, rope: f64| change.difference.as_ref().map(|d| verdict(Some(d), change.over_rows, rope));
    Arm {
        arm: arm.name.clone(),
        baseline,
        runs: runs.iter().map(|&case| cases[case].run.clone()).collect(),
        of: arm.cases.len(),
        convergence: Convergence::of_rises(
            runs.iter().map(|&case| &cases[case]).filter(|case| case.config.train.epochs > 1).map(|case| case.rise),
        ),
        ranking: said(&ap, rope.ap),
        val_ranking: said(&val_ap, rope.ap),
        tuned: said(&f1_tuned, rope.f1),
        val_f1_held_out: mean(&|run| macro_f1(&run.val.tuned)),
        val_f1_half: mean(&|run| macro_f1(&run.val.half)),
        optimism: mean(&|run| run.optimism),
        calibration: Calibration {
            ece: over_labels(|label| label.ece),
            ece_equal_mass: mean(&|run| {
                run.calibration.iter().map(|label| label.ece_equal_mass).sum::<f64>() / run.calibration.len().max(1) as f64
            }),
            worst_label: worst,
            worst_gap: labels.get(worst).map_or(0.0, |label| label.gap),
            repaired_ece: over_labels(|label| label.repaired_ece),
            repaired_by: measured.first().map_or(super::measure::Repair::Platt, |run| run.repair),
        },
        ap,
        f1_half,
        f1_tuned,
        val_ap,
        labels,
        left_out: resampled.map_or(0, |resampled| resampled.dropped),
        sentence: String::new(),
    }
}

fn label(at: usize, facts: &DataFacts, runs: &[&Measured], resampled: Option<&OverRows>, drawn: &[&Realised]) -> ArmLabel {
    let mean = |value: &dyn Fn(&Measured) -> f64| runs.iter().map(|run| value(run)).sum::<f64>() / runs.len().max(1) as f64;
    let some = |value: &dyn Fn(&Measured) -> Option<f64>| Spread::of(runs.iter().filter_map(|run| value(run))).map(|s| s.mean);
    let (ap_change, ap_change_over_rows) = resampled.map_or((None, None), |resampled| resampled.labels[at]);
    ArmLabel {
        label: facts.labels[at].clone(),
        // The same for every seed; one without a closed form anywhere has none.
        eta: runs.iter().map(|run| run.eta[at]).collect::<Option<Vec<f64>>>().and_then(|eta| eta.first().copied()),
        stands_for: mean(&|run| run.stands_for[at]),
        ap: some(&|run| run.judged.ap[at]),
        ap_change,
        ap_change_over_rows,
        shown: Spread::of(drawn.iter().filter_map(|drawn| drawn.prevalence.get(at).copied())).map(|spread| spread.mean),
        train_prevalence: facts.train.positives[at] as f64 / facts.train.rows.max(1) as f64,
        prevalence: mean(&|run| run.judged.half[at].prevalence()),
        predicted_rate: mean(&|run| run.judged.half[at].predicted_rate()),
        predicted_rate_tuned: mean(&|run| run.judged.tuned[at].predicted_rate()),
        over_predicted: mean(&|run| over_predicted(&run.judged.half[at], at, facts)),
        f1_half: mean(&|run| run.judged.half[at].f1()),
        f1_tuned: mean(&|run| run.judged.tuned[at].f1()),
        precision_tuned: mean(&|run| run.judged.tuned[at].precision()),
        recall_tuned: mean(&|run| run.judged.tuned[at].recall()),
        threshold: mean(&|run| f64::from(run.thresholds[at])),
        optimism: mean(&|run| run.label_optimism[at]),
        ece: mean(&|run| run.calibration[at].ece),
        gap: mean(&|run| run.calibration[at].gap),
        slope: some(&|run| run.calibration[at].line.map(|line| line.slope)),
        repaired_ece: mean(&|run| run.repaired[at].ece),
    }
}

/// Share of rows that are predicted minus the prevalence, as if that were the prevalence of train, where it is known: recall and
/// false-positive rate, weighed by it. With one class only, the share that is predicted minus it.
fn over_predicted(counts: &Counts, label: usize, facts: &DataFacts) -> f64 {
    let (rate, LabelCounts { rows, positives }) = (counts.predicted_rate(), &facts.train);
    if *rows == 0 {
        return rate - counts.prevalence();
    }
    let prevalence = positives[label] as f64 / *rows as f64;
    let negatives = counts.rows() - counts.support();
    if counts.support() == 0 || negatives == 0 {
        return rate - prevalence;
    }
    let (recall, alarms) = (counts.tp as f64 / counts.support() as f64, counts.fp as f64 / negatives as f64);
    prevalence * recall + (1.0 - prevalence) * alarms - prevalence
}
