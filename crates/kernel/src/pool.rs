//! Pooling. Candle's max pooling has a wrong gradient, its average pooling a wrong one on odd sizes, and neither pads.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{slice, tensor, values, zeros};
use imbalance::vectorized;

/// The largest value of each window, `[c, n, h, w]` → `[c, n, (h + 2 padding - kernel) / stride + 1, ...]`; padding never wins. The
/// gradient goes to the first largest value of a window, as in torch.
///
/// # Errors
/// Candle errors; maps smaller than a window.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) && kernel <= super::cuda::MOST_POOLED {
        return super::cuda::max_pool2d(x, kernel, stride, padding);
    }
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) {
        return super::channel_major(x, |x| max_reference(x, Window::new("max_pool2d", x, kernel, stride, padding)?));
    }
    let window = Window::new("max_pool2d", x, kernel, stride, padding)?;
    if super::is_ours(x) {
        x.contiguous()?.apply_op1(MaxPool { window, winners: Mutex::default() })
    } else {
        max_reference(x, window)
    }
}

/// The mean of each `kernel` x `kernel` square; rows and columns left over at the end are dropped, as in torch.
///
/// # Errors
/// Candle errors; maps smaller than a window.
pub fn avg_pool2d(x: &Tensor, kernel: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) {
        return super::cuda::avg_pool2d(x, kernel);
    }
    let window = Window::new("avg_pool2d", x, kernel, kernel, 0)?;
    if super::is_ours(x) { x.contiguous()?.apply_op1(AvgPool(window)) } else { avg_reference(x, window) }
}

/// The mean of each map: channel-major `[c, n, h, w]` → `[n, c]`, in f32 where maps are bf16.
///
/// # Errors
/// Propagates Candle errors.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) {
        return super::cuda::global_avg_pool(x);
    }
    x.flatten_from(2)?.mean(2)?.t()?.contiguous()
}

/// Averages to `size` x `size` (or leaves a smaller side as it is) over the windows of torch's `AdaptiveAvgPool2d`.
///
/// # Errors
/// Propagates Candle errors.
pub fn adaptive_avg_pool2d(x: &Tensor, size: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) {
        return super::channel_major(x, |x| adaptive_reference(x, size));
    }
    adaptive_reference(x, size)
}

fn adaptive_reference(x: &Tensor, size: usize) -> Result<Tensor> {
    let (c, n, h, w) = x.dims4()?;
    let (rows, cols) = (size.min(h), size.min(w));
    let narrow = x.reshape((c * n * h, w))?.matmul(&averages(w, cols, x)?.t()?)?;
    let lying = narrow.reshape((c * n, h, cols))?.transpose(1, 2)?.contiguous()?.reshape((c * n * cols, h))?;
    let short = lying.matmul(&averages(h, rows, x)?.t()?)?;
    short.reshape((c * n, cols, rows))?.transpose(1, 2)?.contiguous()?.reshape((c, n, rows, cols))
}

/// What number i of `to` averages, of `from`: torch's `AdaptiveAvgPool2d`.
pub(super) fn averaged(i: usize, from: usize, to: usize) -> std::ops::Range<usize> {
    i * from / to..((i + 1) * from).div_ceil(to)
}

/// `[to, from]`: row i averages the columns of [`averaged`].
fn averages(from: usize, to: usize, like: &Tensor) -> Result<Tensor> {
    let mut rows = vec![0f64; from * to];
    for i in 0..to {
        let window = averaged(i, from, to);
        let share = 1.0 / window.len() as f64;
        rows[i * from..][window].fill(share);
    }
    Tensor::from_vec(rows, (to, from), like.device())?.to_dtype(like.dtype())
}

