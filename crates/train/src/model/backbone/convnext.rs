//! ConvNeXt: Liu et al., "A ConvNet for the 2020s", CVPR 2022. Names are timm's; the features are those behind the norm of the head, as
//! timm and torchvision return them.

use super::super::ModelError;
use super::parts::Weights;
use inference::{Activation, Graph, Value, Window};

const EPS: f32 = 1e-6;

/// With so many blocks in each stage.
pub(super) fn graph(weights: &Weights, edge: usize, blocks: [usize; 4]) -> Result<Graph, ModelError> {
    let (mut graph, images) = Graph::new(3, edge, edge);
    let norm = |graph: &mut Graph, x: Value, name: &str| {
        weights.layer_norm(name).map(|(weight, bias)| graph.layer_norm(x, weight, bias, EPS))
    };
    let x = graph.convolution(images, Window::new(4, 4, 0), weights.biased("stem.0")?, Activation::Identity);
    let mut x = norm(&mut graph, x, "stem.1")?;
    for (stage, blocks) in blocks.into_iter().enumerate() {
        if stage > 0 {
            let y = norm(&mut graph, x, &format!("stages.{stage}.downsample.0"))?;
            let layer = weights.biased(&format!("stages.{stage}.downsample.1"))?;
            x = graph.convolution(y, Window::new(2, 2, 0), layer, Activation::Identity);
        }
        for block in 0..blocks {
            let name = |what: &str| format!("stages.{stage}.blocks.{block}.{what}");
            let y = graph.depthwise(x, Window::new(7, 1, 3), weights.biased(&name("conv_dw"))?, Activation::Identity);
            let y = norm(&mut graph, y, &name("norm"))?;
            let y = graph.convolution(y, Window::POINT, weights.biased(&name("mlp.fc1"))?, Activation::Gelu);
            let last = weights.scaled(&name("mlp.fc2"), &name("gamma"))?;
            x = graph.fused(y, Window::POINT, last, None, Some(x), Activation::Identity);
        }
    }
    let x = graph.global_average(x, None);
    norm(&mut graph, x, "head.norm")?;
    Ok(graph)
}
