//! Convolutions and linear layers.

use pulp::Simd;

use crate::engine::{Buffers, Step};
use crate::functions::Activation;
use crate::graph::{Affine, Layer, Window};
use crate::half::Precision;
use crate::place::Place;
use crate::product::{Compute, Dot, Inputs, Packed, ROWS, UNIT, whole};

/// Numbers of inputs that are to stay in the second cache while all panels read them.
const STRIP: usize = 48 * 1024;

/// What a layer reads, writes and adds.
pub(crate) struct Maps {
    pub from: Place,
    pub to: Place,
    pub residual: Option<Place>,
}

/// When inputs become what products read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    /// They are.
    Never,
    /// Whole maps before the first product: many windows see a pixel.
    Maps,
    /// The pixels of a strip.
    Pixels,
}

/// A layer with everything that is done to its inputs and its sums.
pub(crate) struct Product {
    maps: Maps,
    precision: Precision,
    take: Take,
    /// Of each output: where its inputs begin, where it lies, where what is added to it lies.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    residuals: Vec<usize>,
    taps: Vec<usize>,
    run: usize,
    weights: Packed,
    bias: Vec<f32>,
    before: Option<Affine>,
    activation: Activation,
    /// Outputs that are computed with one panel after the other.
    strip: usize,
}

impl Product {
    pub fn new(
        maps: Maps,
        window: Window,
        layer: &Layer,
        before: Option<Affine>,
        activation: Activation,
        precision: Precision,
    ) -> Self {
        let Maps { from, to, residual } = &maps;
        let Window { size, stride, padding } = window;
        let (channels, pixel, numbers) = (from.channels, from.layout.stride, precision.numbers());
        let take = match precision {
            _ if before.is_some() => Take::Pixels,
            Precision::F32 => Take::Never,
            Precision::Bf16 if size == 1 => Take::Pixels,
            Precision::Bf16 => Take::Maps,
        };
        // Where numbers lie, in items of what products read.
        let item = |number: usize| {
            let numbers = if take == Take::Maps { numbers } else { 1 };
            assert!(number.is_multiple_of(numbers), "a pixel begins in the middle of an item");
            number / numbers
        };
        let corner = |along: usize| (along * stride) as isize - padding as isize;
        let pixels = (0..to.layout.height).flat_map(|y| (0..to.layout.width).map(move |x| (y, x)));
        let inputs = pixels.map(|(y, x)| item(from.at(corner(y), corner(x)))).collect();
        // The pixels of a row lie behind each other: one run, where all of their channels are read.
        let joined = size > 1 && from.first == 0 && pixel < channels + UNIT;
        let (taps, wide, each): (Vec<usize>, usize, usize) = if joined {
            ((0..size).map(|y| item(y * from.layout.row())).collect(), size, pixel)
        } else {
            ((0..size * size).map(|tap| item(tap / size * from.layout.row() + tap % size * pixel)).collect(), 1, channels)
        };
        let run = (wide * each).div_ceil(numbers);
        let weight = |output: usize, tap: usize, number: usize| {
            let (tap, channel) = (tap * wide + number / each, number % each);
            let read = number < wide * each && channel < channels;
            if read { layer.weight[(output * channels + channel) * size * size + tap] } else { 0.0 }
        };
        let weights = Packed::new(layer.outputs(), taps.len() * run, |output, at| {
            let (tap, first) = (at / run, at % run * numbers);
            precision.item([weight(output, tap, first), weight(output, tap, first + 1)])
        });
        let mut bias = layer.bias.clone();
        bias.resize(whole(bias.len()), 0.0);
        let strip = (STRIP / (channels * stride * stride)).clamp(48, 4096).next_multiple_of(24);
        Self {
            outputs: to.pixels(),
            residuals: residual.map(|place| place.pixels()).unwrap_or_default(),
            maps,
            precision,
            take,
            inputs,
            taps,
            run,
            weights,
            bias,
            before,
            activation,
            strip,
        }
    }
}

impl Step for Product {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        Run { layer: self, buffers, images }.compute(self.precision);
    }
}

struct Run<'a> {
    layer: &'a Product,
    buffers: &'a mut Buffers,
    images: usize,
}

