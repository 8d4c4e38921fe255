//! Two-dimensional convolution (no dilation, no groups, no bias) as matrix products.
//!
//! On channel-major maps a 1x1 convolution is one product without any copy. Larger kernels lay out the input of a few output
//! rows at a time as a matrix that stays in cache (im2col; Chellapilla et al. 2006). The gradient of the input of a stride-1
//! convolution is the convolution of the output's gradient with the rotated kernel; other strides scatter (col2im).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{slice, tensor, values, zeros};
use super::gradients::hand_over;
use super::matrix::{Matrix, SharedMatrix, product};
use imbalance::vectorized;

/// `x [c, n, h, w]` (channel-major), `weight [out, c, k, k]` → `[out, n, (h + 2 padding - k) / stride + 1, ...]`.
///
/// # Errors
/// Candle errors; shapes that do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) {
        return super::cuda::conv2d(x, weight, stride, padding);
    }
    let shape = Geometry::new(x, weight, stride, padding)?;
    if super::is_ours(x) { x.contiguous()?.apply_op2(weight, Conv(shape)) } else { reference(x, weight, stride, padding) }
}

/// The same from Candle's operations. Its backward pass fails where height and width leave different rests under the stride, so
/// the input is cut to what the windows cover.
pub(super) fn reference(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let Geometry { out, kernel, .. } = Geometry::new(x, weight, stride, padding)?;
    let covered = |out: usize| (out - 1) * stride + kernel;
    let padded = super::enter(x)?.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
    let cut = padded.narrow(2, 0, covered(out.0))?.narrow(3, 0, covered(out.1))?.contiguous()?;
    super::enter(&cut.conv2d(weight, 0, stride, 1, 1)?)
}

/// The sizes of one convolution. `rows` below are output rows over the whole batch: row r is row `r % out.0` of image `r /
/// out.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
    pub inputs: usize,
    pub outputs: usize,
    pub batch: usize,
    /// Height and width.
    pub size: (usize, usize),
    pub out: (usize, usize),
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

/// Floats of a laid-out tile: half of a usual second-level cache.
const TILE_FLOATS: usize = 1 << 16;
/// Lines of the weight's gradient (input channel and place in the kernel) that one task computes.
const TASK_LINES: usize = 72;

