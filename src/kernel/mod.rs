//! The operations Candle lacks or gets wrong, each beside its plain-Candle reference: fast on the CPU, the reference elsewhere.
//!
//! Feature maps are **channel-major**, `[channels, batch, height, width]` and contiguous: a 1x1 convolution is then one matrix
//! product, the values of a channel (all that batch norm reads) lie together, and joining channels is appending. [`enter`] and
//! [`global_avg_pool`] or [`flatten`] are the ways in and out; in between nobody but this room reads the order of the axes.
//!
//! On the CPU in f32 every operation is a Candle custom operation with its own backward pass. Sums run in an order that depends
//! on the shapes alone, never on the number of threads: the same input gives the same bits under any rayon pool.
//! In f64 and on other devices the reference runs, so that a test can compare the two.

mod batch_norm;
pub mod cells;
mod conv;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod dense;
mod depthwise;
pub mod gather;
mod linear;
mod matrix;
mod memory;
mod micro;
mod pool;
mod relu;
pub mod stacked;
mod update;
mod updates;

pub use batch_norm::{BatchStatistics, batch_norm_eval, batch_norm_train};
pub use conv::conv2d;
pub use dense::{DenseLayer, LayerStatistics, dense_block_train};
pub use depthwise::depthwise_conv2d;
pub use linear::{linear, linear_input_gradient, linear_values, linear_weight_gradient};
pub use memory::{free_memory, give_freed_memory_back, keep_freed_memory};
pub use pool::{adaptive_avg_pool2d, avg_pool2d, global_avg_pool, max_pool2d};
pub use relu::relu;
pub use update::{AdamStep, Blend, SgdStep};
pub use updates::{Moved, Update, clip_scale};

use candle_core::{DType, Result, Tensor};

/// `[batch, channels, height, width]` → channel-major.
///
/// # Errors
/// Candle's, as everywhere in this room: wrong ranks and shapes.
pub fn enter(images: &Tensor) -> Result<Tensor> {
    images.transpose(0, 1)?.contiguous()
}

/// Channel-major → `[batch, channels * height * width]`, in the order of torch's `flatten(1)`.
///
/// # Errors
/// Candle's.
pub fn flatten(maps: &Tensor) -> Result<Tensor> {
    maps.transpose(0, 1)?.contiguous()?.flatten_from(1)
}

/// Joins the channels of channel-major maps.
///
/// # Errors
/// Candle's.
pub fn concat(maps: &[Tensor]) -> Result<Tensor> {
    if let [only] = maps { Ok(only.clone()) } else { Tensor::cat(maps, 0) }
}

/// Whether the custom operations can take `tensor`.
fn is_ours(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

#[cfg(test)]
mod testing;
