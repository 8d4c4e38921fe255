//! How a dense block's maps are cut into pieces that fit in cache. All sizes follow from the shapes alone.

use std::ops::Range;

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::DenseLayer;
use crate::micro::{OCTET, PANEL, SLACK};

/// Floats of a piece: half of a usual second-level cache.
const CACHED: usize = 1 << 17;
/// Tasks that keep every core of a usual machine busy.
const ENOUGH: usize = 8;
/// Positions of a 3x3 convolution's piece, its borders among them.
const POSITIONS: usize = 2048;

/// The sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Channels of the input.
    pub first: usize,
    pub growth: usize,
    pub bottleneck: usize,
    pub layers: usize,
    pub batch: usize,
    pub height: usize,
    pub width: usize,
}

impl Sizes {
    pub(super) fn new(x: &Tensor, layers: &[DenseLayer]) -> Result<Self> {
        let (first, batch, height, width) = crate::sides(x)?;
        let (growth, bottleneck) =
            layers.first().map_or(Ok((0, 0)), |layer| Ok::<_, candle_core::Error>((layer.conv2.dim(0)?, layer.conv1.dim(0)?)))?;
        let sizes = Self { first, growth, bottleneck, layers: layers.len(), batch, height, width };
        for (l, layer) in layers.iter().enumerate() {
            let inputs = sizes.inputs(l);
            let fits = layer.conv1.dims() == [bottleneck, inputs, 1, 1]
                && layer.conv2.dims() == [growth, bottleneck, 3, 3]
                && [&layer.norm1.0, &layer.norm1.1].iter().all(|t| t.dims() == [inputs])
                && [&layer.norm2.0, &layer.norm2.1].iter().all(|t| t.dims() == [bottleneck]);
            if !fits {
                bail!("dense block: the weights of layer {l} do not fit {inputs} channels");
            }
        }
        Ok(sizes)
    }

    /// Channels that layer `l` reads.
    pub(super) fn inputs(&self, l: usize) -> usize {
        self.first + l * self.growth
    }

    pub(super) fn channels(&self) -> usize {
        self.inputs(self.layers)
    }

    /// Values of a channel.
    pub(super) fn area(&self) -> usize {
        self.batch * self.height * self.width
    }

    pub(super) fn shape(&self) -> Shape {
        (self.channels(), self.batch, self.height, self.width).into()
    }

    /// Positions a piece of a product over `depth` channels may have, in whole panels.
    pub(super) fn columns(&self, depth: usize) -> usize {
        let pieces = (self.area() * depth).div_ceil(CACHED).max(ENOUGH.min(self.area().div_ceil(2 * PANEL))).max(1);
        self.area().div_ceil(pieces).next_multiple_of(PANEL)
    }

    /// Into how many groups the outputs of a product with `pieces` pieces are shared out.
    pub(super) fn groups(pieces: usize, outputs: usize) -> usize {
        (ENOUGH / pieces.max(1)).clamp(1, outputs.div_ceil(OCTET))
    }

    pub(super) fn bands(&self) -> Vec<Band> {
        let (h, w) = (self.height, self.width);
        let one = (h + 1) * (w + 1);
        let band = |start: usize, images: usize, rows: Range<usize>| {
            let positions = start * h * w + rows.start * w..(start + images - 1) * h * w + rows.end * w;
            Band { image: start, images, rows, height: h, width: w, positions }
        };
        if one > POSITIONS {
            let parts = one.div_ceil(POSITIONS);
            let rows = h.div_ceil(parts);
            let of = |image: usize| (0..h).step_by(rows).map(move |r| band(image, 1, r..h.min(r + rows)));
            (0..self.batch).flat_map(of).collect()
        } else {
            let parts = self.batch.div_ceil(POSITIONS / one);
            let images = self.batch.div_ceil(parts.max(1)).max(1);
            (0..self.batch).step_by(images).map(|i| band(i, images.min(self.batch - i), 0..h)).collect()
        }
    }
}

/// A piece of a 3x3 convolution: some whole images, or some rows of one.
///
/// Laid out with borders, a row has one zero in front (which also ends the row before), images have one row of zeros between
/// them, and a band of rows has its neighbours at both ends. Then every place of the kernel is one distance in memory.
pub(super) struct Band {
    image: usize,
    images: usize,
    rows: Range<usize>,
    height: usize,
    width: usize,
    /// Where its values lie in a channel.
    pub positions: Range<usize>,
}

impl Band {
    fn stride(&self) -> usize {
        self.width + 1
    }

