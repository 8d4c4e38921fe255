use super::*;

/// A label of `rows` with u = 1.5 g + b and truth drawn with probability sigmoid(u); scores are sigmoid(stretch u + shift).
fn stretched(rows: usize, offset: f64, stretch: f64, shift: f64, seed: u64) -> Vec<(f32, u8)> {
    let mut rng = Rng::new(seed, "judgement", &[]);
    let cell = |_| {
        let u = 1.5 * rng.normal() + offset;
        (sigmoid(stretch * u + shift) as f32, u8::from(rng.uniform() < sigmoid(u)))
    };
    (0..rows).map(cell).collect()
}

/// The same at the shift where the mean score is the prevalence.
fn balanced(rows: usize, offset: f64, stretch: f64, seed: u64) -> Vec<(f32, u8)> {
    let cells = stretched(rows, offset, stretch, 0.0, seed);
    let logits: Vec<f64> = cells.iter().map(|cell| logit(cell.0)).collect();
    let positives = cells.iter().map(|cell| f64::from(cell.1)).sum::<f64>();
    let (mut low, mut high) = (-20.0, 20.0);
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        let sum: f64 = logits.iter().map(|z| sigmoid(z + middle)).sum();
        *(if sum < positives { &mut low } else { &mut high }) = middle;
    }
    stretched(rows, offset, stretch, low, seed)
}

#[test]
fn the_slopes_standard_error_is_that_of_the_fisher_information() {
    for case in fixture().cases {
        let (ours, theirs) = (Slope::of_truth(&case.cells()), case.line.and_then(|line| Some((line, line.error?))));
        assert_eq!(ours.is_some(), theirs.is_some(), "{}", case.name);
        if let (Some(ours), Some((line, error))) = (ours, theirs) {
            close(&case.name, ours.error, error, 1e-8);
            close(&case.name, ours.low, line.slope - 1.959_963_984_540_054 * error, 1e-8);
            close(&case.name, ours.high, line.slope + 1.959_963_984_540_054 * error, 1e-8);
        }
    }
}

