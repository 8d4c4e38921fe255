//! DenseNet without its classifier, with running statistics: see [`crate::model::densenet`] for the network that is trained.

use super::super::ModelError;
use super::parts::Weights;
use inference::{Activation, Graph, Window};
use plan::macs::{BLOCKS, GROWTH};

pub(super) fn graph(weights: &Weights, edge: usize) -> Result<Graph, ModelError> {
    let (mut graph, images) = Graph::new(3, edge, edge);
    let stem = weights.normed("features.conv0", "features.norm0")?;
    let x = graph.convolution(images, Window::new(7, 2, 3), stem, Activation::Relu);
    let mut x = graph.max_pool(x, Window::new(3, 2, 1));
    for (block, layers) in (1..).zip(BLOCKS) {
        for layer in 1..=layers {
            let name = format!("features.denseblock{block}.denselayer{layer}");
            let before = weights.affine(&format!("{name}.norm1"))?;
            let first = weights.normed(&format!("{name}.conv1"), &format!("{name}.norm2"))?;
            let y = graph.fused(x, Window::POINT, first, Some(before), None, Activation::Relu);
            let second = weights.plain(&format!("{name}.conv2"), GROWTH)?;
            let y = graph.convolution(y, Window::new(3, 1, 1), second, Activation::Identity);
            x = graph.join(x, y);
        }
        if block < BLOCKS.len() {
            let name = format!("features.transition{block}");
            // Averaging and a 1x1 convolution may change places: a quarter of the products is left.
            let y = graph.average_pool(x, 2, Some(weights.affine(&format!("{name}.norm"))?));
            let layer = weights.plain(&format!("{name}.conv"), graph.shape(y).channels / 2)?;
            x = graph.convolution(y, Window::POINT, layer, Activation::Identity);
        }
    }
    graph.global_average(x, Some(weights.affine("features.norm5")?));
    Ok(graph)
}
