//! Losses of many labels and runs side by side, in f32: a lane of a vector is one label of one run, with its own numbers.
//!
//! What a lane computes does not depend on the lanes beside it, so that a run gives the same bits among others as alone. Beside
//! [`Form::term`], which computes in f64, slopes and values are right to about 1e-6 of their size.

use super::form::{RowWeights, Shape, Side};
use super::{Form, IGNORED};

/// One side of a label's loss: `weight f(slope (z + shift))`, `f` the focal shape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct LaneSide {
    gamma: f32,
    epsilon: f32,
    slope: f32,
    shift: f32,
    weight: f32,
}

/// The loss of one label. The default one costs nothing: a lane of no run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lane {
    positive: LaneSide,
    negative: LaneSide,
}

impl Form {
    /// The form as lanes, one per label; `None` where it is more than focal sides over rows that weigh alike.
    #[must_use]
    pub fn lanes(&self) -> Option<Vec<Lane>> {
        if self.corrected.is_some() || self.rows != RowWeights::Alike {
            return None;
        }
        let side = |Side { shape, slope, shift, weight }: &Side, label: usize| match *shape {
            Shape::Focal { gamma, epsilon } => Some(LaneSide {
                gamma: gamma as f32,
                epsilon: epsilon as f32,
                slope: *slope as f32,
                shift: shift[label] as f32,
                weight: weight[label] as f32,
            }),
            _ => None,
        };
        let lane = |label| Some(Lane { positive: side(&self.positive, label)?, negative: side(&self.negative, label)? });
        (0..self.positive.weight.len()).map(lane).collect()
    }
}

/// `N` lanes, number by number; of each the negative side, then the positive one.
#[derive(Clone, Debug)]
pub struct Lanes<const N: usize> {
    gamma: [[f32; N]; 2],
    epsilon: [[f32; N]; 2],
    slope: [[f32; N]; 2],
    shift: [[f32; N]; 2],
    weight: [[f32; N]; 2],
    /// Whether any lane has a gamma or an epsilon.
    focal: bool,
}

impl<const N: usize> Lanes<N> {
    /// At most `N` lanes; the others cost nothing.
    #[must_use]
    pub fn new(lanes: &[Lane]) -> Self {
        let lane = |at: usize| lanes.get(at).copied().unwrap_or_default();
        let of = |number: fn(LaneSide) -> f32| {
            [std::array::from_fn(|at| number(lane(at).negative)), std::array::from_fn(|at| number(lane(at).positive))]
        };
        let (gamma, epsilon) = (of(|side| side.gamma), of(|side| side.epsilon));
        let focal = gamma.iter().chain(&epsilon).flatten().any(|&number| number != 0.0);
        let (slope, shift, weight) = (of(|side| side.slope), of(|side| side.shift), of(|side| side.weight));
        Self { gamma, epsilon, slope, shift, weight, focal }
    }

    /// What a cell of each lane costs at the logits `z`, which become the slopes times `share`. A target that is [`IGNORED`]
    /// costs nothing and has no slope.
    #[inline(always)]
    pub fn cost(&self, z: &mut [f32; N], targets: [u8; N], share: f32) -> [f32; N] {
        if self.focal { self.terms::<true>(z, targets, share) } else { self.terms::<false>(z, targets, share) }
    }

    #[inline(always)]
    fn terms<const FOCAL: bool>(&self, z: &mut [f32; N], targets: [u8; N], share: f32) -> [f32; N] {
        let mut values = [0.0; N];
        for at in 0..N {
            // Both numbers are read and one is kept: where the address depended on the target, each lane would be read on its own.
            let positive = if targets[at] == 1 { u32::MAX } else { 0 };
            let choose = |[negative, one]: &[[f32; N]; 2]| {
                f32::from_bits(one[at].to_bits() & positive | negative[at].to_bits() & !positive)
            };
            let (slope, weight) = (choose(&self.slope), choose(&self.weight));
            let u = slope * (z[at] + choose(&self.shift));
            let e = exp(-u.abs());
            let (above, rest) = (u >= 0.0, 1.0 / (1.0 + e));
            // softplus(-u) and softplus(u), the probability of being wrong and of being right.
            let tail = ln_1p(e);
            let (cost, gain) = (tail + if above { 0.0 } else { -u }, tail + if above { u } else { 0.0 });
            let (wrong, right) = if above { (e * rest, rest) } else { (rest, e * rest) };
            let (value, derivative) = if FOCAL {
                let (gamma, epsilon) = (choose(&self.gamma), choose(&self.epsilon));
                let modulator = exp(-gamma * gain);
                let added = epsilon * modulator * wrong;
                let derivative = modulator * (gamma * right * cost + wrong) + (gamma + 1.0) * added * right;
                (modulator * cost + added, derivative)
            } else {
                (cost, wrong)
            };
            let ignored = targets[at] == IGNORED;
            values[at] = if ignored { 0.0 } else { weight * value };
            z[at] = if ignored { 0.0 } else { -(slope * weight * share) * derivative };
        }
        values
    }
}

/// `e^x` for x <= 0, as [`super::pointwise::exp`] in f32; 0 below -87.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts: small integers times the first are exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    /// 1 / k! from 2 to 7.
    const SERIES: [f32; 6] = [0.5, 1.666_666_7e-1, 4.166_666_8e-2, 8.333_334e-3, 1.388_888_9e-3, 1.984_127e-4];
    let below = x < -87.0;
    let x = if below { 0.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2.0) - n * LN_2.1;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let series = SERIES.iter().rev().fold(0.0, |sum, c| sum * r + c);
    if below { 0.0 } else { (series * (r * r) + r + 1.0) * power }
}

