//! Warnings from configurations and counts, before anything trains.

use super::super::explain::Prospect;
use super::super::explain::arms::{Case, SettingRuns};
use super::super::question::Split;
use super::super::splits;
use super::{Kind, Lint, Lints, listed, moves_prevalence};
use imbalance::PosWeight;
use imbalance::loss::{self, Context, class_weights};
use imbalance::pos_weight;
use imbalance::sampler::label_factors;
use imbalance::shown::shown;
use plan::{DataFacts, Schedule};

/// Weights whose largest and smallest differ by less than this are one.
const EQUAL: f64 = 1e-3;
/// Positives in val below which a tuned threshold is mostly luck.
pub const FEW: usize = 20;
/// More of the learning rate than this in the first epoch leaves the others without any.
const SPENT: f64 = 0.85;

/// The warnings of runs before they train. `typed` are the pos_weight values of the sweep file, because those that come to plain
/// 1 have no run of their own. `tunes`: whether thresholds will be fitted on val.
#[must_use]
pub fn planned(cases: &[Case<'_>], settings: &[SettingRuns], facts: &[DataFacts], typed: &[PosWeight], tunes: bool) -> Vec<Lint> {
    let mut lints = Lints::default();
    double_correction(cases, facts, &mut lints);
    for case in cases {
        one_run(case, &facts[case.data], &mut lints);
    }
    for facts in facts {
        for weight in typed {
            equal_formula(weight, facts, "", &mut lints);
        }
        divided(facts, tunes, &mut lints);
    }
    let few = Prospect::of(cases, settings).and_then(|prospect| prospect.warning());
    few.into_iter().for_each(|what| lints.add(Kind::FewSeeds, "", what));
    lints.sorted()
}

/// The warnings of data alone. `tunes`: whether thresholds will be fitted on val.
#[must_use]
pub fn of_data(facts: &DataFacts, tunes: bool) -> Vec<Lint> {
    let mut lints = Lints::default();
    divided(facts, tunes, &mut lints);
    lints.sorted()
}

/// How the rows are divided, whatever is trained on them.
fn divided(facts: &DataFacts, tunes: bool, lints: &mut Lints) {
    for split in [Split::Val, Split::Test] {
        splits::absence(facts, split).into_iter().for_each(|what| lints.add(Kind::AbsentLabels, "", what));
        splits::unknown(facts, split).into_iter().for_each(|what| lints.add(Kind::UnknownCells, "", what));
        splits::shift(facts, split).into_iter().for_each(|what| lints.add(Kind::Shifted, "", what));
    }
    if tunes {
        few_positives(facts, lints);
    }
}

/// Of a loss that makes up for rarity itself, positive weights and a rebalancing sampler, more than one at a time: one warning about
/// all of them, with the pairs that occur and the largest consequence.
fn double_correction(cases: &[Case<'_>], facts: &[DataFacts], lints: &mut Lints) {
    let corrections =
        |case: &Case<'_>| [loss::balances(&case.config.loss), case.weighted(), moves_prevalence(&case.config.sampler.kind)];
    let twice: Vec<&Case<'_>> =
        cases.iter().filter(|case| corrections(case).into_iter().filter(|correction| *correction).count() > 1).collect();
    let pairs: Vec<String> = [(0, 1), (0, 2), (1, 2)]
        .into_iter()
        .filter_map(|(one, other)| {
            let both = twice.iter().filter(|case| corrections(case)[one] && corrections(case)[other]);
            let mut losses: Vec<String> = both.map(|case| case.config.loss.kind.clone()).collect();
            losses.sort_unstable();
            losses.dedup();
            let word = |correction| ["", "positive weights", "a sampler"][correction];
            match (losses.is_empty(), one) {
                (true, _) => None,
                (_, 0) => Some(format!("the loss itself ({}) and {}", listed(&losses), word(other))),
                _ => Some(format!("{} and {}", word(other), word(one))),
            }
        })
        .collect();
    let what = format!(
        "the same imbalance is corrected twice, by {}: the two multiply, so that rare labels are over-weighted and over-predicted{}; \
         use one of them",
        pairs.join("; by "),
        consequence(&twice, facts)
    );
    twice.iter().for_each(|case| lints.add(Kind::DoubleCorrection, &case.name, what.clone()));
}

/// What the most extreme of them comes to: the probability that 0.5 stands for, or how often a positive counts.
fn consequence(twice: &[&Case<'_>], facts: &[DataFacts]) -> String {
    let mut lowest: Option<(f64, f64, &Case<'_>, String)> = None;
    for case in twice.iter().filter(|case| !moves_prevalence(&case.config.sampler.kind)) {
        let facts = &facts[case.data];
        let context =
            Context { pos_weight: case.weights.to_vec(), counts: facts.train.clone(), epochs: case.config.train.epochs };
        let Ok(loss) = loss::build(&case.config.loss, &context) else { continue };
        for label in 0..facts.labels.len() {
            let prevalence = facts.train.prevalence(label);
            let Some(stands_for) = loss.implied_probability(label, 0.0) else { continue };
            if stands_for < prevalence / 2.0 && lowest.as_ref().is_none_or(|(least, of, ..)| stands_for / prevalence < least / of)
            {
                lowest = Some((stands_for, prevalence, case, shown(&facts.labels[label])));
            }
        }
    }
    let shown_oftener = twice.iter().filter(|case| moves_prevalence(&case.config.sampler.kind));
    let largest = shown_oftener.flat_map(|case| &*case.weights).copied().fold(1.0, f64::max);
    let mut all = Vec::new();
    if let Some((stands_for, prevalence, case, label)) = lowest {
        all.push(format!(
            "{}: 0.5 stands for a probability of {stands_for:.2}% of {label}, which {prevalence:.1}% of train have",
            case.name,
            stands_for = 100.0 * stands_for,
            prevalence = 100.0 * prevalence
        ));
    }
    if largest > 1.0 {
        all.push(format!("on top of a sampler positives count up to {largest:.1} times"));
    }
    if all.is_empty() { String::new() } else { format!(" ({})", all.join("; ")) }
}

fn one_run(case: &Case<'_>, facts: &DataFacts, lints: &mut Lints) {
    let config = &case.config;
    if let Some(beta) = config.loss.find("beta").filter(|_| config.loss.kind == "class_balanced") {
        let weights = class_weights("class_balanced", &facts.train, beta).unwrap_or_default();
        equal_weights(&weights, beta, facts, &case.name, lints);
    }
    equal_formula(&config.pos_weight, facts, &case.name, lints);
    if config.sampler.kind == "repeat_factor" {
        nothing_repeated(case, facts, lints);
    }
    // A single epoch needs all of it, and the schedule of an imported run is unknown.
    let share = if config.train.epochs > 1 {
        Schedule::new(&config.train).map_or(0.0, |schedule| schedule.first_epoch_share())
    } else {
        0.0
    };
    if share > SPENT {
        lints.add(
            Kind::ScheduleSpent,
            &case.name,
            format!(
                "the schedule {} spends {:.0} % of the learning rate in the first of {} epochs: the other epochs hardly train, which \
                 costs rare labels most; try schedule = \"cosine\" or \"constant\"",
                config.train.schedule,
                100.0 * share,
                config.train.epochs
            ),
        );
    }
}

/// Effective numbers that say the same of every label.
fn equal_formula(weight: &PosWeight, facts: &DataFacts, about: &str, lints: &mut Lints) {
    let PosWeight::Formula(choice) = weight else { return };
    let Some(beta) = choice.find("beta").filter(|_| choice.kind == "effective_number") else { return };
    equal_weights(&pos_weight::resolve(weight, &facts.train).unwrap_or_default(), beta, facts, about, lints);
}

fn equal_weights(weights: &[f64], beta: f64, facts: &DataFacts, about: &str, lints: &mut Lints) {
    let (low, high) = weights.iter().fold((f64::INFINITY, 0.0f64), |(low, high), &w| (low.min(w), high.max(w)));
    let rarest = facts.train.positives.iter().copied().min().unwrap_or(0);
    let made_for = 1.0 / (1.0 - beta);
    // Labels that are equally frequent weigh the same under any beta, and rightly so.
    if !weights.is_empty() && high / low - 1.0 < EQUAL && made_for < rarest as f64 {
        lints.add(
            Kind::EqualWeights,
            about,
            format!(
                "weights by effective number with beta = {beta} are all one here: beta is made for labels of about {made_for:.0} rows, and the rarest \
                 has {rarest} in train; nothing is weighed, so leave it out or take a beta from {:.6} on",
                1.0 - 1.0 / rarest.max(2) as f64
            ),
        );
    }
}

fn nothing_repeated(case: &Case<'_>, facts: &DataFacts, lints: &mut Lints) {
    let Some(t) = case.config.sampler.find("t") else { return };
    let train = &facts.train;
    let present = (0..facts.labels.len()).filter(|&label| train.positives[label] > 0);
    let rarest = present.min_by(|&one, &other| train.prevalence(one).total_cmp(&train.prevalence(other)));
    let Some((label, frequency)) = rarest.map(|label| (shown(&facts.labels[label]), train.prevalence(label))) else { return };
    if label_factors(t, &facts.train).iter().all(|factor| *factor <= 1.0) {
        lints.add(
            Kind::NothingRepeated,
            &case.name,
            format!(
                "repeat_factor with t = {t} repeats nothing: every label is on at least {:.1} % of the rows ({label}), and only rarer ones than t \
                 are repeated; take t above {frequency:.3}, or leave it out",
                100.0 * frequency
            ),
        );
    }
}

fn few_positives(facts: &DataFacts, lints: &mut Lints) {
    let few = facts.labels.iter().zip(&facts.val.positives).filter(|(_, n)| (1..FEW).contains(*n));
    let mut few: Vec<(&String, &usize)> = few.collect();
    few.sort_by_key(|(_, n)| **n);
    let few: Vec<String> = few.into_iter().map(|(label, n)| format!("{} ({n})", shown(label))).collect();
    if !few.is_empty() {
        lints.add(
            Kind::FewPositives,
            "",
            format!(
                "too few positives in val to tune a threshold: {}; below {FEW} the best threshold is mostly luck, so give val more rows, \
                 or take a fixed threshold or prior_match for these labels",
                listed(&few)
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use imbalance::Choice;

    use super::super::super::explain::arms::settings;
    use super::super::super::explain::testing::{cases, facts};
    use super::*;

    fn found(grid: &str, facts: &DataFacts) -> Vec<Lint> {
        let cases = cases(grid);
        planned(&cases, &settings(&cases), std::slice::from_ref(facts), &[], true)
    }

    fn of(kind: Kind, lints: &[Lint]) -> Lint {
        lints.iter().find(|lint| lint.kind == kind).unwrap_or_else(|| panic!("no {kind:?} in {lints:?}")).clone()
    }

    #[test]
    fn a_clean_plan_has_no_warnings() {
        let clean = "loss = [\"bce\", \"focal\"]\n\"train.schedule\" = [\"cosine\"]\nseed = [0, 1, 2, 3, 4, 5]";
        assert_eq!(found(clean, &facts()), []);
    }

    #[test]
    fn two_corrections_at_once_are_told() {
        let lints = found(
            "loss = [\"bce\"]\npos_weight = [\"none\", \"neg_over_pos\"]\nsampler = [\"shuffle\", \"class_aware\", \"balanced_batch\"]",
            &facts(),
        );
        let lint = of(Kind::DoubleCorrection, &lints);
        assert_eq!(lint.about, ["bce + neg_over_pos + class_aware"]);
        assert!(lint.sentence.contains("by a sampler and positive weights:"), "{}", lint.sentence);
        assert!(lint.sentence.contains("up to 10.8 times") && lint.sentence.contains("use one of them"), "{}", lint.sentence);
    }

    /// Losses that make up for rarity themselves, with weights and with samplers: one warning, each pair named once.
    #[test]
    fn losses_that_correct_are_corrections() {
        let losses = ["logit_adjust", "ldam", "db", "class_balanced", "asl", "two_way", "soft_f1"];
        for name in losses {
            let grid = format!("loss = [\"{name}\"]\nsampler = [\"shuffle\", \"class_aware\"]");
            let lint = of(Kind::DoubleCorrection, &found(&grid, &facts()));
            assert!(
                lint.about.len() == 1 && lint.about[0].starts_with(name) && lint.about[0].ends_with(" + class_aware"),
                "{lint:?}"
            );
            assert!(lint.sentence.contains(&format!("by the loss itself ({name}) and a sampler")), "{}", lint.sentence);
        }
        let weighted = "loss = [\"logit_adjust\"]\npos_weight = [\"none\", \"neg_over_pos\"]";
        let lint = of(Kind::DoubleCorrection, &found(weighted, &facts()));
        assert_eq!(lint.about, ["logit_adjust + neg_over_pos"]);
        let words = "(logit_adjust + neg_over_pos: 0.5 stands for a probability of 0.85% of A, which 8.5% of train have)";
        assert!(lint.sentence.contains(words), "{}", lint.sentence);
        let once = "loss = [\"bce\", \"focal\", \"zlpr\", { kind = \"logit_adjust\", tau = 0 }, { kind = \"ldam\", max_margin = 0, drw = 1 }]\n\
                    sampler = [\"shuffle\", \"class_aware\"]";
        assert!(!found(once, &facts()).iter().any(|lint| lint.kind == Kind::DoubleCorrection));
        let unread = "loss = [\"two_way\", \"soft_f1\"]\npos_weight = [\"none\", \"neg_over_pos\"]";
        assert!(!found(unread, &facts()).iter().any(|lint| lint.kind == Kind::DoubleCorrection), "they read no weights");
        let many = format!(
            "loss = {losses:?}\npos_weight = [\"none\", \"sqrt\", \"neg_over_pos\"]\nsampler = [\"shuffle\", \"class_aware\", \"ml_ros\"]"
        );
        let lints = found(&many, &facts());
        let all: Vec<_> = lints.iter().filter(|lint| lint.kind == Kind::DoubleCorrection).collect();
        assert_eq!(all.len(), 1, "one line");
        assert!(all[0].sentence.len() < 500 && all[0].sentence.contains("asl, class_balanced and 3 more"), "{}", all[0].sentence);
    }

    #[test]
    fn effective_numbers_that_say_nothing_are_told() {
        let lints =
            found("loss = [{ kind = \"class_balanced\", beta = 0.99 }, { kind = \"class_balanced\", beta = 0.99999 }]", &facts());
        let lint = of(Kind::EqualWeights, &lints);
        assert_eq!(lint.about, ["class_balanced(beta=0.99)"]);
        assert!(lint.sentence.contains("about 100 rows") && lint.sentence.contains("has 848"), "{}", lint.sentence);
        // weights that are 1 to the last bit have no run of their own, but the sweep file has them
        let typed = [PosWeight::Formula(Choice::plain("effective_number").with("beta", 0.9).with("form", "ratio"))];
        let cases = cases("loss = [\"bce\"]");
        of(Kind::EqualWeights, &planned(&cases, &settings(&cases), &[facts()], &typed, false));
    }

    #[test]
    fn repeat_factors_of_one_are_told() {
        let grid = |t: f64| format!("loss = [\"bce\"]\nsampler = [{{ kind = \"repeat_factor\", t = {t} }}]");
        let lint = of(Kind::NothingRepeated, &found(&grid(0.001), &facts()));
        assert!(lint.sentence.contains("8.5 % of the rows (A)"), "{}", lint.sentence);
        assert!(!found(&grid(0.3), &facts()).iter().any(|lint| lint.kind == Kind::NothingRepeated));
    }

    #[test]
    fn a_spent_schedule_is_told_once_for_all() {
        let grid = "loss = [\"bce\", \"focal\"]\n\"train.epochs\" = [4]\n\"train.schedule\" = [{ kind = \"step\", every = 1, factor = 0.1 }]";
        let lint = of(Kind::ScheduleSpent, &found(grid, &facts()));
        assert_eq!(lint.about.len(), 2);
        let told = "the schedule step(every=1,factor=0.1,warmup=0) spends 90 % of the learning rate in the first of 4 epochs";
        assert!(lint.sentence.starts_with(told), "{}", lint.sentence);
    }

    #[test]
    fn absent_and_shifted_labels_are_told_of_the_data() {
        let mut facts = facts();
        facts.val.positives[0] = 0;
        facts.test.positives[1] += 1000;
        let lints = of_data(&facts, true);
        assert_eq!(lints.iter().map(|lint| lint.kind).collect::<Vec<_>>(), [Kind::AbsentLabels, Kind::Shifted, Kind::Shifted]);
        assert!(lints[0].sentence.contains("val has no positive of 1 of 2 labels: A (1187 in all)"), "{}", lints[0].sentence);
        assert!(lints.iter().any(|lint| lint.sentence.contains("D (46.9% to 71.9%)")), "{lints:?}");
        assert_eq!(found("loss = [\"bce\"]\nseed = [0, 1]", &facts)[..3], lints[..3]);
    }

    #[test]
    fn few_positives_and_few_seeds_are_told() {
        let mut facts = facts();
        facts.val.positives[0] = 19;
        let lints = found("loss = [\"bce\", \"focal\", \"asl\"]\nseed = [0, 1, 2]", &facts);
        assert!(of(Kind::FewPositives, &lints).sentence.contains("A (19)"));
        let lint = of(Kind::FewSeeds, &lints);
        assert!(lint.sentence.starts_with("3 seeds tell large differences only"), "{}", lint.sentence);
        let lints = found("loss = [\"bce\", \"focal\"]", &facts);
        assert!(
            of(Kind::FewSeeds, &lints).sentence.starts_with("nothing can be said of which strategy ranks better from 1 seed")
        );
        let enough = found("loss = [\"bce\", \"focal\"]\nseed = [0, 1, 2, 3, 4]", &facts);
        assert!(enough.iter().all(|lint| lint.kind != Kind::FewSeeds), "{enough:?}");
    }
}
