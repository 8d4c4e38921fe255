//! ResNet: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016; with the stride in the 3x3 convolution,
//! as torchvision and timm have it. Names are torchvision's.

use super::super::ModelError;
use super::parts::Weights;
use inference::{Activation, Graph, Window};

/// With so many blocks in each stage, of two convolutions or (`bottleneck`) of three.
pub(super) fn graph(weights: &Weights, edge: usize, blocks: [usize; 4], bottleneck: bool) -> Result<Graph, ModelError> {
    let (mut graph, images) = Graph::new(3, edge, edge);
    let x = graph.convolution(images, Window::new(7, 2, 3), weights.normed("conv1", "bn1")?, Activation::Relu);
    let mut x = graph.max_pool(x, Window::new(3, 2, 1));
    for (stage, blocks) in (1..).zip(blocks) {
        for block in 0..blocks {
            let name = format!("layer{stage}.{block}");
            let layer = |at: usize| weights.normed(&format!("{name}.conv{at}"), &format!("{name}.bn{at}"));
            let stride = if stage > 1 && block == 0 { 2 } else { 1 };
            let shortcut = if block == 0 && (stage > 1 || bottleneck) {
                let layer = weights.normed(&format!("{name}.downsample.0"), &format!("{name}.downsample.1"))?;
                graph.convolution(x, Window::new(1, stride, 0), layer, Activation::Identity)
            } else {
                x
            };
            let (y, window, last) = if bottleneck {
                let y = graph.convolution(x, Window::POINT, layer(1)?, Activation::Relu);
                let y = graph.convolution(y, Window::new(3, stride, 1), layer(2)?, Activation::Relu);
                (y, Window::POINT, layer(3)?)
            } else {
                let y = graph.convolution(x, Window::new(3, stride, 1), layer(1)?, Activation::Relu);
                (y, Window::new(3, 1, 1), layer(2)?)
            };
            x = graph.fused(y, window, last, None, Some(shortcut), Activation::Relu);
        }
    }
    graph.global_average(x, None);
    Ok(graph)
}
