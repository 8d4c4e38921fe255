//! Losses that are a mean over cells (row × label): two terms with their derivatives make a [`Loss`].
//!
//! A loss whose terms look at the label and the logit alone is a [`Pointwise`]. One that also weighs rows or changes with the
//! epoch iterates over the cells itself, with [`mean_over_cells`].

use pulp::{Arch, Simd, WithSimd};

use super::{Batch, Form, IGNORED, Loss};

/// A term of a loss at one logit: its value and its derivative by the logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    pub value: f64,
    pub slope: f64,
}

impl Term {
    /// Both times `factor`.
    #[must_use]
    #[inline(always)]
    pub fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, slope: self.slope * factor }
    }

    /// The mirrored term: `self`, evaluated at `-z`, as a function of `z`.
    #[must_use]
    #[inline(always)]
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

    /// The mean over the cells of a batch; writes its gradient. Losses whose terms need no branch and no call are faster with
    /// `mean_by_columns`.
    fn mean(&self, batch: Batch<'_>, gradient: &mut [f32]) -> f64 {
        mean_over_cells(
            batch,
            gradient,
            |Cell { label, z, positive, .. }| {
                if positive { self.positive(label, z) } else { self.negative(label, z) }
            },
        )
    }

    /// The loss as numbers; see [`Loss::form`].
    fn form(&self) -> Option<Form> {
        None
    }

    /// LINK (docs/strategies.md#link): where eta l+'(z) + (1-eta) l-'(z) = 0. Override it where there is a closed form.
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

/// The mean of `term` over batch × labels; writes its gradient. A cell that is [`IGNORED`] costs nothing, and the mean still
/// divides by all cells: ignoring some changes nothing for the others.
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
        self.mean(batch, gradient)
    }

    fn form(&self, _: usize) -> Option<Form> {
        Pointwise::form(self)
    }

    fn is_over_cells(&self) -> bool {
        true
    }

    fn implied_probability(&self, label: usize, z: f64) -> Option<f64> {
        self.link(label, z)
    }
}

/// Cells that are computed at once.
const CELLS: usize = 64;

/// The same as [`mean_over_cells`], a label at a time: loops that become vector instructions. `terms(label)` is what computes a
/// cell's term from its logit and whether its target is 1; it and what it calls must be `#[inline(always)]`, and it must own its
/// numbers.
pub(super) fn mean_by_columns<T: Fn(f64, bool) -> Term>(
    batch: Batch<'_>,
    gradient: &mut [f32],
    terms: impl Fn(usize) -> T,
) -> f64 {
    Arch::new().dispatch(ByColumns { batch, gradient, terms })
}

struct ByColumns<'a, F> {
    batch: Batch<'a>,
    gradient: &'a mut [f32],
    terms: F,
}

impl<T: Fn(f64, bool) -> Term, F: Fn(usize) -> T> WithSimd for ByColumns<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Self { batch, gradient, terms } = self;
        by_columns(batch, gradient, terms)
    }
}

#[inline(always)]
fn by_columns<T: Fn(f64, bool) -> Term>(batch: Batch<'_>, gradient: &mut [f32], terms: impl Fn(usize) -> T) -> f64 {
    let Batch { labels, logits, targets, .. } = batch;
    debug_assert!(logits.len() == targets.len() && logits.len() == gradient.len(), "one target and one gradient a logit");
    let share = 1.0 / logits.len() as f64;
    let mut sum = 0.0;
    let mut all = vec![0.0; labels * CELLS];
    let blocks = logits.chunks(labels * CELLS).zip(targets.chunks(labels * CELLS)).zip(gradient.chunks_mut(labels * CELLS));
    for ((logits, targets), gradient) in blocks {
        for label in 0..labels {
            let terms = terms(label);
            let (mut z, mut y) = ([0.0; CELLS], [f64::from(IGNORED); CELLS]);
            let column = logits.iter().skip(label).step_by(labels).zip(targets.iter().skip(label).step_by(labels));
            for ((z, y), (&logit, &target)) in z.iter_mut().zip(&mut y).zip(column) {
                (*z, *y) = (logit.into(), target.into());
            }
            let (mut values, mut slopes) = ([0.0; CELLS], [0.0; CELLS]);
            for cell in 0..CELLS {
                let Term { value, slope } = terms(z[cell], y[cell] == 1.0);
                values[cell] = if y[cell] == f64::from(IGNORED) { 0.0 } else { value };
                slopes[cell] = if y[cell] == f64::from(IGNORED) { 0.0 } else { slope * share };
            }
            all.iter_mut().skip(label).step_by(labels).zip(values).for_each(|(all, value)| *all = value);
            gradient.iter_mut().skip(label).step_by(labels).zip(slopes).for_each(|(to, slope)| *to = slope as f32);
        }
        // In the order of `mean_over_cells`, so that equal losses are equal to the last bit, whichever function sums them.
        all[..logits.len()].iter().for_each(|value| sum += value);
    }
    sum * share
}

