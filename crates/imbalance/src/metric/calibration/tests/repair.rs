use super::*;

/// A label of 4,000 rows with truth drawn with probability `eta`(z) of a logit z.
fn world(seed: u64, eta: impl Fn(f64) -> f64) -> (Vec<f32>, LabelMatrix) {
    let mut rng = Rng::new(seed, "repair", &[]);
    let mut cell = |_| {
        let z = 1.5 * rng.normal();
        (sigmoid(z) as f32, u8::from(rng.uniform() < eta(z)))
    };
    let (scores, values) = (0..4000).map(&mut cell).unzip();
    (scores, LabelMatrix { names: Arc::new(["A".to_owned()]), values })
}

fn chosen(seed: u64, eta: impl Fn(f64) -> f64, link: impl Fn(usize, f64) -> Option<f64>) -> Repaired {
    let (scores, truth) = world(seed, eta);
    choose(&scores, &truth, None, 5, 0, link)
}

#[test]
fn the_simplest_map_that_is_as_good_as_any_is_chosen() {
    let loss = weighted_bce();
    let link = |label, z| loss.implied_probability(label, z);
    let weighted = |z| loss.implied_probability(0, z).unwrap();
    for seed in 0..8 {
        // Scores that are probabilities are left alone, whether the loss has a formula or not.
        assert_eq!(chosen(seed, sigmoid, |_, _| None).repair, Repair::None);
        // What a weight has done the formula undoes, without data; without the formula a line does it.
        assert_eq!(chosen(seed, weighted, link).repair, Repair::Link);
        assert_eq!(chosen(seed, weighted, |_, _| None).repair, Repair::Platt);
        // Overconfident scores under a formula that does not say so.
        assert_eq!(chosen(seed, |z| sigmoid(z / 3.0), |_, z| Some(sigmoid(z))).repair, Repair::Platt);
        // No line has steps.
        assert_eq!(
            chosen(
                seed,
                |z| if z > 0.5 {
                    0.7
                } else if z > -0.5 {
                    0.2
                } else {
                    0.15
                },
                |_, _| None
            )
            .repair,
            Repair::Isotonic
        );
    }
}

/// Likelihoods are those of `log_loss`, and the map of other rows is the one fitted on all.
#[test]
fn likelihoods_and_maps_are_those_of_their_parts() {
    let (scores, truth) = world(1, |z| sigmoid(z / 3.0 - 1.0));
    let found = choose(&scores, &truth, None, 5, 0, |_, z| Some(sigmoid(z)));
    let nll = |scores: &[f32]| crate::metric::probability(scores, &truth)[0].nll;
    assert!((found.nll.none - nll(&scores)).abs() < 1e-12 && (found.nll.link.unwrap() - nll(&scores)).abs() < 1e-6);
    assert!((found.nll.platt - nll(&found.held_out)).abs() < 1e-12, "{:?}", found.nll);
    assert!(found.nll.platt < found.nll.isotonic && found.nll.isotonic < found.nll.none, "{:?}", found.nll);
    let cells: Vec<_> = scores.iter().copied().zip(truth.values.iter().copied()).collect();
    let platt = Platt::fit(&cells).unwrap();
    assert!((found.platt(0).unwrap().0.slope - platt.0.slope).abs() < 1e-9);
    let probes = [0.0, 0.1, 0.5, 0.99, 1.0];
    for (ours, probe) in found.apply(&probes, |_, _| None).iter().zip(probes) {
        assert!((f64::from(*ours) - platt.apply(probe)).abs() < 1e-6);
    }
    // Each part through the line of the others.
    let fold = crate::metric::certainty::deal(cells.len(), None, 5, 0);
    let others: Vec<_> = cells.iter().zip(&fold).filter(|(_, fold)| **fold != 2).map(|(cell, _)| *cell).collect();
    let line = Platt::fit(&others).unwrap();
    for (row, _) in fold.iter().enumerate().filter(|(_, fold)| **fold == 2) {
        assert!((f64::from(found.held_out[row]) - line.apply(scores[row])).abs() < 1e-6);
    }
}

/// A step function of few positives is as sure as these allow: no positive of another part is impossible.
#[test]
fn steps_are_never_surer_than_their_rows() {
    let (scores, truth) = world(2, |z| if z > 0.5 { 0.4 } else { 0.001 });
    let found = choose(&scores, &truth, None, 5, 0, |_, _| None);
    assert_eq!(found.repair, Repair::Isotonic);
    let probabilities = found.apply(&[0.0, 1.0], |_, _| None);
    assert!(probabilities[0] >= 1.0 / 4002.0 && probabilities[1] < 1.0 && found.nll.isotonic < 0.3, "{probabilities:?}");
}

#[test]
fn no_rows_one_row_and_one_class_have_a_map() {
    let names: Arc<[String]> = Arc::new(["A".to_owned()]);
    for (scores, values) in [(vec![], vec![]), (vec![0.3], vec![1]), (vec![0.3, 0.2, 0.9, 0.9], vec![0, 0, 0, 0])] {
        let truth = LabelMatrix { names: names.clone(), values };
        let found = choose(&scores, &truth, None, 5, 0, |_, _| None);
        assert!(found.held_out.len() == scores.len() && found.nll.none.is_finite() && found.nll.isotonic.is_finite());
        assert!(found.apply(&[0.5], |_, _| None)[0].is_finite());
    }
}
