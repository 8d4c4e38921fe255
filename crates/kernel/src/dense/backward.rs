//! The backward pass of a dense block, from its last layer to its first.

use rayon::prelude::*;

use super::Weights;
use super::forward::{Saved, affines, rectified};
use super::tiles::{Band, Sizes, pack_back};
use crate::batch_norm::{Channel, sums};
use crate::cpu::{Scratch, zeros};
use crate::micro::{OCTET, PANEL, SLACK, dots, multiply};
use crate::shared::Shared;
use imbalance::vectorized;

/// LayerGradients of a norm's weight and bias, and of the convolution behind it.
type LayerGradients = [Vec<f32>; 3];

/// Channels whose part of a 3x3 weight's gradient one task computes.
const GROUP: usize = 8;
/// Positions of a 1x1 weight's gradient that one task sums before it looks at the next.
const CHUNK: usize = 1024;
/// Parts that the positions are cut into there, at most.
const PARTS: usize = 8;

/// From the gradient `dy` of the block's result `y`: the gradient of its input and of each layer's weights.
pub(super) fn run(
    sizes: &Sizes,
    weights: &[Weights<'_>],
    saved: &Saved,
    y: &[f32],
    mut dy: Vec<f32>,
) -> (Vec<f32>, Vec<[LayerGradients; 2]>) {
    let area = sizes.area();
    let bands = sizes.bands();
    // What is still to be taken off each channel's gradient: a multiple of 1 and one of x̂.
    let mut pending = vec![(0.0, 0.0); sizes.channels()];
    let mut all: Vec<[LayerGradients; 2]> = Vec::with_capacity(weights.len());
    for (l, weights) in weights.iter().enumerate().rev() {
        let inputs = sizes.inputs(l);
        let (before, own) = dy.split_at_mut(inputs * area);
        let own = &mut own[..sizes.growth * area];
        let range = inputs..inputs + sizes.growth;
        settle(&y[inputs * area..], &saved.channels[range.clone()], &pending[range], area, own);
        let (z, inner) = (&saved.maps[l], &saved.inner[l]);
        let laid = laid_out(sizes, &bands, own);
        let (mut dz, slopes) = ungrow(sizes, weights, &bands, z, inner, &laid);
        let dconv2 = grow_weights(sizes, weights, &bands, z, inner, &laid);
        normalise(z, inner, weights.norm2.0, &slopes, area, &mut dz);
        let x = &y[..inputs * area];
        let channels = &saved.channels[..inputs];
        let outer = unsqueeze(sizes, weights, x, channels, &dz, before);
        let dconv1 = squeeze_weights(sizes, weights, x, channels, &dz);
        for ((pending, channel), (&weight, &(sum, dot))) in
            pending.iter_mut().zip(channels).zip(weights.norm1.0.iter().zip(&outer))
        {
            let factor = f64::from(weight) * channel.inverse_deviation / area as f64;
            pending.0 += factor * sum;
            pending.1 += factor * dot;
        }
        let norm = |sums: Vec<(f64, f64)>, conv| {
            let (bias, weight) = sums.into_iter().map(|(sum, dot)| (sum as f32, dot as f32)).unzip();
            [weight, bias, conv]
        };
        all.push([norm(outer, dconv1), norm(slopes, dconv2)]);
    }
    all.reverse();
    dy.truncate(sizes.first * area);
    settle(y, &saved.channels[..sizes.first], &pending[..sizes.first], area, &mut dy);
    (dy, all)
}

/// Takes what is pending off the gradients `dx` of some channels with values `x`.
fn settle(x: &[f32], channels: &[Channel], pending: &[(f64, f64)], area: usize, dx: &mut [f32]) {
    let rows = dx.par_chunks_exact_mut(area.max(1)).zip(x.par_chunks_exact(area.max(1)));
    rows.zip(channels.par_iter().zip(pending)).for_each(|((dx, x), (channel, &(constant, slope)))| {
        let slope = slope * channel.inverse_deviation;
        let (slope, constant) = (slope as f32, (constant - slope * channel.mean) as f32);
        vectorized(
            #[inline(always)]
            || dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx -= x * slope + constant),
        );
    });
}

