//! From the numbers of single runs to the view of a setting: means over seeds, differences, verdicts, sentences. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::super::convergence::Convergence;
use super::super::difference::{independent, overlap};
use super::super::lint;
use super::super::question::Split;
use super::super::summary::Spread;
use super::ExplainOptions;
use super::advice::advise;
use super::arms::{self, Case};
use super::choice::Candidates;
use super::effect::{Effects, OverRows};
use super::measure::{Measured, macro_f1};
use super::verdict::{SEEDS, verdict};
use super::view::{
    Arm, ArmLabel, ArmPolicy, Calibration, Certainty, Change, GroupChange, Label, Recommendation, Reference, RowCounts, Rule,
    Setting, Verdict,
};
use super::words::{ArmFacts, sentence};
use imbalance::LabelCounts;
use imbalance::metric::Counts;
use imbalance::metric::average::{Averages, mean_defined};
use imbalance::metric::calibration::Judgement;
use imbalance::metric::certainty::{Crossed, Observed, crossed, detectable, level};
use imbalance::sampler::Realised;
use imbalance::threshold::Policy;
use plan::DataFacts;

/// Positives on the split that judges below which nothing is said of a label.
const FEW: u64 = 10;
/// Coverage of all intervals of labels together, and of groups of labels: AP and F1 are two such families.
pub const LABEL_LEVEL: f64 = 0.95;
/// Seeds that are worth while: with five a strategy can be recommended, with nine differences of a seed's size are told.
const USUAL: [usize; 4] = [5, 9, 18, 36];

/// The measurements of the runs, by case.
#[derive(Default)]
pub struct Findings {
    pub measured: BTreeMap<usize, Measured>,
    /// How each arm's differences from the baseline vary with the rows.
    pub effects: BTreeMap<usize, Effects>,
    /// What the samplers of cases drew.
    pub drawn: BTreeMap<usize, Realised>,
    /// Every candidate, where strategies are tuned.
    pub candidates: Option<Candidates>,
    /// Minutes in which one more seed of every strategy would train here.
    pub minutes: Option<f64>,
}

/// What a setting is compared by.
#[derive(Clone, Copy, Debug)]
pub struct Comparing<'a> {
    pub options: &'a ExplainOptions,
    /// Of which one is recommended.
    pub policies: &'a [Policy],
    /// Comparisons with a baseline in the whole sweep.
    pub family: usize,
}

/// Reads a metric of one run.
type Metric<'a> = &'a dyn Fn(&Measured) -> Option<f64>;

fn macro_ap(ap: &[Option<f64>]) -> Option<f64> {
    mean_defined(ap).map(|mean| mean.mean)
}

/// The runs of a setting that are recorded, in arms and in pairs.
struct Pairs<'a> {
    cases: &'a [Case<'a>],
    findings: &'a Findings,
    /// The recorded arms, the baseline first, and their cases.
    arms: Vec<(usize, Vec<usize>)>,
    /// (baseline's case, own case) of equal seed and split; empty for the baseline.
    pairs: Vec<Vec<(usize, usize)>>,
    /// Test rows / train rows where the pairs are of several splits, by whether val judges.
    overlap: Option<[f64; 2]>,
}

