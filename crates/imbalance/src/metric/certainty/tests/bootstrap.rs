use super::super::resampling::Plan;
use super::super::*;
use super::{Letters, RATES, matrix};
use crate::LabelMatrix;
use crate::metric::average::Averages;
use crate::metric::{Counts, Curve, Rate, decide, probability};
use crate::rng::Rng;

fn resampling(rows: usize, replicates: usize) -> Resampling<'static> {
    Resampling { rows, groups: None, replicates, seed: 5, jackknife: 0 }
}

/// Rows repeated as often as a lane's weights say: what the weights stand for.
fn materialise(scores: &[f32], truth: &LabelMatrix, weights: &Weights, lane: usize) -> (Vec<f32>, LabelMatrix) {
    let rows = weights.rows.iter().zip(0u32..).flat_map(|(row, place)| std::iter::repeat_n(place, row[lane].into()));
    let rows: Vec<u32> = rows.collect();
    let labels = truth.names.len();
    (rows.iter().flat_map(|&row| scores[row as usize * labels..][..labels].to_vec()).collect(), truth.select(&rows))
}

/// Scores with ties, a rare label, and one without any positive.
fn tied(rows: usize) -> (Vec<f32>, LabelMatrix) {
    let mut rng = Rng::new(1, "tied", &[]);
    let rates = [0.5, 0.02, 0.9, 0.0];
    let mut cell = |cell: usize| {
        let score = rng.below(8) as f32 / 8.0;
        (score, u8::from(rng.uniform() < rates[cell % 4] * (0.5 + f64::from(score))))
    };
    let (scores, truth) = (0..rows * 4).map(&mut cell).unzip();
    (scores, matrix(4, truth))
}

/// Every statistic of weights equals the plain metric of the rows they stand for, to the last bits.
#[test]
fn weights_stand_for_repeated_rows() {
    let (scores, truth) = tied(61);
    let thresholds = [0.5, 0.25, 0.625, 0.5];
    let (ranked, decided) = (Ranked::new(&scores, &truth), Decided::new(&scores, &truth, &thresholds));
    let brier = RowValues::of_cells(&scores, &truth, |q, y| (q - y) * (q - y));
    let plan = Plan::new(&Resampling { jackknife: 9, ..resampling(61, 30) });
    let same = |ours: f64, theirs: Option<f64>| match theirs {
        Some(theirs) => assert!((ours - theirs).abs() < 1e-13, "{ours} is not {theirs}"),
        None => assert!(ours.is_nan()),
    };
    let mut without = 0;
    for batch in 0..plan.batches() {
        let weights = plan.weights(batch);
        for lane in (0..LANES).filter(|lane| batch * LANES + lane < plan.weightings()) {
            let (scores, truth) = materialise(&scores, &truth, &weights, lane);
            let counts = decide(&scores, &truth, &thresholds).counts;
            for (label, counts) in counts.iter().enumerate() {
                let curve = Curve::of(&scores, &truth, label);
                let ap = ranked.metric(RankedMetric::AveragePrecision).lanes(label, &weights)[lane];
                same(ap, curve.average_precision());
                same(ranked.metric(RankedMetric::RocAuc).lanes(label, &weights)[lane], curve.roc_auc());
                let positives = curve.positives > 0;
                without += usize::from(!positives && label != 3);
                for rate in [Rate::F(1.0), Rate::F(2.0), Rate::Recall, Rate::Precision, Rate::Mcc, Rate::Specificity] {
                    same(decided.rate(rate).lanes(label, &weights)[lane], positives.then(|| counts.rate(rate)));
                }
                same(decided.rate(Rate::PredictedRate).lanes(label, &weights)[lane], Some(counts.predicted_rate()));
                same(brier.lanes(label, &weights)[lane], Some(probability(&scores, &truth)[label].brier));
            }
            same(decided.micro(Rate::F(1.0)).lanes(0, &weights)[lane], Some(counts.iter().copied().sum::<Counts>().f1()));
            same(decided.weighted(Rate::F(1.0)).lanes(0, &weights)[lane], Some(Averages::of(&counts).weighted_f1));
        }
    }
    assert!(without > 0, "some resample has no positive of the rare label");
}

