//! The two inner loops of a 3x3 convolution over maps with the channels innermost and a border of zeros: a block of sums stays in
//! vector registers, one operand comes as vectors of channels, the other one number at a time.

use pulp::{Arch, Simd, WithSimd};

use super::shape::{GROUP, PANEL};
use crate::micro::{lanes, vectors};

/// Where the nine places of a kernel read: three rows of a map, `line` apart, in each of which `runs` (start and length) of
/// numbers lie next to each other.
pub(super) struct Windows {
    pub line: usize,
    /// Numbers from one place to the next.
    pub step: usize,
    pub runs: Vec<(usize, usize)>,
}

impl Windows {
    /// Over `channels` channels of a map of `width` places (and its border), `step` numbers each.
    pub(super) fn new(channels: usize, step: usize, width: usize) -> Self {
        let runs = if channels == step { vec![(0, 3 * step)] } else { (0..3).map(|place| (place * step, channels)).collect() };
        Self { line: (width + 2) * step, step, runs }
    }

    /// Numbers of a map of `rows` x `cols` places and its border.
    fn needs(&self, rows: usize) -> usize {
        (rows + 2) * self.line
    }

    /// Numbers of a window.
    fn terms(&self) -> usize {
        3 * self.runs.iter().map(|(_, length)| length).sum::<usize>()
    }
}

/// `y[row, col, o] = start[o] + Σ weights x`, over the windows of `x`: `rows` x `cols` places with whole [`GROUP`]s of outputs o.
pub(super) fn convolve(
    x: &[f32],
    windows: &Windows,
    weights: &[f32],
    start: &[f32],
    (rows, cols): (usize, usize),
    y: &mut [f32],
) {
    let outputs = start.len();
    assert!(outputs.is_multiple_of(GROUP) && weights.len() == windows.terms() * outputs, "whole groups of weights");
    assert!(x.len() >= windows.needs(rows) && windows.line >= (cols + 2) * windows.step, "a convolution outside its input");
    assert!(y.len() >= rows * cols * outputs, "a convolution outside its output");
    Arch::new().dispatch(Convolve { x, windows, weights, start, rows, cols, y });
}

struct Convolve<'a> {
    x: &'a [f32],
    windows: &'a Windows,
    weights: &'a [f32],
    start: &'a [f32],
    rows: usize,
    cols: usize,
    y: &'a mut [f32],
}

impl WithSimd for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = lanes::<S>();
        let outputs = self.start.len();
        for first in (0..outputs).step_by(PANEL) {
            let panel = PANEL.min(outputs - first);
            // SAFETY: `convolve` has checked that all windows lie inside `x`, and the lengths of the others.
            unsafe {
                let weights = self.weights.as_ptr().add(first * self.windows.terms());
                let mut part = 0;
                while part < panel {
                    let at = first + part;
                    let strip = Strip {
                        x: self.x.as_ptr(),
                        windows: self.windows,
                        weights: weights.add(part),
                        panel,
                        start: self.start.as_ptr().add(at),
                        y: self.y.as_mut_ptr().add(at),
                        outputs,
                    };
                    let (rows, cols) = (self.rows, self.cols);
                    part += match lanes {
                        16 if panel == PANEL => strip.run::<S, 8, 2>(simd, rows, cols),
                        16 => strip.run::<S, 16, 1>(simd, rows, cols),
                        8 => strip.run::<S, 4, 2>(simd, rows, cols),
                        _ => strip.run::<S, 2, 2>(simd, rows, cols),
                    };
                }
            }
        }
    }
}

/// Some vectors of outputs of a convolution.
struct Strip<'a> {
    x: *const f32,
    windows: &'a Windows,
    weights: *const f32,
    /// Numbers from one term's weights to the next one's.
    panel: usize,
    start: *const f32,
    y: *mut f32,
    /// Numbers from one place of `y` to the next.
    outputs: usize,
}

impl Strip<'_> {
    /// `V` vectors of every place, `P` places at a time; returns the outputs that have been computed.
    ///
    /// # Safety
    /// Everything that is pointed to is as long as [`convolve`] asks.
    #[inline(always)]
    unsafe fn run<S: Simd, const P: usize, const V: usize>(&self, simd: S, rows: usize, cols: usize) -> usize {
        for row in 0..rows {
            let mut col = 0;
            // SAFETY: the caller's, for every place of the map.
            unsafe {
                while col < cols {
                    col += match cols - col {
                        left if left >= P => self.tile::<S, P, V>(simd, row, col, cols),
                        8.. => self.tile::<S, 8, V>(simd, row, col, cols),
                        4.. => self.tile::<S, 4, V>(simd, row, col, cols),
                        2.. => self.tile::<S, 2, V>(simd, row, col, cols),
                        _ => self.tile::<S, 1, V>(simd, row, col, cols),
                    };
                }
            }
        }
        V * lanes::<S>()
    }

    /// `P` places of a row, from `col` on.
    #[inline(always)]
    unsafe fn tile<S: Simd, const P: usize, const V: usize>(&self, simd: S, row: usize, col: usize, cols: usize) -> usize {
        let lanes = lanes::<S>();
        let step = self.windows.step;
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [vectors::<S, V>(self.start); P];
            let mut weights = self.weights;
            for line in 0..3 {
                let x = self.x.add((row + line) * self.windows.line + col * step);
                for &(from, length) in &self.windows.runs {
                    for x in (from..from + length).map(|at| x.add(at)) {
                        let weight = vectors::<S, V>(weights);
                        for (p, sums) in sums.iter_mut().enumerate() {
                            let x = simd.splat_f32s(*x.add(p * step));
                            for (sum, &weight) in sums.iter_mut().zip(&weight) {
                                *sum = simd.mul_add_e_f32s(x, weight, *sum);
                            }
                        }
                        weights = weights.add(self.panel);
                    }
                }
            }
            let y = self.y.add((row * cols + col) * self.outputs);
            for (p, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    y.add(p * self.outputs + v * lanes).cast::<S::f32s>().write_unaligned(sum);
                }
            }
        }
        P
    }
}

