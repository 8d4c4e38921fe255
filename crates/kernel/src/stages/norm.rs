//! What a stage does with the outputs of its convolution: batch norm, rectifier and max pooling in one pass, and their gradients.

use super::shape::{GROUP, Shape};
use crate::batch_norm::{Channel, Moments};

/// One number for each channel of a group.
type Lanes = [f32; GROUP];

/// Places whose numbers are added in f32 before the sum moves to f64.
const BLOCK: usize = 64;
/// Sums that run beside each other.
const CHAINS: usize = 4;

/// Sums of `term(place)` over `places` for every channel of a group.
#[inline(always)]
fn sums<const S: usize>(places: usize, term: impl Fn(usize) -> [Lanes; S]) -> [[f64; GROUP]; S] {
    let mut total = [[0.0; GROUP]; S];
    for start in (0..places).step_by(BLOCK) {
        let end = places.min(start + BLOCK);
        let mut chains = [[[0f32; GROUP]; S]; CHAINS];
        let whole = start + (end - start) / CHAINS * CHAINS;
        for first in (start..whole).step_by(CHAINS) {
            for (place, sums) in (first..).zip(&mut chains) {
                add(sums, &term(place));
            }
        }
        for place in whole..end {
            add(&mut chains[0], &term(place));
        }
        for (s, total) in total.iter_mut().enumerate() {
            for (lane, total) in total.iter_mut().enumerate() {
                *total += chains.iter().map(|chain| f64::from(chain[s][lane])).sum::<f64>();
            }
        }
    }
    total
}

#[inline(always)]
fn add<const S: usize>(sums: &mut [Lanes; S], terms: &[Lanes; S]) {
    for (sums, terms) in sums.iter_mut().zip(terms) {
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum += term;
        }
    }
}

/// The group of channels that begins at number `at`.
#[inline(always)]
fn lanes(values: &[f32], at: usize) -> &Lanes {
    values[at..].first_chunk().unwrap_or_else(|| unreachable!("maps have whole groups"))
}

#[inline(always)]
fn lanes_mut(values: &mut [f32], at: usize) -> &mut Lanes {
    values[at..].first_chunk_mut().unwrap_or_else(|| unreachable!("maps have whole groups"))
}

/// Count, mean and squared distances of every channel of one image.
#[inline(always)]
pub(super) fn moments(y: &[f32], shape: &Shape) -> Vec<Moments> {
    let (step, places) = (shape.output_step(), shape.height * shape.width);
    let mut all = Vec::with_capacity(step);
    for group in (0..step).step_by(GROUP) {
        let count = places as f64;
        let [sum] = sums(places, |place| [*lanes(y, place * step + group)]);
        let mean = sum.map(|sum| sum / count);
        let centre = mean.map(|mean| mean as f32);
        let [squares, rest] = sums(places, |place| {
            let y = lanes(y, place * step + group);
            let apart: Lanes = std::array::from_fn(|c| y[c] - centre[c]);
            [std::array::from_fn(|c| apart[c] * apart[c]), apart]
        });
        all.extend((0..GROUP).map(|c| Moments::around(count, mean[c], [squares[c], rest[c]])));
    }
    all.truncate(shape.outputs);
    all
}

/// What batch norm does with the channels of a stage, as numbers for whole groups: 0 for those of no channel.
#[derive(Default)]
pub(super) struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
    centre: Vec<f32>,
    inverse: Vec<f32>,
}

impl Affine {
    /// The one that changes nothing.
    pub(super) fn none(step: usize) -> Self {
        Self { scale: vec![1.0; step], shift: vec![0.0; step], ..Self::default() }
    }

    pub(super) fn new(channels: &[Channel], weight: &[f32], bias: &[f32]) -> Self {
        let mut all = Self::default();
        for (channel, (&weight, &bias)) in channels.iter().zip(weight.iter().zip(bias)) {
            let (scale, shift) = channel.affine(weight, bias);
            all.scale.push(scale);
            all.shift.push(shift);
            all.centre.push(channel.mean as f32);
            all.inverse.push(channel.inverse_deviation as f32);
        }
        for numbers in [&mut all.scale, &mut all.shift, &mut all.centre, &mut all.inverse] {
            numbers.resize(numbers.len().next_multiple_of(GROUP), 0.0);
        }
        all
    }
}

/// The largest normalised value of a window, and what it was before it was normalised: the first of equal ones.
#[inline(always)]
fn largest(y: &[f32], corner: usize, (step, line): (usize, usize), pool: usize, scale: &Lanes, shift: &Lanes) -> (Lanes, Lanes) {
    let of = |at: usize| -> (Lanes, Lanes) {
        let y = *lanes(y, at);
        (std::array::from_fn(|c| y[c] * scale[c] + shift[c]), y)
    };
    let (mut best, mut from) = of(corner);
    if pool == 2 {
        for at in [corner + step, corner + line, corner + line + step] {
            let (value, y) = of(at);
            for c in 0..GROUP {
                let wins = value[c] > best[c];
                best[c] = if wins { value[c] } else { best[c] };
                from[c] = if wins { y[c] } else { from[c] };
            }
        }
    }
    (best, from)
}

/// `values` where the rectifier lets them through: not where what enters it is 0 or less.
#[inline(always)]
fn rectified(entering: &Lanes, values: &Lanes) -> Lanes {
    std::array::from_fn(|c| if entering[c] <= 0.0 { 0.0 } else { values[c] })
}

