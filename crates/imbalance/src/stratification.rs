//! Who is in train, val and test: iterative stratification (Sechidis et al., ECML PKDD 2011), random, a column, groups. Pure.

use crate::LabelMatrix;
use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// Rows of each split, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    pub train: Vec<u32>,
    pub val: Vec<u32>,
    pub test: Vec<u32>,
}

/// How rows are divided, unless the CSV has a split column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitConfig {
    pub train: f64,
    pub val: f64,
    pub test: f64,
    /// `iterative` (Sechidis 2011) or `random`.
    pub method: String,
    pub seed: u64,
}

/// Rows that cannot be divided so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The column puts rows of one group (by number) into two splits.
    #[error("the split column puts rows of the group {group} (from 0) into both {} and {}; a group must stay together", .splits[0], .splits[1])]
    TornGroup { group: u32, splits: [&'static str; 2] },
    /// A split without rows.
    #[error("no row is in the {split} split: {rows} rows in all; see `data.split` and the split column")]
    Empty { split: &'static str, rows: usize },
}

impl SplitError {
    /// The message with the group's name instead of its number.
    #[must_use]
    pub fn with_groups(&self, names: &[String]) -> String {
        match self {
            Self::TornGroup { group, splits: [a, b] } => {
                let name = names
                    .get(*group as usize)
                    .map_or_else(|| format!("{group} (from 0)"), |name| format!("`{}`", crate::shown::shown(name)));
                format!("the split column puts rows of the group {name} into both {a} and {b}; a group must stay together")
            }
            Self::Empty { .. } => self.to_string(),
        }
    }
}

/// Names of the splits, by number.
pub const NAMES: [&str; 3] = ["train", "val", "test"];
/// Their numbers.
pub const TRAIN: u8 = 0;
pub const VAL: u8 = 1;
pub const TEST: u8 = 2;

/// The number of a split's name as found in a CSV.
#[must_use]
pub fn parse(name: &str) -> Option<u8> {
    match name.trim().to_ascii_lowercase().as_str() {
        "train" | "training" => Some(TRAIN),
        "val" | "valid" | "validation" => Some(VAL),
        "test" | "testing" => Some(TEST),
        _ => None,
    }
}

/// Divides the rows. A split that `column` lacks (often val) is carved out of its train rows, in the configured proportions and by the
/// configured method. Rows of one group stay together.
///
/// # Errors
/// A group that the column tears apart, or a split without rows.
pub fn divide(
    labels: &LabelMatrix,
    column: Option<&[u8]>,
    groups: Option<&[u32]>,
    config: &SplitConfig,
) -> Result<Split, SplitError> {
    let mut assignment = column.map_or_else(|| vec![0; labels.rows()], <[u8]>::to_vec);
    if let (Some(column), Some(groups)) = (column, groups) {
        whole_groups(column, groups)?;
    }
    let shares = [config.train, config.val, config.test];
    let present = |split: usize| column.is_some_and(|column| column.iter().any(|&s| usize::from(s) == split));
    let open: Vec<usize> = (0..3).filter(|&split| split == 0 || !present(split)).collect();
    if open.len() > 1 {
        let rows: Vec<u32> = (0u32..).zip(&assignment).filter(|(_, split)| **split == 0).map(|(row, _)| row).collect();
        let units = Units::new(&rows, labels, groups);
        let wanted: Vec<f64> = open.iter().map(|&split| shares[split]).collect();
        let mut rng = Rng::new(config.seed, "split", &[]);
        let parts = if config.method == "random" { units.random(&wanted, &mut rng) } else { units.stratify(&wanted, &mut rng) };
        for (unit, part) in parts.into_iter().enumerate() {
            for &row in units.rows(unit) {
                assignment[row as usize] = open[part] as u8;
            }
        }
    }
    let rows_of = |split: u8| (0u32..).zip(&assignment).filter(|(_, s)| **s == split).map(|(row, _)| row).collect();
    let split = Split { train: rows_of(0), val: rows_of(1), test: rows_of(2) };
    for (name, rows) in NAMES.iter().zip([&split.train, &split.val, &split.test]) {
        if rows.is_empty() {
            return Err(SplitError::Empty { split: name, rows: labels.rows() });
        }
    }
    Ok(split)
}

/// Refuses a column that puts rows of one group into two splits.
fn whole_groups(column: &[u8], groups: &[u32]) -> Result<(), SplitError> {
    let mut seen = std::collections::HashMap::new();
    for (&split, &group) in column.iter().zip(groups) {
        let first = *seen.entry(group).or_insert(split);
        if first != split {
            return Err(SplitError::TornGroup { group, splits: [first, split].map(|split| NAMES[usize::from(split)]) });
        }
    }
    Ok(())
}

/// What is assigned as a whole: a row, or all rows of a group.
struct Units {
    /// Unit → its part of `rows`.
    bounds: Vec<usize>,
    rows: Vec<u32>,
    /// Unit → its part of `positives`: (label, rows of the unit that carry it).
    positive_bounds: Vec<usize>,
    positives: Vec<(u32, u32)>,
    labels: usize,
}

impl Units {
    fn new(rows: &[u32], labels: &LabelMatrix, groups: Option<&[u32]>) -> Self {
        let mut rows = rows.to_vec();
        let group = |row: u32| groups.map_or(row, |groups| groups[row as usize]);
        rows.sort_by_key(|&row| (group(row), row));
        let width = labels.names.len();
        let (mut bounds, mut positive_bounds, mut positives) = (vec![0], vec![0], Vec::new());
        let mut sums = vec![0u32; width];
        for (i, &row) in rows.iter().enumerate() {
            for (sum, &value) in sums.iter_mut().zip(labels.row(row as usize)) {
                *sum += u32::from(value);
            }
            if rows.get(i + 1).is_none_or(|&next| group(next) != group(row)) {
                bounds.push(i + 1);
                positives.extend((0u32..).zip(&sums).filter(|(_, sum)| **sum > 0).map(|(label, sum)| (label, *sum)));
                positive_bounds.push(positives.len());
                sums.fill(0);
            }
        }
        Self { bounds, rows, positive_bounds, positives, labels: width }
    }

    fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    fn rows(&self, unit: usize) -> &[u32] {
        &self.rows[self.bounds[unit]..self.bounds[unit + 1]]
    }

    fn positives(&self, unit: usize) -> &[(u32, u32)] {
        &self.positives[self.positive_bounds[unit]..self.positive_bounds[unit + 1]]
    }

    /// Units in random order, each to the part that still lacks most rows.
    fn random(&self, shares: &[f64], rng: &mut Rng) -> Vec<usize> {
        let mut lacking = portions(self.rows.len() as f64, shares);
        let mut order: Vec<usize> = (0..self.len()).collect();
        rng.shuffle(&mut order);
        let mut parts = vec![0; self.len()];
        for unit in order {
            let part = most(&lacking, |_| 0.0, rng);
            parts[unit] = part;
            lacking[part] -= self.rows(unit).len() as f64;
        }
        parts
    }

    /// Iterative stratification: the label with the fewest rows left is dealt out first, each of its units to the part that
    /// lacks most of that label, then most rows, then by chance; what carries no label goes where rows lack. Units come in random
    /// order: large ones first would send the dense groups to the largest part and unbalance the rows.
    fn stratify(&self, shares: &[f64], rng: &mut Rng) -> Vec<usize> {
        const OPEN: usize = usize::MAX;
        let mut carriers: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.labels];
        let mut left = vec![0u64; self.labels];
        let mut order: Vec<usize> = (0..self.len()).collect();
        rng.shuffle(&mut order);
        for &unit in &order {
            for &(label, count) in self.positives(unit) {
                carriers[label as usize].push((unit as u32, count));
                left[label as usize] += u64::from(count);
            }
        }
        let mut lacking = portions(self.rows.len() as f64, shares);
        let mut lacking_of: Vec<Vec<f64>> = left.iter().map(|&n| portions(n as f64, shares)).collect();
        let mut parts = vec![OPEN; self.len()];
        let mut take = |unit: usize, part: usize, lacking: &mut [f64], lacking_of: &mut [Vec<f64>], left: &mut [u64]| {
            parts[unit] = part;
            lacking[part] -= self.rows(unit).len() as f64;
            for &(label, count) in self.positives(unit) {
                lacking_of[label as usize][part] -= f64::from(count);
                left[label as usize] -= u64::from(count);
            }
        };
        let mut taken = vec![false; self.len()];
        loop {
            let fewest = left.iter().filter(|&&n| n > 0).min().copied();
            let Some(fewest) = fewest else { break };
            let rarest: Vec<usize> = (0..self.labels).filter(|&label| left[label] == fewest).collect();
            let label = rarest[rng.below(rarest.len() as u64) as usize];
            for (unit, _) in std::mem::take(&mut carriers[label]) {
                let unit = unit as usize;
                if !taken[unit] {
                    let part = most(&lacking_of[label], |part| lacking[part], rng);
                    taken[unit] = true;
                    take(unit, part, &mut lacking, &mut lacking_of, &mut left);
                }
            }
        }
        for unit in order {
            if !taken[unit] {
                let part = most(&lacking, |_| 0.0, rng);
                take(unit, part, &mut lacking, &mut lacking_of, &mut left);
            }
        }
        parts
    }
}

/// `total` divided in proportion to `shares`.
fn portions(total: f64, shares: &[f64]) -> Vec<f64> {
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|share| total * share / sum).collect()
}

