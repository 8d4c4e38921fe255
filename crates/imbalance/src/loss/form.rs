//! A loss described by numbers: what a device needs to evaluate value and gradient in one pass, without knowing the loss's name.
//!
//! The losses that are a mean over cells are few shapes of one variable under many names: a cell with label k costs `weight_k
//! f(slope (z + shift_k))`, with one such side for y = 1, one for y = 0 and one for negatives that are taken for positives.
//! [`Form::term`] is the definition; the losses themselves are computed as their files say, and a test compares the two.

use super::pointwise::{Term, exp, sigmoid, softplus};
use super::{focal, focal_seed};

/// A loss that is a mean over cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Of cells with y = 1.
    pub positive: Side,
    /// Of cells with y = 0.
    pub negative: Side,
    /// (tau, side): negatives with a probability above tau are taken for positives and cost `side`.
    pub corrected: Option<(f64, Side)>,
    pub rows: RowWeights,
}

/// `weight_k f(slope (z + shift_k))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    pub shape: Shape,
    pub slope: f64,
    /// One per label.
    pub shift: Vec<f64>,
    /// One per label.
    pub weight: Vec<f64>,
}

/// A function of `u`, with its derivative; `p = sigmoid(-u)` is the probability of being wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// `p^gamma softplus(-u)' + epsilon p^(gamma + 1)`, where `softplus(-u)` is the cross-entropy: bce, focal and poly1.
    Focal { gamma: f64, epsilon: f64 },
    /// Focal, with the modulator treated as a constant.
    Detached { gamma: f64 },
    /// `q^gamma (-ln(1 - q))` with `q = max(p - clip, 0)`; with `detach` the modulator is treated as a constant.
    Clipped { gamma: f64, clip: f64, detach: bool },
    /// `(lambda - p) p^2`.
    Hill { lambda: f64 },
    /// The question's own focal loss in float32 probabilities, for y = 1, or for y = 0 where `negative`.
    Seed { gamma: f32, negative: bool },
}

/// The weight of a row, from a number that [`super::Loss::rows`] computes from the row's targets.
#[derive(Clone, Debug, PartialEq)]
pub enum RowWeights {
    /// Nothing.
    Alike,
    /// The row's number.
    Weighed,
    /// `alpha + sigmoid(beta (inverse_k / number - mu))`, `alpha + 1` where the number is 0.
    Shared { alpha: f64, beta: f64, mu: f64, inverse: Vec<f64> },
}

impl Side {
    /// `shape` of `z` itself, or of `-z` where `slope` says so; without shift.
    #[must_use]
    pub fn new(shape: Shape, slope: f64, weight: Vec<f64>) -> Self {
        Self { shape, slope, shift: vec![0.0; weight.len()], weight }
    }

    /// The cross-entropy `softplus(-z)` of a positive, focal with `gamma`.
    #[must_use]
    pub fn positive(gamma: f64, weight: Vec<f64>) -> Self {
        Self::new(Shape::Focal { gamma, epsilon: 0.0 }, 1.0, weight)
    }

    /// Its mirror image, `softplus(z)`, all labels weighed alike.
    #[must_use]
    pub fn negative(gamma: f64, weight: f64, labels: usize) -> Self {
        Self::new(Shape::Focal { gamma, epsilon: 0.0 }, -1.0, vec![weight; labels])
    }

    /// With a shift a label.
    #[must_use]
    pub fn shifted(self, shift: Vec<f64>) -> Self {
        Self { shift, ..self }
    }

    /// With other weights on top.
    #[must_use]
    pub fn times(mut self, weight: &[f64]) -> Self {
        self.weight.iter_mut().zip(weight).for_each(|(own, other)| *own *= other);
        self
    }

    fn term(&self, label: usize, z: f64) -> Term {
        let Term { value, slope } = self.shape.term(self.slope * (z + self.shift[label]));
        Term { value, slope: slope * self.slope }.times(self.weight[label])
    }
}

