use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::metric::{Counts, decide};

fn matrix(labels: usize, values: Vec<u8>) -> LabelMatrix {
    LabelMatrix { names: (0..labels).map(|label| label.to_string()).collect::<Arc<[_]>>(), values }
}

/// One threshold per label.
fn fit_all(policy: &str, scores: &[f32], truth: &LabelMatrix) -> Vec<f32> {
    match parse(policy).unwrap().fit(scores, truth) {
        Rule::Thresholds(thresholds) => thresholds,
        Rule::Top(count) => panic!("{policy} takes the top {count}"),
    }
}

fn fit(policy: &str, scores: &[f32], truth: &[u8]) -> f32 {
    fit_all(policy, scores, &matrix(1, truth.to_vec()))[0]
}

/// docs/strategies.md#best-threshold: best threshold .35 with F1 .75; half-way to the next lower score.
#[test]
fn the_fixture_of_max_f1() {
    let (scores, truth) = ([0.1, 0.2, 0.35, 0.8, 0.4, 0.4, 0.05, 0.6], [0, 0, 1, 1, 0, 1, 0, 0]);
    assert_eq!(fit("max_f1", &scores, &truth), 0.275);
    assert_eq!(fit("max_fbeta(beta=1)", &scores, &truth), 0.275);
    assert_eq!(fit("prior_match", &scores, &truth), 0.5, "3 positives: .8 and .6 (2) is as near as .4 .4 (4)");
}

#[test]
fn equally_good_cuts_yield_their_median() {
    // With 3 positives, F1 is 2/4 after row 1, 4/8 after row 5, 6/12 after row 9, and less elsewhere.
    let scores: Vec<f32> = (1..=9).rev().map(|tenth| tenth as f32 / 10.0).collect();
    assert_eq!(fit("max_f1", &scores, &[1, 0, 0, 0, 1, 0, 0, 0, 1]), 0.45);
    // With 2, it is 2/3 after row 1 and 4/6 after row 4: the higher threshold of the two.
    assert_eq!(fit("max_f1", &[0.9, 0.8, 0.7, 0.3], &[1, 0, 0, 1]), 0.85);
}

#[test]
fn labels_that_validation_says_nothing_about() {
    assert_eq!(fit("max_f1", &[0.2, 0.9], &[0, 0]), 0.5);
    assert_eq!(fit("max_f1", &[0.2, 0.9], &[1, 1]), 0.1, "everything is positive, so everything is predicted");
    assert!(fit("prior_match", &[0.2, 0.9], &[0, 0]) > 0.9, "none is positive, so none is predicted");
    assert_eq!(fit("prior_match", &[0.2, 1.0], &[0, 0]), 1f32.next_up());
    assert_eq!(fit("prior_match", &[0.0, 0.9], &[1, 1]), 0.0);
    let none = fit("prior_match", &[0.4; 10], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(none, 1f32.next_up(), "0 predictions are nearer to 1 than 10");
}

#[test]
fn policies_read_back_from_their_names() {
    let mut kinds: Vec<String> =
        vec!["0.5".into(), "0".into(), "1".into(), "max_f1(folds=5,min_positives=20)".into(), "rcut(r=2)".into()];
    kinds.extend(REGISTRY.iter().map(|entry| parse(entry.kind).unwrap().to_string()));
    assert_eq!(parse("max_fbeta").unwrap().to_string(), "max_fbeta(beta=2)");
    assert_eq!(parse("max_f1").unwrap().to_string(), "max_f1", "a name in users' databases");
    for text in &kinds {
        assert_eq!(parse(text).unwrap().to_string(), *text);
        let json = serde_json::to_string(&parse(text).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), parse(text).unwrap());
    }
    assert_eq!(parse(" .25 ").unwrap(), Policy::Fixed(0.25));
    assert_eq!(parse("max_f1()").unwrap(), parse("max_f1").unwrap());
    let error = |text| parse(text).unwrap_err().to_string();
    assert_eq!(error("1.5"), "threshold 1.5 must be from 0 to 1: scores are probabilities");
    assert!(error("nan").starts_with("threshold NaN"));
    let unknown = error("maxf1");
    assert!(unknown.starts_with("no threshold policy is called \"maxf1\"; allowed: max_f1, max_fbeta, "), "{unknown}");
    assert!(unknown.ends_with("; did you mean `max_f1`? (a number from 0 to 1 is a policy, too)"), "{unknown}");
    assert!(error("max_f1(beta=2)").starts_with("max_f1 has no parameter `beta`; allowed: min_positives, folds"));
}

