mod resampling;

use std::sync::Arc;

use super::*;
use crate::rng::Rng;

/// Labels drawn independently with the question's prevalences.
fn seed_labels(rows: usize) -> LabelMatrix {
    let mut rng = Rng::new(7, "labels", &[]);
    let rates = [0.08482, 0.2902, 0.1696, 0.4688];
    let values = (0..rows * 4).map(|i| u8::from(rng.uniform() < rates[i % 4])).collect();
    matrix(&["A", "B", "C", "D"], values)
}

fn matrix(names: &[&str], values: Vec<u8>) -> LabelMatrix {
    LabelMatrix { names: names.iter().map(ToString::to_string).collect::<Arc<[_]>>(), values }
}

fn try_sampler(name: &str, labels: &LabelMatrix, batch_size: usize) -> Result<Box<dyn Sampler>, StrategyError> {
    // Features of a row: its number and its labels.
    let row = |row: usize| [row as f32, f32::from(labels.row(row)[0]), f32::from(labels.row(row)[labels.names.len() - 1])];
    let features = || Some((0..labels.rows()).flat_map(row).collect());
    let choice = crate::parse(REGISTRY, "sampler", name).unwrap();
    build(&choice, &Train { labels, batch_size, features: &features, progress: &|_, _| {} })
}

fn sampler(name: &str, train: &LabelMatrix) -> Box<dyn Sampler> {
    try_sampler(name, train, 32).unwrap()
}

/// The 99.99 % bounds of a chi-square with this many degrees of freedom (Wilson and Hilferty).
fn plausible(chi: f64, freedom: f64) -> bool {
    let spread: f64 = 2.0 / (9.0 * freedom);
    let quantile = |normal: f64| freedom * (1.0 - spread + normal * spread.sqrt()).powi(3);
    chi > quantile(-3.72) && chi < quantile(3.72)
}

/// Draw as many rows as there are.
const EQUAL: [&str; 7] = [
    "shuffle",
    "class_aware",
    "weighted",
    "weighted(by=mean)",
    "weighted(by=sum,empty=0)",
    "balanced_batch",
    "balanced_batch(min=4)",
];
/// Draw more or fewer.
const UNEQUAL: [&str; 8] =
    ["repeat_factor(t=0.5)", "ml_ros", "ml_rus", "ml_rus(protect=1)", "lp_ros", "lp_rus", "mlsmote(k=2)", "remedial"];

#[test]
fn epochs_depend_on_seed_and_epoch_alone() {
    let train = seed_labels(500);
    let tested = EQUAL.iter().chain(&UNEQUAL);
    assert!(REGISTRY.iter().all(|entry| tested.clone().any(|name| name.starts_with(entry.kind))), "all are tested");
    for name in tested {
        let (one, other) = (sampler(name, &train), sampler(name, &train));
        let later = one.draws(3, 5);
        assert_eq!(later.len() == 500, EQUAL.contains(name), "{name}: {} draws", later.len());
        assert!(later.iter().all(|draw| draw.row < 500 && draw.targets(&train).len() == 4));
        assert_eq!(other.draws(3, 5), later, "{name}: nothing is remembered");
        assert!(one.epoch(3, 5).iter().eq(later.iter().map(|draw| &draw.row)), "{name}: the same rows");
        assert_ne!(one.draws(3, 6), later, "{name}");
        assert_ne!(one.draws(4, 5), later, "{name}");
        let made_up = later.iter().any(|draw| draw.labels.is_some() || draw.blend.is_some());
        assert_eq!(made_up, ["mlsmote(k=2)", "remedial"].contains(name), "{name}");
    }
}

#[test]
fn shuffle_is_a_permutation() {
    let mut epoch = sampler("shuffle", &seed_labels(1000)).epoch(0, 0);
    assert!(!epoch.is_sorted());
    epoch.sort_unstable();
    assert!(epoch.into_iter().eq(0..1000));
}

/// Draw counts of the alias method against the weights it was given (chi-square, 99.99 % quantile by Wilson and Hilferty).
#[test]
fn weighted_draws_in_proportion_to_its_weights() {
    let train = seed_labels(200);
    for (by, empty) in [("max", 1.0), ("mean", 0.5), ("sum", 0.0)] {
        let weights = weighted::weights(by, empty, &train);
        let sampler = sampler(&format!("weighted(by={by},empty={empty})"), &train);
        let mut drawn = vec![0u32; 200];
        let epochs = 2000;
        for epoch in 0..epochs {
            sampler.epoch(1, epoch).into_iter().for_each(|row| drawn[row as usize] += 1);
        }
        let total: f64 = weights.iter().sum();
        let (mut chi, mut freedom) = (0.0, -1.0);
        for (weight, &drawn) in weights.iter().zip(&drawn) {
            let expected = weight / total * (epochs * 200) as f64;
            if expected == 0.0 {
                assert_eq!(drawn, 0, "weight 0 is never drawn");
                continue;
            }
            chi += (f64::from(drawn) - expected).powi(2) / expected;
            freedom += 1.0;
        }
        assert!(plausible(chi, freedom), "{by}: chi-square {chi} with {freedom} degrees of freedom");
    }
}

