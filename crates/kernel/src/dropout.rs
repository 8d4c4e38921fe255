//! Masks of inverted dropout (Srivastava et al. 2014).

use candle_core::{Device, Result, Shape, Tensor};
use imbalance::rng::Rng;

/// What `count` numbers are multiplied with: 0 with `probability` (below 1), else 1 / (1 - probability), by the numbers of `stream`.
#[must_use]
pub fn dropout_factors(mut stream: Rng, probability: f64, count: usize) -> Vec<f32> {
    let keep = keep(probability);
    (0..count).map(|_| if stream.uniform() < probability { 0.0 } else { keep }).collect()
}

/// [`dropout_factors`] of a stream that nothing was drawn from, as an f32 tensor on `device`. On CUDA they are drawn there, to the
/// same bits, so that nothing is copied.
///
/// # Errors
/// Candle errors; a device without room.
pub fn dropout_mask(stream: Rng, probability: f64, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::dropout::mask(stream.words(), probability, keep(probability), shape, device),
        _ => Tensor::from_vec(dropout_factors(stream, probability, shape.elem_count()), shape, device),
    }
}

fn keep(probability: f64) -> f32 {
    (1.0 / (1.0 - probability)) as f32
}
