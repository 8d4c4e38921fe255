//! The recommendation (docs/certainty.md). Strategies are chosen on val; values on test are quoted. Pure.

use super::super::difference::probability;
use super::super::lint::listed;
use super::super::question::Split;
use super::super::strategy_names;
use super::super::text_grid::{number, percent, several};
use super::verdict::SEEDS;
use super::view::{Arm, ArmLabel, ArmPolicy, Certainty, Change, Recommendation, Rope, Rule, Setting, Verdict};
use super::words::{effect, moved, payer, point, value};
use imbalance::metric::calibration::Judgement;
use imbalance::metric::certainty::{Crossed, seeds_for};
use imbalance::shown::shown;

/// The policy that nothing is fitted for.
const HALF: &str = "0.5";
/// The fewest seeds with which a strategy is recommended for its ranking.
pub const SEEDS_NEEDED: usize = 5;
/// The p-value on val, corrected for all comparisons, with which it is; and the one with which it may be better.
const PROVEN: f64 = 0.01;
const POSSIBLE: f64 = 0.20;
/// The probability with which a named number of seeds would show a difference.
const POWER: f64 = 0.8;

/// The recommendation for a setting whose arms are summarised.
#[must_use]
pub fn advise(setting: &Setting, rope: Rope) -> Recommendation {
    let baseline = setting.arms.iter().find(|arm| arm.baseline);
    let others: Vec<&Arm> = setting.arms.iter().filter(|arm| arm.ap.difference.is_some()).collect();
    let Some(baseline) = baseline.filter(|_| !others.is_empty()) else { return nothing(setting, rope) };
    let mut sentences: Vec<String> = trivial(setting, rope).into_iter().collect();
    let withheld = named(&others, Verdict::Withheld);
    if 2 * withheld.len() > others.len() {
        sentences.push(too_short(baseline, &others));
        return Recommendation { rule: Rule::NotConverged, arm: None, candidate: None, sentences };
    }
    let proven = best(&others, |arm| is_better(arm, PROVEN, rope) && runs(arm) >= SEEDS_NEEDED);
    let possible = best(&others, |arm| is_better(arm, POSSIBLE, rope));
    let (rule, arm, candidate) = match (proven, possible) {
        (Some(arm), _) => (Rule::RanksBetter, arm, None),
        (None, Some(candidate)) => (Rule::MoreSeeds, baseline, Some(candidate)),
        _ if told(&others, Verdict::Unknown) || told(&others, Verdict::Better) => (Rule::Undecided, baseline, None),
        _ => (Rule::OperatingPoint, baseline, None),
    };
    sentences.push(match (rule, candidate) {
        (Rule::RanksBetter, _) => ranks_better(arm, &others, setting, rope),
        (_, Some(candidate)) => may_rank_better(candidate, setting),
        _ => standing(&others, baseline, setting, rope),
    });
    sentences.extend(under_each(candidate.unwrap_or(arm), setting, rope));
    sentences.extend(certain_on_test(&others, arm, candidate, setting, rope));
    if !withheld.is_empty() {
        sentences.push(format!("Not compared, because most of its runs have not converged: {}.", listed(&withheld)));
    }
    sentences.extend(rarest(&others, setting));
    let tuned = are_tuned(arm, rope);
    sentences.push(thresholds(rule, arm, setting, rope, tuned));
    sentences.extend(at_half(baseline, &others, setting.judged, rope, !tuned));
    if rule != Rule::RanksBetter {
        sentences.extend(setting.certainty.as_ref().and_then(|certainty| more_seeds(certainty, setting)));
    }
    let one_rate =
        setting.candidates.is_none() && others.iter().any(|arm| matches!(arm.ranking, Some(Verdict::Better | Verdict::Worse)));
    sentences.extend(one_rate.then(|| {
        // As a sweep file has them, one of about three times less and one of three times more beside it.
        let (rate, less, more) = (setting.learning_rate, setting.learning_rate / 3.0, setting.learning_rate * 3.0);
        format!(
            "Better and worse are meant under this training: every strategy had a learning rate of {rate:e}; [train] tune = {{ \
             \"train.learning_rate\" = [{less:.0e}, {rate:e}, {more:.0e}] }} gives each its own."
        )
    }));
    let candidate = candidate.map(|arm| arm.arm.clone());
    Recommendation { rule, arm: Some(arm.arm.clone()), candidate, sentences }
}

