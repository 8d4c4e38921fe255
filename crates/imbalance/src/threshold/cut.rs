//! The best cut of a label's scores.
//!
//! Cuts lie only between distinct scores; `groups` highest distinct scores are predicted. Of several equally good cuts the median one is
//! taken (the higher threshold of the middle two): it varies least.

use std::cmp::Ordering;

use crate::metric::Curve;

/// The best of `cuts` (numbers of groups, rising) by `compare`, whose greatest is best; `None` of none.
pub(super) fn best(cuts: impl Iterator<Item = usize>, compare: impl Fn(usize, usize) -> Ordering) -> Option<usize> {
    let mut best = Vec::new();
    for cut in cuts {
        match best.first().map(|&held| compare(cut, held)) {
            Some(Ordering::Less) => {}
            Some(Ordering::Equal) => best.push(cut),
            Some(Ordering::Greater) | None => best = vec![cut],
        }
    }
    (!best.is_empty()).then(|| best[(best.len() - 1) / 2])
}

/// True positives if the `groups` highest distinct scores are predicted.
pub(super) fn tp(curve: &Curve, groups: usize) -> u64 {
    if groups == 0 { 0 } else { curve.steps[groups - 1].tp }
}

/// Compares two fractions (numerator, denominator above 0) of counts and their multiples: exact up to 2^53, far above any product of
/// the counts of a hundred million rows with small whole factors.
pub(super) fn fractions(a: (f64, f64), b: (f64, f64)) -> Ordering {
    (a.0 * b.1).total_cmp(&(b.0 * a.1))
}

/// The cut with the largest F-beta, `(1+b²) tp / (predicted + b² positives)`, and that value. `None` without positives.
pub(super) fn largest_f(curve: &Curve, beta: f64) -> Option<(usize, f64)> {
    if curve.positives == 0 {
        return None;
    }
    let square = beta * beta;
    let f = |groups: usize| {
        ((1.0 + square) * tp(curve, groups) as f64, curve.predicted(groups) as f64 + square * curve.positives as f64)
    };
    // As `best`, with the value of the best so far at hand.
    let (mut ties, mut top) = (Vec::new(), (-1.0, 1.0));
    for groups in 1..=curve.steps.len() {
        let here = f(groups);
        let order = fractions(here, top);
        if order == Ordering::Greater {
            ties.clear();
            top = here;
        }
        if order != Ordering::Less {
            ties.push(groups);
        }
    }
    let (hits, all) = top;
    (!ties.is_empty()).then(|| (ties[(ties.len() - 1) / 2], hits / all))
}
