//! A graph computed by Candle, operation by operation: on a GPU, and as what the engine is compared with.

use candle_core::{Device, IndexOp, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax_last_dim};

use inference::{Activation, Affine, Graph, Layer, Operation, Value};
use kernel::BatchStatistics;

/// A graph whose weights are on a device.
pub(super) struct Reference {
    steps: Vec<Step>,
}

struct Step {
    operation: Operation,
    /// What it multiplies by and adds, in the order in which its fields stand.
    tensors: Vec<Tensor>,
}

impl Reference {
    pub fn new(graph: &Graph, device: &Device) -> Result<Self> {
        let vector = |numbers: &[f32]| Tensor::new(numbers, device);
        let before = |affine: &Option<Affine>| -> Result<Vec<Tensor>> {
            affine.iter().flat_map(|affine| [&affine.scale, &affine.shift]).map(|numbers| vector(numbers)).collect()
        };
        let layer = |layer: &Layer, size: usize| -> Result<Vec<Tensor>> {
            let inputs = layer.weight.len() / layer.outputs() / (size * size);
            Ok(vec![vector(&layer.weight)?.reshape((layer.outputs(), inputs, size, size))?, vector(&layer.bias)?])
        };
        let step = |operation: &Operation| {
            let tensors = match operation {
                Operation::Convolution { window, layer: weights, before: affine, .. } => {
                    [layer(weights, window.size)?, before(affine)?].concat()
                }
                Operation::Depthwise { window, layer: weights, .. } => layer(weights, window.size)?,
                Operation::AveragePool { before: affine, .. } => before(affine)?,
                Operation::LayerNorm { weight, bias, .. } => vec![vector(weight)?, vector(bias)?],
                Operation::Tokens { class, positions, .. } => {
                    let width = class.len();
                    vec![vector(class)?.reshape((1, 1, width))?, vector(positions)?.reshape((1, positions.len() / width, width))?]
                }
                _ => vec![],
            };
            Ok(Step { operation: operation.clone(), tensors })
        };
        Ok(Self { steps: graph.operations().map(step).collect::<Result<_>>()? })
    }

    /// Features `[batch, width]` of images `[batch, channels, height, width]`.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut values: Vec<Tensor> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let of = |value: &Value| &values[value.index()];
            values.push(step.value(images, of)?);
        }
        match values.last() {
            Some(last) => kernel::flatten(last),
            None => candle_core::bail!("a graph without operations"),
        }
    }
}

impl Step {
    fn value<'a>(&self, images: &Tensor, of: impl Fn(&Value) -> &'a Tensor) -> Result<Tensor> {
        let tensors = &self.tensors[..];
        match &self.operation {
            Operation::Input => kernel::enter(images),
            Operation::Convolution { from, window, residual, activation, .. } => {
                let x = affine(of(from), &tensors[2..])?;
                let x = kernel::conv2d(&x, &tensors[0], window.stride, window.padding)?;
                let x = add(&x, &tensors[1])?;
                let x = match residual {
                    Some(residual) => (x + of(residual))?,
                    None => x,
                };
                active(&x, *activation)
            }
            Operation::Depthwise { from, window, activation, .. } => {
                let x = kernel::depthwise_conv2d(of(from), &tensors[0], window.stride, window.padding)?;
                active(&add(&x, &tensors[1])?, *activation)
            }
            Operation::MaxPool { from, window } => kernel::max_pool2d(of(from), window.size, window.stride, window.padding),
            Operation::AveragePool { from, size: 0, .. } => {
                let means = kernel::global_avg_pool(&affine(of(from), tensors)?)?;
                kernel::enter(&means.unsqueeze(2)?.unsqueeze(3)?)
            }
            Operation::AveragePool { from, size, .. } => kernel::avg_pool2d(&affine(of(from), tensors)?, *size),
            Operation::LayerNorm { from, eps, .. } => {
                let x = kernel::channels_last(of(from))?;
                kernel::from_channels_last(&candle_nn::ops::layer_norm_slow(&x, &tensors[0], &tensors[1], *eps)?)
            }
            Operation::Attention { from, heads } => {
                let x = kernel::channels_last(of(from))?;
                let (batch, tokens, _, channels) = x.dims4()?;
                let (width, head) = (channels / 3, channels / 3 / heads);
                // [3, batch, heads, tokens, head]
                let parts = x.reshape((batch, tokens, 3, *heads, head))?.permute((2, 0, 3, 1, 4))?;
                let (q, k, v) = (parts.i(0)?.contiguous()?, parts.i(1)?.contiguous()?, parts.i(2)?.contiguous()?);
                let weights = softmax_last_dim(&(q.matmul(&k.t()?)? * (head as f64).powf(-0.5))?)?;
                kernel::from_channels_last(&weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, tokens, 1, width))?)
            }
            Operation::Gate { from, by } => kernel::scale_maps(of(from), &kernel::flatten(of(by))?),
            Operation::Join { from, by } => kernel::concat(&[of(from).clone(), of(by).clone()]),
            Operation::Tokens { from, .. } => {
                let patches = kernel::channels_last(of(from))?.flatten(1, 2)?;
                let (batch, _, width) = patches.dims3()?;
                let tokens = Tensor::cat(&[&tensors[0].broadcast_as((batch, 1, width))?.contiguous()?, &patches], 1)?;
                kernel::from_channels_last(&tokens.broadcast_add(&tensors[1])?.unsqueeze(2)?)
            }
            Operation::First { from } => {
                kernel::from_channels_last(&kernel::channels_last(of(from))?.narrow(1, 0, 1)?.contiguous()?)
            }
        }
    }
}

/// Times `[scale]` plus `[shift]`, and no less than 0; as it is without these.
fn affine(x: &Tensor, tensors: &[Tensor]) -> Result<Tensor> {
    let [scale, shift] = tensors else { return Ok(x.clone()) };
    let statistics = BatchStatistics { mean: scale.zeros_like()?, variance: scale.ones_like()? };
    kernel::batch_norm_eval(x, &statistics, scale, shift, 0.0, true)
}

fn add(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    kernel::from_channels_last(&kernel::channels_last(x)?.broadcast_add(bias)?)
}

fn active(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let hard = |x: &Tensor| ((x + 3.0)? / 6.0)?.clamp(0.0, 1.0);
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::QuickGelu => x * sigmoid(&(x * 1.702)?)?,
        Activation::HardSwish => x * hard(x)?,
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSigmoid => hard(x),
    }
}