fn named(arms: &[&Arm], verdict: Verdict) -> Vec<String> {
    arms.iter().filter(|arm| arm.ranking == Some(verdict)).map(|arm| arm.arm.clone()).collect()
}

fn told(arms: &[&Arm], verdict: Verdict) -> bool {
    arms.iter().any(|arm| arm.ranking == Some(verdict))
}

fn mean(change: &Change) -> f64 {
    change.difference.as_ref().map_or(f64::NEG_INFINITY, |difference| difference.mean)
}

fn runs(arm: &Arm) -> usize {
    arm.val_ap.difference.as_ref().map_or(0, |difference| difference.runs)
}

/// The highest on val of those that `are`.
fn best<'a>(arms: &[&'a Arm], are: impl Fn(&Arm) -> bool) -> Option<&'a Arm> {
    let found = arms.iter().copied().filter(|arm| are(arm));
    found.max_by(|a, b| mean(&a.val_ap).total_cmp(&mean(&b.val_ap)))
}

/// Better on val with this p-value, beyond the rope, and not contradicted by test.
fn is_better(arm: &Arm, p: f64, rope: Rope) -> bool {
    let certain = |found: &Crossed| found.runs >= SEEDS && found.mean > rope.ap && found.p.is_some_and(|own| own <= p);
    let on_val = arm.val_ap.difference.as_ref().is_some_and(certain);
    on_val && mean(&arm.ap) > 0.0 && !matches!(arm.ranking, Some(Verdict::Withheld | Verdict::Worse | Verdict::Same))
}

/// `AP +0.021 [+0.011, +0.031]`.
fn quoted(change: &Change) -> String {
    change.difference.as_ref().map_or_else(String::new, |found| format!("AP {}", effect(found)))
}

fn seeds(count: usize, setting: &Setting) -> String {
    several(count, unit(setting))
}

/// What is independent.
fn unit(setting: &Setting) -> &'static str {
    if setting.certainty.as_ref().is_some_and(|certainty| certainty.splits > 1) { "split" } else { "seed" }
}

/// Under how many candidates of `train.tune` a better ranking holds.
fn under_each(arm: &Arm, setting: &Setting, rope: Rope) -> Option<String> {
    let tuned = setting.candidates.as_ref()?;
    let own = tuned.arms.iter().find(|other| other.arm == arm.arm)?;
    let (holds, of) = own.holds(mean(&arm.val_ap), rope.ap);
    let base = tuned.arms.first().filter(|base| base.arm != arm.arm)?;
    Some(format!(
        "Each has its own {}: {} {}, {} {}. With the same for both the difference holds under {holds} of {of}.",
        tuned.keys.join(" and "),
        arm.arm,
        tuned.values[own.chosen],
        base.arm,
        tuned.values[base.chosen]
    ))
}

/// Why nothing can be recommended: most strategies, or the baseline, have not been trained long enough.
fn too_short(baseline: &Arm, others: &[&Arm]) -> String {
    let all = others.iter().copied().chain([baseline]);
    let (rising, runs) =
        all.clone().fold((0, 0), |(rising, runs), arm| (rising + arm.convergence.rising, runs + arm.convergence.runs));
    let rises = all.map(|arm| arm.convergence.rise).fold(0.0, f64::max);
    format!(
        "Nothing is compared yet: in {rising} of {runs} runs the best evaluation is the last, and val AP still rises by up to {} from one to \
             the next. What differs now is how fast strategies learn. Train longer: train.epochs = \"auto\", or a larger train.max_steps.",
        number(rises)
    )
}

