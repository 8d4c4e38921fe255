use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::average::{Average, Averages, average, mean_defined};
use super::*;
use crate::LabelCounts;

fn matrix(labels: usize, values: Vec<u8>) -> LabelMatrix {
    LabelMatrix { names: (0..labels).map(|label| label.to_string()).collect::<Arc<[_]>>(), values }
}

/// The generator of tests/oracle/metrics.py.
struct Lcg(u64);

impl Lcg {
    fn share(&mut self, bits: u32) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> (64 - bits)) as f64 / (1u64 << bits) as f64
    }
}

#[derive(Deserialize)]
pub(super) struct Recipe {
    rows: usize,
    bits: u32,
    rate: f64,
    seed: u64,
}

impl Recipe {
    pub(super) fn cells(&self, labels: usize) -> (Vec<f32>, Vec<u8>) {
        let mut lcg = Lcg(self.seed);
        let mut cell = |i: usize| {
            let score = lcg.share(self.bits);
            (score as f32, u8::from(lcg.share(24) < self.rate / (1 + i % labels % 4) as f64 * (0.5 + score)))
        };
        (0..self.rows * labels).map(&mut cell).unzip()
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    labels: usize,
    #[serde(default)]
    scores: Vec<f32>,
    #[serde(default)]
    truth: Vec<u8>,
    recipe: Option<Recipe>,
    thresholds: Vec<f32>,
    counts: Vec<[u64; 4]>,
    rates: BTreeMap<String, f64>,
    ap: Vec<Option<f64>>,
    auc: Vec<Option<f64>>,
    mean_score: Vec<f64>,
    max_f1: Vec<Option<f64>>,
    label_rates: BTreeMap<String, Vec<Option<f64>>>,
    probability: BTreeMap<String, Vec<f64>>,
    micro_ap: Option<f64>,
    #[serde(default)]
    averages: BTreeMap<String, BTreeMap<String, Vec<Option<f64>>>>,
    #[serde(default)]
    label_ranking: BTreeMap<String, Option<f64>>,
}

impl Case {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../../../../tests/oracle/metrics.json")).unwrap()
    }

    fn cells(&self) -> (Vec<f32>, LabelMatrix) {
        let (scores, truth) =
            self.recipe.as_ref().map_or_else(|| (self.scores.clone(), self.truth.clone()), |recipe| recipe.cells(self.labels));
        (scores, matrix(self.labels, truth))
    }
}

#[track_caller]
fn close(name: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() < 1e-12, "{name}: {ours} is not {theirs}");
}

#[track_caller]
fn all_close(name: &str, ours: &[Option<f64>], theirs: &[Option<f64>]) {
    assert_eq!(ours.len(), theirs.len());
    for (&ours, &theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.is_some(), theirs.is_some(), "{name}: {ours:?} is not {theirs:?}");
        close(name, ours.unwrap_or(0.0), theirs.unwrap_or(0.0));
    }
}

#[test]
fn ranking_equals_scikit_learn() {
    for case in Case::all() {
        let (scores, truth) = case.cells();
        let ranking = rank(&scores, &truth);
        all_close(&case.name, &ranking.ap, &case.ap);
        all_close(&case.name, &ranking.auc, &case.auc);
        for (&ours, &theirs) in ranking.mean_score.iter().zip(&case.mean_score) {
            close(&case.name, ours, theirs);
        }
    }
}

#[test]
fn decisions_equal_scikit_learn() {
    for case in Case::all() {
        let (scores, truth) = case.cells();
        let decisions = decide(&scores, &truth, &case.thresholds);
        let counts: Vec<_> = decisions.counts.iter().map(|c| [c.tp, c.fp, c.fn_, c.tn]).collect();
        assert_eq!(counts, case.counts, "{}", case.name);
        let averages = serde_json::to_value(Averages::of(&decisions.counts)).unwrap();
        for (rate, &theirs) in &case.rates {
            let ours = match rate.as_str() {
                "samples_f1" => decisions.samples_f1,
                "subset_accuracy" => decisions.subset_accuracy,
                name => averages[name].as_f64().unwrap(),
            };
            close(&format!("{}, {rate}", case.name), ours, theirs);
        }
    }
}

