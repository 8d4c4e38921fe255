//! The resampling algorithms of Charte et al., replayed step by step with everything counted anew, as their pseudo-code does.

use proptest::prelude::*;

use super::*;
use crate::diagnosis::diagnose;
use crate::loss::IGNORED;
use crate::rng::Rng;

/// Labels of up to four kinds in up to 80 rows; some labels may have no positives, and half of the matrices have unknown cells.
fn labels() -> impl Strategy<Value = LabelMatrix> {
    (1usize..=4, prop::sample::select(vec![0, IGNORED])).prop_flat_map(|(labels, other)| {
        let cell = prop::sample::select(vec![0u8, 0, other, 1]);
        prop::collection::vec(prop::collection::vec(cell, labels), 1..80).prop_map(move |rows| {
            let names = ["a", "b", "c", "d"];
            matrix(&names[..labels], rows.concat())
        })
    })
}

/// IRLbl of each label of these rows; infinite without positives. And the mean over those that have some.
fn ratios(train: &LabelMatrix, rows: &[u32]) -> (Vec<f64>, f64) {
    let counts = train.select(rows).counts().positives;
    let most = counts.iter().copied().max().unwrap_or(0) as f64;
    let ratios: Vec<f64> = counts.iter().map(|&count| most / count as f64).collect();
    let present: Vec<f64> = ratios.iter().copied().filter(|ratio| ratio.is_finite()).collect();
    let mean = present.iter().sum::<f64>() / present.len() as f64;
    (ratios, mean)
}

fn has(train: &LabelMatrix, row: u32, label: usize) -> bool {
    train.row(row as usize)[label] == 1
}