/// `ln(1 + e^z)`, without overflow: -ln sigmoid(z) = softplus(-z), -ln(1 - sigmoid(z)) = softplus(z).
#[must_use]
#[inline(always)]
pub fn softplus(z: f64) -> f64 {
    (if z > 0.0 { z } else { 0.0 }) + ln_1p(exp(-z.abs()))
}

/// `1 / (1 + e^-z)`, without overflow or loss of digits on either side.
#[must_use]
#[inline(always)]
pub fn sigmoid(z: f64) -> f64 {
    let e = exp(-z.abs());
    (if z >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// `e^x` for x <= 0 to two units in the last place, without a branch or call, so that loops over it become vector instructions;
/// below -708, where it is less than 4e-308, it is 0. x = n ln 2 + r, and Taylor's series of e^r as far as it matters for |r| <=
/// ln 2 / 2.
#[must_use]
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    /// Added and taken away, it rounds to an integer, which stands in the last bits meanwhile.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    /// ln 2 in two parts: integers up to 2^20 times the first are exact.
    const LN_2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);
    /// 1 / k! from 2 to 13.
    const SERIES: [f64; 12] = [
        0.5,
        1.666_666_666_666_666_6e-1,
        4.166_666_666_666_666_4e-2,
        8.333_333_333_333_333e-3,
        1.388_888_888_888_889e-3,
        1.984_126_984_126_984e-4,
        2.480_158_730_158_73e-5,
        2.755_731_922_398_589e-6,
        2.755_731_922_398_589_4e-7,
        2.505_210_838_544_172e-8,
        2.087_675_698_786_81e-9,
        1.605_904_383_682_161_5e-10,
    ];
    let below = x < -708.0;
    let x = if below { 0.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2.0) - n * LN_2.1;
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    if below { 0.0 } else { (polynomial(&SERIES, r) * (r * r) + r + 1.0) * power }
}

/// `ln(1 + e)` for 0 <= e <= 1, as exact and as simple: `2 artanh s = 2 (s + s^3/3 + s^5/5 + ...)` with `s = e / (2 + e)`. Above
/// √2 - 1 it is that of half of it and ln 2, so that |s| is at most 0.172.
#[must_use]
#[inline(always)]
fn ln_1p(e: f64) -> f64 {
    let (halved, rest) = if e > 0.414_213_562_373_095_05 { (1.0, std::f64::consts::LN_2) } else { (0.0, 0.0) };
    let s = (e - halved) / (2.0 + e + halved);
    let square = s * s;
    const SERIES: [f64; 12] = [
        1.0 / 3.0,
        1.0 / 5.0,
        1.0 / 7.0,
        1.0 / 9.0,
        1.0 / 11.0,
        1.0 / 13.0,
        1.0 / 15.0,
        1.0 / 17.0,
        1.0 / 19.0,
        1.0 / 21.0,
        1.0 / 23.0,
        1.0 / 25.0,
    ];
    rest + 2.0 * (s + s * (square * polynomial(&SERIES, square)))
}

/// `c[0] + c[1] x + c[2] x^2 + ...` in the order of Estrin (1960), whose steps wait for each other a third as long as Horner's.
#[inline(always)]
fn polynomial(c: &[f64; 12], x: f64) -> f64 {
    let x2 = x * x;
    let x4 = x2 * x2;
    let x8 = x4 * x4;
    let four = |at: usize| (c[at] + c[at + 1] * x) + (c[at + 2] + c[at + 3] * x) * x2;
    four(0) + four(4) * x4 + four(8) * x8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the C library's, to a few units in the last place, over the whole range and at its ends.
    #[test]
    fn exponential_and_logarithm_are_exact() {
        let close = |found: f64, exact: f64| {
            let error = (found - exact).abs() / exact.abs().max(f64::MIN_POSITIVE);
            assert!(error < 1e-15, "{found:e} instead of {exact:e}");
        };
        for step in 0..=70_799 {
            let x = -f64::from(step) / 100.0;
            close(exp(x), x.exp());
            close(exp(x / 700.0), (x / 700.0).exp());
            close(ln_1p(exp(x)), x.exp().ln_1p());
            close(softplus(x), x.exp().ln_1p());
            close(softplus(-x), -x + x.exp().ln_1p());
            close(sigmoid(x), x.exp() / (1.0 + x.exp()));
            close(sigmoid(-x), 1.0 / (1.0 + x.exp()));
        }
        for step in 0..=1000 {
            let e = f64::from(step) / 1000.0;
            close(ln_1p(e), e.ln_1p());
        }
        assert!(exp(f64::NAN).is_nan() && softplus(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan());
        assert_eq!((exp(0.0), softplus(f64::INFINITY), sigmoid(f64::INFINITY)), (1.0, f64::INFINITY, 1.0));
        assert_eq!((exp(f64::NEG_INFINITY), sigmoid(-1e9), softplus(-1e9)), (0.0, 0.0, 0.0));
    }
}
