use super::*;

/// The question's train split (Stack Overflow 72666962).
fn seed() -> LabelCounts {
    LabelCounts::new(224_000, vec![19_000, 65_000, 38_000, 105_000])
}

fn weights(name: &str) -> Vec<f64> {
    resolve(&PosWeight::Formula(crate::parse(REGISTRY, "pos_weight", name).unwrap()), &seed()).unwrap()
}

#[track_caller]
fn close(ours: &[f64], theirs: [f64; 4], digit: f64) {
    assert!(
        ours.len() == 4 && ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() <= digit),
        "{ours:?} is not {theirs:?}"
    );
}

/// docs/strategies.md#positive-weights.
#[test]
fn the_questions_vectors() {
    close(&weights("neg_over_pos"), [10.789, 2.446, 4.895, 1.133], 5e-4);
    close(&weights("inverse_share"), [11.95, 3.492, 5.974, 2.162], 3e-3);
    close(&weights("inverse_share"), [11.947, 3.492, 5.974, 2.162], 5e-4);
    close(&weights("sqrt"), [3.285, 1.564, 2.212, 1.065], 5e-4);
    close(&weights("power(exponent=0.25)"), [1.812, 1.251, 1.487, 1.032], 5e-4);
    close(&weights("power(exponent=0.75)"), [5.953, 1.956, 3.291, 1.098], 5e-4);
    close(&weights("none"), [1.0; 4], 0.0);
    close(&weights("n_over_pos"), [11.79, 3.446, 5.895, 2.133], 5e-3);
    close(&weights("n_over_pos(exponent=0.5)"), [3.434, 1.856, 2.428, 1.461], 5e-4);
    close(&weights("log1p"), [2.467, 1.237, 1.774, 0.7577], 5e-4);
    close(&weights("log1p(of=n)"), [2.549, 1.492, 1.931, 1.142], 5e-4);
    close(&weights("max_over_pos"), [5.526, 1.615, 2.763, 1.0], 5e-4);
    close(&weights("median_over_pos"), [2.711, 0.7923, 1.355, 0.4905], 5e-4);
    close(&weights("capped(max=3)"), [3.0, 2.446, 3.0, 1.133], 5e-4);
    close(&weights("capped(max=5)"), [5.0, 2.446, 4.895, 1.133], 5e-4);
    close(&weights("capped"), [10.0, 2.446, 4.895, 1.133], 5e-4);
    close(&weights("effective_number"), [1.176, 1.002, 1.023, 1.0], 5e-4);
    close(&weights("effective_number(beta=0.99999)"), [5.035, 1.666, 2.671, 1.070], 5e-4);
    close(&weights("effective_number(form=class)"), [1.120, 0.9538, 0.9741, 0.9523], 5e-4);
    close(&weights("effective_number(form=class,beta=0.99999)"), [1.839, 0.6656, 1.006, 0.4894], 5e-4);
    close(&weights("effective_number(form=class,beta=0.999)"), [1.0; 4], 1e-6);
    close(&weights("inv_freq"), [2.027, 0.5925, 1.014, 0.3668], 5e-4);
    close(&weights("prior_target(target=0.25)"), [3.596, 0.8154, 1.632, 0.3778], 5e-4);
    close(&weights("prior_target(target=0.1)"), [1.199, 0.2718, 0.5439, 0.1259], 5e-4);
    close(&weights("cost(fn=5)"), [5.0; 4], 0.0);
    close(&weights("cost(fn=1,fp=4)"), [0.25; 4], 0.0);
    close(&weights("threshold_target(threshold=0.2)"), [4.0; 4], 1e-12);
    assert_eq!(weights("power(exponent=0.5)"), weights("sqrt"));
    assert_eq!(weights("prior_target(target=0.5)"), weights("neg_over_pos"));
    assert_eq!(weights("capped(max=1e6)"), weights("neg_over_pos"));
    assert_eq!(weights("effective_number(beta=0)"), [1.0; 4]);
    assert_eq!(weights("power(exponent=0)"), [1.0; 4]);
    assert_eq!(weights("power(exponent=1)"), weights("neg_over_pos"));
}