#[test]
fn a_number_is_every_labels_threshold() {
    assert_eq!(fit_all("0.1", &[0.0; 3], &matrix(3, vec![0; 3])), [0.1f32; 3]);
}

/// Tied, adjacent and extreme scores.
fn scores() -> impl Strategy<Value = f32> {
    prop_oneof![
        (0u8..=10).prop_map(|tenth| f32::from(tenth) / 10.0),
        (0.0f32..=1.0),
        (0u32..4).prop_map(|ulps| f32::from_bits(0.5f32.to_bits() + ulps)),
        (0u32..4).prop_map(f32::from_bits),
        (0u32..4).prop_map(|ulps| f32::from_bits(1f32.to_bits() - ulps)),
    ]
}

#[test]
fn the_highest_labels_of_each_row() {
    let truth = matrix(3, vec![1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]);
    let scores = [0.9, 0.8, 0.1, 0.2, 0.3, 0.1, 0.5, 0.5, 0.5, 0.0, 0.0, 1.0];
    let rule = |policy: &str| parse(policy).unwrap().fit(&scores, &truth);
    assert_eq!(rule("rcut"), Rule::Top(1), "5 labels in 4 rows");
    assert_eq!(parse("rcut").unwrap().fit(&scores, &matrix(3, vec![0; 12])), Rule::Top(1), "never none");
    let predicted = |count, row: usize| {
        let mut predicted = [true; 3];
        Rule::Top(count).row(&scores[3 * row..][..3], &mut predicted);
        predicted
    };
    assert_eq!((predicted(1, 0), predicted(1, 1)), ([true, false, false], [false, true, false]));
    assert_eq!((predicted(1, 2), predicted(2, 2)), ([true, false, false], [true, true, false]), "of equals the first");
    assert_eq!((predicted(3, 3), predicted(9, 3)), ([true; 3], [true; 3]));
    let decisions = decide(&scores, &truth, &rule("rcut(r=2)"));
    assert_eq!(decisions.thresholds, [0.0; 3]);
    let cells = |counts: Counts| [counts.tp, counts.fp, counts.fn_, counts.tn];
    assert_eq!(decisions.counts.iter().copied().map(cells).collect::<Vec<_>>(), [[2, 2, 0, 0], [2, 1, 0, 1], [0, 1, 1, 2]]);
}

/// docs/strategies.md#best-threshold: where the thresholds lie on calibrated scores.
#[test]
fn thresholds_on_calibrated_scores_are_in_closed_form() {
    // Label 0: P(y=1) = score on a fine grid; label 1: its square.
    let (rows, mut scores, mut truth) = (40_000u32, Vec::new(), Vec::new());
    let mut rng = crate::rng::Rng::new(1, "calibrated", &[]);
    for row in 0..rows {
        let score = (f64::from(row) + 0.5) / f64::from(rows);
        for score in [score, score * score] {
            scores.push(score as f32);
            truth.push(u8::from(rng.uniform() < score));
        }
    }
    let truth = matrix(2, truth);
    let near = |policy: &str, expected: [f64; 2], digit: f64| {
        let ours = fit_all(policy, &scores, &truth);
        assert!(
            ours.iter().zip(expected).all(|(ours, expected)| (f64::from(*ours) - expected).abs() < digit),
            "{policy}: {ours:?}"
        );
    };
    // F-beta / (1+b²). For F1 and the uniform score t² - 3t + 1 = 0; for its square t = u² with 2u³ - 4u² + 1 = 0.
    for (policy, beta) in [("max_f1", 1.0f64), ("max_fbeta(beta=2)", 2.0), ("max_fbeta(beta=0.5)", 0.5)] {
        let fitted = fit_all(policy, &scores, &truth);
        let counts = decide(&scores, &truth, &fitted).counts;
        for (threshold, counts) in fitted.iter().zip(counts) {
            let (hits, square) = (counts.tp as f64, beta * beta);
            let f = (1.0 + square) * hits / ((counts.tp + counts.fp) as f64 + square * counts.support() as f64);
            assert!((f64::from(*threshold) - f / (1.0 + square)).abs() < 0.02, "{policy}: {threshold}, F = {f}");
        }
    }
    near("max_f1", [(3.0 - 5f64.sqrt()) / 2.0, 0.356], 0.03);
    near("cost(fn=4)", [0.2, 0.2], 0.03);
    near("cost(fn=4,by=probability)", [0.2, 0.2], 1e-7);
    near("cost(fn=1,fp=4)", [0.8, 0.8], 0.03);
    near("youden", [0.5, 1.0 / 3.0], 0.04);
    near("prior_match", [0.5, 0.447], 0.01);
    // P(y=1 | score >= t) of the uniform score is (1+t)/2; P(score >= t | y=1) is 1-t².
    near("precision_at_least(precision=0.9)", [0.8, 0.82], 0.03);
    near("recall_at_least(recall=0.9)", [0.1f64.sqrt(), 0.215], 0.02);
    let micro = fit_all("max_micro_f1", &scores, &truth);
    let total = decide(&scores, &truth, &micro)
        .counts
        .into_iter()
        .fold((0, 0), |(hits, wrong), counts| (hits + 2 * counts.tp, wrong + counts.fp + counts.fn_));
    let f = total.0 as f64 / (total.0 + total.1) as f64;
    assert!(micro[0] == micro[1] && (f64::from(micro[0]) - f / 2.0).abs() < 0.02, "{micro:?}, {f}");
    // Folds agree on that many rows.
    near("max_f1(folds=5)", [0.382, 0.356], 0.03);
    near("max_micro_f1(folds=4)", [micro[0].into(); 2], 0.02);
}

