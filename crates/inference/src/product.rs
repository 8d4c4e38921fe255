//! Products of the rows of a map with packed weights: what convolutions, linear layers and attention come to.

use pulp::{Arch, Simd, WithSimd};

use crate::graph::Affine;
use crate::half::Precision;

/// Outputs of one unit of a panel: a 512-bit vector of them.
pub(crate) const UNIT: usize = 16;

/// `count`, rounded up to whole units.
pub(crate) const fn whole(count: usize) -> usize {
    count.div_ceil(UNIT) * UNIT
}

/// Some outputs whose weights lie together: for each input, those of all of its outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Panel {
    pub first: usize,
    /// In units: 1 to 4.
    pub units: usize,
}

impl Panel {
    /// As few panels as have room for so many outputs, of much the same width.
    pub fn divide(outputs: usize) -> Vec<Self> {
        let units = outputs.div_ceil(UNIT);
        let count = units.div_ceil(4);
        let first = |panel: usize| panel * units / count.max(1);
        (0..count).map(|panel| Self { first: first(panel) * UNIT, units: first(panel + 1) - first(panel) }).collect()
    }

    pub fn width(&self) -> usize {
        self.units * UNIT
    }
}

/// A weight matrix as products read it.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub panels: Vec<Panel>,
    /// In whole units.
    depth: usize,
    /// Panel by panel, `[depth][width]`.
    values: Vec<f32>,
}

impl Packed {
    /// Of `outputs` x `depth` items; those behind the last output are 0.
    pub fn new(outputs: usize, depth: usize, item: impl Fn(usize, usize) -> f32) -> Self {
        let panels = Panel::divide(outputs);
        let mut values = Vec::with_capacity(whole(outputs) * whole(depth));
        for panel in &panels {
            for input in 0..whole(depth) {
                values.extend(
                    (panel.first..panel.first + panel.width())
                        .map(|output| if output < outputs && input < depth { item(output, input) } else { 0.0 }),
                );
            }
        }
        Self { panels, depth: whole(depth), values }
    }

    pub fn of(&self, panel: &Panel) -> &[f32] {
        &self.values[panel.first * self.depth..][..panel.width() * self.depth]
    }
}

/// Rows of a block of tiles: those of two.
pub(crate) const ROWS: usize = 2 * UNIT;

/// Numbers of the largest block.
const MOST: usize = 24 * UNIT;

/// What an item is, 32 bits of inputs and of weights, and how items are multiplied.
pub(crate) trait Dot<S: Simd>: Copy {
    /// `sum`, and the products of the items of `a` with those of `b`.
    ///
    /// # Safety
    /// The CPU can.
    unsafe fn add(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s;

    /// A pixel's channels as items, with what comes before the layer.
    ///
    /// # Safety
    /// The CPU can.
    unsafe fn take(self, simd: S, from: &[f32], before: Option<&Affine>, to: &mut [f32]);

    /// Rows are to lie as tiles do: evenly, each behind the one before, in whole blocks.
    const TILES: bool = false;

    /// The sums of each row with the weights of a panel, `[taps * run]` times `stride`: `each` gets the number of the first of some
    /// rows, of the first of some of the panel's outputs, how many these are, and the sums.
    ///
    /// # Safety
    /// Behind each of `rows` lie its `inputs`; behind `weights` lie as many rows of `stride` as a row has inputs, each as long as the panel. The CPU can.
    #[inline(always)]
    unsafe fn sums(
        self,
        simd: S,
        rows: &[*const f32],
        inputs: Inputs<'_>,
        (weights, stride): (*const f32, usize),
        units: usize,
        mut each: impl FnMut(usize, usize, usize, &mut [f32]),
    ) {
        // SAFETY: the caller's.
        unsafe {
            if lanes::<S>() == UNIT {
                match units {
                    1 => blocks::<S, Self, 8, 1>((simd, self), rows, inputs, (weights, stride), 0, &mut each),
                    2 => blocks::<S, Self, 8, 2>((simd, self), rows, inputs, (weights, stride), 0, &mut each),
                    3 => blocks::<S, Self, 8, 3>((simd, self), rows, inputs, (weights, stride), 0, &mut each),
                    _ => blocks::<S, Self, 6, 4>((simd, self), rows, inputs, (weights, stride), 0, &mut each),
                }
            } else {
                for first in (0..units * UNIT).step_by(UNIT) {
                    let weights = (weights.add(first), stride);
                    match lanes::<S>() {
                        8 => blocks::<S, Self, 6, 2>((simd, self), rows, inputs, weights, first, &mut each),
                        4 => blocks::<S, Self, 2, 4>((simd, self), rows, inputs, weights, first, &mut each),
                        _ => blocks::<S, Self, 1, 16>((simd, self), rows, inputs, weights, first, &mut each),
                    }
                }
            }
        }
    }
}

/// A number in f32.
#[derive(Clone, Copy)]
pub(crate) struct Single;

impl<S: Simd> Dot<S> for Single {
    #[inline(always)]
    unsafe fn add(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, sum)
    }