    /// Rows without the first and last.
    fn inner_rows(&self) -> usize {
        self.images * (self.rows.len() + 1) - 1
    }

    /// Positions from the first to the last row, borders between them included.
    pub(super) fn span(&self) -> usize {
        self.inner_rows() * self.stride()
    }

    /// [`Self::span`] in whole panels.
    pub(super) fn padded_span(&self) -> usize {
        self.span().next_multiple_of(PANEL)
    }

    /// Values of a laid-out channel.
    pub(super) fn length(&self) -> usize {
        self.padded_span() + 2 * self.stride() + 2 + SLACK
    }

    /// Where place (i, j) of the kernel looks, from the first position of the span.
    pub(super) fn tap(&self, i: usize, j: usize) -> usize {
        i * self.stride() + j
    }

    /// Where the span starts.
    pub(super) fn origin(&self) -> usize {
        self.stride() + 1
    }

    /// Each image row: (where it lies in the channel, where in the layout from the origin on).
    #[inline(always)]
    fn inner(&self) -> impl Iterator<Item = (usize, usize)> {
        let (start, rows, stride, width) = (self.positions.start, self.rows.len(), self.stride(), self.width);
        (0..self.images * rows).map(move |r| (start + r * width, (r / rows * (rows + 1) + r % rows) * stride))
    }

    /// Lays out one channel with `f` of its values.
    #[inline(always)]
    pub(super) fn lay_out(&self, channel: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
        out.fill(0.0);
        let mut row = |from: usize, to: usize| {
            for (out, &x) in out[to..to + self.width].iter_mut().zip(&channel[from..from + self.width]) {
                *out = f(x);
            }
        };
        for (from, to) in self.inner() {
            row(from, self.origin() + to);
        }
        if self.images == 1 {
            let plane = self.image * self.height * self.width;
            if self.rows.start > 0 {
                row(plane + (self.rows.start - 1) * self.width, 1);
            }
            if self.rows.end < self.height {
                row(plane + self.rows.end * self.width, self.origin() + self.span());
            }
        }
    }

    /// Copies the image rows out of `span`, which starts at the origin, to the band's part of a channel.
    #[inline(always)]
    pub(super) fn take_in(&self, span: &[f32], out: &mut [f32]) {
        for (to, from) in self.inner() {
            let to = to - self.positions.start;
            for (out, &x) in out[to..to + self.width].iter_mut().zip(&span[from..from + self.width]) {
                *out = x;
            }
        }
    }
}

/// Octets of rows of a matrix `[rows, depth]`: `[rows / 8][depth][8]`, zeros behind the last row. `fill(first, octet)` writes the
/// octet that begins at row `first`.
fn octets(rows: usize, depth: usize, fill: impl Fn(usize, &mut [[f32; OCTET]]) + Sync) -> Vec<f32> {
    let mut packed = vec![0.0; rows.next_multiple_of(OCTET) * depth];
    packed.par_chunks_exact_mut((depth * OCTET).max(1)).enumerate().for_each(|(octet, packed)| {
        fill(octet * OCTET, packed.as_chunks_mut().0);
    });
    packed
}

/// Packs `weights [rows, depth]`.
pub(super) fn pack(weights: &[f32], rows: usize, depth: usize) -> Vec<f32> {
    octets(rows, depth, |first, packed| {
        let length = packed.len();
        let row = |row: usize| &weights[row * depth..][..length];
        if first + OCTET <= rows {
            let rows: [&[f32]; OCTET] = std::array::from_fn(|o| row(first + o));
            for (j, packed) in packed.iter_mut().enumerate() {
                *packed = rows.map(|row| row[j]);
            }
        } else {
            for (o, row) in (first..rows).map(row).enumerate() {
                packed.iter_mut().zip(row).for_each(|(packed, &weight)| packed[o] = weight);
            }
        }
    })
}

/// Packs the transpose of `weights [depth, rows, taps]`, its taps in reverse order: `[rows, depth x taps]`.
pub(super) fn pack_back<const TAPS: usize>(weights: &[f32], rows: usize, depth: usize) -> Vec<f32> {
    octets(rows, depth * TAPS, |first, packed| {
        let count = OCTET.min(rows - first);
        for (c, packed) in packed.as_chunks_mut::<TAPS>().0.iter_mut().enumerate() {
            let block = &weights[(c * rows + first) * TAPS..][..count * TAPS];
            for (o, taps) in block.as_chunks::<TAPS>().0.iter().enumerate() {
                for (packed, &weight) in packed.iter_mut().zip(taps.iter().rev()) {
                    packed[o] = weight;
                }
            }
        }
    })
}