/// The gradients `dy` of a layer's own channels, each band with borders: `[growth][length]` per band.
fn laid_out(sizes: &Sizes, bands: &[Band], dy: &[f32]) -> Vec<Scratch> {
    let area = sizes.area();
    bands
        .par_iter()
        .map(|band| {
            let mut laid = Scratch::new(sizes.growth * band.length());
            vectorized(
                #[inline(always)]
                || {
                    for (laid, dy) in laid.chunks_exact_mut(band.length()).zip(dy.chunks_exact(area)) {
                        band.lay_out(dy, laid, |dy| dy);
                    }
                },
            );
            laid
        })
        .collect()
}

/// Sum of g and of g x̂, in f64 from f32 lanes.
type Sums = (f64, f64);

fn joined(pieces: &[Vec<Sums>]) -> Vec<Sums> {
    let channels = pieces.first().map_or(0, Vec::len);
    (0..channels).map(|c| pieces.iter().fold((0.0, 0.0), |sum, piece| (sum.0 + piece[c].0, sum.1 + piece[c].1))).collect()
}

/// Zeroes `g` where the rectifier was off; the sums of what is left.
#[inline(always)]
fn masked(x: &[f32], g: &mut [f32], channel: &Channel, (scale, shift): (f32, f32)) -> Sums {
    for (g, &x) in g.iter_mut().zip(x) {
        *g = if x * scale + shift <= 0.0 { 0.0 } else { *g };
    }
    let centre = channel.mean as f32;
    let [sum, dot] = sums(x, g, |x, g| [g, g * (x - centre)]);
    (sum, dot * channel.inverse_deviation)
}

/// Back through the 3x3 convolution and the rectifier: gradients of the second norm's output, and their sums.
fn ungrow(
    sizes: &Sizes,
    weights: &Weights<'_>,
    bands: &[Band],
    z: &[f32],
    inner: &[Channel],
    laid: &[Scratch],
) -> (Scratch, Vec<Sums>) {
    let (area, outputs, depth) = (sizes.area(), sizes.bottleneck, sizes.growth);
    let affines = affines(inner, weights.norm2);
    // The kernel rotated by 180 degrees.
    let packed = pack_back::<9>(weights.conv2, outputs, depth);
    let groups = Sizes::groups(bands.len(), outputs);
    let share = outputs.div_ceil(OCTET).div_ceil(groups) * OCTET;
    let mut g = Scratch::new(outputs * area);
    let shared = Shared::new(&mut g);
    let work = |scratch: &mut Scratch, task: usize| {
        let (band, laid, group) = (&bands[task / groups], &laid[task / groups], task % groups);
        let width = band.padded_span();
        scratch.resize(OCTET * width);
        let offsets: Vec<usize> = (0..9 * depth).map(|j| j / 9 * band.length() + band.tap(j % 9 / 3, j % 3)).collect();
        let mut found = Vec::with_capacity(share);
        for first in (group * share..outputs.min((group + 1) * share)).step_by(OCTET) {
            multiply(laid, PANEL, &offsets, &packed[first * 9 * depth..][..OCTET * 9 * depth], scratch);
            for (o, row) in (first..outputs).zip(scratch.chunks_exact(width)) {
                let positions = o * area + band.positions.start..o * area + band.positions.end;
                // SAFETY: these positions of this channel are this task's.
                let g = unsafe { shared.part(positions.clone()) };
                found.push(vectorized(
                    #[inline(always)]
                    || {
                        band.take_in(row, g);
                        masked(&z[positions], g, &inner[o], affines[o])
                    },
                ));
            }
        }
        found
    };
    let tasks: Vec<Vec<Sums>> =
        (0..bands.len() * groups).into_par_iter().with_max_len(1).map_init(Scratch::default, work).collect();
    let pieces: Vec<Vec<Sums>> = tasks.chunks(groups).map(<[_]>::concat).collect();
    (g, joined(&pieces))
}

