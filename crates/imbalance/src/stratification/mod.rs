//! Who is in train, val and test: iterative stratification (Sechidis et al., ECML PKDD 2011), random, a column, groups. Pure.

mod coverage;
#[cfg(test)]
mod tests;
mod units;

use serde::{Deserialize, Serialize};

use crate::LabelMatrix;
use crate::rng::Rng;
use units::Units;

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

/// A split column that puts rows of one group (by number) into two splits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the split column puts rows of the group {group} (from 0) into both {} and {}; a group must stay together", .splits[0], .splits[1])]
pub struct TornGroup {
    pub group: u32,
    pub splits: [&'static str; 2],
}

impl TornGroup {
    /// The message with the group's name instead of its number.
    #[must_use]
    pub fn with_groups(&self, names: &[String]) -> String {
        let Self { group, splits: [a, b] } = self;
        let name = names
            .get(*group as usize)
            .map_or_else(|| format!("{group} (from 0)"), |name| format!("`{}`", crate::shown::shown(name)));
        format!("the split column puts rows of the group {name} into both {a} and {b}; a group must stay together")
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
/// By either method and with any seed, each label that three or more rows (or groups) carry is in every split that is made here, one
/// that two carry is in train and in one more, and one that a single row carries is in train; the same holds for the rows that are
/// known not to carry a label that other rows do not know (docs/strategies.md#diagnosis says how, and where that cannot be). With
/// fewer rows or groups than splits, a split stays empty.
///
/// # Errors
/// A group that the column tears apart.
pub fn divide(
    labels: &LabelMatrix,
    column: Option<&[u8]>,
    groups: Option<&[u32]>,
    config: &SplitConfig,
) -> Result<Split, TornGroup> {
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
        let parts = coverage::cover(&units, &wanted, parts, &mut Rng::new(config.seed, "split coverage", &[]));
        for (unit, part) in parts.into_iter().enumerate() {
            for &row in units.rows(unit) {
                assignment[row as usize] = open[part] as u8;
            }
        }
    }
    let rows_of = |split: u8| (0u32..).zip(&assignment).filter(|(_, s)| **s == split).map(|(row, _)| row).collect();
    Ok(Split { train: rows_of(TRAIN), val: rows_of(VAL), test: rows_of(TEST) })
}

/// Refuses a column that puts rows of one group into two splits.
fn whole_groups(column: &[u8], groups: &[u32]) -> Result<(), TornGroup> {
    let mut seen = std::collections::HashMap::new();
    for (&split, &group) in column.iter().zip(groups) {
        let first = *seen.entry(group).or_insert(split);
        if first != split {
            return Err(TornGroup { group, splits: [first, split].map(|split| NAMES[usize::from(split)]) });
        }
    }
    Ok(())
}