fn ranks_better(best: &Arm, others: &[&Arm], setting: &Setting, rope: Rope) -> String {
    let close = |arm: &&&Arm| arm.arm != best.arm && mean(&best.val_ap) - mean(&arm.val_ap) <= rope.ap;
    let equals: Vec<String> = others.iter().filter(close).map(|arm| arm.arm.clone()).collect();
    let equals =
        if equals.is_empty() { String::new() } else { format!("; within {} of it on val: {}", rope.ap, listed(&equals)) };
    let on_test = if setting.judged == Split::Test { format!(", and {} on test", quoted(&best.ap)) } else { String::new() };
    let p = best.val_ap.difference.as_ref().and_then(|found| found.p).map_or_else(String::new, probability);
    format!(
        "Train with {}: it ranks better, {} on val over {} (p = {p}, corrected for {}){on_test}{equals}.",
        best.arm,
        quoted(&best.val_ap),
        seeds(runs(best), setting),
        several(setting.certainty.as_ref().map_or(1, |certainty| certainty.comparisons), "comparison"),
    )
}

fn may_rank_better(candidate: &Arm, setting: &Setting) -> String {
    let certainty = setting.certainty.as_ref();
    let needed = certainty.and_then(|certainty| {
        let effect = mean(&candidate.val_ap) / certainty.seed_sd.filter(|sd| *sd > 0.0)?;
        let needed = seeds_for(effect, certainty.comparisons, POWER)?;
        Some(needed.max(SEEDS_NEEDED)).filter(|needed| *needed > certainty.seeds)
    });
    let needed = match needed {
        Some(needed) => format!("{} would show a difference of that size four times in five", seeds(needed, setting)),
        None => "that is not certain enough to recommend it; more rows or seeds would tell".to_owned(),
    };
    let on_test = if setting.judged == Split::Test { format!(" and {} on test", quoted(&candidate.ap)) } else { String::new() };
    format!(
        "{} may rank better: {} on val{on_test} over {}. {}.",
        candidate.arm,
        quoted(&candidate.val_ap),
        seeds(runs(candidate), setting),
        capitalised(&needed)
    )
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// How the strategies rank where none is recommended for it.
fn standing(others: &[&Arm], baseline: &Arm, setting: &Setting, rope: Rope) -> String {
    let count = |verdict| others.iter().filter(|arm| arm.ranking == Some(verdict)).count();
    let (same, worse, unknown) = (count(Verdict::Same), count(Verdict::Worse), count(Verdict::Unknown));
    let known = setting.certainty.as_ref().map_or(0, |certainty| certainty.seeds);
    if unknown == others.len() && known < SEEDS {
        return format!(
            "With {} nothing can be said of which strategy ranks better: how much a seed changes is not known.",
            seeds(known, setting)
        );
    }
    let choose = "choose the threshold, not the loss";
    if same == others.len() {
        return match others {
            [other] => format!("{} ranks as well as {} (AP within {}): {choose}.", other.arm, baseline.arm, 2.0 * rope.ap),
            _ => format!("All {same} strategies rank as well as {} (AP within {}): {choose}.", baseline.arm, 2.0 * rope.ap),
        };
    }
    let all = [(same, "as well"), (worse, "worse")].map(|(count, how)| match count {
        0 => String::new(),
        1 => format!("1 ranks {how}"),
        _ => format!("{count} rank {how}"),
    });
    let unknown_words = if unknown > 0 { format!("{unknown} cannot be told from it") } else { String::new() };
    let parts: Vec<String> = all.into_iter().chain([unknown_words]).filter(|part| !part.is_empty()).collect();
    let end = if unknown == 0 { format!("; {choose}") } else { String::new() };
    format!("No strategy is seen to rank better than {}: {}{end}.", baseline.arm, parts.join(", "))
}

/// Strategies that rank better on test with certainty, and yet are not chosen on val.
fn certain_on_test(others: &[&Arm], arm: &Arm, candidate: Option<&Arm>, setting: &Setting, rope: Rope) -> Option<String> {
    let named = |other: &Arm| other.arm == arm.arm || candidate.is_some_and(|candidate| candidate.arm == other.arm);
    let spoken = |other: &Arm| named(other) || is_better(other, PROVEN, rope);
    let better: Vec<String> = others
        .iter()
        .filter(|other| other.ranking == Some(Verdict::Better) && !spoken(other))
        .map(|other| format!("{} ({})", other.arm, quoted(&other.ap)))
        .collect();
    (!better.is_empty()).then(|| {
        format!(
            "On {} {} {} better, but a strategy is chosen on val, and there that is not certain enough.",
            setting.judged.name(),
            listed(&better),
            if better.len() == 1 { "ranks" } else { "rank" }
        )
    })
}

/// The rarest label for which some strategy is better, in AP or in F1 at tuned thresholds, and the label that pays for it.
fn rarest(others: &[&Arm], setting: &Setting) -> Option<String> {
    let order = setting.rarest_first();
    let gain = |arm: &Arm, at: usize| {
        let label = &arm.labels[at];
        [(label.ap_verdict, label.ap_difference), (label.f1_verdict, label.f1_difference)]
            .into_iter()
            .filter(|(verdict, _)| *verdict == Some(Verdict::Better))
            .filter_map(|(_, found)| found)
            .map(|found| found.mean)
            .max_by(f64::total_cmp)
    };
    let (at, arm) = order.iter().find_map(|&at| {
        let best = others.iter().filter_map(|arm| Some((gain(arm, at)?, *arm))).max_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, arm)| (at, arm))
    })?;
    let label = &setting.labels[at];
    let place = order.iter().position(|&other| other == at).unwrap_or(0);
    let rarity = if place == 0 { ", the rarest label," } else { "" };
    let pays = payer(arm).map_or_else(
        || "no label is seen to pay for it".to_owned(),
        |payer| format!("{} pays for it: {}", shown(&payer.label), moved(payer)),
    );
    Some(format!(
        "For {}{rarity} ({} of the rows) {} is better: {}; {pays}.",
        shown(&label.label),
        percent(label.prevalence),
        arm.arm,
        moved(&arm.labels[at])
    ))
}

