//! One strategy in a plain sentence: what it moved, whether it ranks better, what tuned bce does. Pure.

use super::super::compare::table::{interval, signed};
use super::super::text_grid::{number, percent, several};
use super::measure::Repair;
use super::verdict::SEEDS;
use super::view::{Arm, ArmLabel, Change, Verdict};
use imbalance::metric::certainty::Crossed;
use imbalance::shown::shown;

/// A decision point that differs by less has not moved.
const MOVED: f64 = 0.03;
/// A measured decision point that is further from the formula's is told beside it: the loss is not at its optimum.
const OFF_FORMULA: f64 = 0.1;
/// A mean score that is further from the prevalence is mentioned.
const UNCALIBRATED: f64 = 0.05;
/// A calibration error that falls by less is not repaired: a weight of one has a formula that changes nothing.
const REPAIRED: f64 = 0.005;

/// Facts about an arm besides its numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArmFacts<'a> {
    /// One per label, where the loss is plain bce and the sampler keeps prevalences, so that the formula applies.
    pub weights: Option<&'a [f64]>,
    /// Differences of F1 up to this mean nothing.
    pub rope_f1: f64,
}

/// The sentence about `arm` against `baseline`.
#[must_use]
pub fn sentence(arm: &Arm, baseline: Option<&Arm>, known: ArmFacts<'_>) -> String {
    let Some(baseline) = baseline.filter(|_| !arm.baseline) else { return alone(arm) };
    if arm.ap.difference.is_none() {
        return format!("has no run with a seed of {}: it cannot be compared. {}", baseline.arm, alone(arm));
    }
    let mut text = format!("{}; {}; {}.", decision(arm, baseline, known.rope_f1), ranking(arm), tuned(arm, baseline));
    for more in [labels(arm), sampled(arm), prediction(arm), calibration(arm, known)].into_iter().flatten() {
        text += &format!(" {more}.");
    }
    text
}

/// The sentence about an arm without a baseline.
fn alone(arm: &Arm) -> String {
    let first = if arm.baseline { "is what the others are compared with: " } else { "" };
    let gap = match &arm.labels.get(arm.calibration.worst_label) {
        Some(label) if arm.calibration.worst_gap.abs() > UNCALIBRATED => {
            format!("its mean score is {} off the prevalence on {}", signed(arm.calibration.worst_gap), shown(&label.label))
        }
        _ => format!("its mean scores are within {UNCALIBRATED} of the prevalences"),
    };
    format!(
        "{first}AP {}, macro F1 {} at 0.5 and {} at tuned thresholds; {gap} (ECE {}).",
        value(&arm.ap),
        value(&arm.f1_half),
        value(&arm.f1_tuned),
        number(arm.calibration.ece)
    )
}

/// Its mean over runs.
pub fn value(change: &Change) -> String {
    change.value.map_or_else(|| "undefined".to_owned(), |value| number(value.mean))
}

/// `0.5`, `0.085`.
#[must_use]
pub fn point(value: f64) -> String {
    number(value).trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The label whose decision point moved furthest, from where, and to where. Without a formula it is the label whose
/// predicted rate changed most, because a measured point far from all scores is a guess.
#[must_use]
pub fn furthest<'a>(arm: &'a Arm, baseline: &Arm) -> Option<(&'a ArmLabel, f64, f64)> {
    let formula = arm.labels.iter().all(|label| label.eta.is_some());
    let pair = |(ours, theirs): (&'a ArmLabel, &ArmLabel)| {
        let (from, to) = (theirs.decision_point(), ours.decision_point());
        let moved = if formula { to - from } else { ours.predicted_rate - theirs.predicted_rate };
        (ours, from, to, moved.abs())
    };
    let furthest = arm.labels.iter().zip(&baseline.labels).map(pair).max_by(|a, b| a.3.total_cmp(&b.3));
    furthest.map(|(label, from, to, _)| (label, from, to))
}

