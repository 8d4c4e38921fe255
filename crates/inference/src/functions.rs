//! Functions of each number of a vector.

use pulp::Simd;

/// What a layer does with its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// `x Φ(x)`, with the error function and not its approximation by a hyperbolic tangent.
    Gelu,
    /// `x sigmoid(1.702 x)`: CLIP's.
    QuickGelu,
    /// `x max(0, min(1, (x + 3) / 6))`: Howard et al., "Searching for MobileNetV3", ICCV 2019.
    HardSwish,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `max(0, min(1, (x + 3) / 6))`.
    HardSigmoid,
}

impl Activation {
    /// In place.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, values: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Relu => {
                let zero = simd.splat_f32s(0.0);
                each(
                    simd,
                    values,
                    #[inline(always)]
                    |x| simd.max_f32s(zero, x),
                );
            }
            Self::Silu => each(
                simd,
                values,
                #[inline(always)]
                |x| simd.mul_f32s(x, sigmoid(simd, x)),
            ),
            Self::Gelu => each(
                simd,
                values,
                #[inline(always)]
                |x| gelu(simd, x),
            ),
            Self::QuickGelu => {
                let scale = simd.splat_f32s(1.702);
                each(
                    simd,
                    values,
                    #[inline(always)]
                    |x| simd.mul_f32s(x, sigmoid(simd, simd.mul_f32s(x, scale))),
                );
            }
            Self::HardSwish => each(
                simd,
                values,
                #[inline(always)]
                |x| simd.mul_f32s(x, hard_sigmoid(simd, x)),
            ),
            Self::Sigmoid => each(
                simd,
                values,
                #[inline(always)]
                |x| sigmoid(simd, x),
            ),
            Self::HardSigmoid => each(
                simd,
                values,
                #[inline(always)]
                |x| hard_sigmoid(simd, x),
            ),
        }
    }
}

/// Puts `of` each vector in its place.
#[inline(always)]
pub(crate) fn each<S: Simd>(simd: S, values: &mut [f32], of: impl Fn(S::f32s) -> S::f32s) {
    let (vectors, rest) = S::as_mut_simd_f32s(values);
    for vector in vectors {
        *vector = of(*vector);
    }
    if !rest.is_empty() {
        simd.partial_store_f32s(rest, of(simd.partial_load_f32s(rest)));
    }
}

/// `((... c[n] x + ...) x + c[1]) x + c[0]`.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, c: [f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(c[N - 1]);
    for c in c.into_iter().rev().skip(1) {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(c));
    }
    sum
}

/// `e^x` to two units in the last place; no less than `e^-87` and no more than `e^88`.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts: small integers times the first are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// 1 / k! from 2 to 7.
    const SERIES: [f32; 6] = [0.5, 1.666_666_7e-1, 4.166_666_8e-2, 8.333_334e-3, 1.388_888_9e-3, 1.984_127e-4];
    let (round, one) = (simd.splat_f32s(ROUND), simd.splat_f32s(1.0));
    let x = simd.min_f32s(simd.max_f32s(x, simd.splat_f32s(-87.0)), simd.splat_f32s(88.0));
    let shifted = simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(round, shifted);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(LN_2[1]), simd.mul_add_e_f32s(n, simd.splat_f32s(LN_2[0]), x));
    let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.transmute_f32s_u32s(simd.add_u32s(bits, simd.splat_u32s(127 << 23)));
    let series = simd.mul_add_e_f32s(polynomial(simd, r, SERIES), simd.mul_f32s(r, r), r);
    simd.mul_f32s(simd.add_f32s(series, one), power)
}

#[inline(always)]
fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(one, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
}

#[inline(always)]
fn hard_sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let between = simd.mul_add_e_f32s(x, simd.splat_f32s(1.0 / 6.0), simd.splat_f32s(0.5));
    simd.min_f32s(simd.max_f32s(between, simd.splat_f32s(0.0)), simd.splat_f32s(1.0))
}

/// With the error function of Abramowitz and Stegun, 7.1.26: off by at most 1.5e-7.
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
    let one = simd.splat_f32s(1.0);
    let z = simd.mul_f32s(simd.abs_f32s(x), simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let t = simd.div_f32s(one, simd.mul_add_e_f32s(simd.splat_f32s(P), z, one));
    let rest = simd.mul_f32s(simd.mul_f32s(polynomial(simd, t, A), t), exp(simd, simd.mul_f32s(simd.neg_f32s(z), z)));
    // Φ(x) is 1 - rest / 2 for x >= 0, and rest / 2 below.
    let below = simd.mul_f32s(simd.splat_f32s(0.5), rest);
    simd.mul_f32s(x, simd.select_f32s(simd.less_than_f32s(x, simd.splat_f32s(0.0)), below, simd.sub_f32s(one, below)))
}
