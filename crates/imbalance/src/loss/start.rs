//! Where the training of a head begins: the constant logits at which a model without information is already right, for its loss.
//!
//! A head whose bias is logit(pi) begins at the minimum of plain bce among constants (Lin et al. 2017, section 4.1). For another
//! loss, or with weights, that is some way off its own minimum, and on a short training the strategy is charged for the way. So
//! each loss begins where its own LINK says pi; a loss without LINK at the constant that minimises its mean over the train rows.

use super::{Batch, Loss};
use crate::rng::Rng;
use crate::{LabelCounts, LabelMatrix};

/// Logits beyond which every link has become flat: sigmoid(30) is 1 - 1e-13.
const FAR: f64 = 30.0;
/// A minimum beyond this logit is one at infinity.
const BOUND: f64 = 10.0;
/// Most cells on which a loss without LINK is evaluated at each step of its minimisation.
const CELLS: usize = 1 << 18;
/// Most steps of the minimisation.
const STEPS: usize = 200;

/// The logit of each label's prevalence: the start of plain bce, and what code that knows no other calls the prior bias. 0 for a
/// label with one class. Prevalences are those among the rows that know the label.
#[must_use]
pub fn prior(counts: &LabelCounts) -> Vec<f64> {
    let logit = |(label, &positives): (usize, &usize)| match counts.negatives(label) {
        0 => 0.0,
        _ if positives == 0 => 0.0,
        negatives => (positives as f64).ln() - (negatives as f64).ln(),
    };
    counts.positives.iter().enumerate().map(logit).collect()
}

/// The constant logits, one per label, at which `loss` believes in the prevalences of the `train` rows (`counts` are theirs):
/// LINK(z) = pi, or the largest logit that has a LINK where that is less than pi (splc above its tau). Where the loss has no LINK,
/// those that minimise its mean over the train rows in batches of `batch` rows; 0 for a label whose minimum is at infinity (soft F1
/// is best when everything is predicted) and for a label with one class.
#[must_use]
pub fn link(loss: &dyn Loss, train: &LabelMatrix, counts: &LabelCounts, batch: usize) -> Vec<f64> {
    linked(loss, counts).unwrap_or_else(|| minimum(loss, train, batch))
}

/// The same where the loss has a LINK, of which the counts are all that is read; `None` where it has none.
#[must_use]
pub fn linked(loss: &dyn Loss, counts: &LabelCounts) -> Option<Vec<f64>> {
    let start = |label: usize| {
        let pi = counts.prevalence(label);
        if pi <= 0.0 || pi >= 1.0 {
            return Some(0.0);
        }
        inverse(|z| loss.implied_probability(label, z), pi)
    };
    (0..counts.positives.len()).map(start).collect()
}

/// z with `eta(z)` = `pi`, by bisection; `eta` rises and may be undefined far from 0. `None` where it is undefined throughout.
fn inverse(eta: impl Fn(f64) -> Option<f64>, pi: f64) -> Option<f64> {
    let (mut low, mut high, mut seen) = (-FAR, FAR, false);
    // 2^-60 of the interval is below the spacing of the doubles in it.
    for _ in 0..60 {
        let z = f64::midpoint(low, high);
        let eta = eta(z);
        seen |= eta.is_some();
        if eta.map_or(z < 0.0, |eta| eta < pi) {
            low = z;
        } else {
            high = z;
        }
    }
    seen.then_some(f64::midpoint(low, high))
}

/// The constants that minimise the mean of `loss` over batches of the train rows: gradient descent with the step lengths of Barzilai
/// and Borwein (IMA J. Numer. Anal. 8, 1988, equation 5), halved until the loss falls.
fn minimum(loss: &dyn Loss, train: &LabelMatrix, batch: usize) -> Vec<f64> {
    let batches = Batches::new(train, batch);
    let mut at = vec![0.0; batches.labels];
    let (mut value, mut slope) = batches.mean(loss, &at);
    let mut step = 1.0 / slope.iter().fold(1e-12_f64, |most, slope| most.max(slope.abs()));
    for _ in 0..STEPS {
        let moved =
            |step: f64| -> Vec<f64> { at.iter().zip(&slope).map(|(z, slope)| (z - step * slope).clamp(-BOUND, BOUND)).collect() };
        let mut next = moved(step);
        let (mut next_value, mut next_slope) = batches.mean(loss, &next);
        while next_value > value && step > 1e-9 {
            step /= 2.0;
            next = moved(step);
            (next_value, next_slope) = batches.mean(loss, &next);
        }
        let moves: Vec<f64> = next.iter().zip(&at).map(|(next, at)| next - at).collect();
        let bends: Vec<f64> = next_slope.iter().zip(&slope).map(|(next, slope)| next - slope).collect();
        if next_value > value || moves.iter().all(|moved| moved.abs() < 1e-6) {
            break;
        }
        let curvature: f64 = moves.iter().zip(&bends).map(|(moved, bend)| moved * bend).sum();
        let length: f64 = moves.iter().map(|moved| moved * moved).sum();
        step = if curvature > 0.0 { length / curvature } else { step * 4.0 };
        (at, value, slope) = (next, next_value, next_slope);
    }
    at.into_iter().map(|z| if z.abs() < BOUND { z } else { 0.0 }).collect()
}

/// Train rows in an order of chance, as a loss that compares the rows of a batch meets them.
struct Batches {
    labels: usize,
    rows: usize,
    batch: usize,
    targets: Vec<u8>,
}

