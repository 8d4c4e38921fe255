use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::spec::Setting;

const POSITIVES: [usize; 4] = [19_000, 65_000, 38_000, 105_000];

fn context(pos_weight: &[f64]) -> Context {
    let counts = LabelCounts { rows: 224_000, positives: POSITIVES[..pos_weight.len()].to_vec() };
    Context { pos_weight: pos_weight.to_vec(), counts, epochs: 4 }
}

/// A loss by its displayed name, for labels with these weights.
fn loss(name: &str, pos_weight: &[f64]) -> Box<dyn Loss> {
    build(&crate::strategy::parse(REGISTRY, "loss", name).unwrap(), &context(pos_weight)).unwrap()
}

fn evaluate(loss: &dyn Loss, labels: usize, logits: &[f32], targets: &[u8]) -> (f64, Vec<f32>) {
    let mut gradient = vec![f32::NAN; logits.len()];
    let value = loss.evaluate(Batch { labels, logits, targets, epoch: 0 }, &mut gradient);
    (value, gradient)
}

/// The loss and slope of one cell.
fn cell(loss: &dyn Loss, z: f32, y: u8) -> (f64, f64) {
    let (value, gradient) = evaluate(loss, 1, &[z], &[y]);
    (value, gradient[0].into())
}

/// Every loss of the registry with its defaults, and the corners of its parameters.
fn every_loss(pos_weight: &[f64]) -> Vec<(String, Box<dyn Loss>)> {
    let kinds = REGISTRY.iter().map(|entry| entry.kind);
    let corners = [
        "focal(gamma=0)",
        "focal(gamma=0.5,alpha=0.9)",
        "focal(alpha=0.25)",
        "focal(gamma=20)",
        "focal_seed(gamma=0.5)",
        "focal_seed(gamma=0)",
    ];
    kinds.chain(corners).map(|name| (name.to_owned(), loss(name, pos_weight))).collect()
}

#[derive(Deserialize)]
struct Case {
    name: String,
    loss: String,
    params: std::collections::BTreeMap<String, f64>,
    pos_weight: Vec<f64>,
    labels: usize,
    logits: Vec<f32>,
    targets: Vec<u8>,
    value: f64,
    gradient: Vec<f64>,
}

#[test]
fn values_and_gradients_equal_torch() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/oracle/losses.json")).unwrap();
    assert!(REGISTRY.iter().all(|entry| cases.iter().any(|case| case.loss == entry.kind)), "every loss has an oracle");
    for case in cases {
        let params = case.params.iter().map(|(name, &value)| (name.clone(), Setting::Number(value))).collect();
        let choice = crate::strategy::complete(crate::strategy::find(REGISTRY, &case.loss).unwrap(), params).unwrap();
        let loss = build(&choice, &context(&case.pos_weight)).unwrap();
        let (value, gradient) = evaluate(loss.as_ref(), case.labels, &case.logits, &case.targets);
        // Two float32 computations agree to a few ulp of their intermediate values, the others to float64's.
        let (value_ulp, slope_ulp) = if case.loss == "focal_seed" { (3e-7, 1e-6) } else { (1e-12, 1.2e-7) };
        let largest = case.gradient.iter().fold(0.0f64, |largest, slope| largest.max(slope.abs()));
        let name = format!("{choice}, {}", case.name);
        assert!((value - case.value).abs() <= value_ulp * case.value.abs(), "{name}: value {value} is not {}", case.value);
        for ((&ours, theirs), z) in gradient.iter().zip(case.gradient).zip(case.logits) {
            let ours = f64::from(ours);
            // Absolute as well: torchvision's 1 - p_t cancels where a cell is almost right.
            let near = slope_ulp * (theirs.abs() + 1e-4 * largest);
            assert!((ours - theirs).abs() <= near, "{name}: slope {ours} at {z} is not {theirs}");
        }
    }
}

