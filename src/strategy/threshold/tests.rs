use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::metric::decide;

fn matrix(labels: usize, values: Vec<u8>) -> LabelMatrix {
    LabelMatrix { names: (0..labels).map(|label| label.to_string()).collect::<Arc<[_]>>(), values }
}

fn fit(policy: &str, scores: &[f32], truth: &[u8]) -> f32 {
    parse(policy).unwrap().fit(scores, &matrix(1, truth.to_vec()))[0]
}

/// strategies.md 4.2: best threshold .35 with F1 .75; half-way to the next lower score.
#[test]
fn the_fixture_of_max_f1() {
    let (scores, truth) = ([0.1, 0.2, 0.35, 0.8, 0.4, 0.4, 0.05, 0.6], [0, 0, 1, 1, 0, 1, 0, 0]);
    assert_eq!(fit("max_f1", &scores, &truth), 0.275);
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
    assert!((none - 0.7).abs() < 1e-6, "0 predictions are nearer to 1 than 10: {none}");
}

#[test]
fn policies_read_back_from_their_names() {
    for text in ["0.5", "0", "1", "max_f1", "prior_match"] {
        assert_eq!(parse(text).unwrap().to_string(), text);
        let json = serde_json::to_string(&parse(text).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), parse(text).unwrap());
    }
    assert_eq!(parse(" .25 ").unwrap(), Policy::Fixed(0.25));
    assert_eq!(parse("max_f1()").unwrap(), parse("max_f1").unwrap());
    let error = |text| parse(text).unwrap_err().0;
    assert_eq!(error("1.5"), "threshold 1.5 must be from 0 to 1: scores are probabilities");
    assert!(error("nan").starts_with("threshold NaN"));
    assert_eq!(
        error("maxf1"),
        "no threshold policy is called `maxf1` (did you mean `max_f1`?); there are max_f1, prior_match; a number from 0 to 1 is a policy too"
    );
    assert!(error("max_f1(beta=2)").starts_with("max_f1 has no parameter `beta`; it has none"));
}

#[test]
fn a_number_is_every_labels_threshold() {
    assert_eq!(Policy::Fixed(0.1).fit(&[0.0; 3], &matrix(3, vec![0; 3])), [0.1f32; 3]);
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

proptest! {
    /// Against every threshold there is, by brute force through the decisions themselves.
    #[test]
    fn fitted_thresholds_are_optimal(rows in prop::collection::vec((scores(), 0u8..2), 1..40)) {
        let (scores, truth): (Vec<f32>, Vec<u8>) = rows.into_iter().unzip();
        let truth = matrix(1, truth);
        let at = |threshold: f32| decide(&scores, &truth, &[threshold]).counts[0];
        let every = || scores.iter().copied().chain([2.0]).map(at);
        let fitted = |policy: &str| at(parse(policy).unwrap().fit(&scores, &truth)[0]);
        if truth.values.contains(&1) {
            let best = every().map(|counts| counts.f1()).fold(0.0, f64::max);
            prop_assert_eq!(fitted("max_f1").f1(), best);
        }
        let off = |counts: crate::metric::Counts| (counts.tp + counts.fp).abs_diff(counts.support());
        prop_assert_eq!(off(fitted("prior_match")), every().map(off).min().unwrap());
    }
}
