mod properties;

use serde::Deserialize;

use super::*;
use crate::Setting;

const POSITIVES: [usize; 4] = [19_000, 65_000, 38_000, 105_000];

fn context(pos_weight: &[f64]) -> Context {
    let counts = LabelCounts::new(224_000, POSITIVES[..pos_weight.len()].to_vec());
    Context { pos_weight: pos_weight.to_vec(), counts, epochs: 4 }
}

/// A loss by its displayed name, for labels with these weights.
fn loss(name: &str, pos_weight: &[f64]) -> Box<dyn Loss> {
    build(&crate::parse(REGISTRY, "loss", name).unwrap(), &context(pos_weight)).unwrap()
}

fn evaluate(loss: &dyn Loss, labels: usize, logits: &[f32], targets: &[u8]) -> (f64, Vec<f32>) {
    evaluate_at(0, loss, labels, logits, targets)
}

fn evaluate_at(epoch: usize, loss: &dyn Loss, labels: usize, logits: &[f32], targets: &[u8]) -> (f64, Vec<f32>) {
    let mut gradient = vec![f32::NAN; logits.len()];
    let value = loss.evaluate(Batch { labels, logits, targets, epoch }, &mut gradient);
    (value, gradient)
}

/// The loss and slope of one cell.
fn cell(loss: &dyn Loss, z: f32, y: u8) -> (f64, f64) {
    let (value, gradient) = evaluate(loss, 1, &[z], &[y]);
    (value, gradient[0].into())
}

/// Corners of the losses' parameters.
const CORNERS: &[&str] = &[
    "focal(gamma=0)",
    "focal(gamma=0.5,alpha=0.9)",
    "focal(alpha=0.25)",
    "focal(gamma=20)",
    "focal_seed(gamma=0.5)",
    "focal_seed(gamma=0)",
    "class_balanced(beta=0)",
    "class_balanced(gamma=2,beta=0.99999)",
    "class_balanced(by=average_n)",
    "class_balanced(by=average_w)",
    "class_balanced(by=min_n)",
    "asl(clip=0)",
    "asl(gamma_neg=0,gamma_pos=0)",
    "asl(gamma_neg=0.5,gamma_pos=0)",
    "asl(clip=0.5,gamma_neg=2)",
    "logit_adjust(tau=0)",
    "logit_adjust(tau=2)",
    "ldam(scale=30,drw=0,drw_beta=0.99999)",
    "ldam(negatives=1,max_margin=3)",
    "db(gamma=0)",
    "db(gamma=0.5,lambda=5,kappa=1,map_alpha=0)",
    "soft_f1(smooth=0.5)",
    "soft_f1(fp_weight=0.3,fn_weight=0.7,smooth=1,power=0.75)",
    "soft_f1(fp_weight=0,absent=skip,power=3)",
    "soft_f1(fn_weight=0,slope=5,offset=-1)",
    "poly1(epsilon=-1)",
    "poly1(epsilon=-1,gamma=2)",
    "poly1(epsilon=1,gamma=0.5,alpha=0.25)",
    "two_way(t_pos=1,t_neg=0.1)",
    "hill(lambda=2,margin=0,gamma=0)",
    "splc(start=0)",
    "splc(start=0,tau=0.2,margin=3)",
];

/// Every loss of the registry with its defaults, and the corners of its parameters.
fn every_loss(pos_weight: &[f64]) -> Vec<(String, Box<dyn Loss>)> {
    let kinds = REGISTRY.iter().map(|entry| entry.kind);
    kinds.chain(CORNERS.iter().copied()).map(|name| (name.to_owned(), loss(name, pos_weight))).collect()
}

