//! Layers: a few variables each, and a forward pass through the kernels.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::State;
use imbalance::rng::Rng;
use kernel::{self, BatchStatistics};

/// Creates the variables of a network; each draws from a stream of its own, so that their order does not matter.
pub(super) struct Init {
    pub(super) state: State,
    seed: u64,
    device: Device,
}

impl Init {
    pub(super) fn new(seed: u64, device: &Device) -> Self {
        Self { state: State::default(), seed, device: device.clone() }
    }

    fn draw(&mut self, name: &str, shape: &[usize], draw: impl Fn(&mut Rng) -> f64) -> Result<Var> {
        let mut rng = Rng::new(self.seed, &format!("init {name}"), &[]);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw(&mut rng) as f32).collect();
        let var = Var::from_vec(values, shape, &self.device)?;
        self.state.parameters.insert(name.to_owned(), var.clone());
        Ok(var)
    }

    fn buffer(&mut self, name: &str, value: f32, length: usize) -> Result<Var> {
        let var = Var::from_tensor(&Tensor::full(value, length, &self.device)?)?;
        self.state.buffers.insert(name.to_owned(), var.clone());
        Ok(var)
    }
}

/// The variable inside or outside the graph.
fn in_graph(var: &Var, train: bool) -> Tensor {
    if train { var.as_tensor().clone() } else { var.as_detached_tensor() }
}

/// Convolution without bias.
pub(super) struct Conv {
    weight: Var,
    stride: usize,
    padding: usize,
}

impl Conv {
    /// He initialisation (He et al. 2015, fan in), as torchvision's DenseNet.
    pub(super) fn new(
        init: &mut Init,
        name: &str,
        (inputs, outputs): (usize, usize),
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let deviation = (2.0 / (inputs * kernel * kernel) as f64).sqrt();
        let weight = init.draw(&format!("{name}.weight"), &[outputs, inputs, kernel, kernel], |rng| rng.normal() * deviation)?;
        Ok(Self { weight, stride, padding })
    }

    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        kernel::conv2d(x, &in_graph(&self.weight, train), self.stride, self.padding)
    }

    /// The weight, in the graph.
    pub(super) fn weight(&self) -> Tensor {
        self.weight.as_tensor().clone()
    }
}

/// Batch norm, with the rectifier after it where `relu`.
pub(super) struct BatchNorm {
    weight: Var,
    bias: Var,
    mean: Var,
    variance: Var,
}

/// torch's defaults.
pub(super) const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

impl BatchNorm {
    pub(super) fn new(init: &mut Init, name: &str, channels: usize) -> Result<Self> {
        Ok(Self {
            weight: init.draw(&format!("{name}.weight"), &[channels], |_| 1.0)?,
            bias: init.draw(&format!("{name}.bias"), &[channels], |_| 0.0)?,
            mean: init.buffer(&format!("{name}.running_mean"), 0.0, channels)?,
            variance: init.buffer(&format!("{name}.running_var"), 1.0, channels)?,
        })
    }

    /// Normalises and rectifies; training also moves the running statistics.
    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let (weight, bias) = (in_graph(&self.weight, train), in_graph(&self.bias, train));
        if !train {
            return kernel::batch_norm_eval(x, &self.running(), &weight, &bias, EPS, true);
        }
        let (y, batch) = kernel::batch_norm_train(x, &weight, &bias, EPS, true)?;
        self.absorb(&batch)?;
        Ok(y)
    }

    /// Moves the running statistics towards a batch's.
    pub(super) fn absorb(&self, batch: &BatchStatistics) -> Result<()> {
        batch.absorb_into(&self.mean, &self.variance, MOMENTUM)
    }

    /// The running statistics, outside the graph.
    pub(super) fn running(&self) -> BatchStatistics {
        BatchStatistics { mean: self.mean.as_detached_tensor(), variance: self.variance.as_detached_tensor() }
    }

    /// Weight and bias, in the graph.
    pub(super) fn affine(&self) -> (Tensor, Tensor) {
        (self.weight.as_tensor().clone(), self.bias.as_tensor().clone())
    }
}

/// Fully connected.
pub(super) struct Linear {
    weight: Var,
    bias: Var,
}

impl Linear {
    /// A hidden layer before a rectifier: He initialisation, bias 0.
    pub(super) fn hidden(init: &mut Init, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        let deviation = (2.0 / inputs.max(1) as f64).sqrt();
        let weight = init.draw(&format!("{name}.weight"), &[outputs, inputs], |rng| rng.normal() * deviation)?;
        Ok(Self { weight, bias: init.draw(&format!("{name}.bias"), &[outputs], |_| 0.0)? })
    }

    /// The last layer: torch's uniform weights, bias `bias` or 0.
    pub(super) fn head(init: &mut Init, inputs: usize, outputs: usize, bias: Option<&[f64]>) -> Result<Self> {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        let weight = init.draw("classifier.weight", &[outputs, inputs], |rng| (2.0 * rng.uniform() - 1.0) * bound)?;
        let head = Self { weight, bias: init.draw("classifier.bias", &[outputs], |_| 0.0)? };
        if let Some(bias) = bias {
            if bias.len() != outputs {
                candle_core::bail!("{} head biases for {outputs} labels", bias.len());
            }
            head.bias.set(&Tensor::new(bias, &init.device)?.to_dtype(DType::F32)?)?;
        }
        Ok(head)
    }

    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        kernel::linear(x, &in_graph(&self.weight, train), &in_graph(&self.bias, train))
    }
}
