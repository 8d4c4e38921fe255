//! Losses that are a mean over cells (row × label): two terms with their derivatives make a [`Loss`].
//!
//! A loss whose terms look at the label and the logit alone is a [`Pointwise`]. One that also weighs rows or changes with the epoch
//! walks the cells itself, with [`mean_over_cells`].

use super::{Batch, IGNORED, Loss};

/// A term of a loss at one logit: its value and its derivative by the logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    pub value: f64,
    pub slope: f64,
}

impl Term {
    /// Both times `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, slope: self.slope * factor }
    }

    /// The term seen in the mirror: `self`, taken at `-z`, as a function of `z`.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self { slope: -self.slope, ..self }
    }
}

/// A loss `mean over cells of y l+(z) + (1-y) l-(z)`.
pub trait Pointwise: Send + Sync + std::fmt::Debug {
    /// `l+`: what a cell with y = 1 costs.
    fn positive(&self, label: usize, z: f64) -> Term;

    /// `l-`: what a cell with y = 0 costs.
    fn negative(&self, label: usize, z: f64) -> Term;

    /// LINK (strategies.md F1): where eta l+'(z) + (1-eta) l-'(z) = 0. Override it where there is a closed form.
    fn link(&self, label: usize, z: f64) -> Option<f64> {
        link(self.positive(label, z), self.negative(label, z))
    }
}

/// LINK from the two terms at one logit; `None` where both slopes have vanished.
pub(super) fn link(positive: Term, negative: Term) -> Option<f64> {
    let eta = negative.slope / (negative.slope - positive.slope);
    eta.is_finite().then_some(eta)
}

/// A cell of a batch that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub row: usize,
    pub label: usize,
    pub z: f64,
    pub positive: bool,
}

/// The mean of `term` over batch × labels; writes its gradient. A cell that is [`IGNORED`] costs nothing, and the mean still divides
/// by all cells: ignoring some changes nothing for the others.
pub(super) fn mean_over_cells(batch: Batch<'_>, gradient: &mut [f32], term: impl Fn(Cell) -> Term) -> f64 {
    let Batch { labels, logits, targets, .. } = batch;
    debug_assert!(logits.len() == targets.len() && logits.len() == gradient.len(), "one target and one gradient a logit");
    let share = 1.0 / logits.len() as f64;
    let mut sum = 0.0;
    let rows = logits.chunks_exact(labels).zip(targets.chunks_exact(labels)).zip(gradient.chunks_exact_mut(labels));
    for (row, ((logits, targets), gradient)) in rows.enumerate() {
        for (label, ((&z, &y), slope)) in logits.iter().zip(targets).zip(gradient).enumerate() {
            if y == IGNORED {
                *slope = 0.0;
                continue;
            }
            let term = term(Cell { row, label, z: z.into(), positive: y == 1 });
            sum += term.value;
            *slope = (term.slope * share) as f32;
        }
    }
    sum * share
}

impl<P: Pointwise> Loss for P {
    fn evaluate(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        mean_over_cells(
            batch,
            gradient,
            |Cell { label, z, positive, .. }| {
                if positive { self.positive(label, z) } else { self.negative(label, z) }
            },
        )
    }

    fn implied_probability(&self, label: usize, z: f64) -> Option<f64> {
        self.link(label, z)
    }
}

/// `ln(1 + e^z)`, without overflow: -ln sigmoid(z) = softplus(-z), -ln(1 - sigmoid(z)) = softplus(z).
#[must_use]
pub fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

/// `1 / (1 + e^-z)`, without overflow or loss of digits on either side.
#[must_use]
pub fn sigmoid(z: f64) -> f64 {
    let e = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}
