use super::*;

fn config(method: &str, seed: u64) -> SplitConfig {
    SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: method.to_owned(), seed }
}

/// Independent labels at the given rates.
fn labels(rows: usize, rates: &[f64], seed: u64) -> LabelMatrix {
    let mut rng = Rng::new(seed, "test", &[]);
    let values = (0..rows).flat_map(|_| rates.iter().map(|rate| u8::from(rng.uniform() < *rate)).collect::<Vec<_>>()).collect();
    LabelMatrix { names: (0..rates.len()).map(|k| k.to_string()).collect(), values }
}

fn parts(split: &Split) -> [(&[u32], f64); 3] {
    [(&split.train, 0.7), (&split.val, 0.15), (&split.test, 0.15)]
}

/// Largest |n_l^j - r_j n_l| over labels and splits.
fn deviation(labels: &LabelMatrix, split: &Split) -> f64 {
    let all = labels.counts();
    let of = |(rows, share): (&[u32], f64)| {
        let counts = labels.select(rows).counts();
        let each = counts.positives.iter().zip(&all.positives).map(|(n, total)| (*n as f64 - share * *total as f64).abs());
        each.fold(0.0, f64::max)
    };
    parts(split).map(of).into_iter().fold(0.0, f64::max)
}

#[test]
fn every_row_is_in_one_split_and_shares_are_kept() {
    for method in ["iterative", "random"] {
        let labels = labels(1003, &[0.3, 0.1, 0.02], 1);
        let split = divide(&labels, None, None, &config(method, 3)).unwrap();
        let mut all: Vec<u32> = parts(&split).iter().flat_map(|(rows, _)| rows.to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..1003).collect::<Vec<_>>());
        for (rows, share) in parts(&split) {
            assert!((rows.len() as f64 - share * 1003.0).abs() <= 3.0, "{method}: {}", rows.len());
            assert!(rows.is_sorted());
        }
        assert_eq!(split, divide(&labels, None, None, &config(method, 3)).unwrap());
        assert_ne!(split, divide(&labels, None, None, &config(method, 4)).unwrap());
    }
}

#[test]
fn stratification_keeps_every_label_in_proportion() {
    let rates = [0.5, 0.3, 0.1, 0.03, 0.01, 0.004];
    for seed in 0..5 {
        let labels = labels(5000, &rates, seed);
        let iterative = deviation(&labels, &divide(&labels, None, None, &config("iterative", seed)).unwrap());
        let random = deviation(&labels, &divide(&labels, None, None, &config("random", seed)).unwrap());
        assert!(iterative <= 3.0, "seed {seed}: {iterative}");
        assert!(random > 2.0 * iterative, "seed {seed}: {random} and {iterative}");
    }
}

#[test]
fn groups_stay_together() {
    let labels = labels(2000, &[0.3, 0.05], 2);
    let mut rng = Rng::new(0, "test groups", &[]);
    let groups: Vec<u32> = (0..2000).map(|_| rng.below(300) as u32).collect();
    for method in ["iterative", "random"] {
        let split = divide(&labels, None, Some(&groups), &config(method, 0)).unwrap();
        let mut home = [None; 300];
        for (part, (rows, share)) in parts(&split).into_iter().enumerate() {
            assert!((rows.len() as f64 - share * 2000.0).abs() < 40.0, "{method}: {} rows", rows.len());
            for &row in rows {
                let group = groups[row as usize] as usize;
                assert_eq!(*home[group].get_or_insert(part), part);
            }
        }
        if method == "iterative" {
            assert!(deviation(&labels, &split) < 8.0, "{}", deviation(&labels, &split));
        }
    }
}

#[test]
fn a_column_is_kept_and_a_missing_val_is_carved_out_of_train() {
    let labels = labels(1000, &[0.3, 0.1], 5);
    let column: Vec<u8> = (0..1000).map(|row| if row < 800 { 0 } else { 2 }).collect();
    let split = divide(&labels, Some(&column), None, &config("iterative", 0)).unwrap();
    assert_eq!(split.test, (800..1000).collect::<Vec<_>>());
    assert!((split.val.len() as f64 - 800.0 * 0.15 / 0.85).abs() <= 2.0, "{}", split.val.len());
    let whole: Vec<u8> = (0..1000).map(|row| row as u8 % 3).collect();
    let split = divide(&labels, Some(&whole), None, &config("iterative", 0)).unwrap();
    assert_eq!(split.val, (0..1000).filter(|row| *row as u8 % 3 == 1).collect::<Vec<u32>>());
}

