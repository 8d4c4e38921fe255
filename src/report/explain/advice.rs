//! The recommendation, by docs/strategies.md#decision-rule. Strategies are chosen on val; values on test are quoted. Pure.
//!
//! (a) Rankings are equal: choose by operating point, keep bce and tune its thresholds. (b) One ranks better beyond the rope over at
//! least nine seeds: take it. Otherwise say what is missing.

use super::super::compare::table::signed;
use super::super::lint::listed;
use super::super::question::Split;
use super::super::strategy_names;
use super::super::text_grid::number;
use super::view::{Arm, Change, Recommendation, Rope, Rule, Setting, Verdict};
use super::words::point;
use imbalance::shown::shown;

/// The fewest seeds that a better ranking is believed with (docs/strategies.md#decision-rule: with 11 comparisons no fewer could
/// be significant).
pub const SEEDS_NEEDED: usize = 9;
/// A strategy chosen on val needs this posterior probability of ranking better.
const SURE: f64 = 0.95;

/// The recommendation for a setting whose arms are summarised.
#[must_use]
pub fn advise(setting: &Setting, rope: Rope) -> Recommendation {
    let baseline = setting.arms.iter().find(|arm| arm.baseline);
    let others: Vec<&Arm> = setting.arms.iter().filter(|arm| arm.ap.difference.is_some()).collect();
    let Some(baseline) = baseline.filter(|_| !others.is_empty()) else { return nothing(setting, rope) };
    let mut sentences: Vec<String> = trivial(setting, rope).into_iter().collect();
    let mut better: Vec<&Arm> = others.iter().copied().filter(|arm| is_better(arm, rope)).collect();
    better.sort_by(|a, b| mean(&b.val_ap).total_cmp(&mean(&a.val_ap)));
    let proven = better.iter().copied().find(|arm| is_proven(arm, setting.seeds_needed));
    if let Some(best) = proven {
        sentences.push(ranks_better(best, &others, setting, rope));
        sentences.extend(under_each(best, setting, rope));
        sentences.push(format!(
            "Then tune its thresholds on val (threshold = \"max_f1\"): macro F1 {} on {}.",
            value(&best.f1_tuned),
            setting.judged.name()
        ));
        return Recommendation { rule: Rule::RanksBetter, arm: Some(best.arm.clone()), candidate: None, sentences };
    }
    let ranked = |verdict: Verdict| -> Vec<String> {
        others.iter().filter(|arm| arm.val_ranking == Some(verdict)).map(|arm| arm.arm.clone()).collect()
    };
    let (unknown, withheld) = (ranked(Verdict::Unknown), ranked(Verdict::Withheld));
    if 2 * withheld.len() > others.len() {
        sentences.push(too_short(baseline, &others));
        return Recommendation { rule: Rule::NotConverged, arm: None, candidate: None, sentences };
    }
    let (rule, candidate) = match better.first() {
        Some(candidate) => {
            sentences.push(more_seeds(candidate, setting));
            sentences.extend(under_each(candidate, setting, rope));
            (Rule::MoreSeeds, Some(candidate.arm.clone()))
        }
        None if !unknown.is_empty() => {
            sentences.push(undecided(&unknown, baseline, setting, rope));
            (Rule::Undecided, None)
        }
        None => {
            let worse = others.iter().any(|arm| arm.val_ranking == Some(Verdict::Worse));
            let which = if worse { "No strategy ranks better than" } else { "All strategies rank as well as" };
            sentences.push(format!(
                "{which} {} (AP within {} is the same): choose the operating point, not the loss.",
                baseline.arm, rope.ap
            ));
            (Rule::OperatingPoint, None)
        }
    };
    if !withheld.is_empty() {
        sentences.push(format!("Not compared, because most of its runs have not converged: {}.", listed(&withheld)));
    }
    let until = if rule == Rule::OperatingPoint { "Keep" } else { "Until then keep" };
    sentences.push(format!(
        "{until} {} and tune its thresholds on val (threshold = \"max_f1\"): macro F1 {} on {} instead of {} at 0.5, and its scores stay {}.",
        baseline.arm,
        value(&baseline.f1_tuned),
        setting.judged.name(),
        value(&baseline.f1_half),
        if baseline.calibration.worst_gap.abs() <= 0.05 { "probabilities" } else { "what they are" }
    ));
    sentences.extend(at_half(baseline, &others, setting.judged, rope));
    Recommendation { rule, arm: Some(baseline.arm.clone()), candidate, sentences }
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

fn mean(change: &Change) -> f64 {
    change.difference.as_ref().map_or(f64::NEG_INFINITY, |difference| difference.effect.mean)
}

fn value(change: &Change) -> String {
    change.value.map_or_else(|| "undefined".to_owned(), |value| number(value.mean))
}

fn is_better(arm: &Arm, rope: Rope) -> bool {
    arm.val_ranking == Some(Verdict::Better) && mean(&arm.val_ap) > rope.ap
}

fn is_proven(arm: &Arm, needed: usize) -> bool {
    arm.val_ap.difference.as_ref().is_some_and(|difference| {
        difference.effect.runs >= needed && difference.posterior.is_some_and(|posterior| posterior.better >= SURE)
    })
}

/// The sentence about test for a difference on val; empty without test scores.
fn and_on_test(arm: &Arm, setting: &Setting) -> String {
    if setting.judged == Split::Test { format!(" and {} on test", signed(mean(&arm.ap))) } else { String::new() }
}

fn ranks_better(best: &Arm, others: &[&Arm], setting: &Setting, rope: Rope) -> String {
    let seeds = best.val_ap.difference.as_ref().map_or(0, |difference| difference.effect.runs);
    let close = |arm: &&&Arm| arm.arm != best.arm && mean(&best.val_ap) - mean(&arm.val_ap) <= rope.ap;
    let equals: Vec<String> = others.iter().filter(close).map(|arm| arm.arm.clone()).collect();
    let equals = if equals.is_empty() { String::new() } else { format!("; {} rank as well", listed(&equals)) };
    format!(
        "Train with {}: it ranks better, AP {} on val over {seeds} seeds{}{equals}.",
        best.arm,
        signed(mean(&best.val_ap)),
        and_on_test(best, setting)
    )
}

fn more_seeds(candidate: &Arm, setting: &Setting) -> String {
    let needed = setting.seeds_needed;
    let seeds = candidate.val_ap.difference.as_ref().map_or(0, |difference| difference.effect.runs);
    let what = if seeds >= needed {
        "but the seeds do not agree enough".to_owned()
    } else {
        format!("but {needed} seeds are needed to say so")
    };
    let seeds = if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds") };
    let advice = if what.contains("agree") {
        "more seeds would tell"
    } else {
        "add seeds to the grid and `sweep run` again: what is recorded is not trained twice"
    };
    format!(
        "{} may rank better (AP {} on val{}, {seeds}), {what}; {advice}.",
        candidate.arm,
        signed(mean(&candidate.val_ap)),
        and_on_test(candidate, setting).replace(" and ", ", ")
    )
}

fn undecided(unknown: &[String], baseline: &Arm, setting: &Setting, rope: Rope) -> String {
    let seeds = setting.power.as_ref().map_or(0, |power| power.pairs);
    let more = if seeds >= setting.seeds_needed {
        format!("more {} would tell", if setting.judged == Split::Test { "val and test rows" } else { "val rows" })
    } else {
        format!("{} seeds and more val rows would tell", setting.seeds_needed)
    };
    format!(
        "No strategy is seen to rank better than {}, but with {} and {} val rows {} cannot be told from it (AP within {} would be the same); {more}.",
        baseline.arm,
        if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds") },
        setting.rows.val,
        listed(unknown),
        rope.ap
    )
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

/// The advice for a fixed threshold of 0.5: chosen on val, quoted on test.
fn at_half(baseline: &Arm, others: &[&Arm], judged: Split, rope: Rope) -> Option<String> {
    let most = others.iter().map(|arm| arm.val_f1_half).fold(f64::NEG_INFINITY, f64::max);
    // Of equally good ones the first, which in most sweep files is the simpler one.
    let best = others.iter().find(|arm| most - arm.val_f1_half < 1e-3)?;
    (best.val_f1_half - baseline.val_f1_half > rope.f1).then(|| {
        let label = best.labels.get(best.calibration.worst_label);
        let price = label.filter(|label| label.gap.abs() > 0.05).map_or_else(String::new, |label| {
            format!("; the price is that its scores are no probabilities ({} off on {})", signed(label.gap), shown(&label.label))
        });
        let tuned =
            baseline.f1_tuned.value.map_or_else(String::new, |value| format!(", tuned {} {}", baseline.arm, point(value.mean)));
        format!(
            "If the threshold has to stay at 0.5, {} has the best F1 there on val: {} on {} ({} {}{tuned}){price}.",
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