/// Where windows lie.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub input: (usize, usize),
    pub output: (usize, usize),
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Window {
    fn new(what: &str, x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Self> {
        let (_, _, h, w) = x.dims4()?;
        Self::of(what, (h, w), kernel, stride, padding)
    }

    /// Over maps of height `h` and width `w`.
    pub(super) fn of(what: &str, (h, w): (usize, usize), kernel: usize, stride: usize, padding: usize) -> Result<Self> {
        if kernel == 0 || stride == 0 || 2 * padding > kernel || h.min(w) + 2 * padding < kernel {
            bail!("{what}: kernel {kernel}, stride {stride}, padding {padding} do not fit maps of {h} x {w}");
        }
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        Ok(Self { input: (h, w), output: (out(h), out(w)), kernel, stride, padding })
    }

    /// The rows or columns (inside a side of `size`) of window `i`.
    fn range(&self, i: usize, size: usize) -> std::ops::Range<usize> {
        let start = i * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel).saturating_sub(self.padding).min(size)
    }

    fn areas(&self) -> (usize, usize) {
        (self.input.0 * self.input.1, self.output.0 * self.output.1)
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let (c, n, _, _) = input.dims4()?;
        Ok((c, n, self.output.0, self.output.1).into())
    }

    /// The largest value of each window of output row `row` of a map, and its index in the map: the first of equal ones; a NaN is
    /// larger than all, as in torch.
    #[inline(always)]
    fn largest(&self, map: &[f32], row: usize, y: &mut [f32], winners: &mut [u32]) {
        let (width, rows) = (self.input.1, self.range(row, self.input.0));
        for (col, (y, winner)) in y.iter_mut().zip(&mut *winners).enumerate() {
            let first = rows.start * width + self.range(col, width).start;
            (*y, *winner) = (map[first], first as u32);
        }
        for (i, j) in rows.flat_map(|i| (0..self.kernel).map(move |j| (i, j))) {
            // Of the windows, those whose place j is inside the map.
            let from = self.padding.saturating_sub(j).div_ceil(self.stride);
            let Some(left) = (width + self.padding).checked_sub(from * self.stride + j + 1) else { continue };
            if from >= y.len() {
                continue;
            }
            let start = i * width + from * self.stride + j - self.padding;
            let (line, from) = (&map[start..=start + left], (&mut y[from..], &mut winners[from..]));
            match self.stride {
                1 => challenge(line.iter().copied(), (start, 1), from),
                2 => {
                    // In pairs the compiler sees vectors; the last value may have no other.
                    let (pairs, last) = line.as_chunks::<2>();
                    let (y, winners) = from;
                    let split = pairs.len().min(y.len());
                    let ((y, last_y), (winners, last_winner)) = (y.split_at_mut(split), winners.split_at_mut(split));
                    challenge(pairs.iter().map(|pair| pair[0]), (start, 2), (y, winners));
                    challenge(last.iter().copied(), (start + 2 * split, 2), (last_y, last_winner));
                }
                stride => challenge(line.iter().step_by(stride).copied(), (start, stride), from),
            }
        }
    }
}

/// Gives windows the values that are larger than their best so far: one each, the first at `start` of its map, the next `step` further.
#[inline(always)]
fn challenge(values: impl Iterator<Item = f32>, (start, step): (usize, usize), (y, winners): (&mut [f32], &mut [u32])) {
    let (start, step) = (start as u32, step as u32);
    for (at, ((value, y), winner)) in values.zip(y).zip(winners).enumerate() {
        let wins = (value > *y) | (value.is_nan() & !y.is_nan());
        *y = if wins { value } else { *y };
        *winner = if wins { start + at as u32 * step } else { *winner };
    }
}

struct MaxPool {
    window: Window,
    /// Index in its map of each window's largest value: filled by the forward pass.
    winners: Mutex<Vec<u32>>,
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (window, shape) = (self.window, self.window.output_shape(layout.shape())?);
        let (input, output) = window.areas();
        let mut y = zeros(shape.elem_count());
        let mut winners = vec![0; y.len()];
        let planes = y.par_chunks_exact_mut(output).zip(winners.par_chunks_exact_mut(output));
        planes.zip(slice(storage, layout)?.par_chunks_exact(input)).for_each(|((y, winners), x)| {
            let rows = y.chunks_exact_mut(window.output.1).zip(winners.chunks_exact_mut(window.output.1));
            vectorized(
                #[inline(always)]
                || {
                    // A loop: `for_each` would call a fold that is compiled for any machine.
                    for (row, (y, winners)) in rows.enumerate() {
                        window.largest(x, row, y, winners);
                    }
                },
            );
        });
        *self.winners.lock().unwrap_or_else(PoisonError::into_inner) = winners;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (input, output) = self.window.areas();
        let (dy_values, winners) = (values(&dy)?, self.winners.lock().unwrap_or_else(PoisonError::into_inner));
        let mut dx = zeros(x.elem_count());
        let planes = winners.par_chunks_exact(output).zip(dy_values.par_chunks_exact(output));
        dx.par_chunks_exact_mut(input).zip(planes).for_each(|(dx, (winners, dy))| {
            for (&winner, dy) in winners.iter().zip(dy) {
                dx[winner as usize] += dy;
            }
        });
        Ok(Some(tensor(dx, x.shape())?))
    }
}