fn decision(arm: &Arm, baseline: &Arm, rope: f64) -> String {
    let change = arm.f1_half.difference.as_ref().map_or(0.0, |difference| difference.mean);
    let (before, after) = (value(&baseline.f1_half), value(&arm.f1_half));
    let f1 = |joint: &str| match change.abs() > rope {
        true => format!("{joint} macro F1 at 0.5 went from {before} to {after}"),
        false if before == after => format!("{joint} macro F1 at 0.5 stayed {after}"),
        false => format!("{joint} macro F1 at 0.5 hardly changed ({before}, {after})"),
    };
    match furthest(arm, baseline) {
        Some((label, from, to)) if (to - from).abs() >= MOVED => {
            let (about, measured) = match label.eta {
                Some(eta) if (label.stands_for - eta).abs() > OFF_FORMULA => {
                    ("", format!(" by its formula, about {} as measured on val", point(label.stands_for)))
                }
                Some(_) => ("", String::new()),
                None => ("about ", ", as measured on val".to_owned()),
            };
            let joint = if change.abs() > rope { ", so" } else { ", but" };
            format!(
                "moved the decision point of {} to {about}{}{measured} ({}: {}){}",
                shown(&label.label),
                point(to),
                baseline.arm,
                point(from),
                f1(joint)
            )
        }
        _ => {
            // A formula holds at the optimum of the loss; scores may be far from it.
            let off = |(ours, theirs): &(&ArmLabel, &ArmLabel)| (ours.stands_for - theirs.stands_for).abs();
            let pairs = arm.labels.iter().zip(&baseline.labels).filter(|(label, _)| label.eta.is_some());
            let measured = match pairs.max_by(|a, b| off(a).total_cmp(&off(b))) {
                Some((ours, theirs)) if off(&(ours, theirs)) > OFF_FORMULA => format!(
                    " by its formula, but measured on val 0.5 stands for {} on {} ({}: {})",
                    point(ours.stands_for),
                    shown(&ours.label),
                    baseline.arm,
                    point(theirs.stands_for)
                ),
                _ => String::new(),
            };
            format!("left the decision point where {} has it{measured}{}", baseline.arm, f1(","))
        }
    }
}

/// `+0.003 [-0.002, +0.008]`.
#[must_use]
pub fn effect(found: &Crossed) -> String {
    format!("{} {}", signed(found.mean), interval(found.low.zip(found.high)))
}

fn ranking(arm: &Arm) -> String {
    let Some(found) = &arm.ap.difference else { return "its ranking is not compared".to_owned() };
    let ap = format!("AP {}", effect(found));
    match arm.ranking {
        Some(Verdict::Same) => format!("it ranks as well ({ap})"),
        Some(Verdict::Better) => format!("it ranks better ({ap})"),
        Some(Verdict::Worse) => format!("it ranks worse ({ap})"),
        Some(Verdict::Withheld) => format!("its ranking is not compared: not all have converged ({ap})"),
        _ if found.runs < SEEDS => {
            format!("whether it ranks better cannot be told from {} (AP {})", several(found.runs, "seed"), signed(found.mean))
        }
        _ => format!("whether it ranks better cannot be told ({ap})"),
    }
}

fn tuned(arm: &Arm, baseline: &Arm) -> String {
    let (ours, theirs, name) = (value(&arm.f1_tuned), value(&baseline.f1_tuned), &baseline.arm);
    match arm.tuned {
        Some(Verdict::Same) => format!("tuned {name} gives the same F1 ({theirs} against {ours})"),
        Some(Verdict::Better) => format!("with tuned thresholds its F1 is better than {name}'s ({ours} against {theirs})"),
        Some(Verdict::Worse) => format!("tuned {name} gives a better F1 ({theirs} against {ours})"),
        Some(Verdict::Withheld) => format!("tuned, its F1 is {ours} and {name}'s {theirs}"),
        _ => format!("tuned, its F1 {ours} and {name}'s {theirs} cannot be told apart"),
    }
}

/// What is seen to have moved on a label: `AP +0.020 [+0.011, +0.030], tuned F1 +0.031 [+0.012, +0.050]`.
#[must_use]
pub fn moved(label: &ArmLabel) -> String {
    let told = |verdict: Option<Verdict>| matches!(verdict, Some(Verdict::Better | Verdict::Worse));
    let ap = label.ap_difference.filter(|_| told(label.ap_verdict)).map(|found| format!("AP {}", effect(&found)));
    let f1 = label.f1_difference.filter(|_| told(label.f1_verdict)).map(|found| format!("tuned F1 {}", effect(&found)));
    ap.into_iter().chain(f1).collect::<Vec<_>>().join(", ")
}

fn is(label: &ArmLabel, verdict: Verdict) -> bool {
    label.ap_verdict == Some(verdict) || label.f1_verdict == Some(verdict)
}