/// The promise of recall_at_least: the mean recall of new rows, over many small validations.
#[test]
fn recall_is_kept_on_new_rows_in_expectation() {
    for (recall, positives) in [(0.9, 19), (0.9, 30), (0.75, 7), (0.95, 10)] {
        let mut kept = 0.0;
        let trials = 4000;
        for trial in 0..trials {
            // Positive scores are uniform, so that the recall of new rows is 1 - threshold.
            let mut rng = crate::rng::Rng::new(trial, "recall", &[]);
            let mut scores: Vec<f32> = (0..positives).map(|_| rng.uniform() as f32).collect();
            scores.push(rng.uniform() as f32);
            let mut truth = vec![1; positives];
            truth.push(0);
            kept += 1.0 - f64::from(fit(&format!("recall_at_least(recall={recall})"), &scores, &truth));
        }
        let mean = kept / trials as f64;
        assert!(mean > recall - 0.005, "{mean} of {recall} with {positives} positives");
    }
    assert_eq!(fit("recall_at_least(recall=0.9)", &[0.9, 0.8], &[1, 1]), 0.0, "two positives promise nothing");
    assert_eq!(fit("recall_at_least(recall=0.6)", &[0.9, 0.8], &[1, 1]), 0.4, "ceil(0.6 x 3) = 2: both");
    assert!((fit("recall_at_least(recall=0.5)", &[0.9, 0.8, 0.1], &[1, 1, 0]) - 0.45).abs() < 1e-6, "ceil(1.5) = 2");
}

#[test]
fn rare_labels_are_given_up_or_matched() {
    let (scores, truth) = ([0.9, 0.8, 0.7, 0.2, 0.1, 0.05], [0, 0, 0, 0, 1, 0]);
    // The best F1 of the one positive is 2/6, with five predictions.
    assert_eq!(fit("max_f1", &scores, &truth), 0.075);
    assert_eq!(fit("scutfbr(fbr=0.3)", &scores, &truth), 0.075);
    assert_eq!(fit("scutfbr(fbr=0.34)", &scores, &truth), 0.9, "the highest score of validation");
    assert_eq!(fit("scutfbr", &scores, &[0; 6]), 0.9);
    assert_eq!(fit("max_f1(min_positives=2)", &scores, &truth), 0.85, "as many as are positive");
    assert_eq!(fit("max_f1(min_positives=1)", &scores, &truth), 0.075);
    assert!(fit("precision_at_least", &scores, &truth) > 0.9, "never that precise, so never predicted");
    assert_eq!(fit("youden", &scores, &[0; 6]), 0.5);
}

