//! Unknown cells, everywhere: what is computed of a matrix with some equals what is computed of each label's known cells alone.

use proptest::prelude::*;
use serde::Deserialize;

use crate::evaluation::held_out;
use crate::loss::{self, Context, start};
use crate::metric::average::Averages;
use crate::metric::calibration::{BINS, Repair, choose, equal_width, expected_error, judge, judge_label};
use crate::metric::certainty::{Decided, Estimate, Ranked, RankedMetric, Resampling, RowValues, Statistic, bootstrap};
use crate::metric::{Curve, ZeroDivision, counts_at, decide, label_ranking, merged, probability, rank, sample_rates};
use crate::rng::Rng;
use crate::sampler::{self, Sampler, Train, label_factors, realised};
use crate::stratification::{SplitConfig, divide};
use crate::threshold::{self, Policy, Rule};
use crate::{Choice, LabelCounts, LabelMatrix, PosWeight, UNKNOWN, pos_weight};

fn matrix(labels: usize, values: Vec<u8>) -> LabelMatrix {
    LabelMatrix { names: (0..labels).map(|label| label.to_string()).collect(), values }
}

/// Scores with ties, and labels of which some cells are unknown.
#[derive(Clone, Debug)]
struct Data {
    scores: Vec<f32>,
    truth: LabelMatrix,
}

impl Data {
    /// The known cells of a label, as a matrix of that label.
    fn of_label(&self, label: usize) -> Self {
        let labels = self.truth.names.len();
        let cells = self.scores.iter().zip(&self.truth.values).skip(label).step_by(labels).filter(|(_, y)| **y != UNKNOWN);
        let (scores, values): (Vec<f32>, Vec<u8>) = cells.map(|(score, y)| (*score, *y)).unzip();
        Self { scores, truth: matrix(1, values) }
    }

    fn each(&self) -> impl Iterator<Item = (usize, Self)> {
        (0..self.truth.names.len()).map(|label| (label, self.of_label(label)))
    }
}

fn data() -> impl Strategy<Value = Data> {
    let cell = (0u8..=8, prop::sample::select(vec![0u8, 0, 1, UNKNOWN]));
    (1usize..=4).prop_flat_map(move |labels| {
        prop::collection::vec(prop::collection::vec(cell.clone(), labels), 1..60).prop_map(move |rows| {
            let (scores, values) = rows.concat().into_iter().map(|(eighths, y)| (f32::from(eighths) / 8.0, y)).unzip();
            Data { scores, truth: matrix(labels, values) }
        })
    })
}

/// Rows of which the labels have a cause in common, and cells that are unknown at the rate of their label.
fn drawn(rows: usize, unknown: [f64; 3], seed: u64) -> Data {
    let mut rng = Rng::new(seed, "unknown", &[]);
    let (mut scores, mut values) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let cause = rng.normal();
        for (bias, unknown) in [-2.0, -0.5, 0.3].into_iter().zip(unknown) {
            let p = loss::sigmoid(cause + bias);
            scores.push(((50.0 * p).round() / 50.0) as f32);
            let y = u8::from(rng.uniform() < p);
            values.push(if rng.uniform() < unknown { UNKNOWN } else { y });
        }
    }
    Data { scores, truth: matrix(3, values) }
}

#[derive(Deserialize)]
struct OfLabel {
    counts: [u64; 4],
    ap: Option<f64>,
    auc: Option<f64>,
    mean_score: f64,
    max_f1: Option<f64>,
    brier: f64,
    nll: f64,
    ece: f64,
    precision: f64,
    recall: f64,
    f1: f64,
}

#[derive(Deserialize)]
struct OfRows {
    f1: f64,
    exact: f64,
    coverage_error: f64,
    ranking_loss: f64,
    ranking_average_precision: f64,
}

#[derive(Deserialize)]
struct Case {
    labels: usize,
    scores: Vec<f32>,
    truth: Vec<u8>,
    thresholds: Vec<f32>,
    by_label: Vec<OfLabel>,
    rows: OfRows,
    hamming_loss: f64,
    micro_f1: f64,
    micro_ap: f64,
}

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[track_caller]
fn close(ours: impl Into<Option<f64>>, theirs: impl Into<Option<f64>>) {
    let (ours, theirs) = (ours.into(), theirs.into());
    let near = ours.is_some() == theirs.is_some() && (ours.unwrap_or(0.0) - theirs.unwrap_or(0.0)).abs() < 1e-12;
    assert!(near, "{ours:?} is not {theirs:?}");
}