impl Geometry {
    fn new(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Self> {
        Self::of(x.dims(), x.dims4()?, weight, stride, padding)
    }

    /// For maps of shape `maps`, whichever order that has, of so many channels, images, rows and columns.
    pub(super) fn of(
        maps: &[usize],
        (inputs, batch, h, w): (usize, usize, usize, usize),
        weight: &Tensor,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let (outputs, channels, kernel, width) = weight.dims4()?;
        if channels != inputs || kernel != width || kernel == 0 || stride == 0 || h.min(w) + 2 * padding < kernel {
            bail!("conv2d: weights {:?} (stride {stride}, padding {padding}) do not fit maps {maps:?}", weight.shape());
        }
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        Ok(Self { inputs, outputs, batch, size: (h, w), out: (out(h), out(w)), kernel, stride, padding })
    }

    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// Lines of the laid-out input: (input channel, kernel row, kernel column).
    pub(super) fn lines(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    fn rows(&self) -> usize {
        self.batch * self.out.0
    }

    /// Values of one output map of one image.
    pub(super) fn out_map(&self) -> usize {
        self.out.0 * self.out.1
    }

    fn out_area(&self) -> usize {
        self.batch * self.out_map()
    }

    fn in_area(&self) -> usize {
        self.batch * self.size.0 * self.size.1
    }

    /// Output rows a tile of `lines` lines may have.
    fn tile_rows(&self, lines: usize) -> usize {
        (TILE_FLOATS / (lines * self.out.1).max(1)).clamp(1, self.rows().max(1))
    }

    /// For one line and one output row: (start of the input row, first and last-but-one output column inside the image).
    #[inline(always)]
    fn source(&self, line: usize, row: usize) -> Option<(usize, usize, usize, usize)> {
        let area = self.kernel * self.kernel;
        let (channel, i, j) = (line / area, line % area / self.kernel, line % self.kernel);
        let (image, out_row) = (row / self.out.0, row % self.out.0);
        let in_row = (out_row * self.stride + i).checked_sub(self.padding).filter(|&r| r < self.size.0)?;
        let start = ((channel * self.batch + image) * self.size.0 + in_row) * self.size.1;
        let first = self.padding.saturating_sub(j).div_ceil(self.stride).min(self.out.1);
        let last = (self.size.1 + self.padding).saturating_sub(j).div_ceil(self.stride).clamp(first, self.out.1);
        Some((start, first, last, j))
    }

    /// Lays out `lines` of the input for `rows`: `col` becomes `[lines, rows * out.1]`.
    #[inline(always)]
    fn lay_out(&self, x: &[f32], lines: std::ops::Range<usize>, rows: std::ops::Range<usize>, col: &mut [f32]) {
        let targets = col.chunks_exact_mut(rows.len() * self.out.1);
        for (line, target) in lines.zip(targets) {
            for (row, target) in rows.clone().zip(target.chunks_exact_mut(self.out.1)) {
                let Some((start, first, last, j)) = self.source(line, row) else {
                    target.fill(0.0);
                    continue;
                };
                target[..first].fill(0.0);
                target[last..].fill(0.0);
                if first == last {
                    continue;
                }
                let from = start + first * self.stride + j - self.padding;
                if self.stride == 1 {
                    target[first..last].copy_from_slice(&x[from..from + last - first]);
                } else {
                    for (target, x) in target[first..last].iter_mut().zip(x[from..].iter().step_by(self.stride)) {
                        *target = *x;
                    }
                }
            }
        }
    }

    /// The reverse: adds each laid-out value to where it came from. `dx` starts at the channel of the first line.
    #[inline(always)]
    fn scatter(&self, col: &[f32], lines: std::ops::Range<usize>, rows: std::ops::Range<usize>, dx: &mut [f32]) {
        let origin = lines.start / (self.kernel * self.kernel) * self.in_area();
        for (line, source) in lines.zip(col.chunks_exact(rows.len() * self.out.1)) {
            for (row, source) in rows.clone().zip(source.chunks_exact(self.out.1)) {
                let Some((start, first, last, j)) = self.source(line, row) else { continue };
                if first == last {
                    continue;
                }
                let from = start - origin + first * self.stride + j - self.padding;
                for (dx, value) in dx[from..].iter_mut().step_by(self.stride).zip(&source[first..last]) {
                    *dx += value;
                }
            }
        }
    }

    fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let weight = Matrix::new(weight, self.outputs, self.lines());
        if self.is_pointwise() {
            return product(weight, Matrix::new(x, self.inputs, self.in_area()));
        }
        let mut y = zeros(self.outputs * self.out_area());
        let shared = SharedMatrix::new(&mut y, self.outputs, self.out_area());
        let (lines, step) = (self.lines(), self.tile_rows(self.lines()));
        (0..self.rows().div_ceil(step)).into_par_iter().with_max_len(1).for_each_init(Vec::new, |col: &mut Vec<f32>, tile| {
            let rows = tile * step..self.rows().min((tile + 1) * step);
            let width = rows.len() * self.out.1;
            col.resize(lines * width, 0.0);
            vectorized(
                #[inline(always)]
                || self.lay_out(x, 0..lines, rows.clone(), col),
            );
            // SAFETY: each task writes the columns of its own rows, and no other task has access to `y`.
            unsafe { shared.product(0, rows.start * self.out.1, weight, Matrix::new(col, lines, width), false) };
        });
        y
    }

    fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let dy = Matrix::new(dy, self.outputs, self.out_area());
        if self.is_pointwise() {
            return product(dy, Matrix::new(x, self.inputs, self.in_area()).t());
        }
        let lines = self.lines();
        let mut dweight = zeros(self.outputs * lines);
        let shared = SharedMatrix::new(&mut dweight, self.outputs, lines);
        let tasks = lines.div_ceil(TASK_LINES).next_multiple_of(2);
        let share = lines.div_ceil(tasks);
        let step = self.tile_rows(share);
        (0..lines.div_ceil(share)).into_par_iter().with_max_len(1).for_each_init(Vec::new, |col: &mut Vec<f32>, task| {
            let own = task * share..lines.min((task + 1) * share);
            for start in (0..self.rows()).step_by(step) {
                let rows = start..self.rows().min(start + step);
                let width = rows.len() * self.out.1;
                col.resize(own.len() * width, 0.0);
                vectorized(
                    #[inline(always)]
                    || self.lay_out(x, own.clone(), rows.clone(), col),
                );
                let part = dy.block(0, self.outputs, start * self.out.1, width);
                // SAFETY: each task writes its own lines, and no other task has access to `dweight`.
                unsafe { shared.product(0, own.start, part, Matrix::new(col, own.len(), width).t(), start > 0) };
            }
        });
        dweight
    }