impl Batches {
    fn new(train: &LabelMatrix, batch: usize) -> Self {
        let labels = train.names.len();
        let mut order: Vec<u32> = (0..u32::try_from(train.rows()).unwrap_or(u32::MAX)).collect();
        Rng::new(0, "start", &[]).shuffle(&mut order);
        order.truncate((CELLS / labels.max(1)).max(batch));
        Self { labels, rows: order.len(), batch: batch.max(1), targets: train.select(&order).values }
    }

    /// The mean of the loss over the rows where every row has the logits `at`, and its gradient by them.
    fn mean(&self, loss: &dyn Loss, at: &[f64]) -> (f64, Vec<f64>) {
        let (mut value, mut slope) = (0.0, vec![0.0; self.labels]);
        let row: Vec<f32> = at.iter().map(|&z| z as f32).collect();
        let logits = row.repeat(self.batch.min(self.rows));
        let mut gradient = vec![0.0; logits.len()];
        for targets in self.targets.chunks(self.batch * self.labels) {
            let (logits, gradient) = (&logits[..targets.len()], &mut gradient[..targets.len()]);
            let share = (targets.len() / self.labels) as f64 / self.rows as f64;
            value += share * loss.evaluate(Batch { labels: self.labels, logits, targets, epoch: 0 }, gradient);
            for row in gradient.chunks_exact(self.labels) {
                slope.iter_mut().zip(row).for_each(|(sum, &slope)| *sum += share * f64::from(slope));
            }
        }
        (value, slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Context, REGISTRY, build, sigmoid};

    /// 2,000 rows; the labels share a cause, so that their rows are not independent.
    fn train() -> LabelMatrix {
        let mut rng = Rng::new(3, "test", &[]);
        let mut values = Vec::new();
        for _ in 0..2000 {
            let cause = rng.normal();
            values.extend([-2.4, -0.9, -1.6, -0.1].map(|bias: f64| u8::from(rng.uniform() < sigmoid(cause + bias))));
        }
        LabelMatrix { names: ["A", "B", "C", "D"].map(str::to_owned).to_vec().into(), values }
    }

    fn loss(name: &str, train: &LabelMatrix, weights: &[f64]) -> Box<dyn Loss> {
        let context = Context { pos_weight: weights.to_vec(), counts: train.counts(), epochs: 4 };
        build(&crate::parse(REGISTRY, "loss", name).unwrap(), &context).unwrap()
    }

    #[test]
    fn plain_bce_starts_at_the_prior_and_its_corrections_at_zero() {
        let train = train();
        let near = |one: &[f64], other: &[f64]| one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-9);
        let counts = train.counts();
        let balance: Vec<f64> = counts.positives.iter().map(|&n| (counts.rows - n) as f64 / n as f64).collect();
        assert!(near(&link(&*loss("bce", &train, &[1.0; 4]), &train, &counts, 64), &prior(&counts)));
        assert!(near(&link(&*loss("bce", &train, &balance), &train, &counts, 64), &[0.0; 4]));
        assert!(near(&link(&*loss("logit_adjust", &train, &[1.0; 4]), &train, &counts, 64), &[0.0; 4]));
    }

    /// The figures for the question's prevalences, from the slopes of the published formulas.
    #[test]
    fn asl_and_focal_start_where_their_links_say() {
        let positives = [19_000, 65_000, 38_000, 105_000];
        let rows = 224_000;
        let values = (0..rows).flat_map(|row| positives.map(|n| u8::from(row < n))).collect();
        let train = LabelMatrix { names: ["A", "B", "C", "D"].map(str::to_owned).to_vec().into(), values };
        let counts = train.counts();
        for (name, expected) in [("asl", [-0.1792, 0.2661, 0.0501, 0.5245]), ("focal", [-0.8873, -0.3342, -0.5930, -0.0468])] {
            for (z, expected) in link(&*loss(name, &train, &[1.0; 4]), &train, &counts, 64).into_iter().zip(expected) {
                assert!((z - expected).abs() < 1e-4, "{name}: {z} is not {expected}");
            }
        }
    }

    /// The start is a minimum of the loss among constants, for every loss with a finite one; also where cells are unknown.
    #[test]
    fn no_other_constant_costs_less() {
        let known = train();
        let mut rng = Rng::new(4, "test", &[]);
        let hidden = known.values.iter().map(|&y| if rng.uniform() < 0.4 { crate::UNKNOWN } else { y }).collect();
        for train in [known.clone(), LabelMatrix { values: hidden, ..known }] {
            let batches = Batches { batch: 2000, ..Batches::new(&train, 2000) };
            for entry in REGISTRY {
                let loss = loss(entry.kind, &train, &[1.0; 4]);
                let start = link(&*loss, &train, &train.counts(), 2000);
                assert!(start.iter().all(|z| z.is_finite()), "{}: {start:?}", entry.kind);
                if entry.kind == "soft_f1" {
                    assert_eq!(start, [0.0; 4], "predicting everything has no finite logit");
                    continue;
                }
                let (least, _) = batches.mean(&*loss, &start);
                for label in 0..4 {
                    for change in [-0.05, 0.05] {
                        let mut other = start.clone();
                        other[label] += change;
                        // Above tau splc has no link: it begins at tau at most, so that it does not correct every negative at once.
                        if entry.kind == "splc" && loss.implied_probability(label, other[label]).is_none() {
                            continue;
                        }
                        let (value, _) = batches.mean(&*loss, &other);
                        assert!(value > least - 1e-9, "{}: {value} at {other:?}, {least} at {start:?}", entry.kind);
                    }
                }
            }
        }
    }
}
