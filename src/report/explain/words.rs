//! One strategy in a plain sentence: what it moved, whether it ranks better, what tuned bce does. Pure.

use super::super::compare::table::{interval, signed};
use super::super::text_grid::{number, percent};
use super::measure::Repair;
use super::verdict::SEEDS;
use super::view::{Arm, ArmLabel, Change, Verdict};
use imbalance::shown::shown;

/// A decision point that differs by less has not moved.
const MOVED: f64 = 0.03;
/// A mean score that is further from the prevalence is mentioned.
const UNCALIBRATED: f64 = 0.05;
/// A calibration error that falls by less is not repaired: a weight of one has a formula that changes nothing.
const REPAIRED: f64 = 0.005;

/// Facts about an arm besides its numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArmFacts<'a> {
    /// One per label, where the loss is plain bce and the sampler keeps prevalences, so that the formula applies.
    pub weights: Option<&'a [f64]>,
    /// The split that judges, and its rows.
    pub judged: (&'a str, usize),
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
    let mut text = format!("{}; {}; {}.", decision(arm, baseline, known.rope_f1), ranking(arm, known), tuned(arm, baseline));
    for more in [sampled(arm), prediction(arm), calibration(arm, known)].into_iter().flatten() {
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

fn value(change: &Change) -> String {
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
    let change = arm.f1_half.difference.as_ref().map_or(0.0, |difference| difference.effect.mean);
    let (before, after) = (value(&baseline.f1_half), value(&arm.f1_half));
    let f1 = |joint: &str| match change.abs() > rope {
        true => format!("{joint} macro F1 at 0.5 went from {before} to {after}"),
        false if before == after => format!("{joint} macro F1 at 0.5 stayed {after}"),
        false => format!("{joint} macro F1 at 0.5 hardly changed ({before}, {after})"),
    };
    match furthest(arm, baseline) {
        Some((label, from, to)) if (to - from).abs() >= MOVED => {
            let (about, measured) = if label.eta.is_some() { ("", "") } else { ("about ", ", as measured on val") };
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
        _ => format!("left the decision point where {} has it{}", baseline.arm, f1(",")),
    }
}

/// `AP +0.003 [-0.002, +0.008] over 3 seeds`.
#[must_use]
pub fn effect(what: &str, change: &Change, (split, rows): (&str, usize)) -> String {
    let Some(difference) = &change.difference else { return format!("{what} unknown") };
    let effect = difference.effect;
    let (bounds, over) = match effect.low.zip(effect.high).filter(|_| effect.runs >= SEEDS) {
        Some(bounds) => (Some(bounds), format!("over {} seeds", effect.runs)),
        None => (change.over_rows.map(|bounds| (bounds.low, bounds.high)), format!("over the {rows} {split} rows")),
    };
    format!("{what} {} {} {over}", signed(effect.mean), interval(bounds))
}

fn ranking(arm: &Arm, known: ArmFacts<'_>) -> String {
    let effect = effect("AP", &arm.ap, known.judged);
    let seeds = arm.ap.difference.as_ref().map_or(0, |difference| difference.effect.runs);
    let few = if seeds < SEEDS { ", for these trainings" } else { "" };
    match arm.ranking {
        Some(Verdict::Same) => format!("ranking unchanged ({effect}{few})"),
        Some(Verdict::Better) => format!("it {} better ({effect}{few})", ranks(arm)),
        Some(Verdict::Worse) => format!("it {} worse ({effect}{few})", ranks(arm)),
        Some(Verdict::Withheld) => format!("its ranking is not compared: not all have converged ({effect}{few})"),
        _ => format!("whether the ranking changed cannot be told ({effect})"),
    }
}

/// `likely` where the interval over seeds contains zero.
fn ranks(arm: &Arm) -> &'static str {
    let effect = arm.ap.difference.as_ref().map(|difference| difference.effect).filter(|effect| effect.runs >= SEEDS);
    let zero = effect.and_then(|effect| effect.low.zip(effect.high)).is_some_and(|(low, high)| low <= 0.0 && high >= 0.0);
    if zero { "seems to rank" } else { "ranks" }
}

fn tuned(arm: &Arm, baseline: &Arm) -> String {
    let (ours, theirs, name) = (value(&arm.f1_tuned), value(&baseline.f1_tuned), &baseline.arm);
    let calibrated = |arm: &Arm| arm.calibration.worst_gap.abs() <= UNCALIBRATED;
    let stays = if calibrated(baseline) && !calibrated(arm) { " and stays calibrated" } else { "" };
    match arm.tuned {
        Some(Verdict::Same) => format!("tuned {name} gives the same F1 ({theirs} against {ours}){stays}"),
        Some(Verdict::Better) => format!("with tuned thresholds its F1 is better than {name}'s ({ours} against {theirs})"),
        Some(Verdict::Worse) => format!("tuned {name} gives a better F1 ({theirs} against {ours}){stays}"),
        Some(Verdict::Withheld) => format!("tuned, its F1 is {ours} and {name}'s {theirs}"),
        _ => format!("tuned, its F1 {ours} and {name}'s {theirs} cannot be told apart"),
    }
}

/// The label that the sampler shows most out of proportion.
fn sampled(arm: &Arm) -> Option<String> {
    let off = |label: &ArmLabel| label.shown.map_or(0.0, |shown| (shown - label.train_prevalence).abs());
    let label = arm.labels.iter().max_by(|a, b| off(a).total_cmp(&off(b)))?;
    label.shown.filter(|_| off(label) > MOVED).map(|share| {
        format!(
            "Its sampler shows {} in {} of its draws, {} of the train rows have it",
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
    };
    let repair = if label.ece - label.repaired_ece < REPAIRED {
        format!(" (ECE {})", number(label.ece))
    } else {
        format!("; {by} (ECE {} to {})", number(label.ece), number(label.repaired_ece))
    };
    Some(format!("As probabilities its scores on {} are {:.2} too {high}{repair}", shown(&label.label), label.gap.abs()))
}