    #[inline(always)]
    unsafe fn take(self, _: S, from: &[f32], before: Option<&Affine>, to: &mut [f32]) {
        let Some(Affine { scale, shift }) = before else {
            return to.copy_from_slice(from);
        };
        for (((to, from), scale), shift) in to.iter_mut().zip(from).zip(scale).zip(shift) {
            *to = Affine::of(*from, *scale, *shift);
        }
    }
}

/// Something that is computed with products.
pub(crate) trait Compute: Sized {
    fn with<S: Simd, D: Dot<S>>(self, simd: S, dot: D);

    /// On the vectors of this CPU.
    fn compute(self, precision: Precision) {
        match precision {
            Precision::F32 => Arch::new().dispatch(InF32(self)),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an engine is made in a precision that the CPU supports.
            Precision::Bf16 => unsafe {
                if crate::tiles::supported() { crate::tiles::compute(self) } else { crate::half::pairs::compute(self) }
            },
            #[cfg(not(target_arch = "x86_64"))]
            Precision::Bf16 => unreachable!("an engine is made in a precision that the CPU supports"),
        }
    }
}

/// In f32, on vectors of any width.
pub(crate) struct InF32<C>(pub C);

impl<C: Compute> WithSimd for InF32<C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.with(simd, Single);
    }
}

/// Where the inputs of a row lie: runs of `run` items, one behind each of `taps` from the row's start on.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub taps: &'a [usize],
    pub run: usize,
}

/// Numbers of a vector.
#[inline(always)]
pub(crate) const fn lanes<S: Simd>() -> usize {
    size_of::<S::f32s>() / size_of::<f32>()
}

/// Blocks of `R` rows with `V` vectors of outputs, whose sums stay in registers.
#[inline(always)]
unsafe fn blocks<S: Simd, D: Dot<S>, const R: usize, const V: usize>(
    (simd, dot): (S, D),
    rows: &[*const f32],
    inputs: Inputs<'_>,
    (weights, stride): (*const f32, usize),
    first: usize,
    each: &mut impl FnMut(usize, usize, usize, &mut [f32]),
) {
    for (block, some) in rows.chunks(R).enumerate() {
        // The last block repeats its last row.
        let rows: [*const f32; R] = std::array::from_fn(|row| some[row.min(some.len() - 1)]);
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        let mut weights = weights;
        // SAFETY: as the caller guarantees.
        unsafe {
            for &tap in inputs.taps {
                let rows = rows.map(|row| row.add(tap));
                for at in 0..inputs.run {
                    let vectors: [S::f32s; V] =
                        std::array::from_fn(|v| weights.add(v * lanes::<S>()).cast::<S::f32s>().read_unaligned());
                    for (sums, row) in sums.iter_mut().zip(&rows) {
                        let x = simd.splat_f32s(*row.add(at));
                        for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                            *sum = dot.add(simd, vector, x, *sum);
                        }
                    }
                    weights = weights.wrapping_add(stride);
                }
            }
        }
        // Sums whose own address is taken would be written to memory after each addition.
        let mut out = [0.0; MOST];
        for (sum, out) in sums.into_iter().flatten().zip(out.chunks_exact_mut(lanes::<S>())) {
            // SAFETY: as long as a vector.
            unsafe { out.as_mut_ptr().cast::<S::f32s>().write_unaligned(sum) };
        }
        let width = V * lanes::<S>();
        each(block * R, first, width, &mut out[..some.len() * width]);
    }
}