/// The index of the largest of `first`, ties by the largest `second`, then by chance.
fn most(first: &[f64], second: impl Fn(usize) -> f64, rng: &mut Rng) -> usize {
    let key = |part: usize| (first[part], second(part));
    let mut best = vec![0];
    for part in 1..first.len() {
        match key(part).partial_cmp(&key(best[0])) {
            Some(std::cmp::Ordering::Greater) => best = vec![part],
            Some(std::cmp::Ordering::Equal) => best.push(part),
            _ => {}
        }
    }
    if best.len() == 1 { best[0] } else { best[rng.below(best.len() as u64) as usize] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(method: &str, seed: u64) -> SplitConfig {
        SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: method.to_owned(), seed }
    }

    /// Independent labels at the given rates.
    fn labels(rows: usize, rates: &[f64], seed: u64) -> LabelMatrix {
        let mut rng = Rng::new(seed, "test", &[]);
        let values =
            (0..rows).flat_map(|_| rates.iter().map(|rate| u8::from(rng.uniform() < *rate)).collect::<Vec<_>>()).collect();
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
    fn impossible_divisions_are_refused() {
        let labels = labels(9, &[0.5], 5);
        let torn = divide(&labels, Some(&[0, 0, 0, 1, 1, 1, 2, 2, 2]), Some(&[0, 1, 2, 3, 4, 5, 6, 7, 2]), &config("random", 0));
        assert!(
            torn.unwrap_err().with_groups(&["x", "y", "z"].map(str::to_owned)).contains("the group `z` into both train and test")
        );
        let none = divide(&labels.select(&[0, 1]), None, None, &config("random", 0));
        assert!(none.unwrap_err().to_string().contains("no row is in the"));
        let no_train = divide(&labels, Some(&[1, 1, 1, 1, 1, 1, 2, 2, 2]), None, &config("random", 0));
        assert!(no_train.unwrap_err().to_string().contains("no row is in the train split"));
    }

    #[test]
    fn a_quarter_of_a_million_rows_are_divided() {
        let labels = labels(224_000, &[0.0848, 0.2902, 0.1696, 0.4688, 0.01, 0.001, 0.02, 0.05], 0);
        let split = divide(&labels, None, None, &config("iterative", 0)).unwrap();
        assert!(deviation(&labels, &split) <= 8.0);
    }
}
