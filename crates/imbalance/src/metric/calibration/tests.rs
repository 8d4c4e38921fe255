mod judgement;
mod repair;

use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::Choice;
use crate::LabelCounts;
use crate::LabelMatrix;
use crate::loss::{self, sigmoid};
use crate::metric::Curve;
use crate::metric::tests::Recipe;
use crate::rng::Rng;

#[derive(Deserialize)]
struct Fixture {
    probes: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    scores: Vec<f32>,
    #[serde(default)]
    truth: Vec<u8>,
    recipe: Option<Recipe>,
    platt: Fitted,
    line: Option<Cox>,
    chance: Option<Errors>,
    shifted: Option<Errors>,
    ece: f64,
    ece_equal_mass: f64,
    isotonic: Vec<f64>,
}

/// Slope and intercept, and the slope's standard error.
#[derive(Clone, Copy, Deserialize)]
struct Cox {
    slope: f64,
    intercept: f64,
    error: Option<f64>,
}

/// 95 % quantiles under calibration.
#[derive(Clone, Copy, Deserialize)]
struct Errors {
    gap: f64,
    ece: f64,
}

#[derive(Deserialize)]
struct Fitted {
    slope: f64,
    intercept: f64,
    /// Where scikit-learn's optimiser stopped.
    sklearn: Option<[f64; 2]>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../../../../tests/oracle/calibration.json")).unwrap()
}

impl Case {
    fn cells(&self) -> Vec<(f32, u8)> {
        match &self.recipe {
            Some(recipe) => {
                let (scores, truth) = recipe.cells(1);
                scores.into_iter().zip(truth).collect()
            }
            None => self.scores.iter().copied().zip(self.truth.iter().copied()).collect(),
        }
    }
}

#[track_caller]
fn close(name: &str, ours: f64, theirs: f64, tolerance: f64) {
    assert!((ours - theirs).abs() <= tolerance * (1.0 + theirs.abs()), "{name}: {ours} is not {theirs}");
}

#[test]
fn platt_and_the_calibration_line_equal_scikit_learn() {
    for case in fixture().cases {
        let cells = case.cells();
        let Platt(ours) = Platt::fit(&cells).unwrap();
        close(&case.name, ours.slope, case.platt.slope, 1e-9);
        close(&case.name, ours.intercept, case.platt.intercept, 1e-9);
        if let Some([slope, intercept]) = case.platt.sklearn {
            close(&case.name, ours.slope, slope, 1e-4);
            close(&case.name, ours.intercept, intercept, 1e-4);
        }
        let line = Line::of_truth(&cells);
        assert_eq!(line.is_some(), case.line.is_some(), "{}", case.name);
        if let (Some(ours), Some(theirs)) = (line, case.line) {
            close(&case.name, ours.slope, theirs.slope, 1e-9);
            close(&case.name, ours.intercept, theirs.intercept, 1e-9);
        }
    }
}

#[test]
fn isotonic_equals_scikit_learn() {
    let Fixture { probes, cases } = fixture();
    for case in cases {
        let fitted = Isotonic::fit(&case.cells()).unwrap();
        for (&probe, &theirs) in probes.iter().zip(&case.isotonic) {
            close(&format!("{} at {probe}", case.name), fitted.apply(probe), theirs, 1e-12);
        }
    }
}

#[test]
fn expected_errors_equal_scikit_learn() {
    for case in fixture().cases {
        let cells = case.cells();
        close(&case.name, expected_error(&equal_width(&cells, BINS)), case.ece, 1e-12);
        close(&case.name, expected_error(&equal_mass(&cells, BINS)), case.ece_equal_mass, 1e-12);
    }
}

#[test]
fn without_rows_there_is_nothing_to_fit() {
    assert_eq!((Platt::fit(&[]), Isotonic::fit(&[]), Line::of_truth(&[])), (None, None, None));
    assert_eq!((expected_error(&equal_width(&[], 15)), expected_error(&equal_mass(&[], 15))), (0.0, 0.0));
}