/// Normalises, rectifies and pools one image. `out` has a border of `border` places.
#[inline(always)]
pub(super) fn activate(y: &[f32], shape: &Shape, affine: &Affine, border: usize, out: &mut [f32]) {
    let (step, (rows, cols)) = (shape.output_step(), shape.pooled());
    let (line, out_line) = (shape.width * step, (cols + 2 * border) * step);
    let (edge, inside) = (border * out_line, rows * out_line);
    out[..edge].fill(0.0);
    out[edge + inside..].fill(0.0);
    for (row, out) in out[edge..edge + inside].chunks_exact_mut(out_line).enumerate() {
        out[..border * step].fill(0.0);
        out[out_line - border * step..].fill(0.0);
        for group in (0..step).step_by(GROUP) {
            let (scale, shift) = (lanes(&affine.scale, group), lanes(&affine.shift, group));
            for col in 0..cols {
                let corner = row * shape.pool * line + col * shape.pool * step + group;
                let (best, _) = largest(y, corner, (step, line), shape.pool, scale, shift);
                *lanes_mut(out, (border + col) * step + group) = rectified(&best, &best);
            }
        }
    }
}

/// Sums over one image of the gradient g that comes through pooling and rectifier, and of g x̂: of every channel.
#[inline(always)]
pub(super) fn slope_sums(y: &[f32], dy: &[f32], shape: &Shape, affine: &Affine) -> Vec<[f64; 2]> {
    let (step, (rows, cols)) = (shape.output_step(), shape.pooled());
    let line = shape.width * step;
    let mut all = Vec::with_capacity(step);
    for group in (0..step).step_by(GROUP) {
        let (scale, shift) = (lanes(&affine.scale, group), lanes(&affine.shift, group));
        let (centre, inverse) = (lanes(&affine.centre, group), lanes(&affine.inverse, group));
        let [sum, dot] = sums(rows * cols, |cell| {
            let corner = (cell / cols * line + cell % cols * step) * shape.pool + group;
            let (best, from) = largest(y, corner, (step, line), shape.pool, scale, shift);
            let dy = lanes(dy, cell * step + group);
            let g = rectified(&best, dy);
            [g, std::array::from_fn(|c| g[c] * ((from[c] - centre[c]) * inverse[c]))]
        });
        all.extend(sum.into_iter().zip(dot).map(|(sum, dot)| [sum, dot]));
    }
    all.truncate(shape.outputs);
    all
}

/// Mean of g and of g x̂ over the batch, for whole groups of channels.
#[derive(Default)]
pub(super) struct Slopes {
    mean: Vec<f32>,
    slope: Vec<f32>,
}

impl Slopes {
    /// From the sums of `count` values per channel.
    pub(super) fn new(sums: &[[f64; 2]], count: usize) -> Self {
        let count = count.max(1) as f64;
        let mut all = Self::default();
        for [sum, dot] in sums {
            all.mean.push((sum / count) as f32);
            all.slope.push((dot / count) as f32);
        }
        for numbers in [&mut all.mean, &mut all.slope] {
            numbers.resize(numbers.len().next_multiple_of(GROUP), 0.0);
        }
        all
    }
}

/// The gradient of the convolution's output of one image, `scale (g - mean - x̂ slope)`, into the inside of `out`, which has a border.
#[inline(always)]
pub(super) fn spread(y: &[f32], dy: &[f32], shape: &Shape, affine: &Affine, slopes: &Slopes, out: &mut [f32]) {
    let (step, (rows, cols)) = (shape.output_step(), shape.pooled());
    let (line, out_line) = (shape.width * step, shape.slope_line());
    for group in (0..step).step_by(GROUP) {
        let (scale, shift) = (lanes(&affine.scale, group), lanes(&affine.shift, group));
        let (centre, inverse) = (lanes(&affine.centre, group), lanes(&affine.inverse, group));
        let (mean, slope) = (lanes(&slopes.mean, group), lanes(&slopes.slope, group));
        let of = |y: &Lanes, g: &Lanes| -> Lanes {
            std::array::from_fn(|c| scale[c] * (g[c] - mean[c] - (y[c] - centre[c]) * inverse[c] * slope[c]))
        };
        let place = |row: usize, col: usize| (row + 1) * out_line + (col + 1) * step + group;
        let cells = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        for (row, col) in cells {
            let corner = (row * line + col * step) * shape.pool + group;
            let dy = lanes(dy, (row * cols + col) * step + group);
            // What has not found its place yet: the gradient goes to the first of the largest values.
            let (best, _) = largest(y, corner, (step, line), shape.pool, scale, shift);
            let mut left = rectified(&best, dy);
            for (i, j) in (0..shape.pool).flat_map(|i| (0..shape.pool).map(move |j| (i, j))) {
                let y = lanes(y, corner + i * line + j * step);
                let mut g = [0.0; GROUP];
                for c in 0..GROUP {
                    let wins = y[c] * scale[c] + shift[c] == best[c];
                    g[c] = if wins { left[c] } else { 0.0 };
                    left[c] = if wins { 0.0 } else { left[c] };
                }
                *lanes_mut(out, place(row * shape.pool + i, col * shape.pool + j)) = of(y, &g);
            }
        }
        // A last row or column that no window covers.
        let covered = (rows * shape.pool, cols * shape.pool);
        for row in 0..shape.height {
            for col in if row < covered.0 { covered.1 } else { 0 }..shape.width {
                *lanes_mut(out, place(row, col)) = of(lanes(y, row * line + col * step + group), &[0.0; GROUP]);
            }
        }
    }
}