/// A form is the loss it was made of, in every epoch; the losses without one are those that compare cells.
#[test]
fn a_form_is_its_loss() {
    let (labels, logits) = (4, (0..64).map(|cell| (cell as f32 * 0.61).sin() * 6.0).collect::<Vec<f32>>());
    let targets: Vec<u8> = (0..64).map(|cell| [0, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1][cell % 13]).collect();
    let mut without = Vec::new();
    for (name, loss) in every_loss(&[3.0, 0.5, 1.0, 7.0]) {
        for epoch in 0..4 {
            let Some(form) = loss.form(epoch) else {
                without.push(name.split('(').next().unwrap().to_owned());
                continue;
            };
            let (value, gradient) = evaluate_at(epoch, loss.as_ref(), labels, &logits, &targets);
            let rows = loss.rows(labels, &targets);
            let mut sum = 0.0;
            for (cell, (&z, &y)) in logits.iter().zip(&targets).enumerate().filter(|(_, (_, y))| **y != IGNORED) {
                let row = rows.get(cell / labels).copied().unwrap_or(f64::NAN);
                let Term { value, slope } = form.term(cell % labels, z.into(), y == 1, row);
                sum += value;
                let (ours, theirs) = (slope / 64.0, f64::from(gradient[cell]));
                assert!(
                    (ours - theirs).abs() <= 3e-7 * theirs.abs() + f64::from(f32::MIN_POSITIVE),
                    "{name}, epoch {epoch}: slope {ours} at {z} is not {theirs}"
                );
            }
            assert!((sum / 64.0 - value).abs() <= 3e-7 * value.abs(), "{name}, epoch {epoch}: {} is not {value}", sum / 64.0);
            assert_eq!(form.table().len(), Form::HEAD + 7 * labels, "{name}");
        }
    }
    without.sort();
    without.dedup();
    assert_eq!(without, ["soft_f1", "two_way", "zlpr"]);
}

#[derive(Deserialize)]
struct Case {
    name: String,
    loss: String,
    params: std::collections::BTreeMap<String, Setting>,
    pos_weight: Vec<f64>,
    epoch: usize,
    labels: usize,
    logits: Vec<f32>,
    targets: Vec<u8>,
    value: f64,
    gradient: Vec<f64>,
}

