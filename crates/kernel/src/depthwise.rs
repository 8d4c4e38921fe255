//! Convolution of each channel by itself, forward only: Candle makes one matrix product per channel of it, which is slow.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::cpu::slice;
use imbalance::vectorized;

/// Convolution of channel-major `x` `[c, n, h, w]` with `weight` `[c, 1, k, k]`: one kernel per channel. It has no gradient.
///
/// # Errors
/// Candle errors; a kernel that is larger than the padded maps.
pub fn depthwise_conv2d(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) {
        return super::channel_major(x, |x| reference(x, weight, stride, padding));
    }
    let ((c, n, h, w), (kernels, one, k, _)) = (x.dims4()?, weight.dims4()?);
    if kernels != c || one != 1 || h.min(w) + 2 * padding < k {
        bail!("depthwise_conv2d: kernels {:?} do not suit maps {:?}", weight.dims(), x.dims());
    }
    let side = |size: usize| (size + 2 * padding - k) / stride + 1;
    let window = Depthwise { from: (h, w), to: (side(h), side(w)), kernel: k, stride, padding, batch: n };
    if super::is_ours(x) {
        x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &window)
    } else {
        reference(x, weight, stride, padding)
    }
}

fn reference(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let channels = x.dim(0)?;
    x.transpose(0, 1)?.contiguous()?.conv2d(weight, padding, stride, 1, channels)?.transpose(0, 1)?.contiguous()
}

/// Where the windows lie.
#[derive(Clone, Copy)]
struct Depthwise {
    from: (usize, usize),
    to: (usize, usize),
    kernel: usize,
    stride: usize,
    padding: usize,
    batch: usize,
}

impl Depthwise {
    /// Columns of the output whose window's column `kx` lies inside the map.
    #[inline(always)]
    fn inside(&self, kx: usize) -> (usize, usize) {
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
        // The last column x with x * stride + kx - padding < width.
        let end = (self.from.1 + self.padding).saturating_sub(kx).div_ceil(self.stride);
        (first.min(self.to.1), end.min(self.to.1))
    }

    /// One map with its kernel.
    #[inline(always)]
    fn map(&self, from: &[f32], kernel: &[f32], to: &mut [f32]) {
        let (height, width) = self.from;
        for (y, line) in to.chunks_exact_mut(self.to.1).enumerate() {
            line.fill(0.0);
            for (ky, weights) in kernel.chunks_exact(self.kernel).enumerate() {
                let Some(row) = (y * self.stride + ky).checked_sub(self.padding).filter(|&row| row < height) else { continue };
                let row = &from[row * width..(row + 1) * width];
                for (kx, &weight) in weights.iter().enumerate() {
                    let (first, end) = self.inside(kx);
                    if first >= end {
                        continue;
                    }
                    let values = &row[first * self.stride + kx - self.padding..];
                    let line = &mut line[first..end];
                    if self.stride == 1 {
                        line.iter_mut().zip(values).for_each(|(sum, &x)| *sum = x.mul_add(weight, *sum));
                    } else {
                        let values = values.iter().step_by(self.stride);
                        line.iter_mut().zip(values).for_each(|(sum, &x)| *sum = x.mul_add(weight, *sum));
                    }
                }
            }
        }
    }
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise_conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout, w: &CpuStorage, w_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(x, x_layout)?, slice(w, w_layout)?);
        let (maps, area) = (self.from.0 * self.from.1, self.kernel * self.kernel);
        let channels = w.len() / area;
        let mut y = vec![0.0; channels * self.batch * self.to.0 * self.to.1];
        y.par_chunks_exact_mut(self.to.0 * self.to.1).zip(x.par_chunks_exact(maps)).enumerate().for_each(|(at, (to, from))| {
            let channel = at / self.batch;
            let kernel = &w[channel * area..(channel + 1) * area];
            vectorized(
                #[inline(always)]
                || self.map(from, kernel, to),
            );
        });
        Ok((CpuStorage::F32(y), Shape::from((channels, self.batch, self.to.0, self.to.1))))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use imbalance::rng::Rng;

    #[test]
    fn every_stride_padding_and_size_is_candles() {
        let mut rng = Rng::new(0, "depthwise", &[]);
        let mut draw = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        for (k, stride, padding, (h, w)) in [
            (3, 1, 1, (7, 9)),
            (5, 2, 2, (8, 8)),
            (3, 2, 1, (9, 6)),
            (7, 1, 3, (4, 5)),
            (3, 1, 0, (5, 3)),
            (5, 3, 2, (1, 2)),
            (3, 2, 1, (1, 1)),
        ] {
            let (x, weight) = (draw(&[3, 2, h, w]), draw(&[3, 1, k, k]));
            let ours = depthwise_conv2d(&x, &weight, stride, padding).unwrap();
            let double = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
            let theirs = reference(&double(&x), &double(&weight), stride, padding).unwrap();
            assert_eq!(ours.dims(), theirs.dims());
            let off = (double(&ours) - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(off < 1e-5, "{k} {stride} {padding} {h} x {w}: off by {off}");
        }
        assert!(depthwise_conv2d(&draw(&[2, 1, 2, 2]), &draw(&[2, 1, 5, 5]), 1, 1).is_err());
    }
}