proptest! {
    /// Algorithm 3: who may take a turn, whose rows are cloned, when it ends.
    #[test]
    fn ml_ros_follows_its_pseudo_code(train in labels(), percent in 0.0f64..200.0, seed: u64) {
        let quota = (train.rows() as f64 * percent / 100.0).round() as usize;
        let clones = ml_ros::clones(percent, &train, Rng::new(seed, "test", &[]));
        let mut rows: Vec<u32> = (0..train.rows() as u32).collect();
        let (first, mean) = ratios(&train, &rows);
        let mut turns: Vec<usize> = (0..first.len()).filter(|&label| first[label].is_finite() && first[label] > mean).collect();
        let (mut at, mut next) = (0, clones.iter());
        while rows.len() - train.rows() < quota && !turns.is_empty() {
            at %= turns.len();
            let Some(&clone) = next.next() else { panic!("{} clones of {quota}, and {turns:?} still to serve", clones.len()) };
            prop_assert!(has(&train, clone, turns[at]), "a clone of another bag");
            rows.push(clone);
            if ratios(&train, &rows).0[turns[at]] <= mean { turns.remove(at); } else { at += 1; }
        }
        prop_assert!(next.next().is_none());
    }

    /// Algorithm 4.
    #[test]
    fn ml_rus_follows_its_pseudo_code(train in labels(), percent in 0.0f64..99.0, protect: bool, seed: u64) {
        let quota = (train.rows() as f64 * percent / 100.0).round() as usize;
        let deleted = ml_rus::deleted(percent, protect, &train, Rng::new(seed, "test", &[]));
        let mut rows: Vec<u32> = (0..train.rows() as u32).collect();
        let (first, mean) = ratios(&train, &rows);
        let minority: Vec<usize> = (0..first.len()).filter(|&label| first[label].is_finite() && first[label] > mean).collect();
        let free = |row: u32| !protect || !minority.iter().any(|&label| has(&train, row, label));
        let mut turns: Vec<usize> = (0..first.len()).filter(|&label| first[label] < mean).collect();
        let (mut at, mut next) = (0, deleted.iter());
        while train.rows() - rows.len() < quota && !turns.is_empty() {
            at %= turns.len();
            let label = turns[at];
            if !rows.iter().any(|&row| has(&train, row, label) && free(row)) {
                turns.remove(at);
                continue;
            }
            let Some(&gone) = next.next() else { panic!("{} of {quota} deleted, and {turns:?} still to serve", deleted.len()) };
            prop_assert!(has(&train, gone, label) && free(gone));
            let before = rows.len();
            rows.retain(|&row| row != gone);
            prop_assert_eq!(rows.len(), before - 1, "deleted twice");
            if ratios(&train, &rows).0[label] >= mean { turns.remove(at); } else { at += 1; }
        }
        prop_assert!(next.next().is_none());
    }

    /// Equal shares, and what one bag cannot take goes to the others: raised one row at a time, the least served first.
    #[test]
    fn rows_are_divided_evenly(total in 0usize..200, room in prop::collection::vec(0usize..40, 1..8)) {
        let ours = lp::divide(total, &room);
        let mut expected = vec![0; room.len()];
        for _ in 0..total.min(room.iter().sum()) {
            // On ties the fuller bag waits, which is where the odd rows go.
            let open = (0..room.len()).filter(|&bag| expected[bag] < room[bag]);
            let bag = open.min_by_key(|&bag| (expected[bag], std::cmp::Reverse(room[bag]))).unwrap();
            expected[bag] += 1;
        }
        prop_assert_eq!(ours.iter().sum::<usize>(), expected.iter().sum::<usize>());
        for (bag, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            prop_assert!(ours <= &room[bag] && ours.abs_diff(*expected) <= 1, "{:?} of {:?}: {:?}", ours, room, expected);
        }
    }

    #[test]
    fn lp_fills_up_and_cuts_down_to_the_mean(train in labels(), percent in 0.0f64..99.0, seed: u64) {
        let bags = lp::bags(&train);
        let (rows, quota) = (train.rows(), (train.rows() as f64 * percent / 100.0).round() as usize);
        prop_assert_eq!(bags.len(), diagnose(&train).labelsets.distinct);
        let mean = rows as f64 / bags.len() as f64;
        let clones = lp_ros::clones(percent, &bags, rows, Rng::new(seed, "test", &[]));
        let gone = lp_rus::deleted(percent, &bags, rows, Rng::new(seed, "test", &[]));
        prop_assert!(clones.len() <= quota && gone.len() <= quota);
        let (mut lacking, mut over) = (0, 0);
        for bag in &bags {
            let of = |rows: &[u32]| rows.iter().filter(|row| bag.contains(row)).count();
            let (size, added, removed) = (bag.len() as f64, of(&clones), of(&gone));
            prop_assert!(added == 0 || size + added as f64 <= mean);
            prop_assert!(removed == 0 || size - removed as f64 >= mean);
            lacking += (mean - size).max(0.0).floor() as usize;
            over += (size - mean).max(0.0).floor() as usize;
        }
        prop_assert_eq!((clones.len(), gone.len()), (quota.min(lacking), quota.min(over)));
        let mut distinct = gone.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), gone.len(), "nothing goes twice");
    }

    /// Neighbours and labels by brute force.
    #[test]
    fn mlsmote_starts_from_the_nearest_rows_of_the_label(train in labels(), k in 1usize..6, numbers in prop::collection::vec(-3i8..3, 80 * 11)) {
        let features: Vec<f32> = numbers[..train.rows() * 11].iter().map(|&number| number.into()).collect();
        let all: Vec<u32> = (0..train.rows() as u32).collect();
        let (first, mean) = ratios(&train, &all);
        for by in ["ranking", "union", "intersection"] {
            let mut seeds = mlsmote::seeds(&train, &features, k, by, &|_, _| {}).into_iter();
            for label in (0..first.len()).filter(|&label| first[label].is_finite() && first[label] > mean) {
                let bag: Vec<u32> = all.iter().copied().filter(|&row| has(&train, row, label)).collect();
                for &row in bag.iter().filter(|_| bag.len() > 1) {
                    let input = |row: u32| &features[row as usize * 11..][..11];
                    let squared = |other: u32| input(row).iter().zip(input(other)).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
                    let mut near: Vec<(f32, u32)> = bag.iter().filter(|&&other| other != row).map(|&other| (squared(other), other)).collect();
                    near.sort_by(|a, b| a.partial_cmp(b).unwrap());
                    near.truncate(k);
                    let seed = seeds.next().unwrap();
                    prop_assert_eq!(seed.row, row);
                    prop_assert!(seed.neighbours.iter().eq(near.iter().map(|(_, other)| other)));
                    for (other, &on) in seed.labels.iter().enumerate() {
                        let voters = || near.iter().map(|(_, row)| *row).chain([row]).filter(|&row| train.row(row as usize)[other] != IGNORED);
                        let having = voters().filter(|&row| has(&train, row, other)).count();
                        let expected = match by {
                            _ if voters().count() == 0 => IGNORED,
                            "union" => u8::from(having >= 1),
                            "intersection" => u8::from(having == voters().count()),
                            _ => u8::from(having as f64 > voters().count() as f64 / 2.0),
                        };
                        prop_assert_eq!(on, expected, "{} of {} by {}", having, voters().count(), by);
                    }
                }
            }
            prop_assert!(seeds.next().is_none());
        }
    }

    /// Which rows become two, by SCUMBLE as the diagnosis counts it, and that no copy says anything false.
    #[test]
    fn remedial_splits_the_rows_in_which_rare_meets_frequent(train in labels()) {
        let all: Vec<u32> = (0..train.rows() as u32).collect();
        let (first, mean) = ratios(&train, &all);
        let scumble = |row: u32| {
            let active: Vec<f64> = (0..first.len()).filter(|&label| has(&train, row, label)).map(|label| first[label]).collect();
            let n = active.len() as f64;
            if active.is_empty() { 0.0 } else { 1.0 - active.iter().product::<f64>().powf(1.0 / n) / (active.iter().sum::<f64>() / n) }
        };
        let average = diagnose(&train).scumble;
        let split = remedial::split(&train, IGNORED);
        for &row in &all {
            let found = split.iter().find(|(split, _)| *split == row);
            if (scumble(row) - average).abs() > 1e-9 {
                prop_assert_eq!(found.is_some(), scumble(row) > average);
            }
            let Some((_, [minority, majority])) = found else { continue };
            for label in 0..first.len() {
                let (rare, y) = (first[label] > mean, train.row(row as usize)[label]);
                let expected = match (y, rare) { (0 | IGNORED, _) => (y, y), (_, true) => (1, IGNORED), (_, false) => (IGNORED, 1) };
                prop_assert_eq!((minority[label], majority[label]), expected);
            }
        }
        let zero = remedial::split(&train, 0);
        let clear = |row: u32, labels: &[u8]| {
            labels.iter().zip(train.row(row as usize)).map(|(&y, &own)| if own == 1 { y % 2 } else { y }).collect::<Box<[u8]>>()
        };
        prop_assert!(zero.iter().zip(&split).all(|((a, ours), (b, theirs))| a == b && ours.iter().zip(theirs).all(|(ours, theirs)| *ours == clear(*a, theirs))));
    }
}