/// What is left out in closed form equals a pass over the rows that are left, with ties, blocks of several rows and whole groups.
#[test]
fn blocks_are_left_out_as_by_weights() {
    let (scores, truth) = tied(61);
    let (ranked, decided) = (Ranked::new(&scores, &truth), Decided::new(&scores, &truth, &[0.5, 0.25, 0.625, 0.5]));
    let groups: Vec<u32> = (0..61).map(|row| row % 7).collect();
    for (blocks, groups) in [(61, None), (30, None), (4, None), (100, Some(groups.as_slice()))] {
        let plan = Plan::new(&Resampling { jackknife: blocks, groups, ..resampling(61, 1) });
        let left_out = plan.left_out();
        assert_eq!(left_out.sizes.iter().sum::<u32>(), 61);
        let ap = ranked.metric(RankedMetric::AveragePrecision);
        let rates = [decided.rate(Rate::F(1.0)), decided.rate(Rate::PredictedRate), decided.micro(Rate::F(1.0))];
        let mut statistics: Vec<&dyn Statistic> = rates.iter().map(|rate| rate as &dyn Statistic).collect();
        statistics.push(&ap);
        let mut undefined = 0;
        for (statistic, label) in
            statistics.iter().flat_map(|statistic| (0..statistic.labels()).map(move |label| (statistic, label)))
        {
            let by_weights: Vec<f64> =
                (0..plan.batches()).flat_map(|batch| statistic.lanes(label, &plan.weights(batch))).collect();
            let closed = statistic.without(label, &left_out).unwrap();
            assert_eq!(closed.len(), plan.blocks);
            for (closed, by_weights) in closed.iter().zip(&by_weights[plan.drawn()..]) {
                let same = (closed - by_weights).abs() < 1e-14 || closed.is_nan() && by_weights.is_nan();
                assert!(same, "{closed} is not {by_weights} ({blocks} blocks, label {label})");
                undefined += usize::from(closed.is_nan());
            }
        }
        assert!(undefined > 0, "one label has no positive");
    }
    let large = Plan::new(&Resampling { jackknife: 2, ..resampling(61, 1) }).left_out();
    let ap = ranked.metric(RankedMetric::AveragePrecision);
    assert!(ap.without(0, &large).is_none() && ranked.metric(RankedMetric::RocAuc).without(0, &large).is_none());
}

/// Labels without positives leave the mean of that replicate, and are counted.
#[test]
fn undefined_labels_are_dropped_and_counted() {
    let (scores, truth) = tied(61);
    let ranked = Ranked::new(&scores, &truth);
    let estimates = &bootstrap(&resampling(61, 200), &[&ranked.metric(RankedMetric::AveragePrecision)])[0];
    let undefined = |label: usize| estimates.labels[label].replicates.iter().filter(|value| value.is_nan()).count();
    assert_eq!((undefined(0), undefined(2), undefined(3)), (0, 0, 200));
    assert!((1..200).contains(&undefined(1)), "{}", undefined(1));
    assert_eq!(estimates.dropped, undefined(1) + 200);
    assert!(estimates.labels[3].point.is_nan() && estimates.labels[3].interval(0.95).is_none());
    for (replicate, mean) in estimates.mean.replicates.iter().enumerate() {
        let values: Vec<f64> =
            estimates.labels.iter().map(|label| label.replicates[replicate]).filter(|value| !value.is_nan()).collect();
        assert!((mean - values.iter().sum::<f64>() / values.len() as f64).abs() < 1e-15);
    }
}

#[test]
fn one_seed_one_answer_on_any_number_of_threads() {
    let (scores, truth) = tied(100);
    let ranked = Ranked::new(&scores, &truth);
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let resampling = Resampling { seed, jackknife: 20, ..resampling(100, 50) };
        pool.install(|| bootstrap(&resampling, &[&ranked.metric(RankedMetric::RocAuc)])[0].labels[0].clone())
    };
    assert_eq!(run(1, 5), run(3, 5));
    assert_ne!(run(1, 5).replicates, run(1, 6).replicates);
    // What is drawn once and kept is what every call draws.
    let resampling_20 = Resampling { jackknife: 20, ..resampling(100, 50) };
    let resampler = Resampler::new(&resampling_20);
    assert_eq!(resampler.rows(), 100);
    for _ in 0..2 {
        assert_eq!(resampler.bootstrap(&[&ranked.metric(RankedMetric::RocAuc)])[0].labels[0], run(1, 5));
    }
    // More replicates leave the first ones as they are.
    let fewer = bootstrap(&resampling(100, 20), &[&ranked.metric(RankedMetric::RocAuc)]);
    assert_eq!(fewer[0].labels[0].replicates, run(1, 5).replicates[..20]);
}

#[test]
fn draws_are_multinomial() {
    let plan = Plan::new(&resampling(50, LANES - 1 + 160 * LANES));
    let (mut sum, mut squares, mut batches) = (vec![0.0; 50], 0.0, 0.0);
    for batch in 1..plan.batches() {
        let weights = plan.weights(batch);
        assert_eq!(weights.totals, [50; LANES]);
        for (row, sum) in weights.rows.iter().zip(&mut sum) {
            *sum += row.iter().map(|&weight| f64::from(weight)).sum::<f64>();
            squares += row.iter().map(|&weight| f64::from(weight).powi(2)).sum::<f64>();
        }
        batches += 1.0;
    }
    let draws = batches * LANES as f64;
    // A row is drawn once on average with variance 1 - 1/50; chi-squared of the sums has 49 degrees of freedom.
    let chi_squared: f64 = sum.iter().map(|sum| (sum - draws).powi(2) / draws).sum();
    // scipy.stats.chi2.isf(0.001, 49)
    assert!(chi_squared < 85.35, "{chi_squared}");
    assert!((squares / (50.0 * draws) - (2.0 - 1.0 / 50.0)).abs() < 0.02);
}

