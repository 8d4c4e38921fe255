//! An optimizer's step over all parameters: on CUDA one launch for all of them, elsewhere tensor by tensor.

use candle_core::{Result, Tensor, Var};

use super::{AdamStep, Blend, SgdStep};

/// A parameter with what its optimizer remembers, and its newest gradient; all of one shape.
#[derive(Clone, Copy, Debug)]
pub struct Moved<'a> {
    pub parameter: &'a Var,
    /// Running mean of the gradient.
    pub first: &'a Var,
    /// Adam: running mean of its square.
    pub second: Option<&'a Var>,
    pub gradient: &'a Tensor,
}

/// One step of an optimizer.
#[derive(Clone, Copy, Debug)]
pub enum Update {
    Adam { mean: Blend, square: Blend, step: AdamStep },
    Sgd { mean: Blend, step: SgdStep },
}

impl Update {
    /// Moves all of `moved`; `scale` (`[2]`, of [`clip_scale`]) is what the gradients are still to be multiplied with.
    ///
    /// # Errors
    /// Candle's; shapes that differ.
    pub fn apply(&self, moved: &[Moved<'_>], scale: Option<&Tensor>) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(device) = super::cuda::updates::device_of(moved) {
            return super::cuda::updates::apply(self, moved, scale, &device);
        }
        self.one_by_one(moved, scale)
    }

    /// [`Self::apply`], tensor by tensor.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn one_by_one(&self, moved: &[Moved<'_>], scale: Option<&Tensor>) -> Result<()> {
        let scale = scale.map(|scale| scale.narrow(0, 0, 1)).transpose()?;
        for Moved { parameter, first, second, gradient } in moved {
            let scaled = match &scale {
                Some(scale) => Some(gradient.broadcast_mul(&scale.to_dtype(gradient.dtype())?)?),
                None => None,
            };
            let gradient = scaled.as_ref().unwrap_or(gradient);
            match (self, second) {
                (Self::Adam { mean, square, step }, Some(second)) => {
                    mean.update(first, gradient, parameter)?;
                    square.update(second, gradient, parameter)?;
                    step.update(parameter, first, second)?;
                }
                (Self::Sgd { mean, step }, _) => {
                    mean.update(first, gradient, parameter)?;
                    step.update(parameter, first, gradient)?;
                }
                (Self::Adam { .. }, None) => candle_core::bail!("Adam needs the mean of the squares"),
            }
        }
        Ok(())
    }
}

/// What brings the norm of all gradients down to `limit`, at most 1, and the norm they have: `[2]`, f64, on the device. `None` where
/// the host has to look at the numbers itself.
///
/// # Errors
/// Candle's.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only a device has a use for them"))]
pub fn clip_scale<'a>(gradients: impl Iterator<Item = &'a Tensor>, limit: f64) -> Result<Option<Tensor>> {
    #[cfg(feature = "cuda")]
    {
        let gradients: Vec<&Tensor> = gradients.collect();
        if let Some(device) = super::cuda::updates::device_of_all(gradients.iter().copied()) {
            return super::cuda::updates::clip_scale(&gradients, limit, &device).map(Some);
        }
    }
    Ok(None)
}
