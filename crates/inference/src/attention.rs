//! Attention of tokens to each other.

use pulp::Simd;

use crate::engine::{Buffers, Step};
use crate::functions::{each, exp};
use crate::half::Precision;
use crate::place::Place;
use crate::product::{Compute, Dot, Inputs, Panel, whole};

pub(crate) struct Attention {
    pub from: Place,
    pub to: Place,
    pub heads: usize,
    pub precision: Precision,
}

impl Step for Attention {
    fn run(&self, buffers: &mut Buffers, images: usize) {
        for image in 0..images {
            let (from, to) = (buffers.map(&self.from, image).cast_const(), buffers.map(&self.to, image));
            Run { layer: self, from, to, buffers }.compute(self.precision);
        }
    }
}

struct Run<'a> {
    layer: &'a Attention,
    from: *const f32,
    to: *mut f32,
    buffers: &'a mut Buffers,
}

impl Compute for Run<'_> {
    #[inline(always)]
    fn with<S: Simd, D: Dot<S>>(self, simd: S, dot: D) {
        let Self { layer: Attention { from: source, to: sink, heads, precision }, from, to, buffers } = self;
        let tokens = source.layout.height;
        let width = sink.channels;
        let head = width / heads;
        let room = whole(tokens);
        let numbers = precision.numbers();
        // Items of a head's channels, and of a channel's tokens.
        let (items, token_items) = (head.div_ceil(numbers), tokens.div_ceil(numbers));
        let scale = 1.0 / (head as f32).sqrt();
        let mut rows = std::mem::take(&mut buffers.rows.read);
        let scratch = buffers
            .scratch(tokens * (2 * items + token_items + room) + room * items + token_items * whole(head) + numbers * head);
        let (queries, scratch) = scratch.split_at_mut(tokens * items);
        let (taken, scratch) = scratch.split_at_mut(tokens * items);
        let (keys, scratch) = scratch.split_at_mut(room * items);
        let (scores, scratch) = scratch.split_at_mut(tokens * room);
        let (weights, scratch) = scratch.split_at_mut(tokens * token_items);
        let (values, side) = scratch.split_at_mut(token_items * whole(head));
        for at in 0..*heads {
            // SAFETY: a head of the queries, the keys or the values of a token.
            let part = |part: usize, token: usize| unsafe {
                let place = source.at(token as isize, 0) + part * width + at * head;
                std::slice::from_raw_parts(from.add(place), head)
            };
            for (token, (queries, taken)) in queries.chunks_exact_mut(items).zip(taken.chunks_exact_mut(items)).enumerate() {
                // SAFETY: the CPU has this precision.
                unsafe {
                    dot.take(simd, part(0, token), None, queries);
                    dot.take(simd, part(1, token), None, taken);
                }
            }
            // Keys as weights: panel by panel, `[items, panel]`.
            let panels = Panel::divide(tokens);
            for panel in &panels {
                let keys = &mut keys[panel.first * items..][..panel.width() * items];
                for (item, keys) in keys.chunks_exact_mut(panel.width()).enumerate() {
                    for (token, key) in (panel.first..).zip(keys) {
                        *key = if token < tokens { taken[token * items + item] } else { 0.0 };
                    }
                }
            }
            rows.clear();
            rows.extend(queries.chunks_exact(items).map(<[f32]>::as_ptr));
            let inputs = Inputs { taps: &[0], run: items };
            for panel in &panels {
                let keys = (keys[panel.first * items..].as_ptr(), panel.width());
                // SAFETY: each row is a token's queries; the panel has its keys.
                unsafe {
                    dot.sums(
                        simd,
                        &rows,
                        inputs,
                        keys,
                        panel.units,
                        #[inline(always)]
                        |row: usize, column: usize, width: usize, sums: &mut [f32]| {
                            for (row, sums) in (row..).zip(sums.chunks_exact(width)) {
                                scores[row * room + panel.first + column..][..width].copy_from_slice(sums);
                            }
                        },
                    )
                };
            }
            for (scores, weights) in scores.chunks_exact_mut(room).zip(weights.chunks_exact_mut(token_items)) {
                let scores = &mut scores[..tokens];
                softmax(simd, scores, scale);
                // SAFETY: the CPU has this precision.
                unsafe { dot.take(simd, scores, None, weights) };
            }
            // Values as weights, `[items, head]`: an item has the same channel of each of its tokens.
            for (item, values) in values.chunks_exact_mut(whole(head)).enumerate() {
                side.fill(0.0);
                for token in 0..numbers.min(tokens - item * numbers) {
                    let channels = side[token..].iter_mut().step_by(numbers);
                    channels.zip(part(2, item * numbers + token)).for_each(|(side, value)| *side = *value);
                }
                // SAFETY: the CPU has this precision.
                unsafe { dot.take(simd, side, None, &mut values[..head]) };
            }
            rows.clear();
            rows.extend(weights.chunks_exact(token_items).map(<[f32]>::as_ptr));
            let inputs = Inputs { taps: &[0], run: token_items };
            for panel in Panel::divide(head) {
                // SAFETY: the weights and the values of all tokens.
                unsafe {
                    dot.sums(
                        simd,
                        &rows,
                        inputs,
                        (values[panel.first..].as_ptr(), whole(head)),
                        panel.units,
                        #[inline(always)]
                        |row: usize, column: usize, width: usize, sums: &mut [f32]| {
                            for (row, sums) in (row..).zip(sums.chunks_exact(width)) {
                                let first = panel.first + column;
                                let sums = &sums[..width.min(head - first.min(head))];
                                let place = sink.at(row as isize, 0) + at * head + first;
                                // SAFETY: channels of a token.
                                std::slice::from_raw_parts_mut(to.add(place), sums.len()).copy_from_slice(sums);
                            }
                        },
                    );
                }
            }
        }
        buffers.rows.read = rows;
    }
}

/// `exp(scale x)`, divided by its sum.
#[inline(always)]
fn softmax<S: Simd>(simd: S, values: &mut [f32], scale: f32) {
    let (vectors, rest) = S::as_simd_f32s(values);
    let mut highest = simd.splat_f32s(f32::NEG_INFINITY);
    for &value in vectors {
        highest = simd.max_f32s(highest, value);
    }
    let highest = rest.iter().fold(simd.reduce_max_f32s(highest), |highest, &value| highest.max(value));
    let (scale, shift) = (simd.splat_f32s(scale), simd.splat_f32s(-highest * scale));
    each(
        simd,
        values,
        #[inline(always)]
        |value| exp(simd, simd.mul_add_e_f32s(value, scale, shift)),
    );
    let (vectors, rest) = S::as_simd_f32s(values);
    let mut sum = simd.partial_load_f32s(rest);
    for &value in vectors {
        sum = simd.add_f32s(sum, value);
    }
    let share = simd.splat_f32s(1.0 / simd.reduce_sum_f32s(sum));
    each(
        simd,
        values,
        #[inline(always)]
        |value| simd.mul_f32s(value, share),
    );
}