#[test]
fn a_torn_group_is_refused_and_a_split_may_stay_empty() {
    let labels = labels(9, &[0.5], 5);
    let torn = divide(&labels, Some(&[0, 0, 0, 1, 1, 1, 2, 2, 2]), Some(&[0, 1, 2, 3, 4, 5, 6, 7, 2]), &config("random", 0));
    assert!(
        torn.unwrap_err().with_groups(&["x", "y", "z"].map(str::to_owned)).contains("the group `z` into both train and test")
    );
    let sizes = |split: Split| parts(&split).map(|(rows, _)| rows.len());
    for method in ["iterative", "random"] {
        assert_eq!(sizes(divide(&labels.select(&[0, 1]), None, None, &config(method, 0)).unwrap()).iter().sum::<usize>(), 2);
        assert_eq!(sizes(divide(&labels.select(&[0, 1, 2]), None, None, &config(method, 0)).unwrap()), [1, 1, 1]);
        assert_eq!(sizes(divide(&labels.select(&[]), None, None, &config(method, 0)).unwrap()), [0, 0, 0]);
    }
    let no_train = divide(&labels, Some(&[1, 1, 1, 1, 1, 1, 2, 2, 2]), None, &config("random", 0)).unwrap();
    assert_eq!(sizes(no_train), [0, 6, 3]);
}

/// A split that gives every label all it can have stays what it was before labels were seen to (0.1): its runs keep their names.
#[test]
fn a_split_that_reaches_every_label_stays_bit_for_bit() {
    let labels = labels(60, &[0.4, 0.2, 0.1], 8);
    let iterative = divide(&labels, None, None, &config("iterative", 0)).unwrap();
    assert_eq!((iterative.val.as_slice(), iterative.test.as_slice()), (&PINNED[0][..], &PINNED[1][..]));
    let random = divide(&labels, None, None, &config("random", 1)).unwrap();
    assert_eq!((random.val.as_slice(), random.test.as_slice()), (&PINNED[2][..], &PINNED[3][..]));
}

/// Val and test of the iterative division, and of the random one.
const PINNED: [[u32; 9]; 4] = [
    [1, 16, 17, 18, 19, 44, 48, 54, 59],
    [8, 10, 32, 40, 43, 46, 47, 49, 51],
    [4, 12, 17, 25, 37, 39, 43, 50, 53],
    [7, 13, 15, 16, 38, 41, 42, 47, 54],
];

/// Splits that each label is in, of those that it could be in: units (rows or groups) that carry it, and whether each split has it.
fn reach(labels: &LabelMatrix, groups: Option<&[u32]>, split: &Split) -> Vec<(usize, [bool; 3])> {
    let positive = |row: u32, label: usize| labels.row(row as usize)[label] == 1;
    let unit = |row: u32| groups.map_or(row, |groups| groups[row as usize]);
    let of_label = |label: usize| {
        let carriers = (0..labels.rows() as u32).filter(|&row| positive(row, label)).map(unit);
        let units = carriers.collect::<std::collections::BTreeSet<u32>>().len();
        (units, parts(split).map(|(rows, _)| rows.iter().any(|&row| positive(row, label))))
    };
    (0..labels.names.len()).map(of_label).collect()
}

#[test]
fn every_label_reaches_every_split() {
    let shapes: [(usize, Vec<f64>, u32); 6] = [
        (10, vec![0.35, 0.4], 10),
        (40, vec![0.5, 0.1, 0.08, 0.95], 40),
        (300, vec![0.012; 45], 300),
        (300, (1..=45).map(|k| 0.4 / f64::from(k)).collect(), 150),
        (1500, (1..=159).map(|k| 0.3 / f64::from(k)).collect(), 1500),
        (600, vec![0.004, 0.006, 0.01, 0.02, 0.3], 60),
    ];
    for (rows, rates, groups) in &shapes {
        for seed in 0..12 {
            let labels = labels(*rows, rates, seed);
            let mut rng = Rng::new(seed, "test groups", &[]);
            let of_row: Vec<u32> = (0..*rows).map(|_| rng.below(u64::from(*groups)) as u32).collect();
            let grouped = Some(of_row.as_slice()).filter(|_| (*groups as usize) < *rows);
            for method in ["iterative", "random"] {
                let split = divide(&labels, None, grouped, &config(method, seed)).unwrap();
                for (label, (units, [train, val, test])) in reach(&labels, grouped, &split).into_iter().enumerate() {
                    let wanted = match units {
                        0 => true,
                        1 => train,
                        2 => train && (val || test),
                        _ => train && val && test,
                    };
                    assert!(wanted, "{rows} rows, {method}, seed {seed}: label {label} of {units} units: {train} {val} {test}");
                }
                // Of groups that hold the only positive of some label in a split, few can move.
                let tolerance = if grouped.is_some() { 0.03 * *rows as f64 } else { 2.0 };
                for (part, share) in parts(&split) {
                    let off = (part.len() as f64 - share * *rows as f64).abs();
                    assert!(off <= tolerance, "{rows} rows, {method}, seed {seed}: {} for {share}", part.len());
                }
            }
        }
    }
}