/// docs/strategies.md#positive-weights: what 0.5 stands for under bce, and the cut that undoes a weight.
#[test]
fn weights_move_the_threshold_that_a_half_stands_for() {
    for (name, expected) in [
        ("neg_over_pos", [0.084_82, 0.2902, 0.1696, 0.4688]),
        ("inverse_share", [0.077_24, 0.2226, 0.1434, 0.3163]),
        ("sqrt", [0.2334, 0.3900, 0.3113, 0.4844]),
        ("log1p", [0.2884, 0.4470, 0.3605, 0.5689]),
        ("threshold_target(threshold=0.3)", [0.3; 4]),
        ("cost(fn=3)", [0.25; 4]),
    ] {
        let pos_weight = weights(name);
        let context = crate::loss::Context { pos_weight: pos_weight.clone(), counts: seed(), epochs: 1 };
        let bce = crate::loss::build(&Choice::plain("bce"), &context).unwrap();
        let half: Vec<f64> = (0..4).map(|label| bce.implied_probability(label, 0.0).unwrap()).collect();
        close(&half, expected, 5e-5);
        for (label, weight) in pos_weight.iter().enumerate() {
            let cut = weight / (1.0 + weight);
            let undone = bce.implied_probability(label, (cut / (1.0 - cut)).ln()).unwrap();
            assert!((undone - 0.5).abs() < 1e-12);
        }
    }
}

#[derive(serde::Deserialize)]
struct Case {
    formula: String,
    rows: usize,
    positives: Vec<usize>,
    weights: Vec<f64>,
}

/// timm's weights are float32.
#[test]
fn weights_equal_timms_and_scikit_learns() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../../tests/oracle/pos_weight.json")).unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let choice = crate::parse(REGISTRY, "pos_weight", &case.formula).unwrap();
        let counts = LabelCounts::new(case.rows, case.positives);
        let ours = resolve(&PosWeight::Formula(choice), &counts).unwrap();
        for (ours, theirs) in ours.iter().zip(&case.weights) {
            assert!((ours / theirs - 1.0).abs() < 1e-6, "{}: {ours} is not {theirs}", case.formula);
        }
    }
}

#[test]
fn labels_without_positives_or_negatives_are_named() {
    let counts = LabelCounts::new(10, vec![5, 0, 10]);
    let of_counts = |kind: &str| !["none", "cost", "threshold_target"].contains(&kind);
    for entry in REGISTRY {
        let given = entry.params.iter().filter(|param| param.absent == crate::Absent::Error);
        let given = given.map(|param| (param.name.to_owned(), 0.5.into())).collect();
        let choice = crate::complete(entry, given).unwrap();
        let resolve = |counts: &LabelCounts| resolve(&PosWeight::Formula(choice.clone()), counts);
        let kind = entry.kind;
        if !of_counts(kind) {
            assert!(resolve(&counts).unwrap().iter().all(|weight| *weight > 0.0));
            continue;
        }
        assert_eq!(
            resolve(&counts).unwrap_err().to_string(),
            format!("pos_weight {kind}: label 1 (from 0) has no positive among the 10 train rows")
        );
        let full = LabelCounts::new(10, vec![5, 1, 10]);
        assert_eq!(
            resolve(&full).unwrap_err().to_string(),
            format!("pos_weight {kind}: label 2 (from 0) has no negative among the 10 train rows")
        );
    }
}

#[test]
fn explicit_vectors_are_checked() {
    let resolve = |weights: &[f64]| resolve(&PosWeight::Explicit(weights.to_vec()), &seed());
    assert_eq!(resolve(&[10.79, 2.45, 4.90, 1.13]).unwrap(), [10.79, 2.45, 4.90, 1.13]);
    assert_eq!(resolve(&[1.0]).unwrap_err().to_string(), "pos_weight has 1 weights for 4 labels: give one per label");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            resolve(&[1.0, 1.0, bad, 1.0]).unwrap_err().to_string(),
            format!("weight {bad} of label 2 (from 0) must be a number above 0")
        );
    }
}

/// Weights are part of a run's name: these differ in the last bit where the platform's own `pow` makes them.
#[test]
fn powers_are_the_same_bits_on_every_machine() {
    assert_eq!(weights("power(exponent=0.04)")[1], 1.036_428_509_255_447_5);
    assert_eq!(weights("power(exponent=0.14)")[0], 1.395_147_214_755_493);
    assert_eq!(weights("power(exponent=0.35)")[2], 1.743_433_038_266_143_2);
}
