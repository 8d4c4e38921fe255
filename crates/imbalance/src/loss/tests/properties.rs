//! What holds for every loss, whatever the batch.

use proptest::prelude::*;

use super::*;

type SmallBatch = Vec<([f32; 4], [u8; 4])>;

fn rows(targets: std::ops::Range<u8>) -> impl Strategy<Value = SmallBatch> {
    // Multiples of 2^-12 below 16, so that steps of a power of two are exact in float32.
    let z = (-49_152i32..49_152).prop_map(|n| n as f32 / 4096.0);
    prop::collection::vec((prop::array::uniform4(z), prop::array::uniform4(targets)), 1..8)
}

fn flat(rows: &[([f32; 4], [u8; 4])]) -> (Vec<f32>, Vec<u8>) {
    (rows.iter().flat_map(|row| row.0).collect(), rows.iter().flat_map(|row| row.1).collect())
}

/// focal_seed is a float32 computation: its values are no smooth function.
fn exact(losses: Vec<(String, Box<dyn Loss>)>) -> impl Iterator<Item = (String, Box<dyn Loss>)> {
    losses.into_iter().filter(|(name, _)| !name.starts_with("focal_seed"))
}

proptest! {
    /// The population optimum at logit z: there the expected slope is zero.
    #[test]
    fn link_zeroes_the_expected_slope(z in -12.0f32..12.0, w in 0.1f64..20.0) {
        // The slopes of gamma 20 are below float32's smallest numbers.
        for (name, loss) in exact(every_loss(&[w])).filter(|(name, _)| !name.contains("=20")) {
            let Some(eta) = loss.implied_probability(0, z.into()) else { continue };
            let (positive, negative) = (cell(loss.as_ref(), z, 1).1, cell(loss.as_ref(), z, 0).1);
            let scale = positive.abs().max(negative.abs());
            prop_assert!((eta * positive + (1.0 - eta) * negative).abs() <= 1e-6 * scale, "{name} at {z}: eta {eta}");
        }
    }

    /// The numeric LINK: the logit that minimises eta l+ + (1-eta) l-, found from values alone, stands for eta.
    #[test]
    fn link_is_where_the_expected_loss_is_least(eta in 0.03f64..0.97, w in 0.2f64..5.0) {
        for (name, loss) in exact(every_loss(&[w])).filter(|(name, _)| !name.contains("detach")) {
            let risk = |z: f64| {
                let z = z as f32;
                eta * cell(loss.as_ref(), z, 1).0 + (1.0 - eta) * cell(loss.as_ref(), z, 0).0
            };
            // Convex enough to be searched: the slopes' ratio rises (splc within tau only).
            let (mut low, mut high) = if name.starts_with("splc") { (-9.0, 0.39) } else { (-9.0, 9.0) };
            if loss.implied_probability(0, low).is_none() || loss.implied_probability(0, high).is_none() { continue }
            if loss.implied_probability(0, low) > Some(eta) || loss.implied_probability(0, high) < Some(eta) { continue }
            for _ in 0..60 {
                let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
                if risk(a) < risk(b) { high = b } else { low = a }
            }
            // Around it, since asl without focus jumps where its clip ends.
            let [below, above] = [low - 0.01, low + 0.01].map(|z| loss.implied_probability(0, z).unwrap());
            prop_assert!(below - 1e-3 < eta && eta < above + 1e-3, "{name}: {below} to {above} around {low} is not {eta}");
        }
    }

    /// A higher logit never stands for a lower probability.
    #[test]
    fn links_rise(z in -10.0f64..10.0, step in 0.0f64..3.0, w in 0.1f64..20.0) {
        for (name, loss) in every_loss(&[w]) {
            if let (Some(low), Some(high)) = (loss.implied_probability(0, z), loss.implied_probability(0, z + step)) {
                prop_assert!(low <= high + 1e-12, "{name}: {low} at {z}, {high} at {}", z + step);
            }
        }
    }

    /// Every cell of a batch against central differences, extrapolated (Richardson) to the fourth order.
    #[test]
    fn gradients_are_central_differences(rows in rows(0..3), epoch in 0usize..4) {
        let (logits, targets) = flat(&rows);
        for (name, loss) in exact(every_loss(&[10.8, 2.4, 4.9, 0.5])) {
            let value = |cell: usize, step: f32| {
                let mut logits = logits.clone();
                logits[cell] += step;
                evaluate_at(epoch, loss.as_ref(), 4, &logits, &targets).0
            };
            let gradient = evaluate_at(epoch, loss.as_ref(), 4, &logits, &targets).1;
            let largest = gradient.iter().fold(0f32, |largest, slope| largest.max(slope.abs()));
            for (cell, &slope) in gradient.iter().enumerate() {
                // scale = 30 has derivatives of the fifth order 30^5 times as large, temperature 0.1 10^4.
                let h = 2f32.powi(if name.contains("scale=30") || name.contains("t_neg=0.1") { -12 } else { -7 });
                // Where the loss has a kink or a jump: asl at p = clip, splc at p = tau.
                let kinks: &[f32] = match name.as_str() {
                    name if name.starts_with("asl(clip=0.5") => &[0.0],
                    name if name.starts_with("asl") => &[-2.944_439],
                    name if name.contains("tau=0.2") => &[-1.386_294],
                    name if name.starts_with("splc") => &[0.405_465],
                    _ => &[],
                };
                // (p - clip)^0.5 is so steep beside its kink that 8 h are needed: the error falls by 0.002 (h / distance)^4.
                if kinks.iter().any(|kink| (logits[cell] - kink).abs() <= 8.0 * h) { continue }
                let difference = |h: f32| (value(cell, h) - value(cell, -h)) / (2.0 * f64::from(h));
                let numeric = (4.0 * difference(h / 2.0) - difference(h)) / 3.0;
                let near = 1e-6 * f64::from(slope.abs().max(largest)) + 1e-12;
                prop_assert!((numeric - f64::from(slope)).abs() <= near, "{name}, cell {cell} at {}: {slope} is not {numeric}", logits[cell]);
            }
        }
    }

    /// A choice and its simpler form are the same function of the batch, in every bit.
    #[test]
    fn simpler_forms_are_equal_to_the_last_bit(rows in rows(0..3), w in 0.1f64..20.0, gamma in 0.0f64..4.0, epoch in 0usize..4) {
        let (logits, targets) = flat(&rows);
        let names = [
            "focal(gamma=0)".to_owned(),
            format!("class_balanced(beta=0,gamma={gamma})"),
            "class_balanced(beta=0,by=average_n)".to_owned(),
            "class_balanced(beta=0,by=min_n)".to_owned(),
            format!("asl(gamma_neg={gamma},gamma_pos={gamma},clip=0)"),
            "asl(gamma_neg=0,gamma_pos=0,clip=0,detach=1)".to_owned(),
            "asl(gamma_neg=0,gamma_pos=0,detach=1)".to_owned(),
            "logit_adjust(tau=0)".to_owned(),
            "ldam(max_margin=0,drw=1,negatives=1)".to_owned(),
            "ldam(drw_beta=0)".to_owned(),
            "db(gamma=0)".to_owned(),
            format!("poly1(epsilon=0,gamma={gamma})"),
            format!("poly1(epsilon=0,gamma={gamma},alpha=0.25)"),
        ];
        for name in names {
            let choice = crate::parse(REGISTRY, "loss", &name).unwrap();
            let simpler = simplify(choice.clone());
            prop_assert!(simpler != choice, "{name}");
            let of = |choice: &Choice| {
                let loss = build(choice, &context(&[w, 1.0, 2.0, 0.5])).unwrap();
                evaluate_at(epoch, loss.as_ref(), 4, &logits, &targets)
            };
            prop_assert_eq!(of(&choice), of(&simpler), "{}", name);
        }
    }

    #[test]
    fn the_order_of_rows_changes_nothing(rows in rows(0..3)) {
        let backward: Vec<_> = rows.iter().rev().copied().collect();
        for (name, loss) in every_loss(&[10.8, 2.4, 4.9, 1.1]) {
            let ((z, y), (moved_z, moved_y)) = (flat(&rows), flat(&backward));
            let (ours, theirs) = (evaluate(loss.as_ref(), 4, &z, &y), evaluate(loss.as_ref(), 4, &moved_z, &moved_y));
            prop_assert!((ours.0 - theirs.0).abs() <= 1e-12 * ours.0, "{name}");
            let back: Vec<f32> = theirs.1.chunks_exact(4).rev().flatten().copied().collect();
            // Sums over a column are taken in another order, in f64; where they nearly cancel, little of a slope is exact.
            for (ours, theirs) in ours.1.iter().zip(back) {
                prop_assert!((ours - theirs).abs() <= 2.4e-7 * ours.abs() + 1e-16, "{name}: {ours}, {theirs}");
            }
        }
    }

    /// An ignored cell neither costs nor moves anything.
    #[test]
    fn ignored_cells_say_nothing(rows in rows(0..3), other in -12.0f32..12.0) {
        let (logits, targets) = flat(&rows);
        let moved: Vec<f32> = logits.iter().zip(&targets).map(|(&z, &y)| if y == IGNORED { other } else { z }).collect();
        for (name, loss) in every_loss(&[10.8, 2.4, 4.9, 1.1]) {
            let (ours, theirs) = (evaluate(loss.as_ref(), 4, &logits, &targets), evaluate(loss.as_ref(), 4, &moved, &targets));
            prop_assert_eq!(&ours, &theirs, "{}", name);
            prop_assert!(targets.iter().zip(&ours.1).all(|(&y, &slope)| y != IGNORED || slope == 0.0), "{name}");
        }
    }
}