/// tests/oracle/unknown.py.
#[test]
fn metrics_equal_scikit_learn_on_known_cells() {
    let Fixture { cases } = serde_json::from_str(include_str!("../../../tests/oracle/unknown.json")).unwrap();
    for case in cases {
        let (scores, truth) = (&case.scores, matrix(case.labels, case.truth));
        assert!(truth.has_unknown() && truth.known_rows() < truth.rows());
        let (ranking, decisions) = (rank(scores, &truth), decide(scores, &truth, &case.thresholds));
        let (proper, judged) = (probability(scores, &truth), judge(scores, &truth, None, 0));
        let Rule::Thresholds(best) = threshold::parse("max_f1").unwrap().fit(scores, &truth) else { panic!("thresholds") };
        let tuned = decide(scores, &truth, &best).counts;
        for (label, theirs) in case.by_label.iter().enumerate() {
            let counts = decisions.counts[label];
            assert_eq!([counts.tp, counts.fp, counts.fn_, counts.tn], theirs.counts);
            close(counts.precision(), theirs.precision);
            close(counts.recall(), theirs.recall);
            close(counts.f1(), theirs.f1);
            close(ranking.ap[label], theirs.ap);
            close(ranking.auc[label], theirs.auc);
            close(ranking.mean_score[label], theirs.mean_score);
            close(theirs.max_f1.map(|_| tuned[label].f1()), theirs.max_f1);
            close(proper[label].brier, theirs.brier);
            close(proper[label].nll, theirs.nll);
            close(judged[label].ece, theirs.ece);
        }
        let averages = Averages::of(&decisions.counts);
        close(averages.hamming_loss, case.hamming_loss);
        close(averages.micro_f1, case.micro_f1);
        close(Curve::of_all(scores, &truth).average_precision(), case.micro_ap);
        close(decisions.samples_f1, case.rows.f1);
        close(decisions.subset_accuracy, case.rows.exact);
        let rates = sample_rates(scores, &truth, &case.thresholds);
        close(rates.f1.mean(ZeroDivision::Zero), case.rows.f1);
        assert_eq!(rates.f1.rows, truth.known_rows() as u64);
        let by_row = label_ranking(scores, &truth);
        close(by_row.coverage_error, case.rows.coverage_error);
        close(by_row.ranking_loss, case.rows.ranking_loss);
        close(by_row.ranking_average_precision, case.rows.ranking_average_precision);
    }
}

/// Every policy, some with folds.
fn policies() -> Vec<Policy> {
    let more = ["0.5", "max_f1(folds=3)", "max_f1(min_positives=3)", "max_fbeta(folds=2)", "cost(fn=3,folds=4)"];
    threshold::REGISTRY.iter().map(|entry| entry.kind).chain(more).map(|name| threshold::parse(name).unwrap()).collect()
}

