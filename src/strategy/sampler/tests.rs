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

fn sampler(name: &str, train: &LabelMatrix) -> Box<dyn Sampler> {
    build(&crate::strategy::parse(REGISTRY, "sampler", name).unwrap(), train).unwrap()
}

const ALL: [&str; 5] = ["shuffle", "class_aware", "weighted", "weighted(by=mean)", "weighted(by=sum,empty=0)"];

#[test]
fn epochs_depend_on_seed_and_epoch_alone() {
    let train = seed_labels(500);
    for name in ALL {
        let (one, other) = (sampler(name, &train), sampler(name, &train));
        let later = one.epoch(3, 5);
        assert_eq!(later.len(), 500, "{name}: an epoch has as many draws as rows");
        assert!(later.iter().all(|&row| row < 500));
        assert_eq!(other.epoch(3, 5), later, "{name}: nothing is remembered");
        assert_ne!(one.epoch(3, 6), later, "{name}");
        assert_ne!(one.epoch(4, 5), later, "{name}");
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
        let spread: f64 = 2.0 / (9.0 * freedom);
        let quantile = |normal: f64| freedom * (1.0 - spread + normal * spread.sqrt()).powi(3);
        assert!(chi > quantile(-3.72) && chi < quantile(3.72), "{by}: chi-square {chi} with {freedom} degrees of freedom");
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

/// strategies.md section 3: expected prevalences on the question's counts if labels were independent.
#[test]
fn realised_prevalences_are_as_expected() {
    let train = seed_labels(100_000);
    for (name, expected) in [
        ("shuffle", [0.085, 0.290, 0.170, 0.469]),
        ("weighted", [0.286, 0.376, 0.310, 0.512]),
        ("weighted(by=mean)", [0.242, 0.352, 0.285, 0.462]),
        ("weighted(by=sum)", [0.293, 0.436, 0.352, 0.561]),
        ("class_aware", [0.314, 0.468, 0.377, 0.602]),
    ] {
        let realised = realised(&sampler(name, &train).epoch(0, 0), &train);
        for (ours, expected) in realised.prevalence.iter().zip(expected) {
            assert!((ours - expected).abs() < 0.007, "{name}: {:?} is not {expected:?}", realised.prevalence);
        }
    }
}

#[test]
fn class_aware_gives_each_label_its_turn() {
    let train = seed_labels(4000);
    let epoch = sampler("class_aware", &train).epoch(0, 0);
    let realised = realised(&epoch, &train);
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
    let expected = Realised { prevalence: vec![0.8, 0.2], duplicates: 0.4, never_drawn: 0.25 };
    assert_eq!(realised(&[0, 0, 2, 3, 0], &train), expected);
}

#[test]
fn labels_that_cannot_be_sampled_are_errors() {
    let nothing = matrix(&["a"], vec![0, 0]);
    let error = |name: &str| build(&crate::strategy::parse(REGISTRY, "sampler", name).unwrap(), &nothing).unwrap_err().0;
    assert_eq!(error("class_aware"), "sampler class_aware: no train row has a label");
    assert!(error("weighted(empty=0)").contains("nothing can be drawn"));
    assert_eq!(sampler("weighted", &nothing).epoch(0, 0).len(), 2);
}
