//! EfficientNet-B0: Tan & Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019; arithmetic
//! of torchvision's and timm's `efficientnet_b0`, whose weights differ in their names only. Names are timm's here.
//!
//! candle-transformers' pads as TensorFlow does and has its epsilon in the norms: that is timm's `tf_efficientnet_b0`.

use candle_core::{D, Module, Result, Tensor};
use candle_nn::{Linear, VarBuilder};

use kernel::{self, BatchStatistics};
use plan::tensors::EFFICIENTNET_STAGES;

const EPS: f64 = 1e-5;
const STEM: usize = 32;
const WIDTH: usize = 1280;

/// Convolution, norm, and SiLU where `active`. Maps are channel-major inside, as in the crate `kernel`.
struct ConvNorm {
    kernel: Tensor,
    depthwise: bool,
    stride: usize,
    statistics: BatchStatistics,
    weight: Tensor,
    bias: Tensor,
    active: bool,
}

/// Expansion, a depthwise convolution, squeeze and excitation (Hu et al. 2018), projection; added to its input where it may be.
struct MbConv {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    squeeze: (Linear, Linear),
    project: ConvNorm,
    residual: bool,
}

/// Everything before the classifier, averaged over the image.
pub(super) struct EfficientNet {
    stem: ConvNorm,
    blocks: Vec<MbConv>,
    last: ConvNorm,
}

impl ConvNorm {
    /// Names of the convolution and of the norm; channels in and out, where there is one input for a depthwise convolution;
    /// kernel and stride.
    fn new(
        vb: &VarBuilder<'_>,
        (conv, norm): (&str, &str),
        (inputs, outputs): (usize, usize),
        (kernel, stride): (usize, usize),
    ) -> Result<Self> {
        let vector = |name: &str| vb.pp(norm).get(outputs, name);
        Ok(Self {
            kernel: vb.pp(conv).get((outputs, inputs, kernel, kernel), "weight")?,
            depthwise: inputs == 1,
            stride,
            statistics: BatchStatistics { mean: vector("running_mean")?, variance: vector("running_var")? },
            weight: vector("weight")?,
            bias: vector("bias")?,
            active: true,
        })
    }

    fn linear(self) -> Self {
        Self { active: false, ..self }
    }
}

impl Module for ConvNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let padding = self.kernel.dim(D::Minus1)? / 2;
        let x = if self.depthwise {
            kernel::depthwise_conv2d(x, &self.kernel, self.stride, padding)?
        } else {
            kernel::conv2d(x, &self.kernel, self.stride, padding)?
        };
        let x = kernel::batch_norm_eval(&x, &self.statistics, &self.weight, &self.bias, EPS, false)?;
        if self.active { x.silu() } else { Ok(x) }
    }
}

/// A convolution of single pixels with a bias, as the matrix that it is.
fn point(vb: &VarBuilder<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
    let vb = vb.pp(name);
    let weight = vb.get((outputs, inputs, 1, 1), "weight")?.reshape((outputs, inputs))?;
    Ok(Linear::new(weight, Some(vb.get(outputs, "bias")?)))
}

impl MbConv {
    fn new(
        vb: &VarBuilder<'_>,
        (expansion, kernel, stride): (usize, usize, usize),
        (inputs, outputs): (usize, usize),
    ) -> Result<Self> {
        let inner = inputs * expansion;
        let plain = expansion == 1;
        let (depthwise, project) = if plain { ("bn1", ("conv_pw", "bn2")) } else { ("bn2", ("conv_pwl", "bn3")) };
        let squeezed = (inputs / 4).max(1);
        let expand = || ConvNorm::new(vb, ("conv_pw", "bn1"), (inputs, inner), (1, 1));
        Ok(Self {
            expand: if plain { None } else { Some(expand()?) },
            depthwise: ConvNorm::new(vb, ("conv_dw", depthwise), (1, inner), (kernel, stride))?,
            squeeze: (point(vb, "se.conv_reduce", inner, squeezed)?, point(vb, "se.conv_expand", squeezed, inner)?),
            project: ConvNorm::new(vb, project, (inner, outputs), (1, 1))?.linear(),
            residual: stride == 1 && inputs == outputs,
        })
    }
}

impl Module for MbConv {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let x = match &self.expand {
            Some(expand) => &expand.forward(input)?,
            None => input,
        };
        let x = self.depthwise.forward(x)?;
        let (reduce, expand) = &self.squeeze;
        let squeezed = reduce.forward(&kernel::global_avg_pool(&x)?)?.silu()?;
        let gate = candle_nn::ops::sigmoid(&expand.forward(&squeezed)?)?;
        let x = self.project.forward(&kernel::scale_maps(&x, &gate)?)?;
        if self.residual { input + x } else { Ok(x) }
    }
}

impl EfficientNet {
    pub(super) fn b0(vb: VarBuilder<'_>) -> Result<Self> {
        let stem = ConvNorm::new(&vb, ("conv_stem", "bn1"), (3, STEM), (3, 2))?;
        let (mut blocks, mut channels) = (Vec::new(), STEM);
        for (stage, (expansion, kernel, stride, outputs, layers)) in EFFICIENTNET_STAGES.into_iter().enumerate() {
            for layer in 0..layers {
                let stride = if layer == 0 { stride } else { 1 };
                let vb = vb.pp(format!("blocks.{stage}.{layer}"));
                blocks.push(MbConv::new(&vb, (expansion, kernel, stride), (channels, outputs))?);
                channels = outputs;
            }
        }
        let last = ConvNorm::new(&vb, ("conv_head", "bn2"), (channels, WIDTH), (1, 1))?;
        Ok(Self { stem, blocks, last })
    }
}

impl Module for EfficientNet {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(&kernel::enter(images)?)?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
        kernel::global_avg_pool(&self.last.forward(&x)?)
    }
}