impl<'a> Pairs<'a> {
    fn new(setting: &arms::SettingRuns, cases: &'a [Case<'a>], facts: &DataFacts, findings: &'a Findings) -> Self {
        let recorded = |arm: usize| -> Vec<usize> {
            setting.arms[arm].cases.iter().copied().filter(|case| findings.measured.contains_key(case)).collect()
        };
        let arms: Vec<(usize, Vec<usize>)> =
            order(setting).into_iter().map(|arm| (arm, recorded(arm))).filter(|(_, runs)| !runs.is_empty()).collect();
        let baseline = setting.baseline.and_then(|baseline| arms.iter().find(|(arm, _)| *arm == baseline.arm));
        let replicate = |case: usize| (cases[case].data, cases[case].config.seed);
        let pairs = |(arm, runs): &(usize, Vec<usize>)| -> Vec<(usize, usize)> {
            let Some((_, theirs)) = baseline.filter(|(baseline, _)| baseline != arm) else { return Vec::new() };
            let partner = |ours: usize| theirs.iter().copied().find(|&theirs| replicate(theirs) == replicate(ours));
            runs.iter().filter_map(|&ours| Some((partner(ours)?, ours))).collect()
        };
        let pairs: Vec<Vec<(usize, usize)>> = arms.iter().map(pairs).collect();
        let splits: BTreeSet<usize> = pairs.iter().flatten().map(|(_, ours)| cases[*ours].data).collect();
        let overlap = (splits.len() > 1).then(|| [judges(facts).0, Split::Val].map(|split| overlap(facts, split)));
        Self { cases, findings, arms, pairs, overlap }
    }

    fn splits(&self) -> usize {
        let of =
            |pairs: &Vec<(usize, usize)>| pairs.iter().map(|(_, ours)| self.cases[*ours].data).collect::<BTreeSet<_>>().len();
        self.pairs.iter().map(of).max().unwrap_or(0)
    }

    /// The differences of an arm in a metric: one per seed, or per split, its mean over seeds.
    fn observed(&self, arm: usize, metric: Metric<'_>, rows: Option<(OverRows, usize)>, on_val: bool) -> Observed {
        let of = |case: usize| self.findings.measured.get(&case).and_then(metric);
        let differ = |(theirs, ours): &(usize, usize)| Some((&self.cases[*ours], of(*ours)? - of(*theirs)?));
        let differences = self.pairs[arm].iter().filter_map(differ);
        match self.overlap {
            None => {
                let rows = rows.map(|(rows, units)| rows.of(units));
                independent(differences.map(|(case, difference)| (case.config.seed, difference)), rows, 0.0)
            }
            Some([judged, val]) => {
                let overlap = if on_val { val } else { judged };
                independent(differences.map(|(case, difference)| (case.data, difference)), None, overlap)
            }
        }
    }

    /// A metric of every arm against the baseline, all at once. `rows` picks its variance over rows.
    fn compare(
        &self,
        metric: Metric<'_>,
        rows: impl Fn(&Effects) -> Option<OverRows>,
        units: usize,
        on_val: bool,
        (family, level): (usize, f64),
    ) -> Vec<Change> {
        let observed: Vec<Observed> = (0..self.arms.len())
            .map(|at| {
                let effects = self.findings.effects.get(&self.arms[at].0);
                self.observed(at, metric, effects.and_then(&rows).map(|rows| (rows, units)), on_val)
            })
            .collect();
        let value = |(_, runs): &(usize, Vec<usize>)| {
            Spread::of(runs.iter().filter_map(|case| self.findings.measured.get(case).and_then(metric)))
        };
        let changes = self.arms.iter().zip(crossed(&observed, family, level));
        changes.map(|(arm, difference)| Change { value: value(arm), difference }).collect()
    }
}

