//! Batch normalisation (Ioffe & Szegedy 2015), with the rectifier that follows it fused in.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, Var, bail};
use rayon::prelude::*;

use super::cpu::{slice, tensor, values, zeros};
use super::gradients::hand_over;
use imbalance::vectorized;

/// What a batch says about each channel: `[channels]` each, outside the graph.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    pub mean: Tensor,
    /// Unbiased (divided by count - 1), as torch keeps it; of a single value it is 0.
    pub variance: Tensor,
}

/// Normalises channel-major maps `[c, n, h, w]` with their own mean and (biased) variance, scales, shifts, and rectifies if `relu`.
///
/// # Errors
/// Propagates Candle errors.
pub fn batch_norm_train(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, relu: bool) -> Result<(Tensor, BatchStatistics)> {
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) {
        check(x, weight, bias)?;
        return super::cuda::batch_norm_train(x, weight, bias, eps, relu);
    }
    if !super::is_ours(x) {
        return train_reference(x, weight, bias, eps, relu);
    }
    let channels = check(x, weight, bias)?;
    let saved = Arc::new(Mutex::new(Vec::new()));
    let op = Train { eps, relu, saved: Arc::clone(&saved) };
    let y = x.contiguous()?.apply_op3(weight, bias, op)?;
    let saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((y, BatchStatistics::new(&saved, x.elem_count() / channels.max(1))?))
}

impl BatchStatistics {
    /// Moves running statistics, `[channels]` each, towards these: `running ← (1 - momentum) running + momentum batch`.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn absorb_into(&self, mean: &Var, variance: &Var, momentum: f64) -> Result<()> {
        #[cfg(feature = "cuda")]
        if super::is_nhwc(mean) {
            return super::cuda::absorb(mean.as_tensor(), variance.as_tensor(), self, momentum);
        }
        for (running, batch) in [(mean, &self.mean), (variance, &self.variance)] {
            let kept = running.as_detached_tensor().affine(1.0 - momentum, 0.0)?;
            running.set(&(kept + batch.affine(momentum, 0.0)?)?)?;
        }
        Ok(())
    }

    /// Those of channels of `count` values each.
    pub(super) fn new(channels: &[Channel], count: usize) -> Result<Self> {
        let unbias = count as f64 / (count.max(2) - 1) as f64;
        let mean = channels.iter().map(|channel| channel.mean as f32).collect();
        let variance = channels.iter().map(|channel| (channel.variance * unbias) as f32).collect();
        Ok(Self { mean: tensor(mean, channels.len())?, variance: tensor(variance, channels.len())? })
    }

    /// Scale and shift of each channel that normalise with these statistics and then apply weight and bias.
    pub(super) fn affines(&self, (weight, bias): &(Tensor, Tensor), eps: f64) -> Result<Vec<(f32, f32)>> {
        let (mean, variance) = (self.mean.contiguous()?, self.variance.contiguous()?);
        let (mean, variance, weight, bias) = (values(&mean)?, values(&variance)?, values(weight)?, values(bias)?);
        let seen = mean.iter().zip(variance.iter()).map(|(&mean, &variance)| (f64::from(mean), f64::from(variance)));
        let channels = seen.map(|(mean, variance)| Channel { mean, variance, inverse_deviation: 1.0 / (variance + eps).sqrt() });
        Ok(channels.zip(weight.iter().zip(bias.iter())).map(|(channel, (&w, &b))| channel.affine(w, b)).collect())
    }
}

/// Normalises with given statistics: `(x - mean) / sqrt(variance + eps) * weight + bias`, rectified if `relu`.
///
/// # Errors
/// Propagates Candle errors.
pub fn batch_norm_eval(
    x: &Tensor,
    statistics: &BatchStatistics,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    check(x, weight, bias)?;
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) && ![x, weight, bias].iter().any(|t| t.track_op()) {
        return super::cuda::batch_norm_eval(x, statistics, weight, bias, eps, relu);
    }
    let scale = (weight / (&statistics.variance + eps)?.sqrt()?)?;
    let shift = (bias - (&statistics.mean * &scale)?)?;
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) {
        // In f32 whatever the maps are: rounded factors would lose what `x scale` and `shift` leave when they cancel.
        let in_f32 =
            |x: &Tensor| affine_reference(&x.to_dtype(candle_core::DType::F32)?, &scale, &shift, relu)?.to_dtype(x.dtype());
        return super::channel_major(x, in_f32);
    }
    if super::is_ours(x) {
        x.contiguous()?.apply_op3(&scale, &shift, Affine { relu })
    } else {
        affine_reference(x, &scale, &shift, relu)
    }
}