/// Whether tuned thresholds are recommended: they have to win on val rows that they were not fitted on.
fn are_tuned(arm: &Arm, rope: Rope) -> bool {
    let held = |policy: &ArmPolicy| policy.val_f1_held_out;
    let half = arm.policies.iter().find(|policy| policy.policy == HALF).map_or(0.0, held);
    arm.policies.get(arm.policy).is_some_and(|chosen| held(chosen) - half > rope.f1)
}

/// What to do about thresholds; `tuned`: to tune them.
fn thresholds(rule: Rule, arm: &Arm, setting: &Setting, rope: Rope, tuned: bool) -> String {
    let keep = match rule {
        Rule::RanksBetter => format!("With {}", arm.arm),
        Rule::MoreSeeds => format!("Until then keep {}", arm.arm),
        _ => format!("Keep {}", arm.arm),
    };
    let half = arm.policies.iter().find(|policy| policy.policy == HALF);
    let (Some(chosen), Some(half)) = (arm.policies.get(arm.policy), half) else { return format!("{keep}.") };
    let calibrated = calibrated(arm);
    if tuned {
        format!(
            "{keep}, and take its decisions by threshold = {}{}: macro F1 {} on {} instead of {} at 0.5 (on val rows that it was not \
             fitted on: {} and {}){calibrated}.",
            in_toml(&chosen.policy),
            meaning(&chosen.policy),
            number(chosen.f1),
            setting.judged.name(),
            number(half.f1),
            number(chosen.val_f1_held_out),
            number(half.val_f1_held_out),
        )
    } else {
        let tried = arm.policies.iter().filter(|policy| policy.trusted && policy.policy != HALF);
        let best = tried.map(|policy| policy.val_f1_held_out).fold(0.0, f64::max);
        let few = if arm.policies.iter().all(|policy| policy.trusted) { "" } else { "; max_f1 needs more positives in val" };
        format!(
            "{keep} and its threshold of 0.5: no tuned threshold is better by more than {} on val rows that it was not fitted on (macro F1 \
             {} against {}{few}){calibrated}.",
            rope.f1,
            number(best),
            number(half.val_f1_held_out)
        )
    }
}