proptest! {
    #[test]
    fn a_label_is_what_its_known_cells_are(data in data()) {
        let Data { scores, truth } = &data;
        let (ranking, proper, judged) = (rank(scores, truth), probability(scores, truth), judge(scores, truth, None, 1));
        let thresholds = vec![0.25; truth.names.len()];
        let (decided, grid) = (decide(scores, truth, &thresholds).counts, counts_at(scores, truth, &[0.5, 0.0, 0.3]));
        let (counts, mut shared) = (truth.counts(), 0);
        for (label, Data { scores: own, truth: known }) in data.each() {
            let alone = rank(&own, &known);
            prop_assert_eq!(Curve::of(scores, truth, label), Curve::of(&own, &known, 0));
            prop_assert_eq!((ranking.ap[label], ranking.auc[label]), (alone.ap[0], alone.auc[0]));
            prop_assert_eq!(ranking.mean_score[label], alone.mean_score[0]);
            prop_assert_eq!(proper[label], probability(&own, &known)[0]);
            let cells: Vec<(f32, u8)> = own.iter().copied().zip(known.values.iter().copied()).collect();
            prop_assert_eq!(judged[label], judge_label(&cells, None, 1));
            prop_assert_eq!(judged[label].ece, expected_error(&equal_width(&cells, BINS)));
            prop_assert_eq!(decided[label], decide(&own, &known, &[0.25]).counts[0]);
            prop_assert_eq!(&grid.counts[label], &counts_at(&own, &known, &[0.5, 0.0, 0.3]).counts[0]);
            prop_assert_eq!(decided[label].rows() as usize, counts.known(label));
            prop_assert_eq!(counts.known(label), known.rows());
            prop_assert_eq!(decided[label].support() as usize, counts.positives[label]);
            prop_assert_eq!(counts.negatives(label), counts.known(label) - counts.positives[label]);
            shared += merged(&own, &known, 0.4);
        }
        prop_assert_eq!(merged(scores, truth, 0.4), shared);
    }

    /// Thresholds of rules that look at one label at a time; those of the others know the cells that are left.
    #[test]
    fn thresholds_are_fitted_on_known_cells(data in data()) {
        for policy in policies() {
            let Rule::Thresholds(fitted) = policy.fit(&data.scores, &data.truth) else { continue };
            if policy.to_string() == "max_micro_f1" {
                let all: (Vec<f32>, Vec<u8>) = data.each().flat_map(|(_, own)| own.scores.into_iter().zip(own.truth.values)).unzip();
                let together = policy.fit(&all.0, &matrix(1, all.1));
                prop_assert_eq!(&fitted[..1], &thresholds_of(&together)[..]);
                continue;
            }
            for (label, own) in data.each() {
                let alone = policy.fit(&own.scores, &own.truth);
                prop_assert_eq!(fitted[label], thresholds_of(&alone)[0], "{}", policy);
            }
        }
    }

    /// A row is what its known labels are, and one that knows none is left out.
    #[test]
    fn a_row_is_what_its_known_labels_are(data in data()) {
        let labels = data.truth.names.len();
        let rows = data.scores.chunks(labels).zip(data.truth.values.chunks(labels));
        let (mut f1, mut exact, mut known) = (0.0, 0.0, 0);
        for (scores, truth) in rows {
            let (scores, truth): (Vec<f32>, Vec<u8>) = scores.iter().zip(truth).filter(|(_, y)| **y != UNKNOWN).map(|(s, y)| (*s, *y)).unzip();
            if truth.is_empty() { continue; }
            let own = decide(&scores, &matrix(truth.len(), truth.clone()), &vec![0.5; truth.len()]);
            f1 += own.samples_f1;
            exact += own.subset_accuracy;
            known += 1;
        }
        let all = decide(&data.scores, &data.truth, &vec![0.5; labels]);
        let mean = |sum: f64| sum / f64::from(known.max(1));
        prop_assert!((all.samples_f1 - mean(f1)).abs() < 1e-12 && (all.subset_accuracy - mean(exact)).abs() < 1e-12);
        prop_assert_eq!(data.truth.known_rows(), known as usize);
    }

    /// What an unknown cell's score is changes nothing but the decision there.
    #[test]
    fn scores_of_unknown_cells_do_not_matter(data in data(), other in 0u8..=8) {
        let Data { scores, truth } = &data;
        let moved: Vec<f32> = scores.iter().zip(&truth.values).map(|(&score, &y)| if y == UNKNOWN { f32::from(other) / 8.0 } else { score }).collect();
        prop_assert_eq!(rank(scores, truth), rank(&moved, truth));
        prop_assert_eq!(label_ranking(scores, truth), label_ranking(&moved, truth));
        let none = |_: usize, _: f64| None;
        let (one, two) = (choose(scores, truth, None, 3, 0, none), choose(&moved, truth, None, 3, 0, none));
        prop_assert_eq!((one.repair, one.nll), (two.repair, two.nll));
        prop_assert_eq!(one.apply(&[0.3; 4][..truth.names.len()], none), two.apply(&[0.3; 4][..truth.names.len()], none));
    }
}

fn thresholds_of(rule: &Rule) -> Vec<f32> {
    match rule {
        Rule::Thresholds(thresholds) => thresholds.clone(),
        Rule::Top(count) => panic!("the top {count}"),
    }
}