impl Shape {
    fn term(self, u: f64) -> Term {
        match self {
            Self::Focal { gamma, epsilon } => {
                let Term { value, slope } = focal::term(gamma, u);
                let power = gamma + 1.0;
                let added = epsilon * exp(-power * softplus(u));
                Term { value: value + added, slope: slope - power * added * sigmoid(u) }
            }
            Self::Detached { gamma } => {
                let modulator = exp(-gamma * softplus(u));
                Term { value: modulator * softplus(-u), slope: -modulator * sigmoid(-u) }
            }
            Self::Clipped { gamma, clip, detach } => {
                let (p, rest) = (sigmoid(-u), sigmoid(u));
                let shifted = p - clip;
                if shifted <= 0.0 {
                    return Term { value: 0.0, slope: 0.0 };
                }
                let (modulator, cost) = (shifted.powf(gamma), -(-shifted).ln_1p());
                let focus = if detach { 0.0 } else { gamma * modulator / shifted * cost };
                Term { value: modulator * cost, slope: -(focus + modulator / (rest + clip)) * p * rest }
            }
            Self::Hill { lambda } => {
                let (p, rest) = (sigmoid(-u), sigmoid(u));
                let falling = 2.0 * lambda - 3.0 + 3.0 * rest;
                Term { value: p * p * (lambda - 1.0 + rest), slope: -(p * p * rest * falling) }
            }
            Self::Seed { gamma, negative } => focal_seed::term(gamma, u, negative),
        }
    }

    /// Number of the shape and its parameters, as the device reads them.
    fn numbers(self) -> [f64; 3] {
        match self {
            Self::Focal { gamma, epsilon } => [0.0, gamma, epsilon],
            Self::Detached { gamma } => [1.0, gamma, 0.0],
            Self::Clipped { gamma, clip, detach } => [if detach { 3.0 } else { 2.0 }, gamma, clip],
            Self::Hill { lambda } => [4.0, lambda, 0.0],
            Self::Seed { gamma, negative } => [if negative { 6.0 } else { 5.0 }, gamma.into(), 0.0],
        }
    }
}

impl Form {
    /// Without corrections, and rows alike.
    #[must_use]
    pub fn new(positive: Side, negative: Side) -> Self {
        Self { positive, negative, corrected: None, rows: RowWeights::Alike }
    }

    /// What a cell costs; `row` is the number of its row, where rows have one.
    #[must_use]
    pub fn term(&self, label: usize, z: f64, positive: bool, row: f64) -> Term {
        let term = match &self.corrected {
            _ if positive => self.positive.term(label, z),
            Some((tau, side)) if sigmoid(z) > *tau => side.term(label, z),
            _ => self.negative.term(label, z),
        };
        match &self.rows {
            RowWeights::Alike => term,
            RowWeights::Weighed => term.times(row),
            RowWeights::Shared { alpha, beta, mu, inverse } => {
                term.times(alpha + if row == 0.0 { 1.0 } else { sigmoid(beta * (inverse[label] / row - mu)) })
            }
        }
    }

    /// Numbers before those of the labels in [`Self::table`].
    pub const HEAD: usize = 20;

    /// The form as the device reads it: of each side shape, its two parameters and slope (positive, negative, corrected; a shape
    /// of -1: there is none), then tau, then rows: 0 alike, 1 weighed, 2 shared, with alpha, beta, mu; three unused. Then, each
    /// with a number per label: shift and weight of the three sides, and the inverses.
    #[must_use]
    pub fn table(&self) -> Vec<f64> {
        let labels = self.positive.weight.len();
        let sides = [Some(&self.positive), Some(&self.negative), self.corrected.as_ref().map(|(_, side)| side)];
        let mut table = Vec::with_capacity(Self::HEAD + 7 * labels);
        for side in sides {
            let [shape, first, second] = side.map_or([-1.0, 0.0, 0.0], |side| side.shape.numbers());
            table.extend([shape, first, second, side.map_or(0.0, |side| side.slope)]);
        }
        table.push(self.corrected.as_ref().map_or(0.0, |(tau, _)| *tau));
        table.extend(match &self.rows {
            RowWeights::Alike => [0.0; 4],
            RowWeights::Weighed => [1.0, 0.0, 0.0, 0.0],
            RowWeights::Shared { alpha, beta, mu, .. } => [2.0, *alpha, *beta, *mu],
        });
        table.resize(Self::HEAD, 0.0);
        let none = vec![0.0; labels];
        for side in sides {
            table.extend(side.map_or(&none, |side| &side.shift));
            table.extend(side.map_or(&none, |side| &side.weight));
        }
        table.extend(if let RowWeights::Shared { inverse, .. } = &self.rows { inverse } else { &none });
        table
    }
}