fn check(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<usize> {
    let (channels, ..) = super::sides(x)?;
    check_channels(channels, weight, bias)?;
    Ok(channels)
}

pub(super) fn check_channels(channels: usize, weight: &Tensor, bias: &Tensor) -> Result<()> {
    if weight.dims() != [channels] || bias.dims() != [channels] {
        bail!("batch norm: weight {:?} and bias {:?} for {channels} channels", weight.shape(), bias.shape());
    }
    Ok(())
}

/// Training from Candle's operations.
fn train_reference(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, relu: bool) -> Result<(Tensor, BatchStatistics)> {
    let flat = x.flatten_from(1)?;
    let count = flat.dim(1)?;
    let mean = flat.mean_keepdim(1)?;
    let centred = flat.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim(1)?;
    let scaled = centred.broadcast_mul(&(weight.unsqueeze(1)? / (&variance + eps)?.sqrt()?)?)?;
    let y = scaled.broadcast_add(&bias.unsqueeze(1)?)?.reshape(x.shape())?;
    let unbias = count as f64 / (count.max(2) - 1) as f64;
    let statistics =
        BatchStatistics { mean: mean.squeeze(1)?.detach(), variance: variance.squeeze(1)?.detach().affine(unbias, 0.0)? };
    Ok((if relu { super::relu::reference(&y)? } else { y }, statistics))
}

/// `x scale + shift` from Candle's operations.
fn affine_reference(x: &Tensor, scale: &Tensor, shift: &Tensor, relu: bool) -> Result<Tensor> {
    let column = |t: &Tensor| t.reshape(((), 1, 1, 1));
    let y = x.broadcast_mul(&column(scale)?)?.broadcast_add(&column(shift)?)?;
    if relu { super::relu::reference(&y) } else { Ok(y) }
}

/// Partial sums kept apart, so that the compiler can use vectors without changing the order of additions.
const LANES: usize = 32;
/// Values added in f32 before the sum moves to f64.
const BLOCK: usize = 2048;

/// Sums of `term(x, y)` over both slices, in a fixed order.
#[inline(always)]
pub(super) fn sums<const S: usize>(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> [f32; S]) -> [f64; S] {
    let mut total = [0.0; S];
    for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
        let mut lanes = [[0f32; LANES]; S];
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in x.iter().zip(y) {
            for lane in 0..LANES {
                let terms = term(x[lane], y[lane]);
                for s in 0..S {
                    lanes[s][lane] += terms[s];
                }
            }
        }
        for (lane, (&x, &y)) in x_rest.iter().zip(y_rest).enumerate() {
            let terms = term(x, y);
            for s in 0..S {
                lanes[s][lane] += terms[s];
            }
        }
        for s in 0..S {
            total[s] += lanes[s].iter().map(|&lane| f64::from(lane)).sum::<f64>();
        }
    }
    total
}

/// `y = x scale + shift`, rectified if `relu`.
#[inline(always)]
fn affine(x: &[f32], scale: f32, shift: f32, relu: bool, y: &mut [f32]) {
    if relu {
        for (y, x) in y.iter_mut().zip(x) {
            let value = x * scale + shift;
            *y = if value <= 0.0 { 0.0 } else { value };
        }
    } else {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * scale + shift;
        }
    }
}

