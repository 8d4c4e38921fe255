use super::*;

/// The question's train split (Stack Overflow 72666962).
fn seed() -> LabelCounts {
    LabelCounts { rows: 224_000, positives: vec![19_000, 65_000, 38_000, 105_000] }
}

fn weights(name: &str) -> Vec<f64> {
    resolve(&PosWeight::Formula(crate::strategy::parse(REGISTRY, "pos_weight", name).unwrap()), &seed()).unwrap()
}

#[track_caller]
fn close(ours: &[f64], theirs: [f64; 4], digit: f64) {
    assert!(
        ours.len() == 4 && ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() <= digit),
        "{ours:?} is not {theirs:?}"
    );
}

/// strategies.md section 2.
#[test]
fn the_questions_vectors() {
    close(&weights("neg_over_pos"), [10.789, 2.446, 4.895, 1.133], 5e-4);
    close(&weights("inverse_share"), [11.95, 3.492, 5.974, 2.162], 3e-3);
    close(&weights("inverse_share"), [11.947, 3.492, 5.974, 2.162], 5e-4);
    close(&weights("sqrt"), [3.285, 1.564, 2.212, 1.065], 5e-4);
    close(&weights("power(exponent=0.25)"), [1.812, 1.251, 1.487, 1.032], 5e-4);
    close(&weights("power(exponent=0.75)"), [5.953, 1.956, 3.291, 1.098], 5e-4);
    close(&weights("none"), [1.0; 4], 0.0);
    assert_eq!(weights("power(exponent=0.5)"), weights("sqrt"));
    assert_eq!(weights("power(exponent=0)"), [1.0; 4]);
    assert_eq!(weights("power(exponent=1)"), weights("neg_over_pos"));
}

#[test]
fn labels_without_positives_or_negatives_are_named() {
    let counts = LabelCounts { rows: 10, positives: vec![5, 0, 10] };
    for entry in REGISTRY.iter().filter(|entry| entry.kind != "none") {
        let mut choice = Choice::plain(entry.kind);
        choice.params.extend(entry.params.iter().map(|param| (param.name.to_owned(), 0.5.into())));
        let resolve = |counts: &LabelCounts| resolve(&PosWeight::Formula(choice.clone()), counts);
        let kind = entry.kind;
        assert_eq!(
            resolve(&counts).unwrap_err().0,
            format!("pos_weight {kind}: label 1 (from 0) has no positive among the 10 train rows")
        );
        let full = LabelCounts { rows: 10, positives: vec![5, 1, 10] };
        assert_eq!(
            resolve(&full).unwrap_err().0,
            format!("pos_weight {kind}: label 2 (from 0) has no negative among the 10 train rows")
        );
    }
    assert_eq!(resolve(&PosWeight::Formula(Choice::plain("none")), &counts).unwrap(), [1.0; 3]);
}

#[test]
fn explicit_vectors_are_checked() {
    let resolve = |weights: &[f64]| resolve(&PosWeight::Explicit(weights.to_vec()), &seed());
    assert_eq!(resolve(&[10.79, 2.45, 4.90, 1.13]).unwrap(), [10.79, 2.45, 4.90, 1.13]);
    assert_eq!(resolve(&[1.0]).unwrap_err().0, "pos_weight has 1 weights for 4 labels: give one a label");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            resolve(&[1.0, 1.0, bad, 1.0]).unwrap_err().0,
            format!("weight {bad} of label 2 (from 0) must be a number above 0")
        );
    }
}