/// The labels that all rows are expected to have: unknown cells as often as known ones.
#[test]
fn rcut_expects_unknown_cells_to_be_as_the_others() {
    let all_known = matrix(2, vec![1, 1, 1, 0, 1, 1, 1, 0]);
    let mut partly = all_known.clone();
    (partly.values[0], partly.values[2]) = (UNKNOWN, UNKNOWN);
    let fit = |truth: &LabelMatrix| threshold::parse("rcut").unwrap().fit(&[0.5; 8], truth);
    assert_eq!((fit(&all_known), fit(&partly)), (Rule::Top(2), Rule::Top(2)), "6 of 8 cells; 2 of 2 and 2 of 4");
}

/// Resampled by groups that all know every label, so that the known cells of a label have the same groups as all rows.
#[test]
fn the_bootstrap_of_a_label_is_that_of_its_known_cells() {
    let mut data = drawn(240, [0.5, 0.2, 0.0], 1);
    let group = |row: usize| (row / 6) as u32;
    for row in (0..240).step_by(6) {
        data.truth.values[3 * row..3 * row + 3].iter_mut().for_each(|y| *y %= UNKNOWN);
    }
    let groups: Vec<u32> = (0..240).map(group).collect();
    let resampled = |data: &Data, groups: &[u32], thresholds: &[f32]| -> Vec<Vec<Estimate>> {
        let ranked = Ranked::new(&data.scores, &data.truth);
        let decided = Decided::new(&data.scores, &data.truth, thresholds);
        let brier = RowValues::of_cells(&data.scores, &data.truth, |q, y| (q - y) * (q - y));
        let ranked = [RankedMetric::AveragePrecision, RankedMetric::RocAuc].map(|metric| ranked.metric(metric));
        let rates = [crate::metric::Rate::F(1.0), crate::metric::Rate::Specificity, crate::metric::Rate::Error]
            .map(|rate| decided.rate(rate));
        let predicted = decided.rate(crate::metric::Rate::PredictedRate);
        let statistics: Vec<&dyn Statistic> = vec![&ranked[0], &ranked[1], &rates[0], &rates[1], &rates[2], &predicted, &brier];
        let resampling = Resampling { rows: groups.len(), groups: Some(groups), replicates: 150, seed: 3, jackknife: 1000 };
        bootstrap(&resampling, &statistics).into_iter().map(|found| found.labels).collect()
    };
    let all = resampled(&data, &groups, &[0.2, 0.4, 0.6]);
    for (label, own) in data.each() {
        let known: Vec<u32> = groups
            .iter()
            .zip(data.truth.values.iter().skip(label).step_by(3))
            .filter(|(_, y)| **y != UNKNOWN)
            .map(|(g, _)| *g)
            .collect();
        assert_eq!(known.len() < 240, label < 2);
        for (statistic, alone) in resampled(&own, &known, &[[0.2, 0.4, 0.6][label]]).into_iter().enumerate() {
            let (ours, alone) = (&all[statistic][label], &alone[0]);
            assert!(ours.replicates.iter().any(|value| *value != ours.point), "it varies");
            for (ours, alone) in [(&ours.replicates, &alone.replicates), (&ours.jackknife, &alone.jackknife)] {
                let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a - b).abs() < 1e-13;
                assert!(ours.len() == alone.len() && ours.iter().zip(alone).all(same), "statistic {statistic} of label {label}");
            }
            assert_eq!(ours.point.to_bits(), alone.point.to_bits());
        }
    }
}