/// A column that gives test: val is carved out of train, and gets a positive of every label that train can spare.
#[test]
fn a_carved_val_gets_every_label_that_train_can_spare() {
    for seed in 0..20 {
        let labels = labels(200, &[0.015; 12], seed);
        let column: Vec<u8> = (0..200).map(|row| if row < 150 { TRAIN } else { TEST }).collect();
        for method in ["iterative", "random"] {
            let split = divide(&labels, Some(&column), None, &config(method, seed)).unwrap();
            assert_eq!(split.test, (150..200).collect::<Vec<u32>>());
            let open = labels.select(&(0..150).collect::<Vec<u32>>()).counts();
            for (label, (_, [train, val, _])) in reach(&labels, None, &split).into_iter().enumerate() {
                assert_eq!(
                    (train, val),
                    (open.positives[label] > 0, open.positives[label] > 1),
                    "{method}, seed {seed}, {label}"
                );
            }
        }
    }
}

/// What a division misses, as counts: splits without rows and labels with one class in train; labels that could be in all splits,
/// and other labels, that miss one. Splits are sets of rows, as bits.
fn missed(labels: &LabelMatrix, splits: [u32; 3]) -> [u32; 3] {
    let mut missed = [splits.iter().filter(|rows| **rows == 0).count() as u32, 0, 0];
    let all = splits.iter().fold(0, |all, rows| all | rows);
    for label in 0..labels.names.len() {
        let carriers = (0..labels.rows()).filter(|&row| labels.row(row)[label] == 1).fold(0u32, |set, row| set | 1 << row);
        let frequent = 2 * carriers.count_ones() > all.count_ones();
        missed[0] += u32::from(carriers != 0 && carriers & splits[0] == 0);
        missed[0] += u32::from(frequent && carriers != all && splits[0] & !carriers == 0);
        let others = splits[1..].iter().filter(|rows| **rows & carriers != 0).count() as u32;
        let wanted = carriers.count_ones().min(3).saturating_sub(1);
        missed[if carriers.count_ones() < 3 { 2 } else { 1 }] += wanted.saturating_sub(others);
    }
    missed
}

/// What both methods miss, after all divisions have been tried and none misses less.
fn least(labels: &LabelMatrix, seed: u64) -> [u32; 3] {
    let rows = labels.rows() as u32;
    let every = (0..3u32.pow(rows)).map(|code| {
        let mut splits = [0; 3];
        (0..rows).for_each(|row| splits[(code / 3u32.pow(row) % 3) as usize] |= 1 << row);
        missed(labels, splits)
    });
    let least = every.min().unwrap();
    for method in ["iterative", "random"] {
        let split = divide(labels, None, None, &config(method, seed)).unwrap();
        let found = missed(labels, parts(&split).map(|(rows, _)| rows.iter().fold(0, |set, row| set | 1 << row)));
        assert_eq!(found, least, "{method}, seed {seed}");
    }
    least
}

/// Where labels share rows, mending one may break another, and not all can be mended.
#[test]
fn no_division_of_small_data_reaches_more() {
    let mut impossible = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed, "test small", &[]);
        let rates: Vec<f64> = (0..=rng.below(11)).map(|_| 0.25 + 0.3 * rng.uniform() * rng.uniform()).collect();
        impossible += u32::from(least(&labels(8, &rates, seed), seed)[..2] != [0; 2]);
    }
    assert!((10..90).contains(&impossible), "{impossible}");
}

/// Seven labels of three rows, any two of which share a row: no two rows may be in one split, and there are seven.
#[test]
fn the_fano_plane_cannot_be_divided() {
    let lines = [[0, 1, 2], [0, 3, 4], [0, 5, 6], [1, 3, 5], [1, 4, 6], [2, 3, 6], [2, 4, 5]];
    let values = (0..7).flat_map(|row| lines.map(|line: [usize; 3]| u8::from(line.contains(&row)))).collect();
    let labels = LabelMatrix { names: (0..7).map(|k: usize| k.to_string()).collect(), values };
    let [unusable, absent, _] = least(&labels, 0);
    assert!(unusable == 0 && absent > 0);
}

#[test]
fn a_quarter_of_a_million_rows_are_divided() {
    let labels = labels(224_000, &[0.0848, 0.2902, 0.1696, 0.4688, 0.01, 0.001, 0.02, 0.05], 0);
    let split = divide(&labels, None, None, &config("iterative", 0)).unwrap();
    assert!(deviation(&labels, &split) <= 8.0);
}