/// The view of a setting.
#[must_use]
pub fn summarise(
    setting: &arms::SettingRuns,
    cases: &[Case<'_>],
    facts: &DataFacts,
    findings: &Findings,
    comparing: Comparing<'_>,
) -> Setting {
    let Comparing { options, family, .. } = comparing;
    let pairs = Pairs::new(setting, cases, facts, findings);
    let baseline = setting.baseline.filter(|baseline| pairs.arms.first().is_some_and(|(arm, _)| *arm == baseline.arm));
    let mut arms = arms_of(setting, &pairs, facts, comparing);
    let first = baseline.and_then(|_| arms.first().cloned());
    let too_short = first.as_ref().is_some_and(|first| first.convergence.is_too_short());
    arms.iter_mut().filter(|arm| too_short || arm.convergence.is_too_short()).for_each(withhold);
    let (split, counts) = judges(facts);
    for (arm, (place, _)) in arms.iter_mut().zip(&pairs.arms) {
        let case = &cases[setting.arms[*place].cases[0]];
        let plain = case.config.loss.kind == "bce" && !lint::moves_prevalence(&case.config.sampler.kind);
        let known = ArmFacts { weights: plain.then_some(&*case.weights), rope_f1: options.rope.f1 };
        arm.sentence = sentence(arm, first.as_ref(), known);
    }
    let missing = order(setting).into_iter().filter(|arm| pairs.arms.iter().all(|(present, _)| present != arm));
    let mut view = Setting {
        setting: setting.name.clone(),
        content: facts.content.clone(),
        judged: split,
        rows: RowCounts { train: facts.train.rows, val: facts.val.rows, test: facts.test.rows },
        labels: labels(facts, options),
        baseline: baseline.map(|baseline| Reference { arm: setting.arms[baseline.arm].name.clone(), exact: baseline.exact }),
        all_positive: Averages::of(&Counts::all_positive(counts)).macro_f1,
        learning_rate: setting.arms.first().map_or(0.0, |arm| cases[arm.cases[0]].config.train.learning_rate),
        certainty: certainty(&pairs, &arms, family, findings.minutes),
        recommendation: Recommendation { rule: Rule::NothingToCompare, arm: None, candidate: None, sentences: Vec::new() },
        candidates: findings.candidates.clone(),
        outdone: None,
        arms,
        missing: missing.map(|arm| setting.arms[arm].name.clone()).collect(),
    };
    view.recommendation = advise(&view, options.rope);
    view
}

/// Whether two arms have the same numbers to the last digit: one strategy does nothing that the other does not.
#[must_use]
pub fn is_like(one: &Arm, other: &Arm) -> bool {
    let values = |arm: &Arm| [&arm.ap, &arm.f1_half, &arm.f1_tuned, &arm.val_ap].map(|change| change.value);
    one.runs.len() == other.runs.len() && values(one) == values(other)
}

/// Takes back every verdict on an arm.
fn withhold(arm: &mut Arm) {
    let of_labels = arm.labels.iter_mut().flat_map(|label| [&mut label.ap_verdict, &mut label.f1_verdict]);
    let of_groups = arm.groups.iter_mut().map(|group| &mut group.verdict);
    let own = [&mut arm.ranking, &mut arm.val_ranking, &mut arm.tuned];
    own.into_iter().chain(of_labels).chain(of_groups).flatten().for_each(|verdict| *verdict = Verdict::Withheld);
}

/// What the seeds can tell of macro AP.
fn certainty(pairs: &Pairs<'_>, arms: &[Arm], family: usize, minutes: Option<f64>) -> Option<Certainty> {
    let found: Vec<&Crossed> = arms.iter().filter_map(|arm| arm.ap.difference.as_ref()).collect();
    let seeds = found.iter().map(|found| found.runs).max()?;
    let variances = found.iter().filter_map(|found| Some((found.sd?.powi(2) * (found.runs - 1) as f64, found.runs - 1)));
    let (squares, df) = variances.fold((0.0, 0), |(squares, df), (own, more)| (squares + own, df + more));
    let seed_sd = (df > 0).then(|| (squares / df as f64).sqrt());
    // Half an interval is critical value x standard error; of its square, the seeds' part falls with their number.
    let critical = |seeds: usize| detectable(seeds, family).map(|least| least * (seeds as f64).sqrt());
    // The widest: what is told of every strategy.
    let widest = found.iter().filter_map(|found| found.se).max_by(f64::total_cmp);
    let least = |more: usize| {
        let (se, sd) = (widest?, seed_sd?);
        let rows = (se * se - sd * sd / seeds as f64).max(0.0);
        Some(critical(more)? * (sd * sd / more as f64 + rows).sqrt())
    };
    let further_seeds = USUAL.into_iter().find(|usual| *usual > seeds).unwrap_or(2 * seeds) - seeds;
    Some(Certainty {
        seeds,
        splits: pairs.splits(),
        comparisons: family,
        seed_sd,
        detectable: least(seeds).filter(|_| seeds >= SEEDS),
        further_seeds,
        then_detectable: least(seeds + further_seeds),
        minutes: minutes.map(|minutes| minutes * further_seeds as f64),
    })
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

fn labels(facts: &DataFacts, options: &ExplainOptions) -> Vec<Label> {
    let (_, counts) = judges(facts);
    let label = |(at, label): (usize, &String)| Label {
        label: label.clone(),
        prevalence: counts.prevalence(at),
        val_positives: facts.val.positives[at],
        positives: counts.positives[at],
        group: options.groups.of(&facts.train, at),
    };
    facts.labels.iter().enumerate().map(label).collect()
}

/// The arms with every comparison: each metric is a family of its own, of all comparisons with a baseline in the sweep; the labels of
/// all arms are one, and so are the groups.
fn arms_of(setting: &arms::SettingRuns, pairs: &Pairs<'_>, facts: &DataFacts, comparing: Comparing<'_>) -> Vec<Arm> {
    let Comparing { options: &ExplainOptions { rope, groups, .. }, family, policies } = comparing;
    let counts = judges(facts).1;
    let (all, val): (usize, usize) = (counts.positives.iter().sum(), facts.val.positives.iter().sum());
    let of_labels = (family * facts.labels.len(), LABEL_LEVEL);
    let of_groups = |groups: usize| (family * groups, LABEL_LEVEL);
    let family = (family, level(family));
    let ap = pairs.compare(&|run| macro_ap(&run.judged.ap), |effects| Some(effects.ap), all, false, family);
    let half = pairs.compare(&|run| Some(macro_f1(&run.judged.half)), |effects| Some(effects.f1_half), all, false, family);
    let tuned = pairs.compare(&|run| Some(macro_f1(&run.judged.tuned)), |effects| Some(effects.f1_tuned), all, false, family);
    let val_ap = |run: &Measured| macro_ap(&run.val.ap).map(|ap| ap - run.choice);
    let val_ap = pairs.compare(&val_ap, |effects| Some(effects.val_ap), val, true, family);
    let label_ap: Vec<Vec<Change>> = (0..facts.labels.len())
        .map(|at| {
            pairs.compare(
                &|run| run.judged.ap[at],
                |effects| effects.label_ap.get(at).copied(),
                counts.positives[at],
                false,
                of_labels,
            )
        })
        .collect();
    let label_f1: Vec<Vec<Change>> = (0..facts.labels.len())
        .map(|at| {
            let f1 = |run: &Measured| (run.judged.tuned[at].support() > 0).then(|| run.judged.tuned[at].f1());
            pairs.compare(&f1, |effects| effects.label_f1.get(at).copied(), counts.positives[at], false, of_labels)
        })
        .collect();
    let divided = groups.divide(&facts.train);
    let group_ap: Vec<Vec<Change>> = divided
        .iter()
        .enumerate()
        .map(|(at, (_, labels))| {
            let mean = |run: &Measured| macro_ap(&labels.iter().map(|&label| run.judged.ap[label]).collect::<Vec<_>>());
            let positives = labels.iter().map(|&label| counts.positives[label]).sum();
            pairs.compare(&mean, |effects| effects.group_ap.get(at).copied(), positives, false, of_groups(divided.len()))
        })
        .collect();
    let word = |change: &Change, rope: f64| change.difference.as_ref().map(|difference| verdict(Some(difference), rope));
    let few = facts.val.positives.iter().any(|positives| *positives < lint::FEW);
    let arm = |at: usize| {
        let mut arm = arm(setting, pairs, at, facts, [&ap[at], &half[at], &tuned[at], &val_ap[at]].map(Clone::clone));
        (arm.ranking, arm.val_ranking, arm.tuned) =
            (word(&ap[at], rope.ap), word(&val_ap[at], rope.ap), word(&tuned[at], rope.f1));
        for (place, label) in arm.labels.iter_mut().enumerate() {
            let (ap, f1) = (&label_ap[place][at], &label_f1[place][at]);
            (label.ap_difference, label.f1_difference) = (ap.difference, f1.difference);
            let enough = counts.positives[place] as u64 >= FEW;
            (label.ap_verdict, label.f1_verdict) = (word(ap, rope.ap).filter(|_| enough), word(f1, rope.f1).filter(|_| enough));
        }
        let of_group = |(changes, (group, labels)): (&Vec<Change>, &(_, Vec<usize>))| GroupChange {
            group: *group,
            labels: labels.len(),
            verdict: word(&changes[at], rope.ap),
            ap: changes[at].clone(),
        };
        let own = policies.iter().enumerate().map(|(place, policy)| {
            let of = |which: usize| {
                let runs = pairs.arms[at].1.iter().filter_map(|case| pairs.findings.measured.get(case)?.policies.get(place));
                Spread::of(runs.map(|both| both[which])).map_or(0.0, |spread| spread.mean)
            };
            let policy = policy.to_string();
            let trusted = !(few && policy == "max_f1");
            ArmPolicy { policy, val_f1_held_out: of(0), f1: of(1), trusted }
        });
        arm.policies = own.collect();
        arm.policy = chosen_policy(&arm.policies, rope.f1);
        arm.groups = group_ap.iter().zip(&divided).map(of_group).collect();
        arm
    };
    (0..pairs.arms.len()).map(arm).collect()
}

/// The policy with the highest macro F1 on val rows that it was not fitted on; a simpler one that is within the rope is taken instead.
fn chosen_policy(policies: &[ArmPolicy], rope: f64) -> usize {
    let best = policies.iter().filter(|policy| policy.trusted).map(|policy| policy.val_f1_held_out).fold(0.0, f64::max);
    policies.iter().position(|policy| policy.trusted && best - policy.val_f1_held_out <= rope).unwrap_or(0)
}

/// An arm without its verdicts.
fn arm(
    setting: &arms::SettingRuns,
    pairs: &Pairs<'_>,
    at: usize,
    facts: &DataFacts,
    [ap, f1_half, f1_tuned, val_ap]: [Change; 4],
) -> Arm {
    let Pairs { cases, findings, arms, .. } = pairs;
    let (place, runs) = &arms[at];
    let own = &setting.arms[*place];
    let measured: Vec<&Measured> = runs.iter().map(|case| &findings.measured[case]).collect();
    let mean =
        |value: &dyn Fn(&Measured) -> f64| measured.iter().map(|run| value(run)).sum::<f64>() / measured.len().max(1) as f64;
    let drawn: Vec<&Realised> = runs.iter().filter_map(|case| findings.drawn.get(case)).collect();
    let labels = (0..facts.labels.len()).map(|at| label(at, facts, &measured, &drawn)).collect::<Vec<ArmLabel>>();
    let worst = (0..labels.len()).max_by(|&a, &b| labels[a].gap.abs().total_cmp(&labels[b].gap.abs())).unwrap_or(0);
    let over_labels = |pick: fn(&ArmLabel) -> f64| labels.iter().map(pick).sum::<f64>() / labels.len().max(1) as f64;
    let [loss, pos_weight, sampler] = cases[own.cases[0]].parts.clone();
    Arm {
        arm: own.name.clone(),
        loss,
        pos_weight,
        sampler,
        baseline: setting.baseline.is_some_and(|baseline| baseline.arm == *place),
        runs: runs.iter().map(|&case| cases[case].run.clone()).collect(),
        of: own.cases.len(),
        convergence: Convergence::of_rises(
            runs.iter().map(|&case| &cases[case]).filter(|case| case.config.train.epochs > 1).map(|case| case.rise),
        ),
        ranking: None,
        val_ranking: None,
        tuned: None,
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
        groups: Vec::new(),
        policies: Vec::new(),
        policy: 0,
        left_out: findings.effects.get(place).map_or(0, |effects| effects.dropped),
        sentence: String::new(),
    }
}

/// The judgement on a label of several runs: probabilities if most are and none is not; not if most are not.
fn judgement(of: impl Iterator<Item = Judgement>) -> Option<Judgement> {
    let all: Vec<Judgement> = of.collect();
    let faults: Vec<&Judgement> = all.iter().filter(|judgement| matches!(judgement, Judgement::Not(_))).collect();
    let yes = all.iter().filter(|judgement| **judgement == Judgement::Probabilities).count();
    match faults.first() {
        Some(fault) if 2 * faults.len() > all.len() => Some(**fault),
        None if 2 * yes > all.len() => Some(Judgement::Probabilities),
        _ if all.iter().all(|judgement| *judgement == Judgement::TooFew) => all.first().copied(),
        _ => Some(Judgement::Unsure),
    }
}

/// A label without its verdicts.
fn label(at: usize, facts: &DataFacts, runs: &[&Measured], drawn: &[&Realised]) -> ArmLabel {
    let mean = |value: &dyn Fn(&Measured) -> f64| runs.iter().map(|run| value(run)).sum::<f64>() / runs.len().max(1) as f64;
    let some = |value: &dyn Fn(&Measured) -> Option<f64>| Spread::of(runs.iter().filter_map(|run| value(run))).map(|s| s.mean);
    ArmLabel {
        label: facts.labels[at].clone(),
        // The same for every seed; one without a closed form anywhere has none.
        eta: runs.iter().map(|run| run.eta[at]).collect::<Option<Vec<f64>>>().and_then(|eta| eta.first().copied()),
        stands_for: mean(&|run| run.stands_for[at]),
        ap: some(&|run| run.judged.ap[at]),
        ap_difference: None,
        f1_difference: None,
        ap_verdict: None,
        f1_verdict: None,
        shown: Spread::of(drawn.iter().filter_map(|drawn| drawn.prevalence.get(at).copied())).map(|spread| spread.mean),
        train_prevalence: facts.train.prevalence(at),
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
        judgement: judgement(runs.iter().map(|run| run.calibration[at].judgement)),
        slope: some(&|run| run.calibration[at].line.map(|line| line.slope)),
        repaired_ece: mean(&|run| run.repaired[at].ece),
    }
}

/// Share of rows that are predicted minus the prevalence, as if that were the prevalence of train, where it is known: recall and
/// false-positive rate, weighed by it. With one class only, the share that is predicted minus it.
fn over_predicted(counts: &Counts, label: usize, facts: &DataFacts) -> f64 {
    let rate = counts.predicted_rate();
    if facts.train.known(label) == 0 {
        return rate - counts.prevalence();
    }
    let prevalence = facts.train.prevalence(label);
    let negatives = counts.rows() - counts.support();
    if counts.support() == 0 || negatives == 0 {
        return rate - prevalence;
    }
    let (recall, alarms) = (counts.tp as f64 / counts.support() as f64, counts.fp as f64 / negatives as f64);
    prevalence * recall + (1.0 - prevalence) * alarms - prevalence
}
