//! The number type that a network computes in. Parameters, statistics, logits and sums are f32 in any case; `bf16` is about the
//! feature maps in between, which on a GPU take most of the time and of the memory.

use candle_core::{DType, Device, Result, Tensor};

use super::{Model, ModelError, State, Step};
use plan::ModelConfig;

/// `model` with feature maps of `precision`, `f32` or `bf16`. The maps have the type of the images, so the images are converted.
///
/// # Errors
/// [`ModelError::Input`]: bf16 on a device or for an architecture without it.
pub fn at_precision(
    model: Box<dyn Model>,
    config: &ModelConfig,
    precision: &str,
    device: &Device,
) -> std::result::Result<Box<dyn Model>, ModelError> {
    match precision {
        "f32" => Ok(model),
        "bf16" if !device.is_cuda() => Err(ModelError::Input(
            "train.precision = \"bf16\" needs a CUDA device, and this worker's is the CPU: use \"f32\", or [workers] devices = [\"cuda:0\"]"
                .to_owned(),
        )),
        "bf16" if !config.has_maps() => Err(ModelError::Input(format!(
            "train.precision = \"bf16\" is for networks with feature maps, cnn and densenet121, and {} has none: use \"f32\"",
            config.arch
        ))),
        "bf16" => Ok(Box::new(Halved(model))),
        other => Err(ModelError::Input(format!("train.precision cannot be {other:?}; allowed: f32, bf16"))),
    }
}

/// A network whose images are converted to bf16.
struct Halved(Box<dyn Model>);

impl Model for Halved {
    fn forward(&self, inputs: &Tensor, train: Option<Step>) -> Result<Tensor> {
        self.0.forward(&inputs.to_dtype(DType::BF16)?, train)
    }

    fn state(&self) -> &State {
        self.0.state()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::InputShape;

    #[test]
    fn the_cpu_has_no_bf16_and_says_what_to_do() {
        let config = ModelConfig::new("cnn", [4]);
        let input = InputShape::Image { channels: 1, height: 8, width: 8 };
        let model = || super::super::build(&config, input, 2, None, 0, &Device::Cpu).unwrap();
        let error = at_precision(model(), &config, "bf16", &Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("train.precision = \"bf16\" needs a CUDA device"), "{error}");
        assert!(at_precision(model(), &config, "f32", &Device::Cpu).is_ok());
    }
}