    fn input_gradient(&self, weight: &[f32], dy: &[f32]) -> Vec<f32> {
        let area = self.kernel * self.kernel;
        if self.is_pointwise() {
            return product(Matrix::new(weight, self.outputs, self.inputs).t(), Matrix::new(dy, self.outputs, self.out_area()));
        }
        if self.stride == 1 && self.padding < self.kernel {
            let mut turned = vec![0.0; weight.len()];
            for (from, kernel) in weight.chunks_exact(area).enumerate() {
                let (output, input) = (from / self.inputs, from % self.inputs);
                let target = &mut turned[(input * self.outputs + output) * area..][..area];
                target.iter_mut().zip(kernel.iter().rev()).for_each(|(target, value)| *target = *value);
            }
            let back = Self {
                inputs: self.outputs,
                outputs: self.inputs,
                size: self.out,
                out: self.size,
                padding: self.kernel - 1 - self.padding,
                ..*self
            };
            return back.forward(dy, &turned);
        }
        let (weight, dy) = (Matrix::new(weight, self.outputs, self.lines()), Matrix::new(dy, self.outputs, self.out_area()));
        let channels = TASK_LINES.div_ceil(area);
        let step = self.tile_rows(channels * area);
        let mut dx = zeros(self.inputs * self.in_area());
        dx.par_chunks_mut((channels * self.in_area()).max(1)).enumerate().for_each_init(
            Vec::new,
            |col: &mut Vec<f32>, (task, dx)| {
                let lines = task * channels * area..self.lines().min((task + 1) * channels * area);
                for start in (0..self.rows()).step_by(step) {
                    let rows = start..self.rows().min(start + step);
                    let width = rows.len() * self.out.1;
                    col.resize(lines.len() * width, 0.0);
                    let target = SharedMatrix::new(col, lines.len(), width);
                    let part = weight.block(0, self.outputs, lines.start, lines.len()).t();
                    // SAFETY: `col` belongs to this task alone.
                    unsafe { target.product(0, 0, part, dy.block(0, self.outputs, start * self.out.1, width), false) };
                    vectorized(
                        #[inline(always)]
                        || self.scatter(col, lines.clone(), rows.clone(), dx),
                    );
                }
            },
        );
        dx
    }
}

struct Conv(Geometry);

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Geometry { outputs, batch, out, .. } = self.0;
        let y = self.0.forward(slice(x, x_layout)?, slice(weight, weight_layout)?);
        Ok((CpuStorage::F32(y), (outputs, batch, out.0, out.1).into()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let dy_values = values(&dy)?;
        let dx = if x.track_op() { Some(tensor(self.0.input_gradient(&values(weight)?, &dy_values), x.shape())?) } else { None };
        let dweight =
            if weight.track_op() { Some(tensor(self.0.weight_gradient(&values(x)?, &dy_values), weight.shape())?) } else { None };
        Ok((dx, hand_over(weight, dweight)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn convolutions_match_the_reference() {
        let cases = [
            (3, 5, (7, 9), 3, 1, 1),
            (2, 4, (14, 15), 3, 2, 1),
            (3, 8, (28, 21), 7, 2, 3),
            (70, 33, (6, 5), 1, 1, 0),
            (5, 3, (6, 6), 2, 2, 0),
            (4, 3, (5, 6), 1, 2, 0),
            (4, 2, (5, 4), 3, 1, 0),
            (2, 2, (3, 3), 2, 1, 2),
            (40, 48, (2, 2), 3, 1, 1),
        ];
        for (inputs, outputs, (h, w), kernel, stride, padding) in cases {
            check(
                &[&[inputs, 3, h, w], &[outputs, inputs, kernel, kernel]],
                |t| conv2d(&t[0], &t[1], stride, padding),
                |t| reference(&t[0], &t[1], stride, padding),
            );
        }
    }
}