/// docs/strategies.md#few-validation-rows: the mean of the thresholds without each fold, positives and negatives dealt in turn.
#[test]
fn folds_take_the_mean_threshold() {
    let (scores, truth) = ([0.1, 0.2, 0.35, 0.8, 0.4, 0.4, 0.05, 0.6], [0, 0, 1, 1, 0, 1, 0, 0]);
    // Positives are rows 2, 3, 5, negatives rows 0, 1, 4, 6, 7, which go on with the second fold.
    let part = |rows: [usize; 4]| f64::from(fit("max_f1", &rows.map(|row| scores[row]), &rows.map(|row| truth[row])));
    assert_eq!(fit("max_f1(folds=2)", &scores, &truth), f64::midpoint(part([1, 2, 5, 6]), part([0, 3, 4, 7])) as f32);
    assert_eq!(fit("max_f1(folds=100)", &[0.3], &[1]), fit("max_f1", &[0.3], &[1]), "one row cannot be divided");
}

#[derive(serde::Deserialize)]
struct Case {
    labels: usize,
    scores: Vec<f32>,
    truth: Vec<u8>,
    /// Best value per label of each policy, by scikit-learn's curves.
    f: std::collections::BTreeMap<String, Vec<f64>>,
    youden: Vec<f64>,
    precision_at_recall: std::collections::BTreeMap<String, Vec<f64>>,
    recall_at_precision: std::collections::BTreeMap<String, Vec<f64>>,
    micro_f1: f64,
}

#[test]
fn fitted_thresholds_reach_the_best_of_scikit_learns_curves() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../../tests/oracle/thresholds.json")).unwrap();
    assert!(cases.len() >= 5);
    for case in cases {
        let truth = matrix(case.labels, case.truth);
        let counts = |policy: &str| decide(&case.scores, &truth, &parse(policy).unwrap().fit(&case.scores, &truth)).counts;
        let near =
            |policy: &str, ours: f64, theirs: f64| assert!((ours - theirs).abs() < 1e-12, "{policy}: {ours} is not {theirs}");
        let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let recall = |counts: &Counts| ratio(counts.tp, counts.support());
        let precision = |counts: &Counts| ratio(counts.tp, counts.tp + counts.fp);
        for (beta, best) in &case.f {
            let policy = format!("max_fbeta(beta={beta})");
            let square = beta.parse::<f64>().unwrap().powi(2);
            for (counts, best) in counts(&policy).iter().zip(best) {
                let (p, r) = (precision(counts), recall(counts));
                near(&policy, if p + r == 0.0 { 0.0 } else { (1.0 + square) * p * r / (square * p + r) }, *best);
            }
        }
        for (counts, best) in counts("youden").iter().zip(&case.youden) {
            near("youden", recall(counts) - ratio(counts.fp, counts.fp + counts.tn), *best);
        }
        for (least, best) in &case.precision_at_recall {
            let policy = format!("recall_at_least(guarantee=validation,recall={least})");
            for (counts, best) in counts(&policy).iter().zip(best) {
                near(&policy, precision(counts), *best);
                assert!(recall(counts) >= least.parse::<f64>().unwrap() - 1e-12);
            }
        }
        for (least, best) in &case.recall_at_precision {
            let policy = format!("precision_at_least(precision={least})");
            for (counts, best) in counts(&policy).iter().zip(best) {
                near(&policy, recall(counts), *best);
                assert!(counts.tp + counts.fp == 0 || precision(counts) >= least.parse::<f64>().unwrap() - 1e-12);
            }
        }
        let all = counts("max_micro_f1");
        let sum = |of: fn(&Counts) -> u64| all.iter().map(of).sum::<u64>();
        let hits = 2 * sum(|counts| counts.tp);
        near("max_micro_f1", ratio(hits, hits + sum(|counts| counts.fp + counts.fn_)), case.micro_f1);
    }
}