/// Where cells are unknown at random the held-out counts and the chosen map are of the known cells.
#[test]
fn held_out_counts_and_repairs_are_of_known_cells() {
    let data = drawn(600, [0.5, 0.2, 0.0], 2);
    let counts = data.truth.counts();
    for held in held_out(&policies(), &data.scores, &data.truth, None).unwrap().unwrap() {
        for (label, found) in held.counts.iter().enumerate() {
            assert_eq!((found.rows() as usize, found.support() as usize), (counts.known(label), counts.positives[label]));
        }
        assert!((0.0..=1.0).contains(&held.samples_f1) && (0.0..=1.0).contains(&held.subset_accuracy));
    }
    // Scores are probabilities, apart from a shift that Platt's line takes back.
    let shifted: Vec<f32> =
        data.scores.iter().map(|&score| loss::sigmoid(crate::metric::calibration::logit(score) + 1.5) as f32).collect();
    let none = |_: usize, _: f64| None;
    let found = choose(&shifted, &data.truth, None, 5, 0, none);
    assert!(found.repair == Repair::Platt && found.nll.platt < found.nll.none - 0.1, "{:?}", found.nll);
    for (label, own) in data.each() {
        let scores: Vec<f32> =
            own.scores.iter().map(|&score| loss::sigmoid(crate::metric::calibration::logit(score) + 1.5) as f32).collect();
        let line = crate::metric::calibration::Platt::fit(&scores.into_iter().zip(own.truth.values).collect::<Vec<_>>()).unwrap();
        let ours = found.platt(label).unwrap();
        assert!((line.0.slope - ours.0.slope).abs() < 1e-9 && (line.0.intercept - ours.0.intercept).abs() < 1e-9);
    }
}

