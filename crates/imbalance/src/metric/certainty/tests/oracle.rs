use serde::Deserialize;

use super::super::special::{
    fisher_tail, incomplete_beta, normal_cdf, normal_quantile, student_cdf, student_quantile, student_two_sided, trigamma,
    trigamma_inverse,
};
use super::super::*;

#[derive(Deserialize)]
struct Fixture {
    functions: Functions,
    corrected_t: Vec<StudentCase>,
    intervals: Vec<IntervalCase>,
}

#[derive(Deserialize)]
struct Functions {
    normal_quantile: Vec<(f64, Option<f64>)>,
    normal_cdf: Vec<(f64, f64)>,
    student_cdf: Vec<(f64, f64, f64)>,
    student_quantile: Vec<(f64, f64, f64)>,
    trigamma: Vec<(f64, f64)>,
    fisher_tail: Vec<(f64, f64, f64, f64)>,
    incomplete_beta: Vec<(f64, f64, f64, f64)>,
}

#[derive(Deserialize)]
struct StudentCase {
    differences: Vec<f64>,
    test_share: f64,
    t: f64,
    p: f64,
}

#[derive(Deserialize)]
struct IntervalCase {
    point: f64,
    replicates: Vec<f64>,
    jackknife: Vec<f64>,
    level: f64,
    percentile: [f64; 2],
    bca: [f64; 2],
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../../../../../tests/oracle/certainty.json")).unwrap()
}

#[track_caller]
fn close(name: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().min(1.0) + 1e-15, "{name}: {ours:e} is not {theirs:e}");
}

#[test]
fn distribution_functions_equal_scipy() {
    let f = fixture().functions;
    for (p, theirs) in f.normal_quantile {
        match theirs {
            Some(theirs) => close(&format!("normal quantile {p:e}"), normal_quantile(p), theirs),
            None => assert!(normal_quantile(p).is_infinite() && (normal_quantile(p) > 0.0) == (p > 0.5)),
        }
    }
    assert!(normal_quantile(1.1).is_nan() && normal_quantile(f64::NAN).is_nan());
    f.normal_cdf.iter().for_each(|&(z, theirs)| close(&format!("normal cdf {z}"), normal_cdf(z), theirs));
    for (t, df, theirs) in f.student_cdf {
        close(&format!("t cdf {t}, {df}"), student_cdf(t, df), theirs);
        close("two-sided", student_two_sided(t, df), 2.0 * theirs.min(1.0 - theirs));
    }
    f.student_quantile
        .iter()
        .for_each(|&(p, df, theirs)| close(&format!("t quantile {p}, {df}"), student_quantile(p, df), theirs));
    for (x, theirs) in f.trigamma {
        close(&format!("trigamma {x}"), trigamma(x), theirs);
        assert!((trigamma_inverse(theirs) / x - 1.0).abs() < 1e-9, "{x}");
    }
    f.fisher_tail.iter().for_each(|&(x, a, b, theirs)| close(&format!("F {x}, {a}, {b}"), fisher_tail(x, a, b), theirs));
    f.incomplete_beta
        .iter()
        .for_each(|&(x, a, b, theirs)| close(&format!("beta {x}, {a}, {b}"), incomplete_beta(x, a, b), theirs));
}

/// Nadeau and Bengio's test is Student's with more variance; rows of splits are their own, so resampled ones do not count.
#[test]
fn splits_are_judged_by_the_corrected_t_test() {
    let of = |differences: &[f64], overlap: f64| {
        let rows = Some(RowVariance { of_mean: 1.0, of_one: 1.0, units: 9 });
        crossed(&[Observed { differences: differences.to_vec(), rows, overlap }], 1, 0.95)[0].unwrap()
    };
    for case in fixture().corrected_t.iter().filter(|case| case.test_share > 0.0) {
        let ours = of(&case.differences, case.test_share);
        close("t", ours.mean / ours.se.unwrap(), case.t);
        close("p", ours.p.unwrap(), case.p);
    }
    assert_eq!((of(&[0.1], 0.1).p, of(&[0.0, 0.0], 0.1).p), (None, Some(1.0)));
    assert_eq!(of(&[0.1, 0.1], 0.1).p, Some(0.0), "no spread at all");
}

#[test]
fn intervals_equal_numpys_and_scipys() {
    for case in fixture().intervals {
        let estimate = Estimate { point: case.point, replicates: case.replicates, jackknife: case.jackknife };
        let (percentile, bca) = (estimate.percentile(case.level).unwrap(), estimate.bca(case.level).unwrap());
        close("percentile", percentile.low, case.percentile[0]);
        close("percentile", percentile.high, case.percentile[1]);
        close("BCa", bca.low, case.bca[0]);
        close("BCa", bca.high, case.bca[1]);
        assert_eq!(estimate.interval(case.level), Some(bca));
    }
}

#[test]
fn intervals_of_degenerate_replicates() {
    let constant = Estimate { point: 0.0, replicates: vec![0.0; 10], jackknife: vec![0.0; 5] };
    assert_eq!(constant.bca(0.95), None, "nothing varies");
    let interval = constant.interval(0.95).unwrap();
    assert_eq!((interval.low, interval.high, interval.method), (0.0, 0.0, Method::Percentile));
    let aside = Estimate { point: 2.0, replicates: vec![0.0, 1.0], jackknife: vec![1.0, 2.0] };
    assert_eq!(aside.bca(0.95), None, "every replicate lies below the point");
    let undefined = Estimate { point: f64::NAN, replicates: vec![f64::NAN; 3], jackknife: Vec::new() };
    assert_eq!(undefined.interval(0.95), None);
    let partly = Estimate { point: 1.0, replicates: vec![f64::NAN, 0.0, 2.0, f64::NAN], jackknife: Vec::new() };
    assert_eq!(
        partly.percentile(0.5).unwrap(),
        Interval { low: 0.5, high: 1.5, level: 0.5, method: Method::Percentile, replicates: 2 }
    );
    assert_eq!(partly.share_above(0.0), 0.75, "one above, one tie");
}