/// Max pooling from Candle's operations: the window's offsets one by one, each an index selection.
fn max_reference(x: &Tensor, window: Window) -> Result<Tensor> {
    let (c, n, h, w) = x.dims4()?;
    let full = |shape: (usize, usize, usize, usize)| Tensor::full(f32::NEG_INFINITY, shape, x.device())?.to_dtype(x.dtype());
    let mut padded = x.clone();
    if window.padding > 0 {
        let (side, top) = (full((c, n, h, window.padding))?, full((c, n, window.padding, w + 2 * window.padding))?);
        padded = Tensor::cat(&[&top, &Tensor::cat(&[&side, x, &side], 3)?, &top], 2)?;
    }
    let select = |from: usize, count: usize| {
        let indices: Vec<u32> = (0..count).map(|i| (from + i * window.stride) as u32).collect();
        Tensor::from_vec(indices, count, x.device())
    };
    let mut largest: Option<Tensor> = None;
    for i in 0..window.kernel {
        let rows = padded.index_select(&select(i, window.output.0)?, 2)?;
        for j in 0..window.kernel {
            let candidate = rows.index_select(&select(j, window.output.1)?, 3)?;
            largest = Some(match largest {
                None => candidate,
                Some(largest) => largest.ge(&candidate)?.where_cond(&largest, &candidate)?,
            });
        }
    }
    largest.map_or_else(|| bail!("max_pool2d: an empty window"), Ok)
}

struct AvgPool(Window);

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (window, shape) = (self.0, self.0.output_shape(layout.shape())?);
        let (input, output) = window.areas();
        let share = 1.0 / (window.kernel * window.kernel) as f32;
        let mut y = zeros(shape.elem_count());
        y.par_chunks_exact_mut(output).zip(slice(storage, layout)?.par_chunks_exact(input)).for_each(|(y, x)| {
            for (row, y) in y.chunks_exact_mut(window.output.1).enumerate() {
                for x in x.chunks_exact(window.input.1).skip(row * window.kernel).take(window.kernel) {
                    for (y, x) in y.iter_mut().zip(x.chunks_exact(window.kernel)) {
                        *y += x.iter().sum::<f32>() * share;
                    }
                }
            }
        });
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (window, dy) = (self.0, dy.contiguous()?);
        let (input, output) = window.areas();
        let share = 1.0 / (window.kernel * window.kernel) as f32;
        let dy_values = values(&dy)?;
        let mut dx = zeros(x.elem_count());
        dx.par_chunks_exact_mut(input).zip(dy_values.par_chunks_exact(output)).for_each(|(dx, dy)| {
            for (row, dx) in dx.chunks_exact_mut(window.input.1).take(window.output.0 * window.kernel).enumerate() {
                let dy = &dy[row / window.kernel * window.output.1..][..window.output.1];
                for (dx, dy) in dx.chunks_exact_mut(window.kernel).zip(dy) {
                    dx.fill(dy * share);
                }
            }
        });
        Ok(Some(tensor(dx, x.shape())?))
    }
}

/// Average pooling from Candle's operations.
fn avg_reference(x: &Tensor, window: Window) -> Result<Tensor> {
    let ((c, n, _, _), (rows, cols), k) = (x.dims4()?, window.output, window.kernel);
    let squares = x.narrow(2, 0, rows * k)?.narrow(3, 0, cols * k)?.reshape((c * n, rows, k, cols, k))?;
    squares.sum(4)?.sum(2)?.affine(1.0 / (k * k) as f64, 0.0)?.reshape((c, n, rows, cols))
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn pools_match_their_references() {
        for (h, w, kernel, stride, padding) in [(7, 9, 3, 2, 1), (6, 6, 2, 2, 0), (5, 8, 3, 1, 1), (4, 4, 3, 3, 0)] {
            check(
                &[&[2, 3, h, w]],
                |t| max_pool2d(&t[0], kernel, stride, padding),
                |t| max_reference(&t[0], Window::new("", &t[0], kernel, stride, padding)?),
            );
        }
        for (h, w, kernel) in [(7, 7, 2), (6, 9, 3), (4, 4, 2), (5, 5, 5)] {
            check(
                &[&[2, 3, h, w]],
                |t| avg_pool2d(&t[0], kernel),
                |t| avg_reference(&t[0], Window::new("", &t[0], kernel, kernel, 0)?),
            );
        }
    }
}
