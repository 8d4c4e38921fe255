//! Convolutions of each channel by itself.

use pulp::{Arch, Simd, WithSimd};

use crate::engine::{Buffers, Step};
use crate::functions::Activation;
use crate::graph::{Layer, Window};
use crate::place::Place;
use crate::product::{UNIT, lanes, whole};

/// Outputs of a row that are computed together.
pub(crate) const ALONG: usize = 8;

pub(crate) struct Depthwise {
    from: Place,
    to: Place,
    window: Window,
    /// `[size * size, whole channels]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

impl Depthwise {
    pub fn new(from: Place, to: Place, window: Window, layer: &Layer, activation: Activation) -> Self {
        let (channels, taps) = (layer.outputs(), window.size * window.size);
        let mut weights = vec![0.0; taps * whole(channels)];
        for channel in 0..channels {
            for tap in 0..taps {
                weights[tap * whole(channels) + channel] = layer.weight[channel * taps + tap];
            }
        }
        let mut bias = layer.bias.clone();
        bias.resize(whole(channels), 0.0);
        Self { from, to, window, weights, bias, activation }
    }
}

impl Step for Depthwise {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        for image in 0..images {
            let (from, to) = (buffers.map(&self.from, image).cast_const(), buffers.map(&self.to, image));
            Arch::new().dispatch(Run { layer: self, from, to });
        }
    }
}

struct Run<'a> {
    layer: &'a Depthwise,
    from: *const f32,
    to: *mut f32,
}

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `from` and `to` are maps of their places.
        unsafe {
            match (self.layer.window.size, self.layer.window.stride) {
                (3, 1) => self.all::<S, 3, 1>(simd),
                (3, _) => self.all::<S, 3, 2>(simd),
                (5, 1) => self.all::<S, 5, 1>(simd),
                (5, _) => self.all::<S, 5, 2>(simd),
                (_, 1) => self.all::<S, 7, 1>(simd),
                (_, _) => self.all::<S, 7, 2>(simd),
            }
        }
    }
}

impl Run<'_> {
    #[inline(always)]
    unsafe fn all<S: Simd, const SIZE: usize, const STRIDE: usize>(&self, simd: S) {
        let Depthwise { from: source, to: sink, window, weights, bias, activation } = self.layer;
        let (rows, columns, channels) = (sink.layout.height, sink.layout.width, bias.len());
        let corner = |along: usize| (along * STRIDE) as isize - window.padding as isize;
        let steps = (source.layout.row(), source.layout.stride);
        for y in 0..rows {
            for x in (0..columns).step_by(ALONG) {
                for unit in (0..channels).step_by(UNIT) {
                    let mut sums = [0.0; ALONG * UNIT];
                    for part in (unit..unit + UNIT).step_by(lanes::<S>()) {
                        // SAFETY: a map has its border, and room behind it for the windows of outputs that are not there.
                        unsafe {
                            let input = self.from.add(source.at(corner(y), corner(x)) + part);
                            let taps = (weights.as_ptr().add(part), channels);
                            let bias = bias.as_ptr().add(part).cast::<S::f32s>().read_unaligned();
                            let out = along::<S, SIZE, STRIDE>(simd, input, steps, taps, bias);
                            for (x, sum) in out.into_iter().enumerate() {
                                sums.as_mut_ptr().add(x * UNIT + part - unit).cast::<S::f32s>().write_unaligned(sum);
                            }
                        }
                    }
                    activation.apply(simd, &mut sums);
                    for (x, sums) in (x..columns).zip(sums.chunks_exact(UNIT)) {
                        // SAFETY: a unit of a pixel's channels.
                        let out =
                            unsafe { std::slice::from_raw_parts_mut(self.to.add(sink.at(y as isize, x as isize) + unit), UNIT) };
                        out.copy_from_slice(sums);
                    }
                }
            }
        }
    }
}

/// The sums of [`ALONG`] outputs: `steps` lead to the next row and the next pixel of the inputs.
#[inline(always)]
unsafe fn along<S: Simd, const SIZE: usize, const STRIDE: usize>(
    simd: S,
    input: *const f32,
    steps: (usize, usize),
    (taps, channels): (*const f32, usize),
    bias: S::f32s,
) -> [S::f32s; ALONG] {
    let mut sums = [bias; ALONG];
    for ky in 0..SIZE {
        // SAFETY: the caller's.
        unsafe {
            let taps: [S::f32s; SIZE] =
                std::array::from_fn(|kx| taps.add((ky * SIZE + kx) * channels).cast::<S::f32s>().read_unaligned());
            let input = input.add(ky * steps.0);
            // Each input is read once for all outputs that see it.
            for at in 0..(ALONG - 1) * STRIDE + SIZE {
                let value = input.add(at * steps.1).cast::<S::f32s>().read_unaligned();
                for (kx, &tap) in taps.iter().enumerate() {
                    if at >= kx && (at - kx) % STRIDE == 0 && (at - kx) / STRIDE < ALONG {
                        let sum = &mut sums[(at - kx) / STRIDE];
                        *sum = simd.mul_add_e_f32s(value, tap, *sum);
                    }
                }
            }
        }
    }
    sums
}