#[test]
fn counts_are_canonical_and_their_json_is_as_before() {
    let truth = matrix(2, vec![1, UNKNOWN, 0, 1, 1, UNKNOWN]);
    let counts = truth.counts();
    assert_eq!(counts, LabelCounts::new(3, vec![2, 1]).with_unknown(vec![0, 2]));
    assert_eq!((counts.known(1), counts.negatives(1), counts.prevalence(1), counts.has_both(1)), (1, 0, 1.0, false));
    assert_eq!(counts.of_labels(&[0]), LabelCounts::new(3, vec![2]));
    assert_eq!(serde_json::to_string(&counts).unwrap(), r#"{"rows":3,"positives":[2,1],"unknown":[0,2]}"#);
    let known = LabelCounts::new(3, vec![2, 1]);
    assert_eq!(known.clone().with_unknown(vec![0, 0]), known);
    assert_eq!(serde_json::to_string(&known).unwrap(), r#"{"rows":3,"positives":[2,1]}"#);
    assert_eq!(serde_json::from_str::<LabelCounts>(r#"{"rows":3,"positives":[2,1]}"#).unwrap(), known);
    let nobody = LabelCounts::new(3, vec![0]).with_unknown(vec![3]);
    assert_eq!((nobody.known(0), nobody.negatives(0), nobody.prevalence(0)), (0, 0, 0.0));
}

/// A label that some rows do not know weighs, starts and shifts as among the others alone.
#[test]
fn weights_and_losses_see_known_cells() {
    let (partly, cut) = (LabelCounts::new(100, vec![10]).with_unknown(vec![40]), LabelCounts::new(60, vec![10]));
    for entry in pos_weight::REGISTRY {
        let given = match entry.kind {
            "power" => Choice::plain("power").with("exponent", 0.3),
            "cost" => Choice::plain("cost").with("fn", 2.0),
            "prior_target" => Choice::plain("prior_target").with("target", 0.2),
            "threshold_target" => Choice::plain("threshold_target").with("threshold", 0.2),
            kind => Choice::plain(kind),
        };
        let weight = PosWeight::Formula(given);
        assert_eq!(pos_weight::resolve(&weight, &partly).unwrap(), pos_weight::resolve(&weight, &cut).unwrap(), "{}", entry.kind);
    }
    let one_class = LabelCounts::new(100, vec![10]).with_unknown(vec![90]);
    let error = pos_weight::resolve(&PosWeight::Formula(Choice::plain("neg_over_pos")), &one_class).unwrap_err();
    assert!(error.to_string().contains("no negative among the 10"), "{error}");
    assert_eq!(start::prior(&partly), start::prior(&cut));
    assert_eq!(label_factors(0.5, &partly), label_factors(0.5, &cut));
    for entry in loss::REGISTRY {
        let choice = crate::parse(loss::REGISTRY, "loss", entry.kind).unwrap();
        let build = |counts: &LabelCounts| {
            loss::build(&choice, &Context { pos_weight: vec![1.0], counts: counts.clone(), epochs: 3 }).unwrap()
        };
        assert_eq!(build(&partly).form(0), build(&cut).form(0), "{}", entry.kind);
    }
    let split = LabelCounts::new(500, vec![100]).with_unknown(vec![100]);
    let shifts = crate::shift::shifts(&LabelCounts::new(1000, vec![10]).with_unknown(vec![960]), &split);
    assert_eq!(shifts, [], "a quarter of those that know it, here and there");
}

/// Constants at which each loss starts: those of the label's known rows alone, where it looks at one label at a time.
#[test]
fn a_loss_starts_where_the_known_rows_have_it() {
    let Data { truth, .. } = drawn(2000, [0.5, 0.2, 0.9], 3);
    let counts = truth.counts();
    for name in ["bce", "focal", "focal_seed", "asl", "logit_adjust", "poly1", "hill", "splc"] {
        let choice = crate::parse(loss::REGISTRY, "loss", name).unwrap();
        let begin = |truth: &LabelMatrix, counts: LabelCounts| {
            let context = Context { pos_weight: vec![1.0; counts.positives.len()], counts: counts.clone(), epochs: 3 };
            start::link(&*loss::build(&choice, &context).unwrap(), truth, &counts, 64)
        };
        let all = begin(&truth, counts.clone());
        let data = Data { scores: vec![0.0; truth.values.len()], truth: truth.clone() };
        for (label, own) in data.each() {
            assert_eq!(all[label], begin(&own.truth, own.truth.counts())[0], "{name}");
        }
        let filled = truth.known_positives().into_owned();
        assert_ne!(all, begin(&filled, filled.counts()), "{name}: unknown cells are no negatives");
    }
}

fn sampler(name: &str, labels: &LabelMatrix) -> Box<dyn Sampler> {
    let features = || Some((0..2 * labels.rows()).map(|at| (at * 37 % 101) as f32).collect());
    let choice = crate::parse(sampler::REGISTRY, "sampler", name).unwrap();
    sampler::build(&choice, &Train { labels, batch_size: 32, features: &features, progress: &|_, _| {} }).unwrap()
}

const SAMPLERS: [&str; 13] = [
    "shuffle",
    "class_aware",
    "weighted",
    "weighted(by=sum,empty=0)",
    "repeat_factor(t=0.5)",
    "balanced_batch(min=4)",
    "ml_ros",
    "ml_rus",
    "ml_rus(protect=1)",
    "lp_ros",
    "lp_rus",
    "mlsmote(k=2)",
    "remedial",
];

/// Samplers draw rows for what they are known to carry: those that count positives alone draw as if unknown cells were negatives, and
/// none turns an unknown cell into an answer.
#[test]
fn samplers_draw_known_positives() {
    assert!(sampler::REGISTRY.iter().all(|entry| SAMPLERS.iter().any(|name| name.starts_with(entry.kind))), "all are tested");
    let Data { truth, .. } = drawn(400, [0.3, 0.6, 0.2], 4);
    let filled = truth.known_positives();
    let counts = truth.counts();
    for name in SAMPLERS {
        let (hidden, plain) = (sampler(name, &truth), sampler(name, &filled));
        let draws = hidden.draws(0, 0);
        if !name.starts_with("weighted") && !name.starts_with("repeat_factor") {
            assert_eq!(hidden.epoch(0, 0), plain.epoch(0, 0), "{name}");
        }
        for draw in draws.iter().filter(|draw| draw.blend.is_none()) {
            let (own, shown) = (truth.row(draw.row as usize), draw.targets(&truth));
            assert!(own.iter().zip(shown).all(|(&y, &shown)| y != UNKNOWN || shown == UNKNOWN), "{name}");
            assert!(own.iter().zip(shown).all(|(&y, &shown)| y == shown || y == 1), "{name}");
        }
        if name == "class_aware" || name == "weighted(by=sum,empty=0)" {
            assert!(draws.iter().all(|draw| truth.row(draw.row as usize).contains(&1)), "{name}");
        }
        // What was shown, counted by hand.
        let found = realised(&draws, &truth);
        for label in 0..3 {
            let count = |wanted: u8| draws.iter().filter(|draw| draw.targets(&truth)[label] == wanted).count() as f64;
            assert!((found.prevalence[label] - count(1) / (count(0) + count(1))).abs() < 1e-12, "{name}");
        }
        let shift = (0..3).map(|label| (found.prevalence[label] - counts.prevalence(label)).abs()).sum::<f64>() / 3.0;
        assert!((found.shift - shift).abs() < 1e-12, "{name}");
    }
    assert_eq!(realised(&sampler("shuffle", &truth).draws(0, 0), &truth).shift, 0.0);
}

/// A label that is known for few rows, and rare among them in the same measure as another, is no rarer.
#[test]
fn rarity_is_among_the_rows_that_know_the_label() {
    let values = (0..400).flat_map(|row| [u8::from(row % 4 == 0), if row < 40 { u8::from(row % 4 == 1) } else { UNKNOWN }]);
    let truth = matrix(2, values.collect());
    assert_eq!(label_factors(1.0, &truth.counts()), [2.0, 2.0]);
    let mut draws = vec![0u32; 400];
    (0..400).for_each(|epoch| {
        sampler("weighted(empty=0)", &truth).epoch(0, epoch).into_iter().for_each(|row| draws[row as usize] += 1)
    });
    // 110 rows of equal weight: each is drawn in 400 / 110 of the 400 epochs' 400 draws.
    let expected = 400.0 * 400.0 / 110.0;
    let chi: f64 = draws.iter().filter(|n| **n > 0).map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    assert!(draws.iter().filter(|n| **n > 0).count() == 110 && (60.0..180.0).contains(&chi), "{chi}");
}

/// Five rows are known not to carry a label, most do not say: both of its classes reach every split, by either method.
#[test]
fn known_negatives_reach_every_split() {
    let mut rng = Rng::new(0, "few", &[]);
    let mut missed = 0;
    for seed in 0..20 {
        let mut values: Vec<u8> =
            (0..600).flat_map(|_| [if rng.below(3) == 0 { 1 } else { UNKNOWN }, u8::from(rng.below(5) == 0)]).collect();
        for _ in 0..4 {
            values[2 * rng.below(600) as usize] = 0;
        }
        values[0] = 0;
        let truth = matrix(2, values);
        for method in ["iterative", "random"] {
            let config = SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: method.to_owned(), seed };
            let reached = |truth: &LabelMatrix, of: &LabelMatrix| {
                let split = divide(of, None, None, &config).unwrap();
                [split.train, split.val, split.test].iter().all(|rows| truth.select(rows).counts().has_both(0))
            };
            assert!(truth.counts().negatives(0) < 3 || reached(&truth, &truth), "{method}, seed {seed}");
            missed += usize::from(!reached(&truth, &truth.known_positives()));
        }
    }
    assert!(missed > 10, "without care they often do not: {missed}");
}

/// Known negatives of a label that is known for half of the rows are dealt out in proportion, as its positives are.
#[test]
fn known_negatives_are_stratified() {
    for seed in 0..5 {
        let Data { truth, .. } = drawn(2000, [0.9, 0.5, 0.0], seed);
        let config = SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "iterative".to_owned(), seed };
        let (split, all) = (divide(&truth, None, None, &config).unwrap(), truth.counts());
        for (rows, share) in [(&split.train, 0.7), (&split.val, 0.15), (&split.test, 0.15)] {
            let counts = truth.select(rows).counts();
            for label in 0..2 {
                let off = counts.negatives(label) as f64 - share * all.negatives(label) as f64;
                assert!(off.abs() <= 4.0, "seed {seed}, label {label}: {off}");
                assert!((counts.positives[label] as f64 - share * all.positives[label] as f64).abs() <= 4.0);
            }
        }
    }
}

#[test]
fn a_diagnosis_is_of_known_positives() {
    let truth = matrix(2, vec![1, UNKNOWN, UNKNOWN, 1, 0, 0, 1, 1, UNKNOWN, UNKNOWN, 0, 1]);
    let found = crate::diagnosis::diagnose(&truth);
    let filled = crate::diagnosis::diagnose(&truth.known_positives());
    assert_eq!((&found.positives, &found.unknown), (&vec![2, 3], &vec![2, 2]));
    assert_eq!(found.imr, [Some(1.0), Some(1.0 / 3.0)], "2 known negatives and 1");
    let rest = crate::diagnosis::Diagnosis { imr: filled.imr.clone(), unknown: Vec::new(), ..found };
    assert_eq!(rest, filled);
}