/// The gradient of the 3x3 convolution's weights.
fn grow_weights(
    sizes: &Sizes,
    weights: &Weights<'_>,
    bands: &[Band],
    z: &[f32],
    inner: &[Channel],
    laid: &[Scratch],
) -> Vec<f32> {
    let (area, outputs, depth) = (sizes.area(), sizes.growth, sizes.bottleneck);
    let affines = affines(inner, weights.norm2);
    let parts: Vec<Vec<f32>> = (0..depth.div_ceil(GROUP))
        .into_par_iter()
        .with_max_len(1)
        .map_init(Scratch::default, |scratch: &mut Scratch, group| {
            let channels = group * GROUP..depth.min((group + 1) * GROUP);
            let columns = 9 * channels.len();
            let mut sums = vec![0.0; outputs * columns];
            for (band, dy) in bands.iter().zip(laid) {
                let length = band.length();
                scratch.resize(channels.len() * length);
                vectorized(
                    #[inline(always)]
                    || {
                        for (laid, c) in scratch.chunks_exact_mut(length).zip(channels.clone()) {
                            band.lay_out(&z[c * area..(c + 1) * area], laid, |z| rectified(z, affines[c]));
                        }
                    },
                );
                let rows: Vec<usize> = (0..outputs).map(|o| o * length + band.origin()).collect();
                let cols: Vec<usize> = (0..columns).map(|j| j / 9 * length + band.tap(j % 9 / 3, j % 3)).collect();
                dots((dy, &rows), (scratch, &cols), band.span(), &mut sums, columns);
            }
            sums
        })
        .collect();
    let mut gradient = zeros(outputs * 9 * depth);
    gradient.par_chunks_exact_mut((9 * depth).max(1)).enumerate().for_each(|(row, gradient)| {
        for (gradient, part) in gradient.chunks_mut(9 * GROUP).zip(&parts) {
            gradient.copy_from_slice(&part[row * gradient.len()..][..gradient.len()]);
        }
    });
    gradient
}

/// From masked gradients `g` of a norm's output to those of its input `x`, in place.
fn normalise(x: &[f32], channels: &[Channel], weights: &[f32], sums: &[Sums], area: usize, g: &mut [f32]) {
    let rows = g.par_chunks_exact_mut(area.max(1)).zip(x.par_chunks_exact(area.max(1)));
    rows.zip(channels.par_iter().zip(weights).zip(sums)).for_each(|((g, x), ((channel, &weight), &(sum, dot)))| {
        let factor = f64::from(weight) * channel.inverse_deviation;
        let slope = dot / area as f64 * channel.inverse_deviation;
        let constant = (sum / area as f64 - slope * channel.mean) as f32;
        let (factor, slope) = (factor as f32, slope as f32);
        vectorized(
            #[inline(always)]
            || g.iter_mut().zip(x).for_each(|(g, &x)| *g = factor * (*g - (slope * x + constant))),
        );
    });
}