fn rate(name: &str) -> Rate {
    match name {
        "precision" => Rate::Precision,
        "recall" => Rate::Recall,
        "specificity" => Rate::Specificity,
        "f1" => Rate::F(1.0),
        "f2" => Rate::F(2.0),
        "f_half" => Rate::F(0.5),
        "f_0" => Rate::F(0.0),
        "f_inf" => Rate::F(f64::INFINITY),
        "jaccard" => Rate::Jaccard,
        "mcc" => Rate::Mcc,
        "predicted_rate" => Rate::PredictedRate,
        other => panic!("no rate {other}"),
    }
}

#[test]
fn rates_of_labels_equal_scikit_learn() {
    for case in Case::all() {
        let (scores, truth) = case.cells();
        let counts = decide(&scores, &truth, &case.thresholds).counts;
        for (name, theirs) in &case.label_rates {
            let both = |counts: &Counts| counts.support() > 0 && counts.support() < counts.rows();
            let (ours, theirs): (Vec<_>, Vec<_>) = match name.as_str() {
                // Of one class scikit-learn says that class's recall, where half of the measure is missing.
                "balanced_accuracy_sklearn" => counts
                    .iter()
                    .zip(theirs)
                    .map(|(counts, theirs)| (Rate::BalancedAccuracy.of(counts), theirs.filter(|_| both(counts))))
                    .unzip(),
                name => counts.iter().zip(theirs).map(|(counts, theirs)| (rate(name).of(counts), *theirs)).unzip(),
            };
            all_close(&format!("{}, {name}", case.name), &ours, &theirs);
        }
    }
}

#[test]
fn averages_equal_scikit_learn_under_every_zero_division() {
    let conventions = [ZeroDivision::Zero, ZeroDivision::One, ZeroDivision::Undefined];
    for case in Case::all() {
        let (scores, truth) = case.cells();
        let counts = decide(&scores, &truth, &case.thresholds).counts;
        let rows = sample_rates(&scores, &truth, &case.thresholds);
        for (name, averages) in &case.averages {
            for (how, theirs) in averages {
                let over_rows = match (how.as_str(), name.as_str()) {
                    ("samples", "precision") => Some(rows.precision),
                    ("samples", "recall") => Some(rows.recall),
                    ("samples", "f1") => Some(rows.f1),
                    ("samples", "jaccard") => Some(rows.jaccard),
                    ("samples", _) => continue,
                    _ => None,
                };
                let ours = conventions.map(|zero_division| match (over_rows, how.as_str()) {
                    (Some(rows), _) => rows.mean(zero_division),
                    (None, "macro") => average(&counts, rate(name), Average::Macro, zero_division),
                    (None, "micro") => average(&counts, rate(name), Average::Micro, zero_division),
                    (None, _) => average(&counts, rate(name), Average::Weighted, zero_division),
                });
                all_close(&format!("{}, {how} {name}", case.name), &ours[..theirs.len()], theirs);
            }
        }
    }
}

#[test]
fn rankings_within_rows_and_over_all_cells_equal_scikit_learn() {
    for case in Case::all() {
        let (scores, truth) = case.cells();
        all_close(&case.name, &[Curve::of_all(&scores, &truth).average_precision()], &[case.micro_ap]);
        let ours = label_ranking(&scores, &truth);
        for (name, &theirs) in &case.label_ranking {
            let ours = match name.as_str() {
                "coverage_error" => Some(ours.coverage_error),
                "ranking_loss" => Some(ours.ranking_loss),
                "ranking_average_precision" => Some(ours.ranking_average_precision),
                "samples_ap" => ours.average_precision.mean(ZeroDivision::Zero),
                _ => ours.average_precision.mean(ZeroDivision::Undefined),
            };
            all_close(&format!("{}, {name}", case.name), &[ours], &[theirs]);
        }
    }
}

#[test]
fn probabilities_are_judged_as_scikit_learn_judges_columns() {
    for case in Case::all() {
        let (scores, truth) = case.cells();
        for (label, ours) in probability(&scores, &truth).into_iter().enumerate() {
            close(&case.name, ours.brier, case.probability["brier"][label]);
            close(&case.name, ours.nll, case.probability["nll"][label]);
            close(&case.name, ours.gap, case.probability["gap"][label]);
        }
    }
}