/// Count, mean and sum of squared distances from it: of a channel or a piece of one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Of `count` values with this mean, from the sums of squared distances and of distances from the mean rounded to f32: the
    /// second takes back what the rounding added.
    #[inline(always)]
    pub(super) fn around(count: f64, mean: f64, [squares, rest]: [f64; 2]) -> Self {
        Self { count, mean, squares: (squares - rest * rest / count.max(1.0)).max(0.0) }
    }

    #[inline(always)]
    pub(super) fn of(x: &[f32]) -> Self {
        let count = x.len() as f64;
        let [sum] = sums(x, x, |x, _| [x]);
        let mean = sum / count.max(1.0);
        let centre = mean as f32;
        Self::around(count, mean, sums(x, x, |x, _| [(x - centre) * (x - centre), x - centre]))
    }

    /// Those of all pieces together (Chan, Golub & LeVeque 1983), in the order given.
    pub(super) fn join(pieces: impl Iterator<Item = Self>) -> Self {
        pieces.fold(Self::default(), |all, piece| {
            let (count, apart) = (all.count + piece.count, piece.mean - all.mean);
            let share = if count > 0.0 { piece.count / count } else { 0.0 };
            let squares = all.squares + piece.squares + apart * apart * all.count * share;
            Self { count, mean: all.mean + apart * share, squares }
        })
    }

    pub(super) fn channel(&self, eps: f64) -> Channel {
        let variance = self.squares / self.count.max(1.0);
        Channel { mean: self.mean, variance, inverse_deviation: 1.0 / (variance + eps).sqrt() }
    }
}

/// One channel's statistics and the affine map they give.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) mean: f64,
    /// Biased.
    pub(super) variance: f64,
    pub(super) inverse_deviation: f64,
}

impl Channel {
    #[inline(always)]
    pub(super) fn measure(x: &[f32], eps: f64) -> Self {
        Moments::of(x).channel(eps)
    }

    /// Scale and shift that normalise a value and then apply `weight` and `bias`.
    pub(super) fn affine(&self, weight: f32, bias: f32) -> (f32, f32) {
        let scale = f64::from(weight) * self.inverse_deviation;
        (scale as f32, (f64::from(bias) - self.mean * scale) as f32)
    }
}

struct Train {
    eps: f64,
    relu: bool,
    /// Filled by the forward pass.
    saved: Arc<Mutex<Vec<Channel>>>,
}

impl CustomOp3 for Train {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (slice(x, x_layout)?, slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let area = (x.len() / weight.len().max(1)).max(1);
        let mut y = zeros(x.len());
        let channels: Vec<Channel> = y
            .par_chunks_exact_mut(area)
            .zip(x.par_chunks_exact(area))
            .zip(weight.par_iter().zip(bias))
            .map(|((y, x), (&weight, &bias))| {
                vectorized(
                    #[inline(always)]
                    || {
                        let channel = Channel::measure(x, self.eps);
                        let (scale, shift) = channel.affine(weight, bias);
                        affine(x, scale, shift, self.relu, y);
                        channel
                    },
                )
            })
            .collect();
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = channels;
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let (x_values, dy_values) = (values(x)?, values(&dy)?);
        let (weight_values, bias_values) = (values(weight)?, values(bias)?);
        let area = (x_values.len() / weight_values.len().max(1)).max(1);
        let mut dx = zeros(x_values.len());
        let gradients: Vec<(f32, f32)> = dx
            .par_chunks_exact_mut(area)
            .zip(x_values.par_chunks_exact(area).zip(dy_values.par_chunks_exact(area)))
            .zip(saved.par_iter().zip(weight_values.par_iter().zip(&*bias_values)))
            .map(|((dx, (x, dy)), (channel, (&weight, &bias)))| {
                vectorized(
                    #[inline(always)]
                    || {
                        if self.relu {
                            let (scale, shift) = channel.affine(weight, bias);
                            backward(x, dy, channel, weight, dx, |x, dy| if x * scale + shift <= 0.0 { 0.0 } else { dy })
                        } else {
                            backward(x, dy, channel, weight, dx, |_, dy| dy)
                        }
                    },
                )
            })
            .collect();
        let channels = gradients.len();
        let (dweight, dbias) = gradients.into_iter().unzip();
        let keep = |argument: &Tensor, gradient| hand_over(argument, argument.track_op().then_some(gradient));
        Ok((keep(x, tensor(dx, x.shape())?)?, keep(weight, tensor(dweight, channels)?)?, keep(bias, tensor(dbias, channels)?)?))
    }
}