/// Back through the 1x1 convolution, the rectifier and the first norm, as far as that goes without the sums over the batch: adds
/// to `dx`, and returns the sums.
fn unsqueeze(sizes: &Sizes, weights: &Weights<'_>, x: &[f32], channels: &[Channel], dz: &[f32], dx: &mut [f32]) -> Vec<Sums> {
    let (area, outputs, depth) = (sizes.area(), channels.len(), sizes.bottleneck);
    let affines = affines(channels, weights.norm1);
    let packed = pack_back::<1>(weights.conv1, outputs, depth);
    let columns = sizes.columns(depth);
    let pieces = area.div_ceil(columns);
    let groups = Sizes::groups(pieces, outputs);
    let share = outputs.div_ceil(OCTET).div_ceil(groups) * OCTET;
    let offsets: Vec<usize> = (0..depth).map(|j| j * PANEL).collect();
    let shared = Shared::new(dx);
    let work = |(panels, scratch): &mut (Scratch, Scratch), task: usize| {
        let (piece, group) = (task / groups, task % groups);
        let positions = piece * columns..area.min((piece + 1) * columns);
        let width = positions.len().next_multiple_of(PANEL);
        panels.resize(depth * width);
        scratch.resize(OCTET * width);
        for j in 0..depth {
            let dz = &dz[j * area..][positions.clone()];
            for (panel, dz) in panels.chunks_exact_mut(depth * PANEL).zip(dz.chunks(PANEL)) {
                let panel = &mut panel[j * PANEL..][..PANEL];
                panel[..dz.len()].copy_from_slice(dz);
                panel[dz.len()..].fill(0.0);
            }
        }
        let mut found = Vec::with_capacity(share);
        for first in (group * share..outputs.min((group + 1) * share)).step_by(OCTET) {
            multiply(panels, depth * PANEL, &offsets, &packed[first * depth..][..OCTET * depth], scratch);
            for (c, g) in (first..outputs).zip(scratch.chunks_exact_mut(width)) {
                let own = c * area + positions.start..c * area + positions.end;
                // SAFETY: these positions of this channel are this task's.
                let dx = unsafe { shared.part(own.clone()) };
                let g = &mut g[..positions.len()];
                found.push(vectorized(
                    #[inline(always)]
                    || {
                        let sums = masked(&x[own], g, &channels[c], affines[c]);
                        dx.iter_mut().zip(&*g).for_each(|(dx, g)| *dx += affines[c].0 * g);
                        sums
                    },
                ));
            }
        }
        found
    };
    let tasks: Vec<Vec<Sums>> = (0..pieces * groups).into_par_iter().with_max_len(1).map_init(Default::default, work).collect();
    let pieces: Vec<Vec<Sums>> = tasks.chunks(groups).map(<[_]>::concat).collect();
    joined(&pieces)
}

/// The gradient of the 1x1 convolution's weights.
fn squeeze_weights(sizes: &Sizes, weights: &Weights<'_>, x: &[f32], channels: &[Channel], dz: &[f32]) -> Vec<f32> {
    /// Channels whose values are normalised at a time.
    const AT_ONCE: usize = 12;
    let (area, outputs, inputs) = (sizes.area(), sizes.bottleneck, channels.len());
    let affines = affines(channels, weights.norm1);
    let parts = area.div_ceil(CHUNK).clamp(1, PARTS);
    let part = area.div_ceil(parts);
    let groups = (PARTS / parts).clamp(1, inputs.div_ceil(AT_ONCE));
    let share = inputs.div_ceil(AT_ONCE).div_ceil(groups) * AT_ONCE;
    let groups = inputs.div_ceil(share);
    let tasks: Vec<Vec<f32>> = (0..parts * groups)
        .into_par_iter()
        .with_max_len(1)
        .map(|task| {
            let own = task % groups * share..inputs.min((task % groups + 1) * share);
            let positions = task / groups * part..area.min((task / groups + 1) * part);
            let mut sums = vec![0.0; outputs * own.len()];
            let mut normal = Scratch::new(AT_ONCE * (CHUNK + SLACK));
            for start in positions.clone().step_by(CHUNK) {
                let length = CHUNK.min(positions.end - start);
                let rows: Vec<usize> = (0..outputs).map(|o| o * area + start).collect();
                for first in own.clone().step_by(AT_ONCE) {
                    let now = first..own.end.min(first + AT_ONCE);
                    vectorized(
                        #[inline(always)]
                        || {
                            for (normal, c) in normal.chunks_exact_mut(CHUNK + SLACK).zip(now.clone()) {
                                for (normal, &x) in normal.iter_mut().zip(&x[c * area + start..][..length]) {
                                    *normal = rectified(x, affines[c]);
                                }
                                normal[length..length + SLACK].fill(0.0);
                            }
                        },
                    );
                    let cols: Vec<usize> = (0..now.len()).map(|c| c * (CHUNK + SLACK)).collect();
                    dots((dz, &rows), (&normal, &cols), length, &mut sums[first - own.start..], own.len());
                }
            }
            sums
        })
        .collect();
    let mut gradient = zeros(outputs * inputs);
    gradient.par_chunks_exact_mut(inputs.max(1)).enumerate().for_each(|(row, gradient)| {
        for part in tasks.chunks(groups.max(1)) {
            for (gradient, sums) in gradient.chunks_mut(share).zip(part) {
                let sums = &sums[row * gradient.len()..][..gradient.len()];
                gradient.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
            }
        }
    });
    gradient
}