/// What a policy does, in brackets.
fn meaning(policy: &str) -> &'static str {
    match policy {
        "prior_match" => " (each label on as many rows as have it)",
        "max_f1" => " (the best F1 of each label on val)",
        _ if policy.starts_with("max_f1(min_positives") => {
            " (the best F1 of each label on val, and prior_match for rarer labels)"
        }
        _ => "",
    }
}

/// A policy as a sweep file has it: `"max_f1"`, `{ kind = "max_f1", min_positives = 20 }`.
fn in_toml(policy: &str) -> String {
    let Some((kind, values)) = policy.strip_suffix(')').and_then(|policy| policy.split_once('(')) else {
        return format!("\"{policy}\"");
    };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if value.parse::<f64>().is_ok() => format!("{key} = {value}"),
        Some((key, value)) => format!("{key} = \"{value}\""),
        None => pair.to_owned(),
    };
    format!("{{ kind = \"{kind}\", {} }}", values.split(',').map(pair).collect::<Vec<_>>().join(", "))
}

/// `; its scores are probabilities`, where that was judged of every label that has enough rows.
fn calibrated(arm: &Arm) -> String {
    let count = |judgement: fn(&Judgement) -> bool| {
        arm.labels.iter().filter(|label| label.judgement.as_ref().is_some_and(judgement)).count()
    };
    let yes = count(|judgement| *judgement == Judgement::Probabilities);
    let no = count(|judgement| matches!(judgement, Judgement::Not(_)));
    match (yes, no) {
        (0, 0) => String::new(),
        (yes, 0) if yes == arm.labels.len() => "; its scores are probabilities".to_owned(),
        (yes, 0) => format!("; on {} its scores are probabilities, on the others the rows do not tell", several(yes, "label")),
        (_, no) => format!("; on {} its scores are not probabilities", several(no, "label")),
    }
}

/// More seeds are not worth their time where the least difference that they show is still so large a part of today's.
const HARDLY_LESS: f64 = 0.9;

/// What the seeds can tell, and what more of them would.
fn more_seeds(certainty: &Certainty, setting: &Setting) -> Option<String> {
    let Certainty { seeds: own, detectable, further_seeds, then_detectable, minutes, .. } = certainty;
    let cost = minutes.map_or_else(String::new, |minutes| {
        if minutes < 1.0 { " (under a minute here)".to_owned() } else { format!(" (about {minutes:.0} min here)") }
    });
    let further = several(*further_seeds, &format!("more {}", unit(setting)));
    if *own < SEEDS {
        let then =
            then_detectable.map_or_else(String::new, |least| format!(" and show differences of AP from {}", number(least)));
        return Some(format!(
            "What can be said of {}: decision points, calibration and tuned F1 of these trainings. {further}{cost} would make a word on \
             rankings possible{then}.",
            seeds(*own, setting)
        ));
    }
    let unknown = setting.arms.iter().any(|arm| arm.ranking == Some(Verdict::Unknown));
    let detectable = detectable.filter(|_| unknown)?;
    let outlook = match then_detectable {
        None => format!("{further}{cost} would show smaller ones"),
        Some(least) if *least > HARDLY_LESS * detectable => {
            "more seeds would hardly show smaller ones, more rows would".to_owned()
        }
        Some(least) => format!("{further}{cost} would show differences of AP from {}", number(*least)),
    };
    Some(format!(
        "{} and {} {} rows show differences of AP from about {}; {outlook}.",
        capitalised(&seeds(*own, setting)),
        if setting.judged == Split::Test { setting.rows.test } else { setting.rows.val },
        setting.judged.name(),
        number(detectable)
    ))
}