/// Clones are drawn evenly from their bags (chi-square over seeds).
#[test]
fn clones_are_drawn_evenly() {
    // One rare label of 20 rows, one frequent one.
    let values = (0..400).flat_map(|row| [u8::from(row < 20), u8::from(row % 2 == 0)]).collect();
    let train = matrix(&["a", "b"], values);
    let bags = lp::bags(&train);
    let mut drawn = [[0f64; 20]; 2];
    let seeds = 500;
    for seed in 0..seeds {
        // 12 clones do not bring the rare label down to the mean yet.
        let ml = ml_ros::clones(3.0, &train, Rng::new(seed, "test", &[]));
        let lp = lp_ros::clones(10.0, &bags, 400, Rng::new(seed, "test", &[]));
        assert_eq!((ml.len(), lp.len()), (12, 40));
        ml.into_iter().for_each(|row| drawn[0][row as usize] += 1.0);
        lp.into_iter().for_each(|row| drawn[1][row as usize] += 1.0);
    }
    for (drawn, clones) in drawn.into_iter().zip([12.0, 40.0]) {
        let expected = seeds as f64 * clones / 20.0;
        let chi: f64 = drawn.iter().map(|drawn| (drawn - expected).powi(2) / expected).sum();
        // Two sets of labels of ten rows each share LP-ROS's clones evenly by design, which costs a degree of freedom.
        assert!(plausible(chi, 18.5), "{chi}: {drawn:?}");
    }
}

#[test]
fn resampling_moves_the_prevalences_the_way_it_says() {
    let train = seed_labels(20_000);
    let realised = |name: &str| realised(&sampler(name, &train).draws(0, 0), &train);
    let before = realised("shuffle");
    assert_eq!((before.duplicates, before.never_drawn, before.made_up), (0.0, 0.0, 0.0));
    // C is just above the mean and has enough at once; A takes all turns until its IRLbl of 5.5 has come down to the mean of 2.7.
    let ml = realised("ml_ros");
    assert!(ml.duplicates > 0.08 && ml.duplicates < 0.2 && ml.never_drawn == 0.0, "{ml:?}");
    assert!((ml.prevalence[3] / ml.prevalence[0] - 2.73).abs() < 0.05, "{ml:?}");
    let rus = realised("ml_rus");
    assert!(rus.never_drawn > 0.1 && rus.prevalence[3] < before.prevalence[3] - 0.05 && rus.duplicates == 0.0, "{rus:?}");
    let protected = realised("ml_rus(protect=1)");
    assert!(protected.prevalence[0] > rus.prevalence[0], "{protected:?}");
    let lp = realised("lp_ros");
    assert!((lp.duplicates - 0.2).abs() < 1e-9 && lp.prevalence[0] > before.prevalence[0] + 0.1, "{lp:?}");
    assert!((realised("lp_rus").never_drawn - 0.25).abs() < 1e-9);
    let smote = realised("mlsmote(k=3)");
    assert!(smote.made_up > 0.15 && smote.duplicates == 0.0 && smote.prevalence[0] > before.prevalence[0] + 0.05, "{smote:?}");
    // Masked copies leave each label's positives as they were and show its negatives more often.
    let remedial = realised("remedial");
    assert!(remedial.made_up > 0.1 && remedial.shift < 0.05, "{remedial:?}");
}

#[test]
fn a_blend_lies_in_the_box_between_its_rows() {
    let (a, b) = ([0.0f32, 1.0, -5.0, 2.0], [1.0f32, -1.0, -5.0, 4.0]);
    let mix = |key| {
        let mut row = a;
        Blend { partner: 0, key }.mix(&mut row, &b);
        row
    };
    let mut sum = [0.0; 4];
    for key in 0..1000 {
        let row = mix(key);
        for ((x, sum), (a, b)) in row.iter().zip(&mut sum).zip(a.iter().zip(&b)) {
            assert!(a.min(*b) <= *x && *x <= a.max(*b));
            *sum += f64::from(*x) / 1000.0;
        }
        assert!((row[0] - (row[3] - 2.0) / 2.0).abs() > 1e-6, "every number has a share of its own");
    }
    for (mean, expected) in sum.iter().zip([0.5, 0.0, -5.0, 3.0]) {
        assert!((mean - expected).abs() < 0.08, "{sum:?}");
    }
    assert_eq!(mix(3), mix(3));
}