proptest! {
    /// Against every threshold there is, by brute force through the decisions themselves.
    #[test]
    fn fitted_thresholds_are_optimal(rows in prop::collection::vec((scores(), 0u8..2), 1..40)) {
        let (scores, truth): (Vec<f32>, Vec<u8>) = rows.into_iter().unzip();
        let truth = matrix(1, truth);
        let at = |threshold: f32| decide(&scores, &truth, &[threshold]).counts[0];
        let every = || scores.iter().copied().chain([2.0]).map(at);
        let fitted = |policy: &str| at(fit_all(policy, &scores, &truth)[0]);
        if truth.values.contains(&1) {
            let best = every().map(|counts| counts.f1()).fold(0.0, f64::max);
            prop_assert_eq!(fitted("max_f1").f1(), best);
        }
        let cost = |counts: Counts| 3 * counts.fn_ + 2 * counts.fp;
        prop_assert_eq!(cost(fitted("cost(fn=3,fp=2)")), every().map(cost).min().unwrap());
        let (positives, negatives) = { let counts = at(2.0); (counts.fn_ as i64, counts.tn as i64) };
        if positives > 0 && negatives > 0 {
            let j = |counts: Counts| counts.tp as i64 * negatives - counts.fp as i64 * positives;
            prop_assert_eq!(j(fitted("youden")), every().map(j).max().unwrap());
        }
        let precise = |counts: &Counts| 10 * counts.tp >= 7 * (counts.tp + counts.fp);
        let best = every().filter(precise).map(|counts| counts.tp).max().unwrap();
        let precision = fitted("precision_at_least(precision=0.7)");
        prop_assert!(precise(&precision) && precision.tp == best);
        let off = |counts: Counts| (counts.tp + counts.fp).abs_diff(counts.support());
        prop_assert_eq!(off(fitted("prior_match")), every().map(off).min().unwrap());
    }
}

/// One positive above nine negatives: a part without it says nothing about the threshold.
#[test]
fn parts_without_positives_do_not_vote() {
    let scores = [0.1, 0.04, 0.035, 0.03, 0.025, 0.02, 0.015, 0.01, 0.005, 0.0];
    let truth = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let whole = fit("max_f1", &scores, &truth);
    assert_eq!(whole, 0.07);
    for policy in ["max_f1", "max_fbeta", "scutfbr", "youden", "prior_match", "precision_at_least", "recall_at_least"] {
        let options = if policy == "recall_at_least" { "folds=5,guarantee=validation" } else { "folds=5" };
        let threshold = fit(&format!("{policy}({options})"), &scores, &truth);
        assert!((0.065..=0.0751).contains(&threshold), "{policy}: {threshold}");
    }
    // A single negative is as precious for youden; where each part lacks a class, the fit is that of all rows.
    assert_eq!(fit("youden(folds=2)", &[0.9, 0.1], &[1, 0]), 0.5);
    let mostly = fit("youden(folds=3)", &[0.9, 0.8, 0.7, 0.1], &[1, 1, 1, 0]);
    assert!((0.4..0.46).contains(&mostly), "{mostly}");
    // A label that validation has no positives of is as without folds.
    assert_eq!(fit("max_f1(folds=3)", &[0.2, 0.9, 0.3], &[0; 3]), 0.5);
    assert_eq!(fit("scutfbr(folds=3)", &[0.9; 4], &[0; 4]), 0.9);
    assert_eq!(fit("max_f1(folds=5)", &[0.3], &[1]), fit("max_f1", &[0.3], &[1]));
    assert_eq!(fit("max_f1(folds=5)", &[], &[]), 0.5);
}

/// Rows in an order that a deal by row number falls for: every fifth row is a positive.
#[test]
fn each_part_has_its_share_of_the_positives() {
    let truth: Vec<u8> = (0..100).map(|row| u8::from(row % 5 == 0)).collect();
    let scores: Vec<f32> = truth.iter().enumerate().map(|(row, &y)| 0.3 * f32::from(y) + row as f32 / 500.0).collect();
    let (one, other) = (fit("max_f1(folds=5)", &scores, &truth), fit("max_f1", &scores, &truth));
    assert!((one - other).abs() < 0.03, "{one} is far from {other}");
    // 22 positives are 20 or more, though a part has fewer.
    let (scores, truth): (Vec<f32>, Vec<u8>) = (0..100).map(|row| (row as f32 / 100.0, u8::from(row % 9 < 2))).unzip();
    let policy = |options| fit(&format!("max_f1({options})"), &scores, &truth);
    assert_eq!(truth.iter().map(|&y| u32::from(y)).sum::<u32>(), 23);
    assert_eq!(policy("folds=5,min_positives=20"), policy("folds=5"));
    assert_ne!(policy("folds=5,min_positives=24"), policy("folds=5"));
}