/// The comparison with a model that predicts everything, which comes first.
fn trivial(setting: &Setting, rope: Rope) -> Option<String> {
    let best = setting.arms.iter().filter_map(|arm| arm.f1_tuned.value).map(|value| value.mean).fold(f64::NEG_INFINITY, f64::max);
    (best.is_finite() && best - setting.all_positive <= rope.f1).then(|| {
        format!(
            "No strategy beats predicting every label for every row (macro F1 {} against {}): look at the data and the training first.",
            number(setting.all_positive),
            number(best)
        )
    })
}

/// How far the scores of a label are off on average.
fn off(label: &ArmLabel) -> String {
    format!("{:.3} too {}", label.gap.abs(), if label.gap > 0.0 { "high" } else { "low" })
}

/// The advice for a fixed threshold of 0.5: chosen on val, quoted on the split that judges, and only where that agrees. `kept`: 0.5 is what
/// was just recommended.
fn at_half(baseline: &Arm, others: &[&Arm], judged: Split, rope: Rope, kept: bool) -> Option<String> {
    let most = others.iter().map(|arm| arm.val_f1_half).fold(f64::NEG_INFINITY, f64::max);
    // Of equally good ones the first, which in most sweep files is the simpler one.
    let best = others.iter().find(|arm| most - arm.val_f1_half < 1e-3)?;
    let agrees = best.f1_half.difference.as_ref().is_some_and(|found| found.mean > rope.f1);
    (best.val_f1_half - baseline.val_f1_half > rope.f1 && agrees).then(|| {
        let label: Option<&ArmLabel> = best.labels.get(best.calibration.worst_label);
        let price = label.filter(|label| label.gap.abs() > 0.05).map_or_else(String::new, |label| {
            let own = baseline.labels.get(best.calibration.worst_label).map_or_else(String::new, off);
            format!(
                "; the price is that its scores are no probabilities, on average {} on {} ({} {own})",
                off(label),
                shown(&label.label),
                baseline.arm
            )
        });
        let tuned = baseline.f1_tuned.value.map_or_else(String::new, |value| format!(", with max_f1 {}", point(value.mean)));
        let when = if kept { "For F1 at 0.5 alone" } else { "If the threshold has to stay at 0.5" };
        format!(
            "{when}, {} is the best on val: {} on {} ({} {}{tuned}){price}.",
            best.arm,
            value(&best.f1_half),
            judged.name(),
            baseline.arm,
            value(&baseline.f1_half)
        )
    })
}

fn nothing(setting: &Setting, rope: Rope) -> Recommendation {
    let mut sentences: Vec<String> = trivial(setting, rope).into_iter().collect();
    sentences.push(match (&setting.baseline, setting.arms.len()) {
        (_, 0) => "Nothing is recorded yet.".to_owned(),
        (Some(baseline), 1) if baseline.exact => format!(
            "There is only {} here: add strategies to the grid, such as pos_weight = [\"none\", \"sqrt\", \"neg_over_pos\"], to compare them with it.",
            baseline.arm
        ),
        (None, 1) if setting.arms[0].arm == strategy_names::IMPORTED => format!(
            "These scores were imported: compare them with other runs on the same rows, `sweep compare {} RUN`.",
            setting.arms[0].runs.first().map_or("RUN", |run| run.get(..8).unwrap_or(run))
        ),
        (Some(baseline), _) => format!("No strategy has a run with a seed of {}: give all of them the same seeds.", baseline.arm),
        (None, _) => "There is nothing to compare with: add loss = \"bce\", pos_weight = \"none\", sampler = \"shuffle\" to the grid.".to_owned(),
    });
    Recommendation { rule: Rule::NothingToCompare, arm: None, candidate: None, sentences }
}

#[cfg(test)]
mod tests {
    use super::in_toml;

    #[test]
    fn a_policy_is_written_as_a_sweep_file_has_it() {
        assert_eq!(in_toml("prior_match"), "\"prior_match\"");
        assert_eq!(in_toml("max_f1(min_positives=20)"), "{ kind = \"max_f1\", min_positives = 20 }");
        assert_eq!(in_toml("cost(by=probability,fn=3)"), "{ kind = \"cost\", by = \"probability\", fn = 3 }");
    }
}