/// Drawing the positives of each bin comes to what drawing every row comes to.
#[test]
fn chance_is_what_redrawn_truth_shows() {
    let mut compared = 0;
    for case in fixture().cases {
        let (scores, truth): (Vec<f32>, Vec<u8>) = case.cells().into_iter().unzip();
        let own = truth.iter().map(|&y| f64::from(y)).sum::<f64>() / truth.len() as f64;
        let odds = own / (1.0 - own) / (0.3 / 0.7);
        for (theirs, shift) in [(case.chance, None), (case.shifted, Some(chance::Shift { prevalence: 0.3, odds }))] {
            let Some(theirs) = theirs else { continue };
            let ours = Chance::of(&scores, shift, 0);
            // Two quantiles of 1,000 and 20,000 draws.
            for (what, ours, theirs) in [("gap", ours.gap, theirs.gap), ("ece", ours.ece, theirs.ece)] {
                assert!((ours - theirs).abs() < 0.08 * theirs, "{}, {what}: {ours} is not {theirs}", case.name);
            }
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
}

/// Scores spread three times too far whose mean is right: calibration in the large sees nothing.
#[test]
fn a_right_mean_makes_no_probabilities() {
    for offset in [-3.17465, -1.2, -2.1, -0.17702] {
        let judged = judge_label(&balanced(4000, offset, 3.0, 1), None, 0);
        assert!(judged.gap.abs() < 1e-6 && judged.ece > 0.05, "{judged:?}");
        assert!((judged.line.unwrap().slope - 1.0 / 3.0).abs() < 0.06, "{judged:?}");
        assert_eq!(judged.judgement, Judgement::Not(Fault::Slope));
        let right = judge_label(&stretched(4000, offset, 1.0, 0.0, 1), None, 0);
        assert_eq!(right.judgement, Judgement::Probabilities, "{right:?}");
    }
}

#[test]
fn each_fault_is_named() {
    let judged = |stretch: f64, shift: f64| judge_label(&stretched(8000, -1.0, stretch, shift, 3), None, 0);
    assert_eq!(judged(1.0, 0.6).judgement, Judgement::Not(Fault::Gap));
    assert_eq!(judged(0.5, -0.2).judgement, Judgement::Not(Fault::Slope), "spread too little");
    // Right on average and in its spread, but every other group of scores is off: too high at .2, too low at .4, ...
    let cells: Vec<_> = (0..10_000u32)
        .map(|row| {
            let bin = row % 10;
            let score = (f64::from(bin) + 0.5) / 10.0;
            let share = score + 0.045 * f64::from(1 - 2 * (bin as i32 % 2)) * if bin < 5 { 1.0 } else { -1.0 };
            (score as f32, u8::from(f64::from(row / 10) < share * 1000.0))
        })
        .collect();
    let uneven = judge_label(&cells, None, 0);
    assert_eq!(uneven.judgement, Judgement::Not(Fault::Ece), "{uneven:?}");
    // Three times the prevalence of a rare label, though less than .05 of the rows.
    let rare = judge_label(&stretched(20_000, -5.0, 1.0, 1.2, 4), None, 0);
    assert!(rare.gap < 0.05 && rare.judgement == Judgement::Not(Fault::Gap), "{rare:?}");
}

#[test]
fn few_rows_say_nothing() {
    let cells = |positives: usize, rows: usize| -> Vec<(f32, u8)> {
        (0..rows).map(|row| ((row % 7) as f32 / 10.0 + 0.1, u8::from(row < positives))).collect()
    };
    for (positives, rows) in [(19, 1000), (981, 1000), (0, 50), (50, 50), (0, 0)] {
        let judged = judge_label(&cells(positives, rows), None, 0);
        assert_eq!((judged.judgement, judged.chance), (Judgement::TooFew, None));
        assert_eq!(judge_label(&cells(positives, rows), Some(0.2), 0).judgement, Judgement::TooFew);
    }
    // Enough to be judged, not enough to say that the slope is close to 1.
    let judged = judge_label(&stretched(200, -1.0, 1.0, 0.0, 5), None, 0);
    assert_eq!(judged.judgement, Judgement::Unsure, "{judged:?}");
    // One score for all has no slope.
    let flat: Vec<_> = (0..1000).map(|row| (0.25, u8::from(row % 4 == 0))).collect();
    let judged = judge_label(&flat, None, 0);
    assert_eq!((judged.judgement, judged.line), (Judgement::Unsure, None));
}

/// How often a word is wrong. Calibrated scores are said not to be probabilities no more often than two tests at 5 % allow, and scores
/// whose slope is just outside of the limits are hardly ever called probabilities.
#[test]
fn words_keep_their_error_rate() {
    const WORLDS: u64 = 200;
    for (rows, offset) in [(300, -1.0), (1500, -3.2), (6000, -1.0)] {
        let judged = |stretch: f64| -> Vec<Judgement> {
            (0..WORLDS).map(|seed| judge_label(&balanced(rows, offset, stretch, 100 + seed), None, seed).judgement).collect()
        };
        let share = |found: &[Judgement], of: fn(&Judgement) -> bool| {
            found.iter().filter(|judgement| of(judgement)).count() as f64 / WORLDS as f64
        };
        let right: Vec<Judgement> =
            (0..WORLDS).map(|seed| judge_label(&stretched(rows, offset, 1.0, 0.0, 100 + seed), None, seed).judgement).collect();
        let denied = share(&right, |judgement| matches!(judgement, Judgement::Not(_)));
        assert!(denied < 0.10, "{rows} rows: {denied}");
        if rows == 6000 {
            assert!(share(&right, |judgement| *judgement == Judgement::Probabilities) > 0.85);
            let wrong = share(&judged(1.0 / 0.78), |judgement| *judgement == Judgement::Probabilities);
            assert!(wrong < 0.05, "{wrong}");
        }
    }
}

/// Scores that are right in train, on a split that has lost half of the negatives: at the prevalence of train they are probabilities,
/// and scores that are not are found out there too.
#[test]
fn a_shift_of_the_split_is_taken_out() {
    let halved = |stretch: f64| -> (Vec<(f32, u8)>, f64) {
        let all = balanced(16_000, -1.5, stretch, 6);
        let prevalence = all.iter().filter(|cell| cell.1 == 1).count() as f64 / all.len() as f64;
        (
            all.into_iter().enumerate().filter(|(row, cell)| cell.1 == 1 || row % 2 == 0).map(|(_, cell)| cell).collect(),
            prevalence,
        )
    };
    let (cells, prevalence) = halved(1.0);
    assert_eq!(judge_label(&cells, None, 0).judgement, Judgement::Not(Fault::Gap));
    let judged = judge_label(&cells, Some(prevalence), 0);
    assert_eq!(judged.judgement, Judgement::Probabilities, "{judged:?}");
    let (cells, prevalence) = halved(3.0);
    assert_eq!(judge_label(&cells, Some(prevalence), 0).judgement, Judgement::Not(Fault::Slope));
}

#[test]
fn equal_seeds_judge_alike_and_labels_one_by_one() {
    let (a, b) = (stretched(500, -1.0, 1.0, 0.0, 7), stretched(500, 0.5, 2.0, 0.0, 8));
    let scores: Vec<f32> = a.iter().zip(&b).flat_map(|(a, b)| [a.0, b.0]).collect();
    let values = a.iter().zip(&b).flat_map(|(a, b)| [a.1, b.1]).collect();
    let truth = LabelMatrix { names: Arc::new(["A".to_owned(), "B".to_owned()]), values };
    assert_eq!(judge(&scores, &truth, None, 9), [judge_label(&a, None, 9), judge_label(&b, None, 9)]);
    assert_eq!(judge(&scores, &truth, Some(&[0.1, 0.5]), 9)[1], judge_label(&b, Some(0.5), 9));
}
