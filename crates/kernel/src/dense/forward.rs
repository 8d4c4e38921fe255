//! The forward pass of a dense block.

use rayon::prelude::*;

use super::Weights;
use super::tiles::{Band, Sizes, pack};
use crate::batch_norm::{Channel, Moments};
use crate::cpu::{Scratch, zeros};
use crate::micro::{OCTET, PANEL, multiply};
use crate::shared::Shared;
use imbalance::vectorized;

/// What the backward pass needs.
#[derive(Default)]
pub(super) struct Saved {
    /// Of every channel of the block.
    pub channels: Vec<Channel>,
    /// Of every layer: its bottleneck's maps and their statistics.
    pub maps: Vec<Scratch>,
    pub inner: Vec<Vec<Channel>>,
}

/// Scale and shift of each channel.
pub(super) fn affines(channels: &[Channel], (weight, bias): (&[f32], &[f32])) -> Vec<(f32, f32)> {
    channels.iter().zip(weight.iter().zip(bias)).map(|(channel, (&weight, &bias))| channel.affine(weight, bias)).collect()
}

#[inline(always)]
pub(super) fn rectified(x: f32, (scale, shift): (f32, f32)) -> f32 {
    let value = x * scale + shift;
    if value <= 0.0 { 0.0 } else { value }
}

pub(super) fn run(sizes: &Sizes, eps: f64, weights: &[Weights<'_>], x: &[f32]) -> (Vec<f32>, Saved) {
    let area = sizes.area();
    let mut y = zeros(sizes.channels() * area);
    let channels = y[..x.len()]
        .par_chunks_exact_mut(area.max(1))
        .zip(x.par_chunks_exact(area.max(1)))
        .map(|(y, x)| {
            y.copy_from_slice(x);
            vectorized(
                #[inline(always)]
                || Channel::measure(x, eps),
            )
        })
        .collect();
    let mut saved = Saved { channels, ..Saved::default() };
    let bands = sizes.bands();
    for (l, weights) in weights.iter().enumerate() {
        let (before, behind) = y.split_at_mut(sizes.inputs(l) * area);
        let (maps, pieces) = squeeze::<true>(sizes, &affines(&saved.channels, weights.norm1), weights.conv1, before);
        let inner = joined(&pieces, eps);
        let behind = &mut behind[..sizes.growth * area];
        let pieces = grow::<true>(sizes, &affines(&inner, weights.norm2), weights.conv2, &bands, &maps, behind);
        saved.channels.extend(joined(&pieces, eps));
        saved.maps.push(maps);
        saved.inner.push(inner);
    }
    (y, saved)
}

/// A layer whose norms are given maps of each channel: scale and shift.
pub(super) struct Fixed<'a> {
    pub norm1: Vec<(f32, f32)>,
    pub conv1: &'a [f32],
    pub norm2: Vec<(f32, f32)>,
    pub conv2: &'a [f32],
}