/// The label that pays most for what the strategy does, if one is seen to.
#[must_use]
pub fn payer(arm: &Arm) -> Option<&ArmLabel> {
    let loss = |label: &ArmLabel| {
        let worse = [(label.ap_verdict, label.ap_difference), (label.f1_verdict, label.f1_difference)];
        let means = worse.into_iter().filter(|(verdict, _)| *verdict == Some(Verdict::Worse)).filter_map(|(_, found)| found);
        means.map(|found| found.mean).fold(0.0, f64::min)
    };
    arm.labels.iter().filter(|label| is(label, Verdict::Worse)).min_by(|a, b| loss(a).total_cmp(&loss(b)))
}

/// The rarest label that gains, and the label that pays for it.
fn labels(arm: &Arm) -> Option<String> {
    let rarest = |verdict: Verdict| {
        let moved = arm.labels.iter().filter(|label| is(label, verdict));
        moved.min_by(|a, b| a.train_prevalence.total_cmp(&b.train_prevalence))
    };
    let told =
        |label: &ArmLabel| format!("{} ({} of train): {}", shown(&label.label), percent(label.train_prevalence), moved(label));
    match (rarest(Verdict::Better), payer(arm)) {
        (None, None) => None,
        (Some(gains), None) => Some(format!("The rarest label that gains is {}", told(gains))),
        (None, Some(pays)) => Some(format!("A label that loses is {}", told(pays))),
        (Some(gains), Some(pays)) => Some(format!("The rarest label that gains is {}; {} pays for it", told(gains), told(pays))),
    }
}

/// The label that the sampler raised most above its share, and what became of it.
fn sampled(arm: &Arm) -> Option<String> {
    let raised = |label: &ArmLabel| label.shown.map_or(0.0, |shown| shown / label.train_prevalence.max(1e-9));
    let off = |label: &ArmLabel| label.shown.map_or(0.0, |shown| (shown - label.train_prevalence).abs());
    // Shares of a few draws differ by chance.
    let label = arm.labels.iter().filter(|label| off(label) > 0.01).max_by(|a, b| raised(a).total_cmp(&raised(b)))?;
    label.shown.map(|share| {
        let change = label.ap_difference.map_or_else(String::new, |found| format!(" (AP {} there)", effect(&found)));
        format!(
            "Its sampler shows {} in {} of its draws, {} of the train rows have it{change}",
            shown(&label.label),
            percent(share),
            percent(label.train_prevalence)
        )
    })
}

/// The label that is predicted most out of proportion. Where the split has another prevalence than train, its predictions are counted
/// as if it had that of train: the rest is the split's.
fn prediction(arm: &Arm) -> Option<String> {
    let label = arm.labels.iter().max_by(|a, b| a.over_predicted.abs().total_cmp(&b.over_predicted.abs()))?;
    let shifted = (label.predicted_rate - label.prevalence - label.over_predicted).abs() > MOVED;
    let (predicted, prevalence, where_) = if shifted {
        (label.train_prevalence + label.over_predicted, label.train_prevalence, "with the prevalences of train ")
    } else {
        (label.predicted_rate, label.prevalence, "")
    };
    (label.over_predicted.abs() > MOVED).then(|| {
        format!(
            "At 0.5 {where_}it predicts {} on {} of the rows, and {} have it",
            shown(&label.label),
            percent(predicted),
            percent(prevalence)
        )
    })
}

fn calibration(arm: &Arm, known: ArmFacts<'_>) -> Option<String> {
    let label = arm.labels.get(arm.calibration.worst_label).filter(|label| label.gap.abs() > UNCALIBRATED)?;
    let high = if label.gap > 0.0 { "high" } else { "low" };
    let weight = known.weights.and_then(|weights| weights.get(arm.calibration.worst_label));
    let by = match (arm.calibration.repaired_by, weight) {
        (Repair::Link, Some(weight)) => format!("q / (q + {} (1 - q)) repairs them", point(*weight)),
        (Repair::Link, None) => "the loss's own formula repairs them".to_owned(),
        (Repair::Platt, _) => "a line fitted on val (Platt) repairs them".to_owned(),
        (Repair::Isotonic, _) => "steps fitted on val (isotonic regression) repair them".to_owned(),
        (Repair::None, _) => "no map repairs them".to_owned(),
    };
    let repair = if label.ece - label.repaired_ece < REPAIRED {
        format!(" (ECE {})", number(label.ece))
    } else {
        format!("; {by} (ECE {} to {})", number(label.ece), number(label.repaired_ece))
    };
    Some(format!("As probabilities its scores on {} are {:.2} too {high}{repair}", shown(&label.label), label.gap.abs()))
}
