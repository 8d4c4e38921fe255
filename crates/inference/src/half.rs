//! Products in bf16 with sums in f32: each item of inputs and weights is a pair of numbers.

/// How the numbers of products are kept. Everything else is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    /// The upper half of an f32: its range, with 8 bits of precision.
    Bf16,
}

impl Precision {
    /// Whether this CPU computes in it.
    #[must_use]
    pub fn supported(self) -> bool {
        match self {
            Self::F32 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => pulp::x86::V4::try_new().is_some() && std::arch::is_x86_feature_detected!("avx512bf16"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Bf16 => false,
        }
    }

    /// Numbers of an item.
    pub(crate) fn numbers(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }

    /// The item of these numbers, of which a single one takes the first.
    pub(crate) fn item(self, numbers: [f32; 2]) -> f32 {
        match self {
            Self::F32 => numbers[0],
            Self::Bf16 => f32::from_bits(u32::from(nearest(numbers[1])) << 16 | u32::from(nearest(numbers[0]))),
        }
    }
}

/// The nearest number in bf16, the even one of two.
fn nearest(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { (rounded >> 16) as u16 }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod pairs {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps};
    use std::mem::transmute;

    use pulp::{Simd, x86::V4};

    use crate::graph::Affine;
    use crate::product::{Compute, Dot, UNIT};

    /// Two numbers in bf16, by AVX512-BF16.
    #[derive(Clone, Copy)]
    pub(crate) struct Pairs;

    impl Dot<V4> for Pairs {
        #[inline(always)]
        unsafe fn add(self, _: V4, a: Vector, b: Vector, sum: Vector) -> Vector {
            // SAFETY: vectors of 512 bits; the caller's CPU has AVX512-BF16.
            unsafe {
                let (a, b) = (transmute::<Vector, __m512bh>(a), transmute::<Vector, __m512bh>(b));
                transmute::<__m512, Vector>(_mm512_dpbf16_ps(transmute::<Vector, __m512>(sum), a, b))
            }
        }

        #[inline(always)]
        unsafe fn take(self, simd: V4, from: &[f32], before: Option<&Affine>, to: &mut [f32]) {
            let whole = from.len() / (2 * UNIT) * UNIT;
            for (at, to) in (0..).step_by(2 * UNIT).zip(to[..whole].chunks_exact_mut(UNIT)) {
                // SAFETY: 32 numbers, and room for as many halves; the caller's CPU has AVX512-BF16.
                unsafe {
                    let low =
                        number(simd, from, before, at, |values, at| values.as_ptr().add(at).cast::<Vector>().read_unaligned());
                    let high = number(simd, from, before, at + UNIT, |values, at| {
                        values.as_ptr().add(at).cast::<Vector>().read_unaligned()
                    });
                    to.as_mut_ptr().cast::<Vector>().write_unaligned(pair(low, high));
                }
            }
            if whole < to.len() {
                let part = |values: &[f32], at: usize| {
                    simd.partial_load_f32s(&values[at.min(values.len())..][..UNIT.min(values.len().saturating_sub(at))])
                };
                let low = number(simd, from, before, 2 * whole, part);
                let high = number(simd, from, before, 2 * whole + UNIT, part);
                // SAFETY: as above.
                simd.partial_store_f32s(&mut to[whole..], unsafe { pair(low, high) });
            }
        }
    }

    pub(crate) type Vector = <V4 as Simd>::f32s;

    /// Some numbers from `at` on, with what comes before the layer.
    #[inline(always)]
    fn number(simd: V4, from: &[f32], before: Option<&Affine>, at: usize, load: impl Fn(&[f32], usize) -> Vector) -> Vector {
        match before {
            None => load(from, at),
            Some(Affine { scale, shift }) => {
                let sum = simd.mul_add_e_f32s(load(from, at), load(scale, at), load(shift, at));
                simd.max_f32s(simd.splat_f32s(0.0), sum)
            }
        }
    }

    /// The nearest numbers in bf16.
    ///
    /// # Safety
    /// The CPU has AVX512-BF16.
    #[inline(always)]
    unsafe fn pair(low: Vector, high: Vector) -> Vector {
        // SAFETY: vectors of 512 bits.
        unsafe {
            transmute::<__m512bh, Vector>(_mm512_cvtne2ps_pbh(
                transmute::<Vector, __m512>(high),
                transmute::<Vector, __m512>(low),
            ))
        }
    }

    /// # Safety
    /// The CPU has these features: [`super::Precision::supported`].
    #[target_feature(enable = "sse3,ssse3,sse4.1,sse4.2,popcnt,avx,avx2,bmi1,bmi2,fma,lzcnt")]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    pub(crate) unsafe fn compute<C: Compute>(computation: C) {
        // SAFETY: the caller's.
        computation.with(unsafe { V4::new_unchecked() }, Pairs);
    }
}
