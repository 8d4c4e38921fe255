use serde::Deserialize;

use super::super::special::{
    chi_squared_tail, fisher_tail, incomplete_beta, normal_cdf, normal_quantile, student_cdf, student_quantile, student_two_sided,
};
use super::super::*;
use crate::rng::Rng;

#[derive(Deserialize)]
struct Fixture {
    functions: Functions,
    wilcoxon: Vec<WilcoxonCase>,
    sign_flip: Vec<PCase>,
    holm: Vec<HolmCase>,
    posterior: Vec<PosteriorCase>,
    corrected_t: Vec<StudentCase>,
    intervals: Vec<IntervalCase>,
}

#[derive(Deserialize)]
struct Functions {
    normal_quantile: Vec<(f64, Option<f64>)>,
    normal_cdf: Vec<(f64, f64)>,
    student_cdf: Vec<(f64, f64, f64)>,
    student_quantile: Vec<(f64, f64, f64)>,
    chi_squared_tail: Vec<(f64, f64, f64)>,
    fisher_tail: Vec<(f64, f64, f64, f64)>,
    incomplete_beta: Vec<(f64, f64, f64, f64)>,
}

#[derive(Deserialize)]
struct WilcoxonCase {
    differences: Vec<f64>,
    plus: f64,
    minus: f64,
    p: f64,
    exact: bool,
}

#[derive(Deserialize)]
struct PCase {
    differences: Vec<f64>,
    p: f64,
}