/// strategies.md section 1.
#[test]
fn golden_vectors() {
    let logits = [-2.0, 0.0, 1.5, -0.3, 0.7, -1.2, 3.0, 0.0, -4.0, 2.2, -0.1, 0.9];
    let targets = [1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1];
    let neg_over_pos = POSITIVES.map(|n| (224_000 - n) as f64 / n as f64);
    let share = POSITIVES.map(|n| 227_000.0 / n as f64);
    let none = [1.0; 4];
    let golden = [
        ("bce", none, 0.849_402_545_4, 1e-7),
        ("bce", neg_over_pos, 2.845_803_479_3, 1e-7),
        ("bce", share, 3.230_321_477_6, 1e-7),
        ("focal(gamma=2,alpha=0.25)", none, 0.237_684_969_6, 1e-7),
        ("focal(gamma=1.5)", none, 0.519_982_595_3, 1e-7),
        ("focal_seed", share, 3.476_190_145_1, 1e-6),
        ("focal_seed", neg_over_pos, 2.910_266_710_9, 1e-6),
    ];
    for (name, weights, expected, tolerance) in golden {
        let (value, _) = evaluate(loss(name, &weights).as_ref(), 4, &logits, &targets);
        assert!((value / expected - 1.0).abs() < tolerance, "{name}: {value} is not {expected}");
    }
}

#[test]
fn extreme_logits_stay_finite() {
    for (name, loss) in every_loss(&[7.0]) {
        for z in [0.0, 1e-4, 20.0, 88.0, 89.0, 100.0, 1e4, f32::MAX] {
            for (z, y) in [(z, 0), (z, 1), (-z, 0), (-z, 1)] {
                let (value, slope) = cell(loss.as_ref(), z, y);
                assert!(value.is_finite() && slope.is_finite(), "{name} at {z}, y = {y}: {value}, {slope}");
                assert!(
                    value >= 0.0 && if y == 1 { slope <= 0.0 } else { slope >= 0.0 },
                    "{name} at {z}, y = {y}: {value}, {slope}"
                );
                if let Some(eta) = loss.implied_probability(0, z.into()) {
                    assert!((0.0..=1.0).contains(&eta), "{name} at {z}: eta {eta}");
                }
            }
        }
    }
}

/// strategies.md 1.4, M6: in float32 sigmoid(17) is 1, and the probability form forgets a cell that is as wrong as can be.
#[test]
fn focal_seed_has_the_questions_dead_gradient_and_focal_has_not() {
    let (seed, sound) = (loss("focal_seed", &[1.0]), loss("focal(gamma=1.5)", &[1.0]));
    let slopes = |z| (cell(seed.as_ref(), z, 0).1, cell(sound.as_ref(), z, 0).1);
    for z in [17.0, 20.0, 100.0] {
        let (dead, alive) = slopes(z);
        assert!(dead == 0.0 && (alive - 1.0).abs() < 1e-5, "at {z}: {dead}, {alive}");
    }
    let (dying, alive) = slopes(15.0);
    assert!((dying - 0.973).abs() < 1e-3 && (alive - 1.0).abs() < 1e-4, "{dying}, {alive}");
    for step in -50..=50 {
        let z = step as f32 / 10.0;
        for y in [0, 1] {
            let (a, b) = (cell(seed.as_ref(), z, y), cell(sound.as_ref(), z, y));
            assert!((a.0 / b.0 - 1.0).abs() < 2e-5 && (a.1 / b.1 - 1.0).abs() < 2e-5, "at {z}, y = {y}: {a:?}, {b:?}");
        }
    }
}

/// strategies.md F1, 1.2, 1.3: what a score of 0.5 stands for, and the whole LINK of focal 1.5.
#[test]
fn effective_thresholds_are_in_closed_form() {
    let eta = |name: &str, w: f64, z: f64| loss(name, &[w]).implied_probability(0, z).unwrap();
    for w in [0.25, 1.0, 10.789] {
        for z in [-3.0, 0.0, 2.0] {
            let q = sigmoid(z);
            assert!((eta("bce", w, z) - q / (q + w * (1.0 - q))).abs() < 1e-15);
            assert!((eta("focal(gamma=0)", w, z) - eta("bce", w, z)).abs() < 1e-12, "numeric LINK = closed LINK");
            assert!((eta("focal_seed", w, z) - eta("focal(gamma=1.5)", 1.0, z)).abs() < 1e-15, "alpha on both terms cancels");
        }
        for gamma in [0.0, 0.5, 2.0, 5.0] {
            let closed = 0.75 / (0.75 + w * 0.25);
            assert!((eta(&format!("focal(gamma={gamma},alpha=0.25)"), w, 0.0) - closed).abs() < 1e-12);
        }
    }
    for (probability, q) in
        [(0.02, 0.149), (0.05, 0.210), (0.0848, 0.255), (0.1696, 0.328), (0.29, 0.400), (0.4688, 0.486), (0.7, 0.594f64)]
    {
        let steep = (eta("focal(gamma=1.5)", 1.0, ((q + 5e-4) / (0.5 - 5e-4 + 0.5 - q)).ln()) - probability).signum();
        let flat = (eta("focal(gamma=1.5)", 1.0, ((q - 5e-4) / (0.5 + 5e-4 + 0.5 - q)).ln()) - probability).signum();
        assert!(steep >= 0.0 && flat <= 0.0, "q = {q} stands for {probability} to three digits");
    }
}

