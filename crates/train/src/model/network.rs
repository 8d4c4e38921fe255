//! A network is a body, which turns inputs into features, and a head, which turns features into logits.

use candle_core::{Device, Result, Shape, Tensor};

use super::layers::{Init, Linear};
use super::{Model, State, Step};
use imbalance::rng::Rng;
use plan::ModelConfig;

/// What an architecture provides.
pub(super) trait Body: Send + Sync {
    /// Features `[batch, width]`.
    fn features(&self, inputs: &Tensor, train: bool) -> Result<Tensor>;

    /// Features per row.
    fn width(&self) -> usize;
}

/// A body with its head.
pub(super) struct Network {
    body: Box<dyn Body>,
    head: Linear,
    dropout: f64,
    state: State,
}

impl Network {
    pub(super) fn new(
        mut init: Init,
        body: Box<dyn Body>,
        config: &ModelConfig,
        labels: usize,
        head_bias: Option<&[f64]>,
    ) -> Result<Self> {
        let head = Linear::head(&mut init, body.width(), labels, head_bias)?;
        Ok(Self { body, head, dropout: config.dropout, state: init.state })
    }
}

impl Model for Network {
    fn forward(&self, inputs: &Tensor, train: Option<Step>) -> Result<Tensor> {
        let mut features = self.body.features(inputs, train.is_some())?;
        if let Some(step) = train {
            features = dropout(&features, self.dropout, step)?;
        }
        self.head.forward(&features, train.is_some())
    }

    fn state(&self) -> &State {
        &self.state
    }
}

/// Inverted dropout (Srivastava et al. 2014) whose mask depends on `step` alone.
fn dropout(x: &Tensor, probability: f64, step: Step) -> Result<Tensor> {
    match dropout_mask(x.shape(), probability, step, x.device())? {
        Some(mask) => x * mask,
        None => Ok(x.clone()),
    }
}

/// What `count` features are multiplied with in `step`: 0 with `probability`, else 1 / (1 - probability). `None`: nothing is
/// dropped.
#[must_use]
pub fn dropout_factors(count: usize, probability: f64, step: Step) -> Option<Vec<f32>> {
    (probability != 0.0).then(|| kernel::dropout_factors(draws(step), probability, count))
}

/// [`dropout_factors`] as a tensor that is made on `device`.
///
/// # Errors
/// Propagates Candle errors.
pub fn dropout_mask(shape: impl Into<Shape>, probability: f64, step: Step, device: &Device) -> Result<Option<Tensor>> {
    (probability != 0.0).then(|| kernel::dropout_mask(draws(step), probability, shape, device)).transpose()
}

/// The random numbers of a step's dropout.
fn draws(step: Step) -> Rng {
    Rng::new(step.seed, "dropout", &[step.epoch as u64, step.step as u64])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_keeps_the_mean_and_depends_on_the_step() {
        let x = Tensor::ones((50, 400), candle_core::DType::F32, &Device::Cpu).unwrap();
        let draw = |epoch, step| {
            dropout(&x, 0.3, Step { seed: 1, epoch, step }).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let first = draw(0, 0);
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        assert!((mean - 1.0).abs() < 0.02);
        assert_eq!(first, draw(0, 0));
        assert_ne!(first, draw(0, 1));
        assert_ne!(first, draw(1, 0));
    }
}
