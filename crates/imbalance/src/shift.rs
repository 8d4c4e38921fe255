//! Labels that are more or less frequent in a split than in train (label shift): whatever a model learnt in train, its mean score is
//! then off in that split, and no strategy is to blame. Pure.

use crate::LabelCounts;

/// A label whose prevalence differs between train and another split, by more than chance and by enough to matter.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Shift {
    /// By position.
    pub label: usize,
    /// Share of positives among the rows of train and of the split that know it.
    pub train: f64,
    pub split: f64,
    /// [`probability`] of a difference as large, were the rows dealt by chance; for one label.
    pub p: f64,
}

/// A difference matters from here on, absolutely or as a ratio.
const DIFFERENCE: f64 = 0.03;
const RATIO: f64 = 1.5;
/// Of all labels together, chance gives a shift with at most this probability (Bonferroni).
const LEVEL: f64 = 0.01;

/// The labels that have shifted between train and another split, the largest difference first.
#[must_use]
pub fn shifts(train: &LabelCounts, split: &LabelCounts) -> Vec<Shift> {
    let labels = train.positives.len().max(1) as f64;
    let of = |(label, (&k, &n)): (usize, (&usize, &usize))| {
        let known = [train, split].map(|counts| counts.known(label));
        if known.contains(&0) {
            return None;
        }
        let [before, after] = [train, split].map(|counts| counts.prevalence(label));
        let matters = (after - before).abs() >= DIFFERENCE || after.max(before) >= RATIO * after.min(before);
        let p = if matters { probability([k, known[0]], [n, known[1]]) } else { 1.0 };
        (matters && p * labels <= LEVEL).then_some(Shift { label, train: before, split: after, p })
    };
    let mut found: Vec<Shift> = train.positives.iter().zip(&split.positives).enumerate().filter_map(of).collect();
    found.sort_by(|one, other| (other.split - other.train).abs().total_cmp(&(one.split - one.train).abs()));
    found
}

/// The probability of a split as far from its expected positives as this one, were its rows drawn from all by chance: twice the smaller
/// tail of the hypergeometric distribution (Fisher's exact test), at most 1. Each pair is `[positives, rows]`; rows of one group are
/// not independent, and then it is too small.
#[must_use]
pub fn probability([k, train]: [usize; 2], [n, split]: [usize; 2]) -> f64 {
    let (positives, rows) = (k + n, train + split);
    let below = tail(n, positives, split, rows);
    // As many positives or more are as many negatives or fewer.
    let above = tail(split - n, rows - positives, split, rows);
    (2.0 * below.min(above)).min(1.0)
}

/// P(X <= x) for X of `of` marked ones among `drawn` of `all`.
fn tail(x: usize, of: usize, drawn: usize, all: usize) -> f64 {
    let choose = |n: usize, k: usize| {
        let gamma = |n: usize| libm::lgamma(n as f64 + 1.0);
        gamma(n) - gamma(k) - gamma(n - k)
    };
    let least = (of + drawn).saturating_sub(all);
    // From x downwards, each term from the one above it, until they no longer count.
    let mut term = libm::exp(choose(of, x) + choose(all - of, drawn - x) - choose(all, drawn));
    let (mut sum, mut at) = (term, x);
    while at > least && term > sum * f64::EPSILON {
        let (x, of, drawn, all) = (at as f64, of as f64, drawn as f64, all as f64);
        term *= x * (all - of - drawn + x) / ((of - x + 1.0) * (drawn - x + 1.0));
        sum += term;
        at -= 1;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        train: [usize; 2],
        split: [usize; 2],
        p: f64,
    }

    #[test]
    fn probabilities_are_those_of_scipy() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/oracle/shift.json")).unwrap();
        assert!(cases.len() > 20);
        for Case { train, split, p } in cases {
            let found = probability(train, split);
            assert!((found - p).abs() <= 1e-8 * p.max(1e-300) + 1e-12, "{train:?} {split:?}: {found} instead of {p}");
        }
    }

    fn counts(rows: usize, positives: &[usize]) -> LabelCounts {
        LabelCounts::new(rows, positives.to_vec())
    }

    #[test]
    fn what_differs_by_chance_or_by_little_has_not_shifted() {
        // A shift of common rows, one of rare rows, one by chance, one that is certain and small.
        let train = counts(10_000, &[6000, 100, 3, 5000]);
        let test = counts(4000, &[1860, 100, 0, 1940]);
        let found = shifts(&train, &test);
        assert_eq!(found.iter().map(|shift| shift.label).collect::<Vec<_>>(), [0, 1]);
        assert!((found[0].train - 0.6).abs() < 1e-12 && (found[0].split - 0.465).abs() < 1e-12 && found[0].p < 1e-9);
        assert_eq!(shifts(&train, &counts(0, &[0; 4])), []);
        assert_eq!(shifts(&counts(0, &[0; 4]), &test), []);
        assert_eq!(shifts(&counts(7, &[7, 0]), &counts(2, &[2, 0])), []);
    }
}