#[test]
fn only_exact_equals_are_simplified() {
    let typed = |name: &str| crate::strategy::parse(REGISTRY, "loss", name).unwrap();
    assert_eq!(simplify(typed("focal(gamma=0)")), Choice::plain("bce"));
    for other in ["focal", "focal(gamma=0,alpha=0.5)", "focal_seed(gamma=0)", "bce"] {
        assert_eq!(simplify(typed(other)), typed(other));
    }
}

proptest! {
    /// The population optimum at logit z: there the expected slope is zero.
    #[test]
    fn link_zeroes_the_expected_slope(z in -12.0f32..12.0, w in 0.1f64..20.0) {
        // focal_seed is a float32 approximation; the slopes of gamma 20 are below float32's smallest numbers.
        let exact = |(name, _): &(String, Box<dyn Loss>)| !name.starts_with("focal_seed") && !name.contains("=20");
        for (name, loss) in every_loss(&[w]).into_iter().filter(exact) {
            let eta = loss.implied_probability(0, z.into()).unwrap();
            let (positive, negative) = (cell(loss.as_ref(), z, 1).1, cell(loss.as_ref(), z, 0).1);
            let scale = positive.abs().max(negative.abs());
            prop_assert!((eta * positive + (1.0 - eta) * negative).abs() <= 1e-6 * scale, "{name} at {z}: eta {eta}");
        }
    }

    #[test]
    fn gradients_are_central_differences(z in -14.0f64..14.0, w in 0.1f64..20.0, positive: bool, label in 0usize..4) {
        let weights = [w, 1.0, 2.0, 0.5];
        let bce = context(&weights);
        for entry in REGISTRY.iter().filter(|entry| entry.kind != "focal_seed") {
            let choice = crate::strategy::complete(entry, Default::default()).unwrap();
            let loss = (entry.build.make)(&choice, &bce).unwrap();
            // One cell of `label`, in a row whose other cells do not move; float32 logits, so the step is a power of two.
            let z = z as f32;
            let h = 2f32.powi(-8);
            let (up, down) = (z + h, z - h);
            let at = |z: f32| {
                let mut logits = [0.0; 4];
                logits[label] = z;
                let mut targets = [0; 4];
                targets[label] = u8::from(positive);
                evaluate(loss.as_ref(), 4, &logits, &targets)
            };
            let difference = (at(up).0 - at(down).0) / (f64::from(up) - f64::from(down));
            let slope = f64::from(at(z).1[label]);
            prop_assert!((difference - slope).abs() < 2e-5 * (slope.abs() + w), "{} at {z}: {slope} is not {difference}", entry.kind);
        }
    }

    #[test]
    fn gamma_zero_is_bce_to_the_last_bit(z in -50.0f32..50.0, w in 0.1f64..20.0, y in 0u8..2) {
        prop_assert_eq!(cell(loss("focal(gamma=0)", &[w]).as_ref(), z, y), cell(loss("bce", &[w]).as_ref(), z, y));
    }

    #[test]
    fn the_order_of_rows_changes_nothing(rows in prop::collection::vec((prop::array::uniform4(-9.0f32..9.0), prop::array::uniform4(0u8..2)), 1..20)) {
        let flat = |rows: &[([f32; 4], [u8; 4])]| -> (Vec<f32>, Vec<u8>) {
            (rows.iter().flat_map(|row| row.0).collect(), rows.iter().flat_map(|row| row.1).collect())
        };
        let backward: Vec<_> = rows.iter().rev().copied().collect();
        for (name, loss) in every_loss(&[10.8, 2.4, 4.9, 1.1]) {
            let ((z, y), (moved_z, moved_y)) = (flat(&rows), flat(&backward));
            let (ours, theirs) = (evaluate(loss.as_ref(), 4, &z, &y), evaluate(loss.as_ref(), 4, &moved_z, &moved_y));
            prop_assert!((ours.0 - theirs.0).abs() <= 1e-12 * ours.0, "{name}");
            let back: Vec<f32> = theirs.1.chunks_exact(4).rev().flatten().copied().collect();
            prop_assert_eq!(ours.1, back);
        }
    }
}
