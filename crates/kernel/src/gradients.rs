//! Gradients of parameters, past Candle's store. The store begins every gradient with zeros and adds what an operation has
//! computed, which reads and writes each parameter's size three times more than needed (an eighth of a DenseNet step, and on CUDA
//! two launches per parameter). The operations of this crate hand the gradients of variables over instead.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

thread_local! {
    /// What has been handed over in the backward pass that this thread is in.
    static HANDED: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// The gradients of a scalar.
pub struct Gradients {
    handed: HashMap<TensorId, Tensor>,
    store: GradStore,
}

/// Candle's backward pass from `scalar`.
///
/// # Errors
/// Propagates Candle errors.
pub fn backward(scalar: &Tensor) -> Result<Gradients> {
    HANDED.set(Some(HashMap::new()));
    let store = scalar.backward();
    let handed = HANDED.take().unwrap_or_default();
    Ok(Gradients { handed, store: store? })
}

impl Gradients {
    /// The gradient of `tensor`; `None` where the scalar does not depend on it.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn get(&self, tensor: &Tensor) -> Result<Option<Tensor>> {
        match (self.handed.get(&tensor.id()), self.store.get(tensor)) {
            (Some(handed), Some(stored)) => Ok(Some((stored + handed)?)),
            (one, other) => Ok(one.or(other).cloned()),
        }
    }
}

/// What an operation's backward pass returns as the gradient of an `argument`: itself, or nothing once it has been handed over.
pub(super) fn hand_over(argument: &Tensor, gradient: Option<Tensor>) -> Result<Option<Tensor>> {
    let Some(gradient) = gradient else { return Ok(None) };
    HANDED.with_borrow_mut(|handed| match handed {
        Some(handed) if argument.is_variable() => {
            let sum = match handed.remove(&argument.id()) {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            };
            handed.insert(argument.id(), sum);
            Ok(None)
        }
        _ => Ok(Some(gradient)),
    })
}

/// Hands over the gradient of a variable that is no argument of the operation.
///
/// # Errors
/// Outside of [`backward`] there is no place for it.
#[cfg(feature = "cuda")]
pub(super) fn hand_over_apart(variable: &Tensor, gradient: Tensor) -> Result<()> {
    match hand_over(variable, Some(gradient))? {
        None => Ok(()),
        Some(_) => {
            candle_core::bail!("this operation has more weights than Candle's backward pass knows of: use kernel::backward")
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::{batch_norm_train, conv2d, enter, flatten, linear};

    /// A weight that two convolutions share, one that Candle's own operations read besides, and one that no operation reads.
    #[test]
    fn gradients_are_those_of_candles_store() {
        let var = |shape: &[usize]| Var::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        let (shared, scale, shift, head, bias) = (var(&[3, 3, 3, 3]), var(&[3]), var(&[3]), var(&[2, 75]), var(&[2]));
        let images = enter(&Tensor::randn(0f32, 1.0, (4, 3, 5, 5), &Device::Cpu).unwrap()).unwrap();
        let twice = conv2d(&conv2d(&images, &shared, 1, 1).unwrap(), &shared, 1, 1).unwrap();
        let (maps, _) = batch_norm_train(&twice, &scale, &shift, 1e-5, true).unwrap();
        let y = linear(&flatten(&maps).unwrap(), &head, &bias).unwrap();
        let sum = (y.sum_all().unwrap() + head.sqr().unwrap().sum_all().unwrap()).unwrap();
        let (ours, candles) = (backward(&sum).unwrap(), sum.backward().unwrap());
        for var in [&shared, &scale, &shift, &head, &bias] {
            let (ours, candles) = (ours.get(var).unwrap().unwrap(), candles.get(var).unwrap());
            let furthest = (ours - candles).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            let size = candles.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(furthest <= 1e-6 * size, "{furthest} of {size}");
            assert!(size > 0.0);
        }
        let apart = Var::zeros(2, DType::F32, &Device::Cpu).unwrap();
        assert!(ours.get(&apart).unwrap().is_none());
        // outside of a pass of ours everything is in Candle's store
        assert!(HANDED.with_borrow(Option::is_none));
    }
}
