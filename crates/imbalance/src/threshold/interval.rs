//! How sure the threshold of `max_f1` is: the rule fitted to resampled rows (the percentile bootstrap, Efron & Tibshirani 1993, ch. 13).
//!
//! On few positives the largest F1 is reached at very different thresholds from one sample of rows to the next; the interval says so.

use rayon::prelude::*;

use crate::rng::Rng;
use crate::{LabelMatrix, UNKNOWN};

/// The thresholds of one label that [`super::REGISTRY`]'s `max_f1` fits to `replicates` resamples of the rows (`[rows, labels]` row-major
/// scores). Where `groups` are given, whole groups are drawn. Resamples without a positive have none, so that there may be fewer.
///
/// O(labels × (rows log rows + replicates × rows)), labels in parallel.
#[must_use]
pub fn resampled_max_f1(
    scores: &[f32],
    truth: &LabelMatrix,
    groups: Option<&[u32]>,
    replicates: usize,
    seed: u64,
) -> Vec<Vec<f32>> {
    let rows = truth.rows();
    let weights: Vec<Vec<u16>> = (0..replicates as u64).into_par_iter().map(|draw| drawn(rows, groups, seed, draw)).collect();
    let label = |label: usize| {
        let cell = |row: usize| {
            let at = row * truth.names.len() + label;
            (truth.values[at] != UNKNOWN).then(|| (scores[at], row as u32, truth.values[at] == 1))
        };
        let mut cells: Vec<(f32, u32, bool)> = (0..rows).filter_map(cell).collect();
        cells.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        weights.iter().filter_map(|weights| fit(&cells, weights)).collect()
    };
    (0..truth.names.len()).into_par_iter().map(label).collect()
}

/// How often each row is in a resample.
fn drawn(rows: usize, groups: Option<&[u32]>, seed: u64, draw: u64) -> Vec<u16> {
    let mut rng = Rng::new(seed, "threshold interval", &[draw]);
    let units = groups.map_or(rows, |groups| groups.iter().max().map_or(0, |last| *last as usize + 1));
    let mut times = vec![0u16; units];
    // A group number that no row has is drawn in vain, as often as any: the others keep their proportions.
    for _ in 0..units {
        let unit = &mut times[rng.below(units as u64) as usize];
        *unit = unit.saturating_add(1);
    }
    match groups {
        None => times,
        Some(groups) => groups.iter().map(|&group| times[group as usize]).collect(),
    }
}

/// The threshold with the largest F1 of weighted rows in falling order of their scores: that of `Curve::threshold` at the median of the
/// best cuts. `None` without positives.
fn fit(cells: &[(f32, u32, bool)], weights: &[u16]) -> Option<f32> {
    let positives: u64 = cells.iter().filter(|cell| cell.2).map(|cell| u64::from(weights[cell.1 as usize])).sum();
    if positives == 0 {
        return None;
    }
    // (score of the cut's last rows, of the next ones) of the best cuts so far
    let mut best: Vec<(f32, f32)> = Vec::new();
    let (mut top, mut tp, mut predicted) = ((0u64, 1u64), 0u64, 0u64);
    let mut open = false;
    let mut at = 0;
    while at < cells.len() {
        let score = cells[at].0;
        let before = predicted;
        while at < cells.len() && cells[at].0 == score {
            let weight = u64::from(weights[cells[at].1 as usize]);
            predicted += weight;
            tp += if cells[at].2 { weight } else { 0 };
            at += 1;
        }
        if predicted == before {
            continue;
        }
        if open && let Some(last) = best.last_mut() {
            last.1 = score;
        }
        // F1 = 2 tp / (predicted + positives); the fractions are compared exactly.
        let (mine, theirs) = (tp * top.1, top.0 * (predicted + positives));
        if mine > theirs {
            best.clear();
            top = (tp, predicted + positives);
        }
        open = mine >= theirs && tp > 0;
        if open {
            best.push((score, 0.0));
        }
    }
    let (over, under) = *best.get((best.len().max(1) - 1) / 2)?;
    let middle = f64::midpoint(over.into(), under.into()) as f32;
    Some(if middle > under { middle } else { over })
}

/// The middle `level` of values: their quantiles at (1 - level) / 2 and (1 + level) / 2, by linear interpolation. `None` of none.
#[must_use]
pub fn middle(values: &mut [f32], level: f64) -> Option<(f32, f32)> {
    values.sort_unstable_by(f32::total_cmp);
    let last = values.len().checked_sub(1)?;
    let quantile = |share: f64| {
        let place = share * last as f64;
        let (low, high) = (values[place as usize], values[(place as usize + 1).min(last)]);
        low + (high - low) * place.fract() as f32
    };
    Some((quantile((1.0 - level) / 2.0), quantile(f64::midpoint(1.0, level))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::{Policy, parse};

    fn random(rows: usize, labels: usize, seed: u64) -> (Vec<f32>, LabelMatrix) {
        let mut rng = Rng::new(seed, "test", &[]);
        // Two digits: many ties.
        let scores = (0..rows * labels).map(|_| (rng.uniform() * 100.0).floor() as f32 / 100.0).collect();
        let values = (0..rows * labels).map(|at| if at % 17 == 3 { UNKNOWN } else { u8::from(rng.uniform() < 0.2) }).collect();
        let names = (0..labels).map(|label| label.to_string()).collect();
        (scores, LabelMatrix { names, values })
    }

    /// Each resampled threshold is the one that `max_f1` fits to a copy of the drawn rows.
    #[test]
    fn thresholds_are_those_of_copied_rows() {
        for groups in [None, Some((0..60).map(|row| row / 3).collect::<Vec<u32>>())] {
            let (scores, truth) = random(60, 2, 5);
            let found = resampled_max_f1(&scores, &truth, groups.as_deref(), 40, 9);
            let policy = parse("max_f1").unwrap();
            assert!(matches!(policy, Policy::Fitted(_)));
            for label in 0..2 {
                let mut wanted = Vec::new();
                for draw in 0..40 {
                    let weights = drawn(60, groups.as_deref(), 9, draw);
                    let (mut copied, mut values) = (Vec::new(), Vec::new());
                    for (row, &times) in weights.iter().enumerate() {
                        for _ in 0..times {
                            copied.push(scores[row * 2 + label]);
                            values.push(truth.values[row * 2 + label]);
                        }
                    }
                    let positives = values.contains(&1);
                    let copy = LabelMatrix { names: vec!["x".to_owned()].into(), values };
                    if positives {
                        wanted.extend(crate::metric::Decide::thresholds(&policy.fit(&copied, &copy), 1));
                    }
                }
                assert_eq!(found[label], wanted);
                assert!(wanted.len() > 30);
            }
        }
    }

    #[test]
    fn labels_without_positives_have_no_threshold() {
        let truth = LabelMatrix { names: vec!["x".to_owned()].into(), values: vec![0, 0, UNKNOWN] };
        assert_eq!(resampled_max_f1(&[0.1, 0.2, 0.3], &truth, None, 5, 0), vec![Vec::<f32>::new()]);
        assert_eq!(middle(&mut [], 0.9), None);
        assert_eq!(middle(&mut [0.3, 0.1, 0.2], 0.5), Some((0.15, 0.25)));
    }
}
