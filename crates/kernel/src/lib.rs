//! The operations Candle lacks or gets wrong, each beside its plain-Candle reference: fast on the CPU, the reference elsewhere.
//!
//! Feature maps are **channel-major**, `[channels, batch, height, width]` and contiguous: a 1x1 convolution is then one matrix
//! product, the values of a channel (all that batch norm reads) lie together, and joining channels is appending. [`enter`] and
//! [`global_avg_pool`] or [`flatten`] are the ways in and out; in between only this crate depends on the order of the axes. On
//! CUDA the order is `[batch, height, width, channels]`, in f32 or bf16 as the images that enter.
//!
//! On the CPU in f32 every operation is a Candle custom operation with its own backward pass. Sums run in an order that depends
//! on the shapes alone, never on the number of threads: the same input gives the same bits under any rayon pool.
//! In f64 the reference runs, so that a test can compare the two. On CUDA (feature `cuda`) the kernels of `cuda/` run.

mod awake;
mod batch_norm;
pub mod cells;
mod conv;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod dense;
mod depthwise;
mod dropout;
pub mod gather;
mod gradients;
pub mod heads;
mod linear;
mod matrix;
mod memory;
mod micro;
mod pool;
mod relu;
mod shared;
pub mod stacked;
mod stages;
mod tie;
pub mod trace;
mod update;
mod updates;

pub use awake::awake;
pub use batch_norm::{BatchStatistics, batch_norm_eval, batch_norm_train};
pub use conv::conv2d;
pub use dense::{DenseLayer, LayerStatistics, dense_block_eval, dense_block_train};
pub use depthwise::depthwise_conv2d;
pub use dropout::{dropout_factors, dropout_mask};
pub use gradients::{Gradients, backward};
pub use linear::{linear, linear_input_gradient, linear_values, linear_weight_gradient};
pub use memory::{free_memory, give_freed_memory_back, is_exhausted, open_cuda, read};
pub use pool::{adaptive_avg_pool2d, avg_pool2d, global_avg_pool, max_pool2d};
pub use relu::relu;
pub use stages::{Stage, stages_eval, stages_train};
pub use update::{AdamStep, Blend, SgdStep, neuron_squares};
pub use updates::{Moved, Update, clip_runs, clip_scale, update_runs};

use candle_core::{DType, Result, Tensor};

/// `[batch, channels, height, width]` → maps.
///
/// # Errors
/// Candle errors, such as wrong ranks and shapes.
pub fn enter(images: &Tensor) -> Result<Tensor> {
    if is_nhwc(images) { images.permute((0, 2, 3, 1))?.contiguous() } else { images.transpose(0, 1)?.contiguous() }
}

/// Maps → `[batch, channels * height * width]`, in the order of torch's `flatten(1)`, in f32 where they are bf16.
///
/// # Errors
/// Propagates Candle errors.
pub fn flatten(maps: &Tensor) -> Result<Tensor> {
    let flat = if is_nhwc(maps) { maps.permute((0, 3, 1, 2))? } else { maps.transpose(0, 1)? }.contiguous()?.flatten_from(1)?;
    if flat.dtype() == DType::BF16 { flat.to_dtype(DType::F32) } else { Ok(flat) }
}

/// Maps → `[batch, height, width, channels]`.
///
/// # Errors
/// Propagates Candle errors.
pub fn channels_last(maps: &Tensor) -> Result<Tensor> {
    if is_nhwc(maps) { Ok(maps.clone()) } else { maps.permute((1, 2, 3, 0))?.contiguous() }
}

/// `[batch, height, width, channels]` → maps.
///
/// # Errors
/// Propagates Candle errors.
pub fn from_channels_last(pixels: &Tensor) -> Result<Tensor> {
    if is_nhwc(pixels) { Ok(pixels.clone()) } else { pixels.permute((3, 0, 1, 2))?.contiguous() }
}

/// Joins the channels of maps.
///
/// # Errors
/// Propagates Candle errors.
pub fn concat(maps: &[Tensor]) -> Result<Tensor> {
    match maps {
        [only] => Ok(only.clone()),
        [first, ..] if is_nhwc(first) => Tensor::cat(maps, 3),
        _ => Tensor::cat(maps, 0),
    }
}

/// Height and width of maps.
///
/// # Errors
/// Propagates Candle errors.
pub fn map_size(maps: &Tensor) -> Result<(usize, usize)> {
    let (_, _, height, width) = sides(maps)?;
    Ok((height, width))
}

/// Multiplies each map of each image with its own factor: `gate [batch, channels]`.
///
/// # Errors
/// Propagates Candle errors.
pub fn scale_maps(maps: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let gate = if is_nhwc(maps) { gate.unsqueeze(1)?.unsqueeze(1)? } else { gate.t()?.unsqueeze(2)?.unsqueeze(3)? };
    maps.broadcast_mul(&gate)
}

/// Channels, batch, height and width of maps.
fn sides(maps: &Tensor) -> Result<(usize, usize, usize, usize)> {
    let (a, b, c, d) = maps.dims4()?;
    Ok(if is_nhwc(maps) { (d, a, b, c) } else { (a, b, c, d) })
}

/// Whether maps are `[batch, height, width, channels]` where `tensor` lies.
fn is_nhwc(tensor: &Tensor) -> bool {
    cfg!(feature = "cuda") && tensor.device().is_cuda()
}

/// An operation on channel-major maps, for maps on CUDA.
#[cfg(feature = "cuda")]
fn channel_major(maps: &Tensor, operation: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    operation(&maps.permute((3, 0, 1, 2))?.contiguous()?)?.permute((1, 2, 3, 0))?.contiguous()
}

/// Whether the custom operations can take `tensor`.
fn is_ours(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

#[cfg(test)]
mod testing;