/// docs/strategies.md#metrics: the toy, with its three conventions for rows that are empty in truth and prediction.
#[test]
fn the_toy_keeps_its_golden_values() {
    let truth = matrix(3, vec![1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0]);
    let scores = [1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 0., 0.];
    let decisions = decide(&scores, &truth, &[0.5; 3]);
    let of = |how| average(&decisions.counts, Rate::F(1.0), how, ZeroDivision::Zero).unwrap();
    let near = |name: &str, ours: f64, golden: f64| assert!((ours - golden).abs() < 5e-5, "{name}: {ours} is not {golden}");
    let golden = [(Average::Macro, 0.2222), (Average::Micro, 0.3333), (Average::Weighted, 0.3333)];
    golden.iter().for_each(|&(how, golden)| near("F1", of(how), golden));
    let rows = sample_rates(&scores, &truth, &[0.5; 3]);
    let conventions = [(ZeroDivision::Zero, 0.25), (ZeroDivision::One, 0.5), (ZeroDivision::Undefined, 0.3333)];
    conventions.iter().for_each(|&(convention, golden)| near("samples F1", rows.f1.mean(convention).unwrap(), golden));
    near("samples Jaccard", rows.jaccard.mean(ZeroDivision::Zero).unwrap(), 0.25);
    // A precision that is undefined does not leak into F1: one false alarm, no positives.
    let alarm = Counts { tp: 0, fp: 0, fn_: 1, tn: 2 };
    assert_eq!((Rate::Precision.of(&alarm), Rate::F(1.0).of(&alarm)), (None, Some(0.0)));
    // One class only: half of the balanced accuracy is missing.
    let absent = Counts { tp: 0, fp: 1, fn_: 0, tn: 2 };
    assert_eq!(Rate::BalancedAccuracy.of(&absent), None);
}

#[test]
fn scores_from_elsewhere_are_checked() {
    let truth = LabelMatrix { names: Arc::new(["cat".to_owned(), "dog".to_owned()]), values: vec![0, 1, 1, 0] };
    assert_eq!(check_scores(&[0.1, -3.0, 1e30, 0.0], &truth), Ok(()));
    let error = |scores: &[f32]| check_scores(scores, &truth).unwrap_err().to_string();
    assert_eq!(error(&[0.1, 0.2, 0.3, f32::NAN]), "the score of label dog in row 2 is NaN: scores must be finite numbers");
    assert_eq!(error(&[0.1; 6]), "6 scores do not fit 2 rows of 2 labels, which need 4");
}

/// Every threshold that tells scores apart, repeated, unsorted, infinite and out of range: the same as deciding one by one.
#[test]
fn counts_at_many_thresholds_equal_decisions_one_by_one() {
    for case in Case::all() {
        let (scores, truth) = case.cells();
        let spread: Vec<f32> = (0..=100).rev().map(|cent| cent as f32 / 100.0).collect();
        let tight: Vec<f32> = (0..7).map(|ulps| f32::from_bits(0.5f32.to_bits() + ulps)).collect();
        let odd = vec![0.3, f32::NEG_INFINITY, -1.0, f32::INFINITY, 0.3, 2.0, 1e-45, -0.0, 0.25];
        let own: Vec<f32> = scores.iter().copied().step_by(scores.len().div_ceil(50)).collect();
        for thresholds in [spread, tight, odd, own, vec![0.5; 3], vec![f32::INFINITY], Vec::new()] {
            let grid = counts_at(&scores, &truth, &thresholds);
            for (place, &threshold) in thresholds.iter().enumerate() {
                let one_by_one = decide(&scores, &truth, &vec![threshold; case.labels]).counts;
                let ours: Vec<_> = grid.counts.iter().map(|label| label[place]).collect();
                assert_eq!(ours, one_by_one, "{}, {threshold}", case.name);
            }
            for (label, counts) in grid.counts.iter().enumerate() {
                let curve = Curve::of(&scores, &truth, label);
                let read: Vec<_> = thresholds.iter().map(|&threshold| curve.counts(threshold)).collect();
                assert_eq!(&read, counts, "{}, read off the curve", case.name);
            }
        }
    }
}