impl Compute for Run<'_> {
    #[inline(always)]
    fn with<S: Simd, D: Dot<S>>(self, simd: S, dot: D) {
        let Self { layer, buffers, images } = self;
        let Product { inputs, outputs, residuals, maps, .. } = layer;
        let from: Vec<*const f32> = (0..images).map(|image| buffers.map(&maps.from, image).cast_const()).collect();
        let to: Vec<*mut f32> = (0..images).map(|image| buffers.map(&maps.to, image)).collect();
        let residual: Option<Vec<*mut f32>> =
            maps.residual.as_ref().map(|place| (0..images).map(|image| buffers.map(place, image)).collect());
        let from = if layer.take == Take::Maps {
            let numbers = maps.from.layout.len();
            let length = numbers / layer.precision.numbers();
            // A run may end in the middle of an item.
            let items = buffers.taken(images * length + 1);
            for (map, items) in from.into_iter().zip(items.chunks_exact_mut(length)) {
                // SAFETY: a whole map.
                unsafe { dot.take(simd, std::slice::from_raw_parts(map, numbers), None, items) };
            }
            items.chunks_exact(length).map(<[f32]>::as_ptr).collect()
        } else {
            from
        };
        let Rows { mut read, mut write, mut add } = std::mem::take(&mut buffers.rows);
        let pixels = inputs.len();
        let total = images * pixels;
        for start in (0..total).step_by(layer.strip) {
            let strip = (start..(start + layer.strip).min(total)).map(|at| (at / pixels, at % pixels));
            read.clear();
            write.clear();
            add.clear();
            // SAFETY: places of pixels in maps, their borders included.
            unsafe {
                read.extend(strip.clone().map(|(image, pixel)| from[image].add(inputs[pixel])));
                write.extend(strip.clone().map(|(image, pixel)| to[image].add(outputs[pixel])));
                if let Some(residual) = &residual {
                    add.extend(strip.map(|(image, pixel)| residual[image].add(residuals[pixel]).cast_const()));
                }
            }
            let depth = layer.taps.len() * layer.run;
            let mut inputs = Inputs { taps: &layer.taps, run: layer.run };
            if layer.take == Take::Pixels || D::TILES {
                let (room, block) = if D::TILES { (whole(depth), ROWS) } else { (depth, 1) };
                let count = read.len().next_multiple_of(block);
                let scratch = buffers.scratch(count * room);
                for (row, to) in read.iter_mut().zip(scratch.chunks_exact_mut(room)) {
                    to[depth..].fill(0.0);
                    // SAFETY: the channels of a pixel, or the inputs of an output.
                    unsafe {
                        if layer.take == Take::Pixels {
                            let from = std::slice::from_raw_parts(*row, maps.from.channels);
                            dot.take(simd, from, layer.before.as_ref(), &mut to[..depth]);
                        } else {
                            for (tap, to) in layer.taps.iter().zip(to.chunks_exact_mut(layer.run)) {
                                to.copy_from_slice(std::slice::from_raw_parts(row.add(*tap), layer.run));
                            }
                        }
                    }
                    *row = to.as_ptr();
                }
                read.extend(scratch.chunks_exact(room).skip(read.len()).map(<[f32]>::as_ptr));
                inputs = Inputs { taps: &[0], run: room };
            }
            for panel in &layer.weights.panels {
                let weights = (layer.weights.of(panel).as_ptr(), panel.width());
                // SAFETY: rows have their inputs, the panel its weights.
                unsafe {
                    dot.sums(
                        simd,
                        &read,
                        inputs,
                        weights,
                        panel.units,
                        #[inline(always)]
                        |row, column, width, sums| {
                            let first = panel.first + column;
                            let rows = row..(row + sums.len() / width).min(write.len());
                            let add = if residual.is_some() { &add[rows.clone()] } else { &[] };
                            finish(simd, sums, (&layer.bias[first..first + width], layer.activation), add, &write[rows], first);
                        },
                    );
                }
            }
        }
        buffers.rows = Rows { read, write, add };
    }
}

/// Where the inputs and the outputs of the rows of a strip lie, and what is added to these.
#[derive(Default)]
pub(crate) struct Rows {
    pub read: Vec<*const f32>,
    write: Vec<*mut f32>,
    add: Vec<*const f32>,
}

/// From the sums of some outputs of some pixels to what they are.
///
/// # Safety
/// `add`, where there is any, and `write` have these outputs from `first` on.
#[inline(always)]
unsafe fn finish<S: Simd>(
    simd: S,
    sums: &mut [f32],
    (bias, activation): (&[f32], Activation),
    add: &[*const f32],
    write: &[*mut f32],
    first: usize,
) {
    let width = bias.len();
    for sums in sums.chunks_exact_mut(width) {
        sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
    }
    for (sums, add) in sums.chunks_exact_mut(width).zip(add) {
        // SAFETY: the caller's.
        let add = unsafe { std::slice::from_raw_parts(add.add(first), width) };
        sums.iter_mut().zip(add).for_each(|(sum, add)| *sum += add);
    }
    activation.apply(simd, sums);
    for (sums, write) in sums.chunks_exact(width).zip(write) {
        // SAFETY: the caller's; a panel ends where the room of its map ends.
        unsafe { std::slice::from_raw_parts_mut(write.add(first), width) }.copy_from_slice(sums);
    }
}