#[test]
fn groups_are_drawn_and_left_out_whole() {
    let groups: Vec<u32> = (0..60).map(|row| [7, 1000, 3, 7, 1][row % 5] + (row / 20) as u32 * 10_000).collect();
    let plan = Plan::new(&Resampling { groups: Some(&groups), jackknife: 100, ..resampling(60, 40) });
    assert_eq!(plan.blocks, 12, "4 groups in each third");
    for batch in 0..plan.batches() {
        let weights = plan.weights(batch);
        for (row, group) in groups.iter().enumerate() {
            let first = groups.iter().position(|other| other == group).unwrap();
            assert_eq!(weights.rows[row], weights.rows[first], "rows of a group share their weight");
        }
    }
    // Means of rows that are all alike within groups vary with the number of groups, not of rows.
    let values = RowValues { labels: vec![groups.iter().map(|&group| f64::from(group % 7)).collect()] };
    let whole = bootstrap(&Resampling { groups: Some(&groups), ..resampling(60, 400) }, &[&values])[0].mean.standard_error();
    let apart = bootstrap(&resampling(60, 400), &[&values])[0].mean.standard_error();
    assert!(whole > 1.7 * apart, "{whole} {apart}");
}

/// On the true probabilities, AP and F1 have known values: 95 % intervals hold them about 95 times in 100.
#[test]
fn intervals_cover_the_truth() {
    let letters = Letters::new();
    let thresholds: Vec<f32> = letters.limits.iter().map(|curve| curve.best().threshold as f32).collect();
    let true_f1 = letters.limits.iter().map(|curve| curve.best().f1).sum::<f64>() / 4.0;
    let true_ap = letters.limits.iter().map(|curve| curve.ranking().0).sum::<f64>() / 4.0;
    let (mut f1, mut ap, mut bca) = (0, 0, 0);
    let times = 300;
    for time in 0..times {
        let (scores, truth) = letters.draw(600, &mut Rng::new(9, "coverage", &[time]));
        let (ranked, decided) = (Ranked::new(&scores, &truth), Decided::new(&scores, &truth, &thresholds));
        let resampling = Resampling { seed: time, jackknife: 100, ..resampling(600, 400) };
        let found = bootstrap(&resampling, &[&decided.rate(Rate::F(1.0)), &ranked.metric(RankedMetric::AveragePrecision)]);
        f1 += usize::from(found[0].mean.percentile(0.95).unwrap().contains(true_f1));
        ap += usize::from(found[1].mean.percentile(0.95).unwrap().contains(true_ap));
        bca += usize::from(found[0].mean.bca(0.95).unwrap().contains(true_f1));
    }
    // Binomial: 285 ± 11. AP is biased upwards in small samples, which costs some coverage.
    for (name, hits, least) in [("macro-F1", f1, 272), ("macro-F1, BCa", bca, 272), ("macro-AP", ap, 262)] {
        assert!((least..=297).contains(&hits), "{name}: {hits} of {times}");
    }
}

/// Two runs on the same rows: the paired interval is far narrower than that of either, and sees a difference the two alone hide.
#[test]
fn pairing_removes_what_the_rows_have_in_common() {
    let letters = Letters::new();
    let mut rng = Rng::new(2, "paired", &[]);
    let (scores, truth) = letters.draw(4000, &mut rng);
    let noisy: Vec<f32> = scores.iter().map(|&score| (score * (1.0 + 0.12 * rng.normal() as f32)).clamp(0.0, 1.0)).collect();
    let (a, b) = (Ranked::new(&scores, &truth), Ranked::new(&noisy, &truth));
    let (a, b) = (a.metric(RankedMetric::AveragePrecision), b.metric(RankedMetric::AveragePrecision));
    let found = bootstrap(&resampling(4000, 500), &[&a, &b]);
    let difference = found[0].mean.minus(&found[1].mean);
    let width = |estimate: &Estimate| estimate.percentile(0.95).map(|interval| interval.high - interval.low).unwrap();
    assert!(width(&difference) < 0.6 * width(&found[0].mean));
    assert!(difference.percentile(0.95).unwrap().low > 0.0 && difference.share_above(0.0) > 0.99, "noise costs AP");
    assert!(found[0].mean.percentile(0.95).unwrap().low < found[1].mean.percentile(0.95).unwrap().high, "alone they overlap");
    // Two calls with one resampling draw the same rows.
    let again = bootstrap(&resampling(4000, 500), &[&b]);
    assert_eq!(again[0].mean, found[1].mean);
    assert_eq!(found[0].labels.len(), RATES.len());
}

#[test]
fn nothing_to_resample() {
    let (scores, truth) = (Vec::new(), matrix(2, Vec::new()));
    let ranked = Ranked::new(&scores, &truth);
    let found = &bootstrap(&Resampling { jackknife: 10, ..resampling(0, 20) }, &[&ranked.metric(RankedMetric::RocAuc)])[0];
    assert!(found.mean.point.is_nan() && found.mean.interval(0.95).is_none());
    let nobody = Ranked::new(&[], &matrix(0, Vec::new()));
    let found = &bootstrap(&resampling(3, 20), &[&nobody.metric(RankedMetric::RocAuc)])[0];
    assert!(found.labels.is_empty() && found.mean.interval(0.95).is_none());
}