#[test]
fn logits_are_finite_and_rise() {
    let scores = [0.0, 1e-45, 1e-38, 0.1, 0.5, 0.9, 1f32.next_down(), 1.0];
    assert!(scores.map(logit).is_sorted_by(|a, b| a < b) && scores.iter().all(|&score| logit(score).is_finite()));
    assert_eq!(logit(0.5), 0.0);
    assert!((logit(1.0) - 17.328_679).abs() < 1e-5 && (logit(0.0) + 103.972_077).abs() < 1e-5);
    for z in [-30.0, -3.0, 0.1, 2.0, 7.0] {
        assert!((logit(sigmoid(z) as f32) - z).abs() < 1e-7 * (2.0 + z.exp()), "{z}");
    }
}

/// Rows whose logit is known, and truth drawn with the probability it stands for under `loss`.
fn draws(loss: &dyn loss::Loss, rows: usize) -> Vec<(f32, u8)> {
    let mut rng = Rng::new(7, "calibration", &[]);
    let mut draw = |_| {
        let z = 1.5 * rng.normal();
        (sigmoid(z) as f32, u8::from(rng.uniform() < loss.implied_probability(0, z).unwrap()))
    };
    (0..rows).map(&mut draw).collect()
}

fn weighted_bce() -> Box<dyn loss::Loss> {
    let context = loss::Context { pos_weight: vec![10.79], counts: LabelCounts::new(224_000, vec![19_000]), epochs: 1 };
    loss::build(&Choice::plain("bce"), &context).unwrap()
}

/// A perfectly trained model under pos_weight is far too high; LINK (without data), Platt and isotonic (with) each repair it.
#[test]
fn each_calibrator_repairs_what_pos_weight_did() {
    let loss = weighted_bce();
    let cells = draws(&*loss, 40_000);
    let (val, test) = cells.split_at(20_000);
    let ece = |map: &dyn Fn(f32) -> f64| {
        let mapped: Vec<_> = test.iter().map(|&(score, y)| (map(score) as f32, y)).collect();
        (expected_error(&equal_width(&mapped, BINS)), expected_error(&equal_mass(&mapped, BINS)))
    };
    let raw = ece(&|score| score.into());
    assert!(raw.0 > 0.3 && raw.1 > 0.3, "{raw:?}");
    let (platt, isotonic) = (Platt::fit(val).unwrap(), Isotonic::fit(val).unwrap());
    let link = |score| f64::from(invert_link(&[score], 1, |label, z| loss.implied_probability(label, z)).unwrap()[0]);
    for (name, error) in [("link", ece(&link)), ("platt", ece(&|s| platt.apply(s))), ("isotonic", ece(&|s| isotonic.apply(s)))] {
        assert!(error.0 < 0.012 && error.1 < 0.012, "{name}: {error:?}");
    }
    // On logits, the weight is a shift by ln w: the line that undoes it has slope 1 and intercept -ln w.
    assert!((platt.0.slope - 1.0).abs() < 0.06 && (platt.0.intercept + 10.79f64.ln()).abs() < 0.06, "{platt:?}");
    let line = Line::of_truth(test).unwrap();
    assert!((line.slope - 1.0).abs() < 0.06 && (line.intercept + 10.79f64.ln()).abs() < 0.06, "{line:?}");
}

#[test]
fn judging_names_the_gap_of_a_weight() {
    let cells = draws(&*weighted_bce(), 20_000);
    let (scores, values) = cells.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let truth = LabelMatrix { names: Arc::new(["A".to_owned()]), values };
    let judged = judge(&scores, &truth, None, 0)[0];
    assert!(
        judged.gap > 0.3 && (judged.gap - judged.ece).abs() < 1e-6,
        "every bin is too high, so the errors add up to the gap: {judged:?}"
    );
    let loss = weighted_bce();
    let repaired = judge(&invert_link(&scores, 1, |label, z| loss.implied_probability(label, z)).unwrap(), &truth, None, 0)[0];
    assert!(repaired.gap.abs() < 0.01 && (repaired.line.unwrap().slope - 1.0).abs() < 0.06, "{repaired:?}");
    assert_eq!(invert_link(&scores, 1, |_, _| None), None, "a loss without a link");
}