#[derive(Deserialize)]
struct HolmCase {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct PosteriorCase {
    differences: Vec<f64>,
    rope: f64,
    worse: f64,
    same: f64,
    better: f64,
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
    f.chi_squared_tail.iter().for_each(|&(x, df, theirs)| close(&format!("chi2 {x}, {df}"), chi_squared_tail(x, df), theirs));
    f.fisher_tail.iter().for_each(|&(x, a, b, theirs)| close(&format!("F {x}, {a}, {b}"), fisher_tail(x, a, b), theirs));
    f.incomplete_beta
        .iter()
        .for_each(|&(x, a, b, theirs)| close(&format!("beta {x}, {a}, {b}"), incomplete_beta(x, a, b), theirs));
}

#[test]
fn wilcoxon_equals_scipy() {
    for case in fixture().wilcoxon {
        let ours = wilcoxon(&case.differences);
        let name = format!("{:?}", case.differences);
        assert_eq!((ours.plus, ours.minus, ours.exact), (case.plus, case.minus, case.exact), "{name}");
        close(&name, ours.p, case.p);
    }
    assert_eq!((wilcoxon(&[]).p, wilcoxon(&[]).runs), (1.0, 0));
}

#[test]
fn sign_flip_equals_scipy() {
    for case in fixture().sign_flip {
        close(&format!("{:?}", case.differences), sign_flip(&case.differences, 0), case.p);
    }
    assert_eq!(sign_flip(&[], 0), 1.0);
}

/// Beyond 20 pairs patterns are drawn: near the exact p of the rank test's cousin, and reproducible.
#[test]
fn sign_flip_of_many_pairs_is_drawn() {
    let differences: Vec<f64> = (0..24).map(|pair| f64::from(pair % 7) - 2.0).collect();
    // Exact, by counting sums: the differences are whole numbers.
    let reach = differences.iter().sum::<f64>().abs();
    let mut sums = std::collections::BTreeMap::from([(0i64, 1.0)]);
    for difference in &differences {
        let mut next = std::collections::BTreeMap::new();
        for (sum, patterns) in sums {
            *next.entry(sum + *difference as i64).or_insert(0.0) += patterns;
            *next.entry(sum - *difference as i64).or_insert(0.0) += patterns;
        }
        sums = next;
    }
    let far: f64 = sums.iter().filter(|(sum, _)| sum.abs() as f64 >= reach).map(|(_, patterns)| patterns).sum();
    let exact = far / 2f64.powi(24);
    let drawn = sign_flip(&differences, 3);
    assert!((drawn - exact).abs() < 4.0 * (exact * (1.0 - exact) / 1e5).sqrt() + 2e-5, "{drawn} is not {exact}");
    assert_eq!(drawn, sign_flip(&differences, 3));
}

#[test]
fn holm_keeps_its_golden_values() {
    for case in fixture().holm {
        for (ours, theirs) in holm(&case.p).into_iter().zip(&case.adjusted) {
            close(&format!("{:?}", case.p), ours, *theirs);
        }
    }
    let golden = holm(&[0.001, 0.01, 0.02, 0.04, 0.2]);
    golden.iter().zip([0.005, 0.04, 0.06, 0.08, 0.2]).for_each(|(ours, theirs)| close("golden", *ours, theirs));
    assert!(holm(&[]).is_empty());
}

#[test]
fn the_posterior_equals_baycomps() {
    for case in fixture().posterior {
        let ours = signed_rank_posterior(&case.differences, case.rope, 0);
        let name = format!("{:?}, rope {}: {ours:?}", case.differences, case.rope);
        // Two Monte Carlo standard errors of 50,000 and 100,000 draws are below .006.
        for (ours, theirs) in [(ours.worse, case.worse), (ours.same, case.same), (ours.better, case.better)] {
            assert!((ours - theirs).abs() < 0.01, "{name} is not {theirs}");
        }
        assert!((ours.worse + ours.same + ours.better - 1.0).abs() < 1e-12);
    }
    let nothing = signed_rank_posterior(&[], 0.01, 0);
    assert_eq!(nothing.same, 1.0, "without data there is the prior, which sits on no difference");
    for equal in [&[][..], &[0.0], &[0.0; 7]] {
        let Posterior { worse, same, better } = signed_rank_posterior(equal, 0.0, 0);
        assert_eq!([worse, same, better], [0.5, 0.0, 0.5], "equal runs, no rope: neither side is likelier");
    }
    // Turned round, a comparison says the opposite.
    let [there, back] = [1.0, -1.0].map(|sign| signed_rank_posterior(&[sign * 0.01, 0.0, sign * 0.03], 0.0, 0));
    assert_eq!((there.worse, there.same, there.better), (back.better, back.same, back.worse));
}

/// Comparisons that share their draws get what each gets alone, and what a vote of every pair gives.
#[test]
fn posteriors_are_votes_of_all_pairs() {
    let comparisons: [&[f64]; 6] =
        [&[0.02, -0.01, 0.03], &[0.0, 0.0, 0.0], &[0.01, 0.01, -0.01], &[0.5], &[0.004, 0.02, -0.03, 0.011, 0.009], &[-0.1; 5]];
    for rope in [0.0, 0.01] {
        let together = signed_rank_posteriors(&comparisons.map(|differences| (differences, rope)), 3);
        for (differences, together) in comparisons.iter().zip(together) {
            assert_eq!(together, signed_rank_posterior(differences, rope, 3));
            let values: Vec<f64> = [&[0.0], *differences].concat();
            let mut rng = Rng::new(3, "signed_rank", &[]);
            let mut wins = [0.0; 3];
            for _ in 0..50_000 {
                let normal = rng.normal();
                let weights: Vec<f64> = std::iter::once(0.5 * normal * normal)
                    .chain(differences.iter().map(|_| -libm::log(1.0 - rng.uniform())))
                    .collect();
                let total: f64 = weights.iter().sum();
                let (mut below, mut above) = (0.0, 0.0);
                for (a, weight) in values.iter().zip(&weights) {
                    for (b, other) in values.iter().zip(&weights) {
                        let vote = |far: f64| if far > 2.0 * rope { 1.0 } else { 0.5 * f64::from(u8::from(far == 2.0 * rope)) };
                        below += weight * other * vote(-(a + b));
                        above += weight * other * vote(a + b);
                    }
                }
                let regions = [below, total * total - below - above, above];
                let most = regions.into_iter().fold(0.0, f64::max);
                let first = regions.iter().filter(|region| **region == most).count() as f64;
                wins.iter_mut()
                    .zip(regions)
                    .filter(|(_, region)| *region == most)
                    .for_each(|(won, _)| *won += 1.0 / first / 50_000.0);
            }
            for (ours, theirs) in [together.worse, together.same, together.better].into_iter().zip(wins) {
                assert!((ours - theirs).abs() < 1e-9, "{differences:?} within {rope}: {together:?} is not {wins:?}");
            }
        }
    }
}

#[test]
fn the_corrected_t_test_is_students_with_more_variance() {
    for case in fixture().corrected_t {
        let ours = corrected_t(&case.differences, case.test_share).unwrap();
        close("t", ours.t, case.t);
        close("p", ours.p, case.p);
    }
    assert_eq!(corrected_t(&[0.1], 0.1), None);
    assert_eq!(corrected_t(&[0.0, 0.0], 0.1).unwrap().p, 1.0);
    assert_eq!(corrected_t(&[0.1, 0.1], 0.1).unwrap().p, 0.0, "no spread at all");
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

/// docs/strategies.md#certainty: with 11 contrasts against bce, Holm at .05 needs 9 seeds.
#[test]
fn too_few_seeds_cannot_reject_by_design() {
    let design = |runs, contrasts| Design { runs, contrasts, alpha: 0.05 };
    for (runs, least) in [(5, 0.0625), (6, 0.03125), (8, 0.0078125), (9, 0.00390625), (10, 0.001953125)] {
        assert_eq!(design(runs, 1).smallest_p(), least);
        let one_way: Vec<f64> = (1..=runs).map(|pair| pair as f64).collect();
        assert_eq!((sign_flip(&one_way, 0), wilcoxon(&one_way).p), (least, least), "both tests reach it");
    }
    assert!(!design(8, 11).can_reject() && design(9, 11).can_reject());
    assert_eq!((design(3, 11).runs_needed(), design(3, 1).runs_needed()), (9, 6));
    assert_eq!((design(0, 1).smallest_p(), design(1, 1).smallest_p()), (1.0, 1.0));
    // The claim itself: the strongest of 11 equal p-values, after Holm.
    assert!(holm(&[design(8, 11).smallest_p(); 11])[0] > 0.05 && holm(&[design(9, 11).smallest_p(); 11])[0] <= 0.05);
}

#[test]
fn effects_are_summarised_with_students_interval() {
    let paired = Paired::of(&[0.01, 0.03, -0.01, 0.02, 0.0], 0.95).unwrap();
    assert_eq!((paired.runs, paired.better, paired.worse), (5, 3, 1));
    close("mean", paired.mean, 0.01);
    close("sd", paired.sd.unwrap(), 0.000_25f64.sqrt());
    // t(.975, 4) = 2.776445.
    let reach = 2.776_445_105_198 * (0.000_25f64 / 5.0).sqrt();
    assert!((paired.low.unwrap() - (0.01 - reach)).abs() < 1e-12 && (paired.high.unwrap() - (0.01 + reach)).abs() < 1e-12);
    let single = Paired::of(&[0.5], 0.95).unwrap();
    assert_eq!((single.mean, single.sd, single.low), (0.5, None, None));
    assert_eq!(Paired::of(&[], 0.95), None);
}
