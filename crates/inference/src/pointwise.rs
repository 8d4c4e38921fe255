//! Everything that is not a product: means, norms, and values that are moved.

use imbalance::vectorized;

use crate::engine::{Buffers, Step};
use crate::graph::{Affine, Window};
use crate::place::Place;
use crate::product::UNIT;

/// The channels of a pixel, those without meaning behind them included.
///
/// # Safety
/// `map` is the place's.
#[inline(always)]
unsafe fn pixel<'a>(map: *mut f32, place: &Place, y: usize, x: usize) -> &'a mut [f32] {
    // SAFETY: the caller's; a map has room for whole units.
    unsafe {
        let length = crate::product::whole(place.channels).min(place.layout.stride - place.first);
        std::slice::from_raw_parts_mut(map.add(place.at(y as isize, x as isize)), length)
    }
}

/// Calls `of` with the map that is read, the channels of each pixel of `to`, and its row and column, for each of the images.
#[inline(always)]
fn each_pixel(
    buffers: &mut Buffers,
    (from, to): (&Place, &Place),
    images: usize,
    of: impl Fn(*mut f32, &mut [f32], usize, usize),
) {
    for image in 0..images {
        let (read, write) = (buffers.map(from, image), buffers.map(to, image));
        vectorized(
            #[inline(always)]
            || {
                for y in 0..to.layout.height {
                    for x in 0..to.layout.width {
                        // SAFETY: a pixel of the map, which is not the one that is read.
                        of(read, unsafe { pixel(write, to, y, x) }, y, x);
                    }
                }
            },
        );
    }
}

/// The largest of each window; what lies outside is 0.
pub(crate) struct MaxPool {
    pub from: Place,
    pub to: Place,
    pub window: Window,
}

impl Step for MaxPool {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        let Window { size, stride, padding } = self.window;
        each_pixel(
            buffers,
            (&self.from, &self.to),
            images,
            #[inline(always)]
            |from, out, y, x| {
                for tap in 0..size * size {
                    let at = |along: usize, tap: usize| (along * stride + tap) as isize - padding as isize;
                    let place = self.from.at(at(y, tap / size), at(x, tap % size));
                    // SAFETY: a pixel of the map; windows reach into the border.
                    let values = unsafe { std::slice::from_raw_parts(from.add(place), out.len()) };
                    if tap == 0 {
                        out.copy_from_slice(values);
                    } else {
                        out.iter_mut().zip(values).for_each(|(out, value)| *out = out.max(*value));
                    }
                }
            },
        );
    }
}

/// The mean of each window, or of the whole map.
pub(crate) struct AveragePool {
    pub from: Place,
    pub to: Place,
    pub window: Option<Window>,
    pub before: Option<Affine>,
}

impl Step for AveragePool {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        let (height, width) = (self.from.layout.height, self.from.layout.width);
        let (tall, wide) = self.window.map_or((height, width), |window| (window.size, window.size));
        each_pixel(
            buffers,
            (&self.from, &self.to),
            images,
            #[inline(always)]
            |from, out, y, x| {
                out.fill(0.0);
                for tap in 0..tall * wide {
                    // SAFETY: a pixel of the map.
                    let values = unsafe { pixel(from, &self.from, y * tall + tap / wide, x * wide + tap % wide) };
                    match &self.before {
                        None => out.iter_mut().zip(values).for_each(|(out, value)| *out += *value),
                        Some(Affine { scale, shift }) => {
                            let each = out.iter_mut().zip(values).zip(scale.iter().zip(shift));
                            each.for_each(|((out, value), (scale, shift))| *out += Affine::of(*value, *scale, *shift));
                        }
                    }
                }
                let share = 1.0 / (tall * wide) as f32;
                out.iter_mut().for_each(|out| *out *= share);
            },
        );
    }
}

/// Each pixel's channels with mean 0 and variance 1, then scaled and shifted.
pub(crate) struct LayerNorm {
    pub from: Place,
    pub to: Place,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub eps: f32,
}

/// A sum in so many parts.
#[inline(always)]
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut parts = [0.0; UNIT];
    let chunks = values.chunks_exact(UNIT);
    let rest: f32 = chunks.remainder().iter().map(|value| of(*value)).sum();
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, value)| *part += of(*value));
    }
    parts.iter().sum::<f32>() + rest
}

impl Step for LayerNorm {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        let channels = self.weight.len();
        each_pixel(
            buffers,
            (&self.from, &self.to),
            images,
            #[inline(always)]
            |from, out, y, x| {
                // SAFETY: a pixel of the map.
                let values = unsafe { &pixel(from, &self.from, y, x)[..channels] };
                let mean = sum(values, |value| value) / channels as f32;
                let variance = sum(values, |value| (value - mean) * (value - mean)) / channels as f32;
                let scale = 1.0 / (variance + self.eps).sqrt();
                let each = out.iter_mut().zip(values).zip(self.weight.iter().zip(&self.bias));
                each.for_each(|((out, value), (weight, bias))| *out = (*value - mean) * scale * weight + bias);
            },
        );
    }
}

/// Channels times their own numbers.
pub(crate) struct Gate {
    pub from: Place,
    pub by: Place,
    pub to: Place,
}

impl Step for Gate {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        for image in 0..images {
            let (from, by, to) = (buffers.map(&self.from, image), buffers.map(&self.by, image), buffers.map(&self.to, image));
            vectorized(
                #[inline(always)]
                || {
                    // SAFETY: the only pixel of its map.
                    let gate = unsafe { pixel(by, &self.by, 0, 0) };
                    for y in 0..self.to.layout.height {
                        for x in 0..self.to.layout.width {
                            // SAFETY: pixels of the two maps.
                            let (values, out) = unsafe { (pixel(from, &self.from, y, x), pixel(to, &self.to, y, x)) };
                            let each = out.iter_mut().zip(values).zip(gate.iter());
                            each.for_each(|((out, value), gate)| *out = *value * gate);
                        }
                    }
                },
            );
        }
    }
}

/// The class token and a map's pixels, each with its position added.
pub(crate) struct Tokens {
    pub from: Place,
    pub to: Place,
    pub class: Vec<f32>,
    pub positions: Vec<f32>,
}

impl Step for Tokens {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        let width = self.from.layout.width;
        for image in 0..images {
            let (from, to) = (buffers.map(&self.from, image), buffers.map(&self.to, image));
            for (token, position) in self.positions.chunks(self.class.len()).enumerate() {
                // SAFETY: pixels of the two maps.
                let out = unsafe { pixel(to, &self.to, token, 0) };
                let values = match token.checked_sub(1) {
                    None => &self.class[..],
                    // SAFETY: as above.
                    Some(at) => unsafe { pixel(from, &self.from, at / width, at % width) },
                };
                out.iter_mut().zip(values).zip(position).for_each(|((out, value), position)| *out = value + position);
            }
        }
    }
}

/// The first token.
pub(crate) struct First {
    pub from: Place,
    pub to: Place,
}

impl Step for First {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        for image in 0..images {
            let (from, to) = (buffers.map(&self.from, image), buffers.map(&self.to, image));
            // SAFETY: pixels of the two maps.
            let (values, out) = unsafe { (pixel(from, &self.from, 0, 0), pixel(to, &self.to, 0, 0)) };
            out.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
        }
    }
}