/// The block with statistics that are not the batch's.
pub(super) fn evaluate(sizes: &Sizes, layers: &[Fixed<'_>], x: &[f32]) -> Vec<f32> {
    let area = sizes.area();
    let mut y = zeros(sizes.channels() * area);
    y[..x.len()].copy_from_slice(x);
    let bands = sizes.bands();
    for (l, Fixed { norm1, conv1, norm2, conv2 }) in layers.iter().enumerate() {
        let (before, behind) = y.split_at_mut(sizes.inputs(l) * area);
        let (maps, _) = squeeze::<false>(sizes, norm1, conv1, before);
        grow::<false>(sizes, norm2, conv2, &bands, &maps, &mut behind[..sizes.growth * area]);
    }
    y
}

/// The statistics of each channel from those of its pieces.
fn joined(pieces: &[Vec<Moments>], eps: f64) -> Vec<Channel> {
    let channels = pieces.first().map_or(0, Vec::len);
    (0..channels).map(|c| Moments::join(pieces.iter().map(|piece| piece[c])).channel(eps)).collect()
}

/// norm - relu - 1x1 convolution: the bottleneck's maps, and what each piece of their channels says of it where `MEASURE`.
fn squeeze<const MEASURE: bool>(sizes: &Sizes, affines: &[(f32, f32)], conv: &[f32], x: &[f32]) -> (Scratch, Vec<Vec<Moments>>) {
    let (area, outputs, depth) = (sizes.area(), sizes.bottleneck, affines.len());
    let packed = pack(conv, outputs, depth);
    let columns = sizes.columns(depth);
    let pieces = area.div_ceil(columns);
    let groups = Sizes::groups(pieces, outputs);
    let share = outputs.div_ceil(OCTET).div_ceil(groups) * OCTET;
    let offsets: Vec<usize> = (0..depth).map(|c| c * PANEL).collect();
    let mut z = Scratch::new(outputs * area);
    let shared = Shared::new(&mut z);
    let moments: Vec<Vec<Moments>> = (0..pieces * groups)
        .into_par_iter()
        .with_max_len(1)
        .map_init(Default::default, |(panels, sums): &mut (Scratch, Scratch), task| {
            let (piece, group) = (task / groups, task % groups);
            let positions = piece * columns..area.min((piece + 1) * columns);
            let width = positions.len().next_multiple_of(PANEL);
            panels.resize(depth * width);
            sums.resize(OCTET * width);
            vectorized(
                #[inline(always)]
                || {
                    for (c, &affine) in affines.iter().enumerate() {
                        let x = &x[c * area..][positions.clone()];
                        for (panel, x) in panels.chunks_exact_mut(depth * PANEL).zip(x.chunks(PANEL)) {
                            let panel = &mut panel[c * PANEL..][..PANEL];
                            for (panel, &x) in panel.iter_mut().zip(x) {
                                *panel = rectified(x, affine);
                            }
                            panel[x.len()..].fill(0.0);
                        }
                    }
                },
            );
            let mut moments = Vec::with_capacity(share);
            for first in (group * share..outputs.min((group + 1) * share)).step_by(OCTET) {
                multiply(panels, depth * PANEL, &offsets, &packed[first * depth..][..OCTET * depth], sums);
                for (o, sums) in (first..outputs).zip(sums.chunks_exact(width)) {
                    // SAFETY: these positions of this channel are this task's.
                    let z = unsafe { shared.part(o * area + positions.start..o * area + positions.end) };
                    z.copy_from_slice(&sums[..positions.len()]);
                    if MEASURE {
                        moments.push(vectorized(
                            #[inline(always)]
                            || Moments::of(z),
                        ));
                    }
                }
            }
            moments
        })
        .collect();
    let pieces = moments.chunks(groups).map(<[_]>::concat).collect();
    (z, pieces)
}

/// norm - relu - 3x3 convolution of the bottleneck's maps `z` into `y`, and what each piece of that says of its channels where `MEASURE`.
fn grow<const MEASURE: bool>(
    sizes: &Sizes,
    affines: &[(f32, f32)],
    conv: &[f32],
    bands: &[Band],
    z: &[f32],
    y: &mut [f32],
) -> Vec<Vec<Moments>> {
    let (area, outputs, depth) = (sizes.area(), sizes.growth, sizes.bottleneck);
    let packed = pack(conv, outputs, 9 * depth);
    let groups = Sizes::groups(bands.len(), outputs);
    let share = outputs.div_ceil(OCTET).div_ceil(groups) * OCTET;
    let shared = Shared::new(y);
    let lay_out = |band: &Band, channels: std::ops::Range<usize>, laid: &mut [f32]| {
        vectorized(
            #[inline(always)]
            || {
                for (laid, c) in laid.chunks_exact_mut(band.length()).zip(channels) {
                    band.lay_out(&z[c * area..(c + 1) * area], laid, |z| rectified(z, affines[c]));
                }
            },
        );
    };
    let convolve = |band: &Band, group: usize, laid: &[f32], sums: &mut Scratch| {
        let width = band.padded_span();
        sums.resize(OCTET * width);
        let offsets: Vec<usize> = (0..9 * depth).map(|j| j / 9 * band.length() + band.tap(j % 9 / 3, j % 3)).collect();
        let mut moments = Vec::with_capacity(share);
        for first in (group * share..outputs.min((group + 1) * share)).step_by(OCTET) {
            multiply(laid, PANEL, &offsets, &packed[first * 9 * depth..][..OCTET * 9 * depth], sums);
            for (o, sums) in (first..outputs).zip(sums.chunks_exact(width)) {
                // SAFETY: these positions of this channel are this task's.
                let y = unsafe { shared.part(o * area + band.positions.start..o * area + band.positions.end) };
                vectorized(
                    #[inline(always)]
                    || {
                        band.take_in(sums, y);
                        if MEASURE {
                            moments.push(Moments::of(y));
                        }
                    },
                );
            }
        }
        moments
    };
    if groups == 1 {
        let work = |(laid, sums): &mut (Scratch, Scratch), band: &Band| {
            laid.resize(depth * band.length());
            lay_out(band, 0..depth, laid);
            convolve(band, 0, laid, sums)
        };
        bands.par_iter().with_max_len(1).map_init(Default::default, work).collect()
    } else {
        let laid: Vec<Scratch> = bands
            .iter()
            .map(|band| {
                let mut laid = Scratch::new(depth * band.length());
                let parts = laid.par_chunks_mut(OCTET * band.length()).enumerate();
                parts.for_each(|(part, laid)| lay_out(band, part * OCTET..depth.min((part + 1) * OCTET), laid));
                laid
            })
            .collect();
        let task = |sums: &mut Scratch, task: usize| convolve(&bands[task / groups], task % groups, &laid[task / groups], sums);
        let tasks: Vec<_> = (0..bands.len() * groups).into_par_iter().with_max_len(1).map_init(Scratch::default, task).collect();
        tasks.chunks(groups).map(<[_]>::concat).collect()
    }
}
