//! Inverted residuals: Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", CVPR 2018; with squeeze and excitation
//! (Hu, Shen & Sun, "Squeeze-and-excitation networks", CVPR 2018). Names are timm's.

use super::super::ModelError;
use super::parts::Weights;
use inference::{Activation, Graph, Value, Window};

/// What differs between blocks.
pub(super) struct Inverted {
    pub kernel: usize,
    pub stride: usize,
    pub outputs: usize,
    /// Whether its first layer is the depthwise one.
    pub plain: bool,
    pub activation: Activation,
    /// The two activations of squeeze and excitation.
    pub squeeze: Option<(Activation, Activation)>,
    /// Of the batch norms.
    pub eps: f64,
}

impl Inverted {
    /// Puts the block `name` behind `x`.
    pub fn add(&self, graph: &mut Graph, x: Value, weights: &Weights, name: &str) -> Result<Value, ModelError> {
        let &Self { kernel, stride, outputs, plain, activation, squeeze, eps } = self;
        let name = |what: &str| format!("{name}.{what}");
        let normed = |conv: &str, norm: &str| weights.normed_with(&name(conv), &name(norm), eps);
        // The projection of a plain block has the name of the others' expansion.
        let (inner, project) = if plain { ("bn1", ("conv_pw", "bn2")) } else { ("bn2", ("conv_pwl", "bn3")) };
        let y = if plain { x } else { graph.convolution(x, Window::POINT, normed("conv_pw", "bn1")?, activation) };
        let mut y = graph.depthwise(y, Window::new(kernel, stride, kernel / 2), normed("conv_dw", inner)?, activation);
        if let Some((between, gate)) = squeeze {
            let squeezed = graph.global_average(y, None);
            let squeezed = graph.convolution(squeezed, Window::POINT, weights.biased(&name("se.conv_reduce"))?, between);
            let gate = graph.convolution(squeezed, Window::POINT, weights.biased(&name("se.conv_expand"))?, gate);
            y = graph.gate(y, gate);
        }
        let residual = (stride == 1 && graph.shape(x).channels == outputs).then_some(x);
        Ok(graph.fused(y, Window::POINT, normed(project.0, project.1)?, None, residual, Activation::Identity))
    }
}