/// Two labels, as many folds as labels: the rows are dealt, so that each part holds cells of both.
#[test]
fn folds_of_one_threshold_are_of_rows() {
    let mut rng = crate::rng::Rng::new(3, "micro", &[]);
    let (mut scores, mut truth) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        for (rate, scale) in [(0.1, 0.5), (0.5, 1.0)] {
            let y = rng.uniform() < rate;
            scores.push((scale * f64::midpoint(rng.uniform(), f64::from(u8::from(y)))) as f32);
            truth.push(u8::from(y));
        }
    }
    let truth = matrix(2, truth);
    let parts = [0, 1].map(|held| {
        let rows: Vec<u32> = (0..400).filter(|row| row % 2 != held).collect();
        let part: Vec<f32> = rows.iter().flat_map(|&row| scores[2 * row as usize..][..2].to_vec()).collect();
        f64::from(fit_all("max_micro_f1", &part, &truth.select(&rows))[0])
    });
    let ours = fit_all("max_micro_f1(folds=2)", &scores, &truth);
    let mean = f64::midpoint(parts[0], parts[1]) as f32;
    assert_eq!(ours, [mean; 2]);
    let of_label = |label: usize| {
        let column = |values: &[f32]| values.iter().skip(label).step_by(2).copied().collect::<Vec<_>>();
        let y: Vec<u8> = truth.values.iter().skip(label).step_by(2).copied().collect();
        fit("max_f1", &column(&scores), &y)
    };
    assert!((mean - f32::midpoint(of_label(0), of_label(1))).abs() > 0.02, "a deal of cells would have held out whole labels");
}

/// What is not to be predicted at all is predicted at no score, of whatever rows.
#[test]
fn predicting_none_predicts_none() {
    let scores = [0.2, 0.19, 0.1, 0.05];
    let truth = [0, 1, 0, 0];
    let never = |policy: &str, scores: &[f32], truth: &[u8]| {
        let threshold = fit(policy, scores, truth);
        assert!(threshold > 1.0 && threshold.is_finite(), "{policy}: {threshold}");
        let unseen = [0.65, 0.7, 1f32.next_down(), 1.0];
        let counts = decide(&unseen, &matrix(1, vec![0; 4]), &[threshold]).counts[0];
        assert_eq!((counts.tp, counts.fp), (0, 0), "{policy}: {threshold}");
        let text = serde_json::to_string(&threshold).unwrap();
        assert_eq!(serde_json::from_str::<f32>(&text).unwrap(), threshold);
        assert_eq!(serde_json::from_str::<f64>(&text).unwrap() as f32, threshold, "as a column of doubles");
    };
    never("precision_at_least(precision=0.9)", &scores, &truth);
    never("precision_at_least(folds=2)", &[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], &[0, 0, 1, 0, 1, 0]);
    never("precision_at_least", &[1.0, 0.5], &[0, 1]);
    never("cost(fp=100)", &scores, &truth);
    never("cost(fp=100,folds=2)", &[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], &[0, 0, 1, 0, 1, 0]);
    never("youden", &[0.9, 0.8, 0.3], &[0, 0, 1]);
    never("prior_match", &scores, &[0; 4]);
    never("prior_match(folds=2)", &scores, &[0; 4]);
    never("max_f1(min_positives=2)", &[0.4; 10], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Parts that would predict nothing are a vote, not a high threshold to be averaged.
#[test]
fn predicting_none_is_not_averaged() {
    // Without the positive at .9 the best precision is 1/2. The other parts have it above all of their negatives.
    let (scores, truth) = ([0.9, 0.6, 0.7, 0.65, 0.2], [1, 1, 0, 0, 0]);
    let parts = [[0.6, 0.65, 0.2], [0.9, 0.7, 0.2]].map(|part| fit("precision_at_least", &part, &[1, 0, 0]));
    assert!(parts[0] > 1.0 && (0.79..0.81).contains(&parts[1]), "{parts:?}");
    assert_eq!(fit("precision_at_least(folds=2)", &scores, &truth), parts[1], "one vote of two is no majority");
    // Two of three parts keep the positive that is above all negatives.
    let (scores, truth) = ([0.9, 0.6, 0.5, 0.7, 0.65, 0.2], [1, 1, 1, 0, 0, 0]);
    let kept = fit("precision_at_least(folds=3)", &scores, &truth);
    assert!((0.76..0.81).contains(&kept), "{kept}");
    // One of three does.
    let (scores, truth) = ([0.9, 0.8, 0.2, 0.95, 0.1, 0.05], [1, 1, 1, 0, 0, 0]);
    assert!(fit("precision_at_least(folds=3)", &scores, &truth) > 1.0);
}
