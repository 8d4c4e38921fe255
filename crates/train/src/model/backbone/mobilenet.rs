//! MobileNetV3-Large: Howard et al., "Searching for MobileNetV3", ICCV 2019; arithmetic of torchvision's `mobilenet_v3_large` and timm's
//! `mobilenetv3_large_100`, which differ in their names and in the epsilon of the batch norms. Names are timm's here; the features are
//! those that the last layer reads, as timm returns them with `num_classes=0`.

use super::super::ModelError;
use super::inverted::Inverted;
use super::parts::Weights;
use inference::{Activation, Graph, Window};
use plan::tensors::{MOBILENET_STAGES, MobileNetStage};

/// With this epsilon.
pub(super) fn graph(weights: &Weights, edge: usize, eps: f64) -> Result<Graph, ModelError> {
    let (mut graph, images) = Graph::new(3, edge, edge);
    let stem = weights.normed_with("conv_stem", "bn1", eps)?;
    let mut x = graph.convolution(images, Window::new(3, 2, 1), stem, Activation::HardSwish);
    for (stage, MobileNetStage { kernel, stride, squeezed, hard, outputs, expanded }) in MOBILENET_STAGES.into_iter().enumerate()
    {
        for layer in 0..expanded.len() {
            let block = Inverted {
                kernel,
                stride: if layer == 0 { stride } else { 1 },
                outputs,
                plain: stage == 0,
                activation: if hard { Activation::HardSwish } else { Activation::Relu },
                squeeze: squeezed.then_some((Activation::Relu, Activation::HardSigmoid)),
                eps,
            };
            x = block.add(&mut graph, x, weights, &format!("blocks.{stage}.{layer}"))?;
        }
    }
    let last = weights.normed_with("blocks.6.0.conv", "blocks.6.0.bn1", eps)?;
    let x = graph.convolution(x, Window::POINT, last, Activation::HardSwish);
    let x = graph.global_average(x, None);
    graph.convolution(x, Window::POINT, weights.biased("conv_head")?, Activation::HardSwish);
    Ok(graph)
}
