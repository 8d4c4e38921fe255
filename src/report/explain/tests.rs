//! Explanations of hand-made scores, from the numbers to the sentences.

use super::super::lint;
use super::super::summary::RunTally;
use super::arms::{self, settings};
use super::effect::{Pooled, Resamples, resample};
use super::measure::{measure, policies};
use super::summarise::{Comparing, Findings, summarise};
use super::testing::{cases, evidence, facts};
use super::*;
use imbalance::loss::sigmoid;
use imbalance::sampler::Realised;

/// The score of a run for `(label, u, noise)`, u being the logit of the truth.
type Scores = fn(&Case<'_>, usize, f64, f64) -> f64;

/// The view of a grid whose runs have these scores.
fn explained(grid: &str, score: Scores) -> Setting {
    explained_of(&cases(grid), score)
}

/// The same of these runs.
fn explained_of(cases: &[Case<'_>], score: Scores) -> Setting {
    let setting = settings(cases).remove(0);
    let facts = facts();
    let kept = |case: &Case<'_>| evidence(case.config.seed, |label, u, noise| score(case, label, u, noise));
    let mut findings = Findings::default();
    for (at, case) in cases.iter().enumerate() {
        findings.measured.insert(at, measure(case, &facts, &kept(case), None, &policies(&[])));
        let even = case.config.sampler.kind != "shuffle";
        let prevalence = if even { vec![0.5, 0.55] } else { vec![0.085, 0.469] };
        let drawn = Realised { draws: 10_000, prevalence, shift: 0.0, duplicates: 0.0, never_drawn: 0.0, made_up: 0.0 };
        findings.drawn.insert(at, drawn);
    }
    if let Some(baseline) = setting.baseline {
        let theirs: &arms::ArmRuns = &setting.arms[baseline.arm];
        for (at, arm) in setting.arms.iter().enumerate().filter(|(at, _)| *at != baseline.arm) {
            let mut pooled = Pooled::default();
            for &case in &arm.cases {
                let partner = theirs.cases.iter().find(|&&theirs| cases[theirs].config.seed == cases[case].config.seed);
                let found = partner.map(|&theirs| {
                    let theirs = kept(&cases[theirs]);
                    resample(&theirs, &[&kept(&cases[case])], &Resamples::of(&theirs, None, 100), &[]).remove(0)
                });
                found.into_iter().for_each(|found| pooled.add(found));
            }
            findings.effects.extend(pooled.effects().map(|found| (at, found)));
        }
    }
    findings.minutes = Some(2.5);
    let comparing =
        Comparing { options: &ExplainOptions::default(), policies: &policies(&[]), family: setting.arms.len().saturating_sub(1) };
    summarise(&setting, cases, &facts, &findings, comparing)
}

/// A perfectly trained bce with weights, and a little noise of training.
fn weighted(case: &Case<'_>, label: usize, u: f64, noise: f64) -> f64 {
    sigmoid(u + case.weights[label].ln() + 0.05 * noise)
}

/// Focal loss ranks better than bce: it has less noise.
fn focal_better(case: &Case<'_>, _: usize, u: f64, noise: f64) -> f64 {
    sigmoid(u + if case.config.loss.kind == "focal" { 0.1 } else { 1.2 } * noise)
}

fn whole(settings: Vec<Setting>) -> Explanation {
    Explanation {
        sweep: "hand".to_owned(),
        state: "done".to_owned(),
        runs: RunTally { total: 6, recorded: 6, ..RunTally::default() },
        rope: Rope::default(),
        groups: Groups::default(),
        level: 0.95,
        label_level: 0.95,
        replicates: 100,
        settings,
        warnings: vec![lint::Lint { kind: lint::Kind::FewSeeds, about: vec![], sentence: "too few".to_owned() }],
        notes: vec!["a note".to_owned()],
    }
}

/// Everything.
const ALL: Shown = Shown { only: Vec::new(), top: 6, all: true };

/// docs/strategies.md#decision-rule: weights move the decision point, the ranking stays, tuned bce does as well and stays
/// calibrated.
#[test]
fn weights_move_the_decision_point_and_bce_is_kept() {
    let view = explained(
        r#"loss = ["bce"]
pos_weight = ["none", "neg_over_pos"]
seed = [0, 1, 2]"#,
        weighted,
    );
    let [bce, weights] = &view.arms[..] else { panic!() };
    assert!(bce.baseline && bce.sentence.starts_with("is what the others are compared with: AP 0."), "{}", bce.sentence);
    assert_eq!(
        (weights.ranking, weights.val_ranking, weights.tuned),
        (Some(Verdict::Same), Some(Verdict::Same), Some(Verdict::Same))
    );
    let said = &weights.sentence;
    assert!(said.starts_with("moved the decision point of A to 0.085 (bce: 0.5), so macro F1 at 0.5 went from 0."), "{said}");
    for part in [
        "it ranks as well (AP 0.000 [",
        "tuned bce gives the same F1",
        "At 0.5 it predicts A on ",
        "of the rows, and 8.",
        "q / (q + 10.79",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // the sentence quotes the numbers beside it
    let label = &weights.labels[0];
    assert!((label.eta.unwrap() - 0.0848).abs() < 1e-3 && (label.stands_for - 0.0848).abs() < 0.02, "{label:?}");
    assert!(weights.calibration.worst_gap > 0.2 && weights.calibration.repaired_ece < 0.03);
    let change = weights.f1_half.difference.unwrap().mean;
    let values = (weights.f1_half.value.unwrap().mean, bce.f1_half.value.unwrap().mean);
    assert!((change - (values.0 - values.1)).abs() < 1e-12 && change > 0.05);
    let advice = &view.recommendation;
    assert_eq!((advice.rule, advice.arm.as_deref()), (Rule::OperatingPoint, Some("bce")));
    assert!(advice.sentences[0].contains("choose the threshold, not the loss"), "{advice:?}");
    let words = advice.sentences.join(" ");
    assert!(
        words.contains(
            "Keep bce, and take its decisions by threshold = \"prior_match\" (each label on as many rows as have it): macro F1"
        ) && words.contains("its scores are probabilities"),
        "{words}"
    );
    assert!(words.contains("bce + neg_over_pos is the best on val") && words.contains(" too high on A (bce 0.0"), "{words}");
}

/// A better ranking is believed from five seeds on; with three it is named, with what is missing; with one nothing is said.
#[test]
fn a_better_ranking_needs_five_seeds() {
    let grid = |seeds: &str| format!("loss = [\"bce\", \"focal\"]\nseed = {seeds}");
    let one = explained(&grid("[0]"), focal_better);
    assert_eq!((one.arms[1].ranking, one.arms[1].val_ranking), (Some(Verdict::Unknown), Some(Verdict::Unknown)));
    let words = one.recommendation.sentences.join(" ");
    assert!(words.contains("With 1 seed nothing can be said of which strategy ranks better"), "{words}");
    assert!(words.contains("4 more seeds (about 10 min here) would make a word on rankings possible"), "{words}");
    assert!(one.arms[1].sentence.contains("cannot be told from 1 seed (AP +0."), "{}", one.arms[1].sentence);
    let few = explained(&grid("[0, 1, 2]"), focal_better);
    assert_eq!(few.arms[1].ranking, Some(Verdict::Better));
    assert!(
        few.arms[1].sentence.contains("it ranks better (AP +0.")
            && few.arms[1].sentence.contains("left the decision point where bce has it"),
        "{}",
        few.arms[1].sentence
    );
    let advice = &few.recommendation;
    assert_eq!(
        (advice.rule, advice.candidate.as_deref(), advice.arm.as_deref()),
        (Rule::MoreSeeds, Some("focal(gamma=2)"), Some("bce"))
    );
    let words = advice.sentences.join(" ");
    assert!(words.starts_with("focal(gamma=2) may rank better: AP +0.") && words.contains("5 seeds would show"), "{words}");
    assert!(words.contains("Until then keep bce"), "{words}");
    let five = explained(&grid("[0, 1, 2, 3, 4]"), focal_better);
    let advice = &five.recommendation;
    assert_eq!((advice.rule, advice.arm.as_deref()), (Rule::RanksBetter, Some("focal(gamma=2)")));
    let words = advice.sentences.join(" ");
    assert!(words.starts_with("Train with focal(gamma=2): it ranks better, AP +0."), "{words}");
    let rates = "every strategy had a learning rate of 1e-3; [train] tune = { \"train.learning_rate\" = [3e-4, 1e-3, 3e-3] }";
    assert!(words.contains(rates), "{words}");
    let difference = five.arms[1].val_ap.difference.unwrap();
    assert!(difference.runs == 5 && difference.p.unwrap() < 0.01 && difference.low.unwrap() > 0.0, "{difference:?}");
}

/// The rare label gains, the frequent one pays, and their mean hardly moves: both are named.
#[test]
fn the_rare_label_is_in_view() {
    let view = explained("loss = [\"bce\", \"focal\"]\nseed = [0, 1, 2, 3, 4, 5]", |case, label, u, noise| {
        let noises = if case.config.loss.kind == "focal" { [0.3, 1.1] } else { [1.1, 0.6] };
        sigmoid(u + noises[label] * noise)
    });
    let [rare, frequent] = &view.arms[1].labels[..] else { panic!() };
    assert_eq!((rare.ap_verdict, frequent.ap_verdict), (Some(Verdict::Better), Some(Verdict::Worse)));
    let words = view.recommendation.sentences.join(" ");
    assert!(words.contains("For A, the rarest label, (8."), "{words}");
    assert!(words.contains("focal(gamma=2) is better: AP +0.") && words.contains("D pays for it: AP -0."), "{words}");
    assert!(
        view.arms[1].sentence.contains("The rarest label that gains is A (8.5% of train): AP +0."),
        "{}",
        view.arms[1].sentence
    );
    let page = render(&whole(vec![view]), &Shown::default(), 100);
    assert!(page.contains("Labels, the rarest first") && page.lines().count() < 60, "{page}");
}

/// Nine seeds of a loss that ranks better by far: nothing is said of it before the trainings have converged.
#[test]
fn no_word_of_comparison_before_the_trainings_converge() {
    let grid = "loss = [\"bce\", \"focal\", \"asl\"]\nseed = [0, 1, 2, 3, 4, 5, 6, 7, 8]";
    let rising = |loss: &'static str| -> Setting {
        let of = |case: Case<'static>| Case { rise: (loss == "all" || case.config.loss.kind == loss).then_some(0.03), ..case };
        explained_of(&cases(grid).into_iter().map(of).collect::<Vec<_>>(), focal_better)
    };
    for view in [rising("all"), rising("bce")] {
        let advice = &view.recommendation;
        assert_eq!((advice.rule, advice.arm.as_deref()), (Rule::NotConverged, None));
        assert!(advice.sentences[0].starts_with("Nothing is compared yet: in "), "{advice:?}");
        assert!(
            advice.sentences[0].contains("rises by up to 0.030") && advice.sentences[0].contains("train.max_steps"),
            "{advice:?}"
        );
        for arm in &view.arms[1..] {
            assert_eq!([arm.ranking, arm.val_ranking, arm.tuned], [Some(Verdict::Withheld); 3]);
            assert!(arm.sentence.contains("its ranking is not compared: not all have converged"), "{}", arm.sentence);
            assert!(!["better", "worse", "the same F1"].iter().any(|word| arm.sentence.contains(word)), "{}", arm.sentence);
        }
        let text = render(&whole(vec![view]), &Shown::default(), 160);
        assert!(text.contains("not converged") && !text.contains("it ranks better"), "{text}");
    }
    // One strategy has not: the others are judged.
    let one = rising("asl");
    assert_eq!(one.recommendation.rule, Rule::RanksBetter);
    let verdicts: Vec<_> = one.arms.iter().map(|arm| arm.ranking).collect();
    assert_eq!(verdicts, [None, Some(Verdict::Better), Some(Verdict::Withheld)]);
    let none = explained_of(&cases(grid), focal_better);
    assert!(none.arms.iter().all(|arm| arm.ranking != Some(Verdict::Withheld) && arm.convergence.rising == 0));
}

/// A sampler has no formula: its decision point is measured, and a line fitted on val repairs its scores.
#[test]
fn a_sampler_and_a_worse_ranking() {
    let view = explained(
        r#"loss = ["bce"]
sampler = ["shuffle", "class_aware"]
seed = [0, 1, 2]"#,
        |case, _, u, noise| if case.config.sampler.kind == "shuffle" { sigmoid(u) } else { sigmoid(u + 1.5 + 1.5 * noise) },
    );
    let said = &view.arms[1].sentence;
    assert!(
        said.contains("moved the decision point of")
            && said.contains("to about 0.")
            && said.contains(", as measured on val (bce: 0.5)"),
        "{said}"
    );
    assert!(said.contains("it ranks worse (AP -0."), "{said}");
    assert!(said.contains("Its sampler shows A in 50.0% of its draws, 8.5% of the train rows have it (AP -0."), "{said}");
    assert!(said.contains("tuned bce gives a better F1") && said.contains("(Platt)"), "{said}");
    assert_eq!(view.recommendation.rule, Rule::OperatingPoint);
    let first = &view.recommendation.sentences[0];
    assert!(first.starts_with("No strategy is seen to rank better than bce: 1 ranks worse; choose the threshold"), "{first}");
}

#[test]
fn nothing_near_bce_is_explained_without_differences() {
    let view = explained("loss = [\"focal\"]\npos_weight = [\"sqrt\"]", |_, _, u, _| sigmoid(u));
    assert_eq!((view.baseline.as_ref(), view.recommendation.rule), (None, Rule::NothingToCompare));
    assert!(view.recommendation.sentences[0].contains("add loss = \"bce\""));
    assert!(view.arms[0].ap.difference.is_none() && view.arms[0].sentence.starts_with("AP 0."), "{}", view.arms[0].sentence);
    let text = render(&whole(vec![view]), &ALL, 120);
    assert!(text.contains("nothing near it"), "{text}");
    let near = explained("loss = [\"focal\", \"asl\"]", |_, _, u, _| sigmoid(u));
    assert!(render(&whole(vec![near]), &ALL, 120).contains("focal(gamma=2) is the nearest to it"));
    let alone = explained("loss = [\"bce\"]", |_, _, u, _| sigmoid(u));
    assert!(alone.recommendation.sentences[0].starts_with("There is only bce here"));
}

/// Constant scores: no strategy beats predicting everything, and that comes first.
#[test]
fn what_learns_nothing_is_told_first() {
    let view = explained("loss = [\"bce\", \"focal\"]", |_, label, _, noise| sigmoid([-2.4, -0.1][label] + 0.01 * noise));
    let first = &view.recommendation.sentences[0];
    assert!(
        first.starts_with("No strategy beats predicting every label for every row (macro F1 0.397"),
        "{first} {}",
        view.all_positive
    );
}

#[test]
fn every_form_has_the_same_answer() {
    let view = explained("loss = [\"bce\", \"focal\"]\npos_weight = [\"none\", \"sqrt\"]\nseed = [0, 1, 2]", weighted);
    let explanation = whole(vec![view]);
    let text = render(&explanation, &ALL, 100);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(
        text.starts_with(
            "hand: what the strategies changed, and why; best epoch (by val macro_ap), 6 of 6 runs recorded\n\nWhat to do\n"
        ),
        "{text}"
    );
    for part in [
        "- bce: is what",
        "- bce + sqrt: moved the decision point of A to 0.23",
        "Warnings\n- all: too few",
        "note: a note",
        "0.5 / ",
        "A (8.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let markdown = markdown(&explanation, &ALL);
    assert!(
        markdown.starts_with("### hand") && markdown.contains("\n- **bce + sqrt**: moved") && markdown.contains("| strategy |"),
        "{markdown}"
    );
    let json = serde_json::to_value(&explanation).unwrap();
    let arm = &json["settings"][0]["arms"][1];
    assert_eq!((&arm["ranking"], &arm["labels"][0]["label"]), (&"same".into(), &"A".into()), "{arm}");
    assert_eq!(json["settings"][0]["recommendation"]["rule"], "operating_point");
    let why = why(&explanation).unwrap();
    assert_eq!((why.settings[0].same.len(), why.warnings), (3, 1));
    let lines = lines(&why);
    assert!(
        lines.last().unwrap().ends_with("the numbers and 1 warning")
            && lines.iter().any(|line| line.starts_with("rank as well as bce: ")),
        "{lines:?}"
    );
}

/// Many strategies, warnings and notes: a page stays a page, and what it leaves out is there with --all.
#[test]
fn a_page_has_sixty_lines() {
    let view = explained(
        "loss = [\"bce\", \"focal\", \"asl\", \"hill\", \"poly1\"]\npos_weight = [\"none\", \"sqrt\", \"neg_over_pos\"]\nseed = [0, 1, 2]",
        focal_better,
    );
    let mut all = whole(vec![view]);
    all.warnings = (0..9)
        .map(|at| lint::Lint {
            kind: lint::Kind::FewSeeds,
            about: vec![],
            sentence: format!("warning {at} {}", "word ".repeat(60)),
        })
        .collect();
    all.notes = (0..9).map(|at| format!("note {at} {}", "word ".repeat(60))).collect();
    for width in [80, 100, 120] {
        let page = render(&all, &Shown::default(), width);
        let lines = page.lines().count();
        assert!(lines <= 60 || width < 100, "{lines}: {page}");
        assert!(page.lines().all(|line| line.chars().count() <= usize::from(width)), "{page}");
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("warning 0") && words.contains("more warnings"), "{page}");
    }
    let everything = render(&all, &ALL, 100);
    assert!(everything.contains("warning 8") && everything.contains("- poly1 + sqrt: "), "{everything}");
    let some = Shown { only: vec![(Part::Loss, "asl".to_owned())], ..Shown::default() };
    let page = render(&all, &some, 100);
    assert!(page.contains("asl + sqrt") && !page.contains("hill") && page.contains("bce "), "{page}");
}
