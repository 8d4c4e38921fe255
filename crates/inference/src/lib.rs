//! Inference: from images to features, without gradients.
//!
//! A [`Graph`] says what is computed; an [`Engine`] computes it on the CPU, in f32 or with products in bf16 ([`Precision`]). Maps lie as
//! `[height, width, channels]`: a row of a product is a pixel with its channels, weights are packed once. Each thread takes images of its own through the whole network, and
//! sums run in an order that depends on the network alone: an image has the same features in every batch, on any number of threads.

mod attention;
mod depthwise;
mod engine;
mod functions;
mod graph;
mod half;
mod layer;
mod place;
mod pointwise;
mod product;
#[cfg(target_arch = "x86_64")]
mod tiles;

pub use engine::Engine;
pub use functions::Activation;
pub use graph::{Affine, Graph, Layer, Operation, Shape, Value, Window};
pub use half::Precision;

#[cfg(test)]
mod tests;