/// `gradient[j, o] += Σ x[j] slopes[o]` over `rows` x `cols` places: j counts the numbers of a place's window in `x`, o the
/// channels of `slopes`, which have a border as `x` has.
pub(super) fn correlate(x: &[f32], windows: &Windows, slopes: &[f32], (rows, cols): (usize, usize), gradient: &mut [f32]) {
    let outputs = gradient.len() / windows.terms();
    assert!(outputs.is_multiple_of(GROUP) && gradient.len() == windows.terms() * outputs, "whole groups of outputs");
    assert!(x.len() >= windows.needs(rows) && windows.line >= (cols + 2) * windows.step, "a correlation outside its input");
    assert!(slopes.len() >= (rows + 2) * (cols + 2) * outputs, "a correlation outside its slopes");
    Arch::new().dispatch(Correlate { x, windows, slopes, rows, cols, gradient, outputs });
}

struct Correlate<'a> {
    x: &'a [f32],
    windows: &'a Windows,
    slopes: &'a [f32],
    rows: usize,
    cols: usize,
    gradient: &'a mut [f32],
    outputs: usize,
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = lanes::<S>();
        let mut at = 0;
        while at < self.outputs {
            // SAFETY: `correlate` has checked the lengths.
            at += unsafe {
                match (lanes, self.outputs - at) {
                    (16, PANEL..) => self.strip::<S, 4, 2>(simd, at),
                    (16, _) => self.strip::<S, 8, 1>(simd, at),
                    (8, _) => self.strip::<S, 2, 2>(simd, at),
                    _ => self.strip::<S, 1, 2>(simd, at),
                }
            };
        }
    }
}

impl Correlate<'_> {
    /// `V` vectors of outputs from number `at` on, `J` numbers of three rows of the windows at a time.
    #[inline(always)]
    unsafe fn strip<S: Simd, const J: usize, const V: usize>(&mut self, simd: S, at: usize) -> usize {
        // Places of the windows in the gradient: a third of its lines for each row.
        let row_terms = self.windows.terms() / 3;
        let mut term = 0;
        for run in 0..self.windows.runs.len() {
            let (from, length) = self.windows.runs[run];
            let mut done = 0;
            while done < length {
                let places = (from + done, term + done, row_terms);
                // SAFETY: the caller's.
                done += unsafe {
                    match length - done {
                        // The whole row of a window over three channels.
                        9 if V == 1 && J >= 8 => self.block::<S, 9, V>(simd, at, places),
                        left if left >= J => self.block::<S, J, V>(simd, at, places),
                        2.. if J > 2 => self.block::<S, 2, V>(simd, at, places),
                        _ => self.block::<S, 1, V>(simd, at, places),
                    }
                };
            }
            term += length;
        }
        V * lanes::<S>()
    }

    #[inline(always)]
    unsafe fn block<S: Simd, const J: usize, const V: usize>(
        &mut self,
        simd: S,
        at: usize,
        (from, term, row_terms): (usize, usize, usize),
    ) -> usize {
        let lanes = lanes::<S>();
        let (outputs, line, step) = (self.outputs, self.windows.line, self.windows.step);
        let mut sums = [[[simd.splat_f32s(0.0); V]; J]; 3];
        // SAFETY: the caller's.
        unsafe {
            for row in 0..self.rows {
                let mut x = self.x.as_ptr().add(row * line + from);
                let mut slopes = self.slopes.as_ptr().add(((row + 1) * (self.cols + 2) + 1) * outputs + at);
                for _ in 0..self.cols {
                    let slope = vectors::<S, V>(slopes);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = x.add(r * line);
                        for (j, sums) in sums.iter_mut().enumerate() {
                            let x = simd.splat_f32s(*x.add(j));
                            for (sum, &slope) in sums.iter_mut().zip(&slope) {
                                *sum = simd.mul_add_e_f32s(x, slope, *sum);
                            }
                        }
                    }
                    x = x.add(step);
                    slopes = slopes.add(outputs);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (j, sums) in sums.iter().enumerate() {
                    let gradient = self.gradient.as_mut_ptr().add((r * row_terms + term + j) * outputs + at);
                    for (v, &sum) in sums.iter().enumerate() {
                        let place = gradient.add(v * lanes).cast::<S::f32s>();
                        place.write_unaligned(simd.add_f32s(place.read_unaligned(), sum));
                    }
                }
            }
        }
        J
    }
}