/// The counts of a fitted threshold, by scikit-learn's own definition of F1, reach the best F1 on its precision-recall curve.
#[test]
fn max_f1_reaches_the_best_of_scikit_learns_curve() {
    let policy = crate::threshold::parse("max_f1").unwrap();
    for case in Case::all() {
        let (scores, truth) = case.cells();
        let decisions = decide(&scores, &truth, &policy.fit(&scores, &truth));
        for (label, (counts, best)) in decisions.counts.iter().zip(&case.max_f1).enumerate() {
            match best {
                Some(best) => close(&format!("{}, label {label}", case.name), counts.f1(), *best),
                None => assert_eq!(decisions.thresholds[label], 0.5, "no positives: nothing to fit"),
            }
        }
    }
}

#[test]
fn the_order_of_rows_changes_nothing() {
    let recipe = Recipe { rows: 300, bits: 5, rate: 0.4, seed: 3 };
    let (scores, truth) = recipe.cells(4);
    let truth = matrix(4, truth);
    let mut order: Vec<u32> = (0..300).collect();
    crate::rng::Rng::new(0, "test", &[]).shuffle(&mut order);
    let moved: Vec<f32> = order.iter().flat_map(|&row| scores[row as usize * 4..][..4].to_vec()).collect();
    let (ours, theirs) = (rank(&scores, &truth), rank(&moved, &truth.select(&order)));
    assert_eq!((ours.ap, ours.auc), (theirs.ap, theirs.auc));
    let thresholds = [0.25, 0.5, 0.5, 0.75];
    assert_eq!(decide(&scores, &truth, &thresholds).counts, decide(&moved, &truth.select(&order), &thresholds).counts);
}

#[test]
fn negative_and_signed_zero_scores_sort_as_numbers() {
    let curve = Curve::of(&[-1.0, 0.0, -0.0, 2.0, f32::MIN_POSITIVE], &matrix(1, vec![0, 1, 0, 1, 0]), 0);
    let steps: Vec<_> = curve.steps.iter().map(|step| (step.score, step.predicted, step.tp)).collect();
    assert_eq!(steps, [(2.0, 1, 1), (f32::MIN_POSITIVE, 2, 1), (0.0, 4, 2), (-1.0, 5, 2)]);
}

/// `threshold(groups)` predicts exactly those groups even where neighbouring scores are neighbouring floats.
#[test]
fn thresholds_separate_adjacent_floats() {
    let mut scores = vec![0.0, 1e-45, 0.5, 0.5f32.next_up(), 0.5f32.next_up().next_up(), 1f32.next_down(), 1.0];
    for _ in 0..2 {
        let truth = matrix(1, vec![0; scores.len()]);
        let curve = Curve::of(&scores, &truth, 0);
        for groups in 0..=curve.steps.len() {
            let threshold = curve.threshold(groups);
            let predicted = scores.iter().filter(|&&score| score >= threshold).count() as u64;
            assert_eq!(predicted, curve.predicted(groups), "{groups} groups, threshold {threshold}");
        }
        scores.retain(|&score| score > 0.0 && score < 1.0);
    }
}

#[test]
fn means_leave_undefined_labels_out_and_say_so() {
    let mean = mean_defined(&[Some(0.5), None, Some(1.0)]).unwrap();
    assert_eq!((mean.mean, mean.labels), (0.75, 2));
    assert_eq!(mean_defined(&[None, None]), None);
}

/// docs/strategies.md#best-threshold: predicting everything gives F1 = 2 pi / (1 + pi).
#[test]
fn the_trivial_baseline_is_in_closed_form() {
    let counts = Counts::all_positive(&LabelCounts::new(224_000, vec![19_000, 65_000, 38_000, 105_000]));
    let averages = Averages::of(&counts);
    assert!((averages.macro_f1 - 0.3836).abs() < 5e-5 && (averages.micro_f1 - 0.4043).abs() < 5e-5);
    assert!(counts.iter().all(|counts| counts.predicted_rate() == 1.0 && counts.recall() == 1.0));
    assert!((counts[0].prevalence() - 0.08482).abs() < 5e-6 && counts[0].precision() == counts[0].prevalence());
}