/// One channel: with x̂ the normalised input and g the masked gradient,
/// `dx = weight / deviation (g - mean(g) - x̂ mean(g x̂))`; returns (sum g x̂, sum g), the gradients of weight and bias.
#[inline(always)]
fn backward(x: &[f32], dy: &[f32], channel: &Channel, weight: f32, dx: &mut [f32], mask: impl Fn(f32, f32) -> f32) -> (f32, f32) {
    let count = x.len().max(1) as f64;
    let (centre, inverse) = (channel.mean as f32, channel.inverse_deviation as f32);
    let [sum, dot] = sums(x, dy, |x, dy| {
        let g = mask(x, dy);
        [g, g * ((x - centre) * inverse)]
    });
    let factor = (f64::from(weight) * channel.inverse_deviation) as f32;
    let (mean, slope) = ((sum / count) as f32, (dot / count) as f32);
    for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
        *dx = factor * (mask(x, dy) - mean - (x - centre) * inverse * slope);
    }
    (dot as f32, sum as f32)
}

/// `x scale + shift`, channel by channel.
struct Affine {
    relu: bool,
}

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "scale_shift"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, scale, shift) = (slice(x, x_layout)?, slice(scale, scale_layout)?, slice(shift, shift_layout)?);
        let area = (x.len() / scale.len().max(1)).max(1);
        let mut y = zeros(x.len());
        y.par_chunks_exact_mut(area).zip(x.par_chunks_exact(area)).zip(scale.par_iter().zip(shift)).for_each(
            |((y, x), (&scale, &shift))| {
                vectorized(
                    #[inline(always)]
                    || affine(x, scale, shift, self.relu, y),
                )
            },
        );
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut g = dy.contiguous()?;
        if self.relu {
            g = y.eq(0.0)?.where_cond(&g.zeros_like()?, &g)?;
        }
        let dscale = (x * &g)?.flatten_from(1)?.sum(1)?;
        let dshift = g.flatten_from(1)?.sum(1)?;
        let dx = g.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?;
        let keep = |argument: &Tensor, gradient| argument.track_op().then_some(gradient);
        Ok((keep(x, dx), keep(scale, dscale), keep(shift, dshift)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn training_matches_the_reference() {
        for relu in [false, true] {
            for shape in [[3, 2, 5, 7], [1, 3, 40, 30], [5, 2, 1, 1]] {
                check(
                    &[&shape, &shape[..1], &shape[..1]],
                    |t| Ok(batch_norm_train(&t[0], &t[1], &t[2], 1e-5, relu)?.0),
                    |t| Ok(train_reference(&t[0], &t[1], &t[2], 1e-5, relu)?.0),
                );
            }
        }
    }

    #[test]
    fn given_statistics_match_the_reference() {
        for relu in [false, true] {
            check(
                &[&[3, 2, 5, 7], &[3], &[3]],
                |t| {
                    let statistics = BatchStatistics { mean: t[1].detach(), variance: t[1].detach().sqr()? };
                    batch_norm_eval(&t[0], &statistics, &t[1], &t[2], 1e-5, relu)
                },
                |t| {
                    let deviation = (t[1].detach().sqr()? + 1e-5)?.sqrt()?;
                    let scale = (&t[1] / deviation)?;
                    affine_reference(&t[0], &scale, &(&t[2] - (t[1].detach() * &scale)?)?, relu)
                },
            );
        }
    }

    /// Values far from zero: the variance must not drown in the mean's square.
    #[test]
    fn large_means_keep_their_variance() {
        let values: Vec<f32> = (0..4000).map(|i| 10_000.0 + (i % 2) as f32).collect();
        let channel = Channel::measure(&values, 0.0);
        assert!((channel.mean - 10_000.5).abs() < 1e-9 && (channel.variance - 0.25).abs() < 1e-6);
    }
}