#[test]
fn weights_are_in_closed_form() {
    // Prevalences 1/4, 1/2, 0: rarities 4, 2 and a label that no row has.
    let train = matrix(&["a", "b", "c"], vec![1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(weighted::weights("max", 1.0, &train), [4.0, 2.0, 1.0, 1.0]);
    assert_eq!(weighted::weights("mean", 0.5, &train), [3.0, 2.0, 0.5, 0.5]);
    assert_eq!(weighted::weights("sum", 0.0, &train), [6.0, 2.0, 0.0, 0.0]);
}

/// docs/strategies.md#samplers: expected prevalences on the question's counts if labels were independent.
#[test]
fn realised_prevalences_are_as_expected() {
    let train = seed_labels(100_000);
    for (name, expected) in [
        ("shuffle", [0.085, 0.290, 0.170, 0.469]),
        ("weighted", [0.286, 0.376, 0.310, 0.512]),
        ("weighted(by=mean)", [0.242, 0.352, 0.285, 0.462]),
        ("weighted(by=sum)", [0.293, 0.436, 0.352, 0.561]),
        ("class_aware", [0.314, 0.468, 0.377, 0.602]),
        ("repeat_factor(t=0.1)", [0.091, 0.290, 0.170, 0.469]),
        ("repeat_factor(t=0.3)", [0.141, 0.293, 0.207, 0.469]),
        ("repeat_factor(t=0.5)", [0.157, 0.326, 0.230, 0.472]),
        ("balanced_batch", [0.085, 0.290, 0.170, 0.469]),
    ] {
        let realised = realised(&sampler(name, &train).draws(0, 0), &train);
        for (ours, expected) in realised.prevalence.iter().zip(expected) {
            assert!((ours - expected).abs() < 0.007, "{name}: {:?} is not {expected:?}", realised.prevalence);
        }
    }
}

#[test]
fn class_aware_gives_each_label_its_turn() {
    let train = seed_labels(4000);
    let draws = sampler("class_aware", &train).draws(0, 0);
    let (realised, epoch) = (realised(&draws, &train), sampler("class_aware", &train).epoch(0, 0));
    assert!(epoch.iter().all(|&row| train.row(row as usize).contains(&1)), "rows without labels are never drawn");
    assert!(realised.never_drawn > 0.28);
    // 1000 turns of A over its positives: each is drawn floor or ceil of 1000 / n times on A's turns alone, so at least floor.
    let rare = train.counts().positives[0];
    let mut drawn = vec![0; 4000];
    epoch.iter().for_each(|&row| drawn[row as usize] += 1);
    assert!((0..4000).filter(|&row| train.row(row)[0] == 1).all(|row| drawn[row] >= 1000 / rare), "cyclic, not at random");
}

#[test]
fn realised_counts_by_hand() {
    let train = matrix(&["a", "b"], vec![1, 0, 0, 1, 1, 1, 0, 0]);
    let plain = [0, 0, 2, 3, 0].map(Draw::plain);
    let realised = |draws: &[Draw]| realised(draws, &train);
    let expected =
        Realised { draws: 5, prevalence: vec![0.8, 0.2], shift: 0.3, duplicates: 0.4, never_drawn: 0.25, made_up: 0.0 };
    let ours = realised(&plain);
    assert!((ours.shift - 0.3).abs() < 1e-15);
    assert_eq!(Realised { shift: 0.3, ..ours }, expected);
    // A blend of rows 0 and 2 is no second row 0, and an ignored label no negative.
    let blend = Draw { row: 0, labels: Some(Box::new([1, 1])), blend: Some(Blend { partner: 2, key: 0 }) };
    let masked = Draw { labels: Some(Box::new([1, crate::loss::IGNORED])), ..Draw::plain(2) };
    let made = realised(&[Draw::plain(0), blend, masked, Draw::plain(3)]);
    assert_eq!((made.prevalence, made.duplicates, made.never_drawn, made.made_up), (vec![0.75, 1.0 / 3.0], 0.0, 0.25, 0.5));
    assert_eq!(realised(&[]).prevalence, [0.0, 0.0]);
}

#[test]
fn labels_that_cannot_be_sampled_are_errors() {
    let nothing = matrix(&["a"], vec![0, 0]);
    let error = |name: &str| try_sampler(name, &nothing, 8).unwrap_err().to_string();
    assert_eq!(error("class_aware"), "sampler class_aware: no train row has a label");
    assert!(error("weighted(empty=0)").contains("nothing can be drawn"));
    for name in EQUAL.iter().chain(&UNEQUAL).filter(|name| !["class_aware", "weighted(by=sum,empty=0)"].contains(name)) {
        assert_eq!(try_sampler(name, &nothing, 8).unwrap().draws(0, 0).len(), 2, "{name}: nothing to balance");
    }
    let labels = seed_labels(100);
    let error = try_sampler("balanced_batch(min=3)", &labels, 11).unwrap_err().to_string();
    assert!(
        error.contains("3 positives of each of 4 labels may not fit into batches of 11; set train.batch_size to 12"),
        "{error}"
    );
    let choice = crate::parse(REGISTRY, "sampler", "mlsmote").unwrap();
    let images = build(&choice, &Train { labels: &labels, batch_size: 8, features: &|| None, progress: &|_, _| {} });
    assert!(images.unwrap_err().to_string().contains("means nothing to images"));
}

/// docs/strategies.md#samplers: the factors on the question's prevalences.
#[test]
fn repeat_factors_are_as_published() {
    // 224 rows of the question's thousands, labels of their own.
    let counts = [19usize, 65, 38, 105];
    let values = (0..224).flat_map(|row| counts.map(|count| u8::from(row < count))).collect();
    let train = matrix(&["A", "B", "C", "D"], values);
    for (t, expected) in [
        (0.001, [1.0; 4]),
        (0.1, [1.086, 1.0, 1.0, 1.0]),
        (0.2, [1.536, 1.0, 1.086, 1.0]),
        (0.3, [1.881, 1.017, 1.33, 1.0]),
        (0.5, [2.428, 1.313, 1.717, 1.033]),
    ] {
        for (ours, expected) in label_factors(t, &train.counts()).iter().zip(expected) {
            assert!((ours - expected).abs() < 5e-4, "t = {t}: {ours} is not {expected}");
        }
    }
    let rows = repeat_factor::factors(0.5, &train);
    assert!((rows[0] - 2.428).abs() < 5e-4 && (rows[100] - 1.033).abs() < 5e-4, "the rarest label decides");
    assert_eq!(rows[223], 1.0, "a row without labels");
}

/// A row is shown floor(r) times or once more, with the right probability.
#[test]
fn repeat_factors_are_rounded_at_random() {
    let train = seed_labels(300);
    let factors = repeat_factor::factors(0.5, &train);
    let (sampler, epochs) = (sampler("repeat_factor(t=0.5)", &train), 1000);
    let mut more = vec![0u32; 300];
    for epoch in 0..epochs {
        let mut drawn = vec![0; 300];
        sampler.epoch(2, epoch).into_iter().for_each(|row| drawn[row as usize] += 1);
        for ((more, drawn), factor) in more.iter_mut().zip(drawn).zip(&factors) {
            let extra = drawn - factor.floor() as i32;
            assert!(extra == 0 || extra == 1);
            *more += extra as u32;
        }
    }
    let uncertain = || more.iter().zip(&factors).filter(|(_, factor)| factor.fract() > 0.0);
    let chi: f64 = uncertain()
        .map(|(&more, factor)| {
            let (p, n) = (factor.fract(), epochs as f64);
            (f64::from(more) - n * p).powi(2) / (n * p * (1.0 - p))
        })
        .sum();
    assert!(plausible(chi, uncertain().count() as f64), "{chi}");
}

#[test]
fn every_full_batch_has_its_positives() {
    for (rows, least, batch_size) in [(5000, 1, 16), (5000, 3, 64), (1000, 4, 32), (300, 2, 8)] {
        let train = seed_labels(rows);
        let name = format!("balanced_batch(min={least})");
        let epoch = try_sampler(&name, &train, batch_size).unwrap().epoch(1, 2);
        for batch in epoch.chunks_exact(batch_size) {
            for label in 0..4 {
                let positives = batch.iter().filter(|&&row| train.row(row as usize)[label] == 1).count();
                assert!(positives >= least, "{name}: {positives} of label {label} in a batch of {batch_size}");
            }
        }
    }
    // 424 positives of the rare label for 313 batches: nearly a permutation, with nearly the prevalences of the data.
    let train = seed_labels(5000);
    let draws = try_sampler("balanced_batch", &train, 16).unwrap().draws(1, 2);
    let realised = realised(&draws, &train);
    assert!(realised.duplicates < 0.02 && realised.shift < 0.01, "{realised:?}");
    // Where each label has rows enough for every batch without mending, it is a shuffle.
    let all = matrix(&["a"], vec![1; 64]);
    let mut order = try_sampler("balanced_batch", &all, 16).unwrap().epoch(0, 0);
    order.sort_unstable();
    assert!(order.into_iter().eq(0..64));
}