#[test]
fn values_and_gradients_equal_torch_torchvision_and_timm() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../../tests/oracle/losses.json")).unwrap();
    assert!(REGISTRY.iter().all(|entry| cases.iter().any(|case| case.loss == entry.kind)), "every loss has an oracle");
    let mut wrong = Vec::new();
    for case in cases {
        let choice = crate::complete(crate::find(REGISTRY, &case.loss).unwrap(), case.params).unwrap();
        let loss = build(&choice, &context(&case.pos_weight)).unwrap();
        let (value, gradient) = evaluate_at(case.epoch, loss.as_ref(), case.labels, &case.logits, &case.targets);
        // Two float32 computations agree to a few ulp of their intermediate values, the others to float64's.
        let (value_ulp, slope_ulp) = if case.loss == "focal_seed" { (3e-7, 1e-6) } else { (1e-12, 1.2e-7) };
        let largest = case.gradient.iter().fold(0.0f64, |largest, slope| largest.max(slope.abs()));
        let name = format!("{choice}, {}, epoch {}", case.name, case.epoch);
        if (value - case.value).abs() > value_ulp * case.value.abs() {
            wrong.push(format!("{name}: value {value} is not {}", case.value));
        }
        for ((&ours, theirs), z) in gradient.iter().zip(case.gradient).zip(case.logits) {
            let ours = f64::from(ours);
            // Absolute as well: torchvision's 1 - p_t cancels where a cell is almost right.
            if (ours - theirs).abs() > slope_ulp * (theirs.abs() + 1e-4 * largest) {
                wrong.push(format!("{name}: slope {ours} at {z} is not {theirs}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// docs/strategies.md#golden-batch
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
        ("class_balanced", none, 0.856_396_16, 1e-7),
        ("asl", none, 4.345_032 / 12.0, 1e-6),
        ("asl", none, 1.448_343_933_8 / 4.0, 1e-7),
        ("asl(gamma_pos=0)", none, 1.796_926_016 / 4.0, 1e-7),
        ("logit_adjust", none, 0.941_912_557_6, 1e-7),
        ("poly1(epsilon=1)", none, 1.320_671_340_8, 1e-7),
        ("soft_f1", none, 0.579_691_171_3, 1e-7),
        ("soft_f1(smooth=0.5)", none, 0.406_030_925_8, 1e-7),
        ("soft_f1(fp_weight=0.3,fn_weight=0.7,smooth=1)", none, 0.294_731_777_3, 1e-7),
        ("db", none, 0.961_898_821, 1e-7),
        ("db(gamma=0)", none, 0.705_136_616_6, 1e-7),
        ("two_way", none, 4.992_747_254_8, 1e-7),
        ("zlpr", none, 2.920_076_087_6, 1e-7),
        ("ldam", none, 0.929_981_776_3, 1e-7),
        ("hill", none, 0.557_730_025_2, 1e-7),
    ];
    for (name, weights, expected, tolerance) in golden {
        let (value, _) = evaluate(loss(name, &weights).as_ref(), 4, &logits, &targets);
        assert!((value / expected - 1.0).abs() < tolerance, "{name}: {value} is not {expected}");
    }
}

/// A label's only cell: value and slope are finite, the value is no gain, and the slope points at the truth.
#[test]
fn extreme_logits_stay_finite() {
    for (name, loss) in every_loss(&[7.0]) {
        for z in [0.0, 1e-4, 20.0, 88.0, 89.0, 100.0, 1e4, f32::MAX] {
            for (z, y) in [(z, 0), (z, 1), (-z, 0), (-z, 1)] {
                let (value, slope) = cell(loss.as_ref(), z, y);
                assert!(value.is_finite() && slope.is_finite(), "{name} at {z}, y = {y}: {value}, {slope}");
                // splc turns the sign on purpose.
                let right = if y == 1 { slope <= 0.0 } else { slope >= 0.0 || name.starts_with("splc(start=0") };
                assert!(value >= 0.0 && right, "{name} at {z}, y = {y}: {value}, {slope}");
                if let Some(eta) = loss.implied_probability(0, z.into()) {
                    assert!((0.0..=1.0).contains(&eta), "{name} at {z}: eta {eta}");
                }
            }
        }
    }
}

/// Batches in which every cell is as wrong or as right as can be, with rows and labels that are all positive, all negative or
/// ignored.
#[test]
fn extreme_batches_stay_finite() {
    for (name, loss) in every_loss(&[7.0, 1.0, 0.2]) {
        for size in [1e-4, 20.0, 100.0, 1e4, f32::MAX] {
            for signs in 0u32..1 << 9 {
                let logits: Vec<f32> = (0..9).map(|cell| if signs >> cell & 1 == 1 { size } else { -size }).collect();
                for targets in [[1, 0, 0, 0, 1, 1, 0, 0, 1], [1; 9], [0; 9], [1, 1, 1, 0, 0, 0, IGNORED, 1, 0], [IGNORED; 9]] {
                    let (value, gradient) = evaluate_at(3, loss.as_ref(), 3, &logits, &targets);
                    assert!(
                        value.is_finite() && gradient.iter().all(|slope| slope.is_finite()),
                        "{name} at {logits:?}, {targets:?}: {value}, {gradient:?}"
                    );
                }
            }
        }
    }
}

/// docs/strategies.md#focal_seed: in float32 sigmoid(17) is 1, and the probability form forgets a cell that is as wrong as can
/// be.
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

/// docs/strategies.md#link: what a score of 0.5 stands for, and the whole LINK of focal 1.5.
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

/// docs/strategies.md#losses, what 0.5 stands for.
#[test]
fn effective_thresholds_are_as_published() {
    let eta = |name: &str, label: usize| loss(name, &[1.0; 4]).implied_probability(label, 0.0).unwrap();
    let everywhere = [
        ("asl", 0.1473),
        ("asl(gamma_pos=0)", 0.1276),
        ("asl(clip=0)", 0.2178),
        ("asl(gamma_neg=2,clip=0)", 0.4134),
        ("asl(gamma_neg=2,gamma_pos=0)", 0.3118),
        ("hill", 0.1962),
        ("poly1", 0.5),
        ("poly1(gamma=2,alpha=0.25)", 0.75),
        ("class_balanced", 0.5),
        ("focal", 0.5),
    ];
    for (name, expected) in everywhere {
        assert!((0..4).all(|label| (eta(name, label) - expected).abs() < 5e-5), "{name}: {} is not {expected}", eta(name, 0));
    }
    let prevalence = POSITIVES.map(|n| n as f64 / 224_000.0);
    let by_label = [
        ("logit_adjust", prevalence, 1e-12),
        ("ldam", [0.4455, 0.4583, 0.4531, 0.4626], 5e-5),
        ("ldam(scale=30)", [1.0 / 3.0; 4], 1e-4),
        ("ldam(max_margin=0)", [0.5; 4], 1e-12),
    ];
    for (name, expected, digit) in by_label {
        for (label, expected) in expected.into_iter().enumerate() {
            assert!((eta(name, label) - expected).abs() < digit, "{name}, label {label}: {} is not {expected}", eta(name, label));
        }
    }
    // 1.15: poly1 sharpens.
    let sharp = loss("poly1(epsilon=1)", &[1.0]).implied_probability(0, (0.219f64 / 0.781).ln()).unwrap();
    assert!((sharp - 0.29).abs() < 1e-3, "{sharp}");
    // F2: the operating point of neg_over_pos.
    let weighted = loss("bce", &POSITIVES.map(|n| (224_000 - n) as f64 / n as f64));
    for (label, prevalence) in prevalence.into_iter().enumerate() {
        assert!((weighted.implied_probability(label, 0.0).unwrap() - prevalence).abs() < 1e-12);
    }
}

#[test]
fn losses_that_compare_cells_have_no_link_and_read_no_pos_weight() {
    let without: Vec<_> = REGISTRY.iter().filter(|entry| !entry.build.reads_pos_weight).map(|entry| entry.kind).collect();
    assert_eq!(without, ["soft_f1", "two_way", "zlpr"]);
    for (name, loss) in every_loss(&[1.0]) {
        let linked = !["soft_f1", "two_way", "zlpr", "db"].iter().any(|kind| name.starts_with(kind)) && !name.contains("by=");
        // At 0 splc(tau=0.2) corrects already.
        let linked = linked && !name.contains("tau=0.2") && name != "hill(lambda=2,margin=0,gamma=0)";
        assert_eq!(loss.implied_probability(0, 0.0).is_some(), linked, "{name}");
    }
    assert_eq!(loss("asl", &[1.0]).implied_probability(0, -3.0), Some(0.0), "below its clip, asl does not tell scores apart");
    assert_eq!(loss("splc", &[1.0]).implied_probability(0, 0.5), None, "0.62 is above tau");
}

/// Cao 2019, algorithm 1: plain until the epoch, class-balanced after it.
#[test]
fn re_weighting_is_deferred() {
    let (logits, targets) = ([-2.0, 0.0, 1.5, -0.3], [1, 0, 1, 0]);
    let value = |name: &str, epoch| evaluate_at(epoch, loss(name, &[1.0; 4]).as_ref(), 4, &logits, &targets).0;
    let epochs = |name: &str| [0, 1, 2, 3].map(|epoch| value(name, epoch) == value("ldam(drw=1)", 0));
    assert_eq!(epochs("ldam"), [true; 4], "3.2 of 4 epochs have passed after the last one begins");
    assert_eq!(epochs("ldam(drw=0.75)"), [true, true, true, false]);
    assert_eq!(epochs("ldam(drw=0.6)"), [true, true, true, false]);
    assert_eq!(epochs("ldam(drw=0.5)"), [true, true, false, false]);
    assert_eq!(epochs("ldam(drw=0)"), [false; 4]);
    assert_eq!(epochs("ldam(drw=1)"), [true; 4]);
    let balanced = value("class_balanced", 0);
    assert!((value("ldam(max_margin=0,drw=0)", 0) - balanced).abs() < 1e-15 * balanced);
    let from = |drw: f64, epochs| last_change(&crate::parse(REGISTRY, "loss", &format!("ldam(drw={drw})")).unwrap(), epochs);
    assert_eq!(
        [(0.8, 5), (0.8, 6), (0.8, 10), (0.8, 200), (0.55, 100), (0.07, 100)].map(|(drw, epochs)| from(drw, epochs)),
        [4, 5, 8, 160, 55, 7]
    );
    // One epoch begins before .8 of the training is over: it is all plain.
    let context = Context { epochs: 1, ..context(&[1.0; 4]) };
    let of_one = |name: &str| build(&crate::parse(REGISTRY, "loss", name).unwrap(), &context).unwrap();
    let only = |name: &str| evaluate(of_one(name).as_ref(), 4, &logits, &targets).0;
    assert_eq!((only("ldam"), only("ldam(drw=0)") == only("ldam")), (value("ldam(drw=1)", 0), false));
}

/// docs/strategies.md#asl: values agree to the last bit, gradients do not.
#[test]
fn asl_detaches_its_focus_only_when_told() {
    for (z, y) in [(1.0, 0), (1.0, 1), (-2.0, 0), (0.3, 1)] {
        let (whole, detached) = (cell(loss("asl", &[1.0]).as_ref(), z, y), cell(loss("asl(detach=1)", &[1.0]).as_ref(), z, y));
        assert!(whole.0 == detached.0 && whole.1.abs() > 1.01 * detached.1.abs(), "at {z}, y = {y}: {whole:?}, {detached:?}");
    }
}

#[test]
fn dice_without_smoothing_is_soft_f1_and_absent_labels_are_left_out_when_told() {
    let (logits, targets) = ([-2.0, 0.0, 1.5, -0.3, 0.7, -1.2], [1, 0, 1, 0, 0, 0]);
    let value = |name: &str| evaluate(loss(name, &[1.0; 3]).as_ref(), 3, &logits, &targets);
    let (f1, dice) = (value("soft_f1").0, value("soft_f1(smooth=1e-9)").0);
    assert!((f1 - dice).abs() < 1e-8);
    // Label 1 has no positives: it costs 1 at any score, and nothing can be done about it.
    let skipped = value("soft_f1(absent=skip)").0;
    assert!((f1 - (2.0 * skipped + 1.0) / 3.0).abs() < 1e-15, "{f1}, {skipped}");
    assert!(
        value("soft_f1").1[1] == 0.0
            && value("soft_f1(smooth=1)").1[1] > 0.0
            && value("soft_f1(smooth=1,absent=skip)").1[1] == 0.0
    );
    let error = build(&crate::parse(REGISTRY, "loss", "soft_f1(fp_weight=0,fn_weight=0)").unwrap(), &context(&[1.0]));
    assert!(error.unwrap_err().to_string().contains("both 0"));
}

#[test]
fn splc_takes_high_negatives_for_positives_after_its_first_epochs() {
    let loss = loss("splc", &[1.0]);
    let slope = |epoch, z| f64::from(evaluate_at(epoch, loss.as_ref(), 1, &[z], &[0]).1[0]);
    assert!(slope(0, 0.5) > 0.0 && slope(1, 0.5) < 0.0, "0.62 is above tau");
    assert!(slope(0, 0.3) > 0.0 && slope(1, 0.3) == slope(0, 0.3), "0.57 is not");
}

#[test]
fn labels_that_say_nothing_are_named() {
    let counts = LabelCounts::new(10, vec![5, 0]);
    for kind in ["class_balanced", "logit_adjust", "ldam", "db"] {
        let choice = crate::parse(REGISTRY, "loss", kind).unwrap();
        let error = build(&choice, &Context { pos_weight: vec![1.0; 2], counts: counts.clone(), epochs: 1 }).unwrap_err();
        assert_eq!(error.to_string(), format!("loss {kind}: label 1 (from 0) has no positive among the 10 train rows"));
    }
}

#[test]
fn only_exact_equals_are_simplified() {
    let typed = |name: &str| crate::parse(REGISTRY, "loss", name).unwrap();
    for (name, simpler) in [
        ("focal(gamma=0)", "bce"),
        ("class_balanced(beta=0)", "bce"),
        ("class_balanced(beta=0,gamma=2,by=min_n)", "focal(gamma=2)"),
        ("asl(gamma_neg=0,gamma_pos=0,clip=0)", "bce"),
        ("asl(gamma_neg=0,gamma_pos=0,clip=0,detach=1)", "bce"),
        ("asl(gamma_neg=2,gamma_pos=2,clip=0)", "focal(gamma=2)"),
        ("asl(gamma_neg=0,gamma_pos=0,detach=1)", "asl(gamma_neg=0,gamma_pos=0)"),
        ("logit_adjust(tau=0)", "bce"),
        ("ldam(max_margin=0,drw=1)", "bce"),
        ("ldam(max_margin=0,drw_beta=0,negatives=1)", "bce"),
        ("ldam(drw=1,drw_beta=0.5)", "ldam(drw=1,drw_beta=0)"),
        ("db(gamma=0)", "db(gamma=0,balance=1)"),
        ("poly1(epsilon=0)", "bce"),
        ("poly1(epsilon=0,gamma=2)", "focal(gamma=2)"),
        ("poly1(epsilon=0,gamma=0,alpha=0.25)", "focal(gamma=0,alpha=0.25)"),
    ] {
        assert_eq!(simplify(typed(name)), typed(simpler), "{name}");
    }
    for entry in REGISTRY {
        assert_eq!(simplify(typed(entry.kind)), typed(entry.kind));
    }
    for other in [
        "focal(gamma=0,alpha=0.5)",
        "focal_seed(gamma=0)",
        "asl(clip=0)",
        "asl(gamma_neg=2,gamma_pos=2,clip=0,detach=1)",
        "ldam(max_margin=0)",
    ] {
        assert_eq!(simplify(typed(other)), typed(other));
    }
}
