//! EfficientNet: Tan & Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019; arithmetic of
//! torchvision's and timm's `efficientnet_b0` and `efficientnet_b2`, whose weights differ in their names only. Names are timm's here.

use super::super::ModelError;
use super::inverted::Inverted;
use super::parts::{EPS, Weights};
use inference::{Activation, Graph, Window};
use plan::tensors::EfficientNet;

pub(super) fn graph(weights: &Weights, edge: usize, network: EfficientNet) -> Result<Graph, ModelError> {
    let (mut graph, images) = Graph::new(3, edge, edge);
    let mut x = graph.convolution(images, Window::new(3, 2, 1), weights.normed("conv_stem", "bn1")?, Activation::Silu);
    for (stage, (expansion, kernel, stride, outputs, layers)) in network.stages().into_iter().enumerate() {
        for layer in 0..layers {
            let block = Inverted {
                kernel,
                stride: if layer == 0 { stride } else { 1 },
                outputs,
                plain: expansion == 1,
                activation: Activation::Silu,
                squeeze: Some((Activation::Silu, Activation::Sigmoid)),
                eps: EPS,
            };
            x = block.add(&mut graph, x, weights, &format!("blocks.{stage}.{layer}"))?;
        }
    }
    let x = graph.convolution(x, Window::POINT, weights.normed("conv_head", "bn2")?, Activation::Silu);
    graph.global_average(x, None);
    Ok(graph)
}
