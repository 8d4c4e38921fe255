//! Rows that show the same: a file that several rows name, equal files under several names, equal features. Where they lie in train and
//! in val or test, a model is judged on what it has seen.

use std::collections::HashMap;
use std::hash::Hash;

use super::table::Table;
use imbalance::LabelMatrix;
use imbalance::loss::IGNORED;
use imbalance::stratification::Split;

/// Numbers rows: equal keys have equal numbers, in the order of their first rows. A row without a key is like no other.
pub fn classes<K: Hash + Eq>(keys: impl Iterator<Item = Option<K>>) -> Vec<u32> {
    let mut numbers: HashMap<K, u32> = HashMap::new();
    let mut next = 0;
    let mut fresh = || {
        next += 1;
        next - 1
    };
    keys.map(|key| match key {
        None => fresh(),
        Some(key) => *numbers.entry(key).or_insert_with(&mut fresh),
    })
    .collect()
}

/// What there is to say about rows that show the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Things that several rows show.
    pub things: usize,
    /// Rows that show one of them.
    pub rows: usize,
    /// Things whose rows lie in more than one split.
    pub torn: usize,
    /// Things whose rows contradict each other about a label that both know.
    pub contradictory: usize,
}

impl Duplicates {
    /// Counts them; `split` where the rows are divided already.
    pub fn of(classes: &[u32], labels: &LabelMatrix, split: Option<&Split>) -> Self {
        // Most rows are like no other: only the others are gathered.
        let mut count = vec![0u32; classes.iter().max().map_or(0, |most| *most as usize + 1)];
        classes.iter().for_each(|&class| count[class as usize] += 1);
        let mut rows_of: HashMap<u32, Vec<u32>> = HashMap::new();
        for (row, &class) in classes.iter().enumerate().filter(|(_, class)| count[**class as usize] > 1) {
            rows_of.entry(class).or_default().push(row as u32);
        }
        let mut split_of = vec![0u8; classes.len()];
        if let Some(Split { val, test, .. }) = split {
            for (number, rows) in [(1, val), (2, test)] {
                rows.iter().for_each(|&row| split_of[row as usize] = number);
            }
        }
        let mut found = Self::default();
        for rows in rows_of.into_values() {
            let first = rows[0];
            found.things += 1;
            found.rows += rows.len();
            found.torn += usize::from(rows.iter().any(|&row| split_of[row as usize] != split_of[first as usize]));
            let contradict = |label: usize| {
                let mut known = rows.iter().map(|&row| labels.row(row as usize)[label]).filter(|value| *value != IGNORED);
                known.next().is_some_and(|one| known.any(|other| other != one))
            };
            found.contradictory += usize::from((0..labels.names.len()).any(contradict));
        }
        found
    }
}

/// Rows of one class become one group, with those that were grouped already.
pub fn group(table: &mut Table, classes: &[u32]) {
    let groups = joined(table.groups.as_deref(), classes);
    let mut names: Vec<String> = Vec::new();
    for (row, &group) in groups.iter().enumerate() {
        if group as usize == names.len() {
            let before = table.groups.as_ref().map(|groups| table.group_names[groups[row] as usize].clone());
            names.push(before.unwrap_or_else(|| table.ids[row].clone()));
        }
    }
    table.layout.groups = names.len();
    (table.groups, table.group_names) = (Some(groups), names);
}

/// The groups of rows that must stay together: those of `groups`, joined where `classes` are equal. Numbered in the order of their
/// first rows.
pub fn joined(groups: Option<&[u32]>, classes: &[u32]) -> Vec<u32> {
    let Some(groups) = groups else { return renumbered(classes.to_vec()) };
    let most = groups.iter().max().map_or(0, |most| *most as usize + 1);
    let mut parent: Vec<usize> = (0..most + classes.iter().max().map_or(0, |most| *most as usize + 1)).collect();
    fn root(parent: &mut [usize], mut of: usize) -> usize {
        while parent[of] != of {
            parent[of] = parent[parent[of]];
            of = parent[of];
        }
        of
    }
    for (&group, &class) in groups.iter().zip(classes) {
        let (a, b) = (root(&mut parent, group as usize), root(&mut parent, most + class as usize));
        parent[a.max(b)] = a.min(b);
    }
    renumbered(groups.iter().map(|&group| root(&mut parent, group as usize) as u32).collect())
}

fn renumbered(numbers: Vec<u32>) -> Vec<u32> {
    classes(numbers.into_iter().map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_that_show_the_same_are_counted() {
        let labels =
            LabelMatrix { names: vec!["a".to_owned(), "b".to_owned()].into(), values: vec![1, 0, 1, IGNORED, 0, 0, 1, 1, 0, 1] };
        let classes = classes(["x", "x", "y", "y", "z"].into_iter().map(Some));
        assert_eq!(classes, [0, 0, 1, 1, 2]);
        let split = Split { train: vec![0, 2], val: vec![1, 4], test: vec![3] };
        let found = Duplicates::of(&classes, &labels, Some(&split));
        assert_eq!(found, Duplicates { things: 2, rows: 4, torn: 2, contradictory: 1 });
        assert_eq!(Duplicates::of(&classes, &labels, None).torn, 0);
        assert_eq!(super::classes([None, Some(1), None, Some(1)].into_iter()), [0, 1, 2, 1]);
    }

    proptest! {
        /// Two rows are of one group exactly if a chain of equal groups and equal classes links them.
        #[test]
        fn groups_are_joined_by_what_rows_share(rows in prop::collection::vec((0..8u32, 0..8u32), 1..30)) {
            let (groups, classes): (Vec<u32>, Vec<u32>) = rows.iter().copied().unzip();
            let joined = joined(Some(&groups), &classes);
            let mut linked: Vec<Vec<bool>> = rows.iter().map(|a| rows.iter().map(|b| a.0 == b.0 || a.1 == b.1).collect()).collect();
            for _ in 0..5 {
                linked = (0..rows.len())
                    .map(|i| (0..rows.len()).map(|j| (0..rows.len()).any(|k| linked[i][k] && linked[k][j])).collect())
                    .collect();
            }
            for i in 0..rows.len() {
                for j in 0..rows.len() {
                    prop_assert_eq!(joined[i] == joined[j], linked[i][j]);
                }
            }
        }
    }
}