fn cells() -> impl Strategy<Value = Vec<(f32, u8)>> {
    let score = prop_oneof![(0u8..=10).prop_map(|tenth| f32::from(tenth) / 10.0), 0.0f32..=1.0];
    prop::collection::vec((score, 0u8..2), 1..60)
}

proptest! {
    /// Isotonic regression by its max-min formula (Robertson, Wright & Dykstra 1988): max over a <= i of min over b >= i of mean(a..=b).
    #[test]
    fn isotonic_equals_the_max_min_formula(cells in cells()) {
        let fitted = Isotonic::fit(&cells).unwrap();
        let mut scores: Vec<f32> = cells.iter().map(|cell| cell.0).collect();
        scores.sort_by(f32::total_cmp);
        scores.dedup();
        let mean = |low: f32, high: f32| {
            let within: Vec<_> = cells.iter().filter(|cell| (low..=high).contains(&cell.0)).collect();
            within.iter().map(|cell| f64::from(cell.1)).sum::<f64>() / within.len() as f64
        };
        for &score in &scores {
            let least = |low: f32| scores.iter().filter(|&&high| high >= score).map(|&high| mean(low, high)).fold(f64::INFINITY, f64::min);
            let theirs = scores.iter().filter(|&&low| low <= score).map(|&low| least(low)).fold(f64::NEG_INFINITY, f64::max);
            prop_assert!((fitted.apply(score) - theirs).abs() < 1e-12);
        }
    }

    /// Calibrators never turn a ranking round: AP of mapped scores may only gain ties.
    #[test]
    fn calibrators_rise(cells in cells(), probes in prop::collection::vec(0.0f32..=1.0, 2..10)) {
        let isotonic = Isotonic::fit(&cells).unwrap();
        let mut probes = probes;
        probes.sort_by(f32::total_cmp);
        prop_assert!(probes.windows(2).all(|pair| isotonic.apply(pair[0]) <= isotonic.apply(pair[1]) + 1e-15));
        let within = probes.iter().all(|&probe| (0.0..=1.0).contains(&isotonic.apply(probe)));
        prop_assert!(within);
    }

    /// Bins hold every row once, and a bin's scores lie within its edges.
    #[test]
    fn bins_are_a_partition(cells in cells(), bins in 1usize..20) {
        let fine = equal_width(&cells, bins);
        prop_assert_eq!(fine.iter().map(|bin| bin.rows).sum::<u64>(), cells.len() as u64);
        for (place, bin) in fine.iter().enumerate().filter(|(_, bin)| bin.rows > 0) {
            let (low, high) = (place as f64 / bins as f64, (place + 1) as f64 / bins as f64);
            prop_assert!(bin.score >= low - 1e-12 && bin.score <= high + 1e-12);
        }
        let even = equal_mass(&cells, bins);
        prop_assert_eq!(even.iter().map(|bin| bin.rows).sum::<u64>(), cells.len() as u64);
        // No bin holds more than its share, but for scores tied at its edges.
        let ties = cells.iter().map(|a| cells.iter().filter(|b| a.0 == b.0).count()).max().unwrap_or(0);
        prop_assert!(even.iter().all(|bin| bin.rows as usize <= cells.len() / bins + 1 + ties));
    }
}

/// A rising map leaves average precision as it is.
#[test]
fn platt_leaves_the_ranking_alone() {
    let cells = draws(&*weighted_bce(), 3000);
    let (scores, values) = cells.iter().copied().unzip::<_, _, Vec<_>, Vec<_>>();
    let truth = LabelMatrix { names: Arc::new(["A".to_owned()]), values };
    let platt = Platt::fit(&cells).unwrap();
    let mapped: Vec<f32> = scores.iter().map(|&score| platt.apply(score) as f32).collect();
    let ap = |scores: &[f32]| Curve::of(scores, &truth, 0).average_precision().unwrap();
    assert!((ap(&scores) - ap(&mapped)).abs() < 1e-4, "float32 may tie neighbours");
}