/// `ln(1 + e)` for 0 <= e <= 1, as [`super::pointwise`]'s in f32.
#[inline(always)]
fn ln_1p(e: f32) -> f32 {
    const SERIES: [f32; 5] = [1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0];
    let (halved, rest) = if e > 0.414_213_56 { (1.0, std::f32::consts::LN_2) } else { (0.0, 0.0) };
    let s = (e - halved) / (2.0 + e + halved);
    let square = s * s;
    let series = SERIES.iter().rev().fold(0.0, |sum, c| sum * square + c);
    rest + 2.0 * (s + s * (square * series))
}

#[cfg(test)]
mod tests {
    use super::super::form::Side;
    use super::*;
    use crate::rng::Rng;

    const N: usize = 16;

    fn cost(lanes: &Lanes<N>, z: &[f32; N], targets: [u8; N]) -> ([f32; N], [f32; N]) {
        let mut slopes = *z;
        let values = lanes.cost(&mut slopes, targets, 0.125);
        (values, slopes)
    }

    /// Against the form in f64, lane by lane, over gammas, epsilons, slopes, shifts and weights, also far out.
    #[test]
    fn lanes_cost_what_their_form_says() {
        let mut rng = Rng::new(3, "lanes", &[]);
        for case in 0..400 {
            let mut number = |low: f64, high: f64| low + (high - low) * rng.uniform();
            let plain = case % 3 == 0;
            let (gamma, epsilon) = if plain { (0.0, 0.0) } else { (number(0.0, 5.0), number(-1.0, 2.0)) };
            let mut side = |sign: f64| Side {
                shape: Shape::Focal { gamma, epsilon },
                slope: f64::from((sign * number(0.5, 3.0)) as f32),
                shift: (0..N).map(|_| f64::from(number(-2.0, 2.0) as f32)).collect(),
                weight: (0..N).map(|_| f64::from(number(0.1, 20.0) as f32)).collect(),
            };
            let form = Form::new(side(1.0), side(-1.0));
            let lanes = Lanes::new(&form.lanes().unwrap());
            let spread = [0.1, 3.0, 30.0, 1e3][case % 4];
            let z: [f32; N] = std::array::from_fn(|_| (spread * rng.normal()) as f32);
            let targets: [u8; N] = std::array::from_fn(|at| ((at + case) % 3) as u8);
            let (values, slopes) = cost(&lanes, &z, targets);
            for at in 0..N {
                if targets[at] == IGNORED {
                    assert_eq!((values[at], slopes[at]), (0.0, 0.0));
                    continue;
                }
                let term = form.term(at, z[at].into(), targets[at] == 1, 1.0);
                // What is tiny because it is far out is as exact as the logit that it comes from, which f32 rounds.
                let close = |found: f32, exact: f64, size: f64| {
                    let error = (f64::from(found) - exact).abs();
                    assert!(
                        error <= 2e-6 * (1.0 + gamma) * size + 1e-30,
                        "{found:e} instead of {exact:e}: {form:?} at {}",
                        z[at]
                    );
                };
                let scale = 1.0 + f64::from(z[at]).abs();
                close(values[at], term.value, term.value.abs().max(1e-3) * scale);
                close(slopes[at], term.slope * 0.125, term.slope.abs().max(1e-4) * scale * 0.125);
            }
        }
    }

    /// A lane's bits are its own: among lanes that have a gamma, bce costs what it costs alone.
    #[test]
    fn lanes_do_not_see_each_other() {
        let plain = Form::new(Side::positive(0.0, vec![3.0; 8]), Side::negative(0.0, 1.0, 8));
        let focal = Form::new(Side::positive(2.0, vec![0.5; 8]), Side::negative(2.0, 1.0, 8));
        let alone = Lanes::new(&plain.lanes().unwrap());
        let among = Lanes::new(&[plain.lanes().unwrap(), focal.lanes().unwrap()].concat());
        let mut rng = Rng::new(4, "lanes", &[]);
        for _ in 0..200 {
            let z: [f32; N] = std::array::from_fn(|_| (10.0 * rng.normal()) as f32);
            let targets: [u8; N] = std::array::from_fn(|_| u8::from(rng.uniform() < 0.5));
            let ((one, one_slopes), (two, two_slopes)) = (cost(&alone, &z, targets), cost(&among, &z, targets));
            assert_eq!((&one[..8], &one_slopes[..8]), (&two[..8], &two_slopes[..8]));
            assert!(one[8..].iter().chain(&one_slopes[8..]).all(|&number| number == 0.0), "lanes of no run cost nothing");
        }
    }

    /// NaN stays NaN, infinity is infinite: what has diverged is seen.
    #[test]
    fn what_is_not_finite_is_seen() {
        let form = Form::new(Side::positive(1.0, vec![1.0; N]), Side::negative(1.0, 1.0, N));
        let lanes = Lanes::<N>::new(&form.lanes().unwrap());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (values, slopes) = cost(&lanes, &[bad; N], std::array::from_fn(|at| (at % 2) as u8));
            assert!(values.iter().zip(&slopes).any(|(value, slope)| !value.is_finite() || !slope.is_finite()), "{values:?}");
        }
    }
}
