//! SCut on F1 (Yang, "A study of thresholding strategies for text categorization", SIGIR 2001): per label, the cut of the
//! validation scores with the largest F1. On calibrated scores it lies at half the F1 it reaches (Lipton et al. 2014).
//!
//! Cuts lie only between distinct scores; candidates are compared exactly, as fractions. Of several equally good cuts the median
//! one is taken (the higher threshold of the middle two): it varies least. A label without positives in validation has no F1 to
//! be maximised and keeps the threshold [`UNFITTED`].

use super::{Build, Entry, each_label};
use crate::metric::Curve;

pub(super) const ENTRY: Entry<Build> = Entry {
    kind: "max_f1",
    summary: "per label, the threshold with the largest F1 on validation (SCut)",
    params: &[],
    build: |_, scores, truth| each_label(scores, truth, fit),
};

/// The threshold of a label that validation says nothing about.
const UNFITTED: f32 = 0.5;

fn fit(curve: &Curve) -> f32 {
    // F1 = 2 tp / (predicted + positives), as the fraction (tp, predicted + positives).
    let f1 = |cut: usize| (curve.steps[cut].tp, curve.steps[cut].predicted + curve.positives);
    let above = |a: (u64, u64), b: (u64, u64)| u128::from(a.0) * u128::from(b.1) > u128::from(b.0) * u128::from(a.1);
    let mut best = Vec::new();
    for cut in 0..curve.steps.len() {
        match best.first() {
            Some(&held) if above(f1(held), f1(cut)) => {}
            Some(&held) if !above(f1(cut), f1(held)) => best.push(cut),
            _ => best = vec![cut],
        }
    }
    if curve.positives == 0 || best.is_empty() {
        return UNFITTED;
    }
    curve.threshold(best[(best.len() - 1) / 2] + 1)
}
