//! Rectified linear unit. Candle's own has gradient 1 at 0; torch's, and this one, 0.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::cpu::{slice, tensor, values};
use imbalance::vectorized;

/// `max(x, 0)`, NaN kept, gradient 0 at 0.
///
/// # Errors
/// Propagates Candle errors.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if super::is_ours(x) { x.contiguous()?.apply_op1(Relu) } else { reference(x) }
}

/// The same from Candle's operations.
pub(super) fn reference(x: &Tensor) -> Result<Tensor> {
    x.le(0.0)?.where_cond(&x.zeros_like()?, x)
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let y = vectorized(
            #[inline(always)]
            || x.iter().map(|&x| if x <= 0.0 { 0.0 } else { x }).collect(),
        );
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (y_values, dy_values) = (values(y)?, values(&dy)?);
        let dx = vectorized(
            #[inline(always)]
            || y_values.iter().zip(&*dy_values).map(|(&y, &dy)| if y == 0.0 { 0.0 } else { dy }).collect(),
        );
        Ok(Some(tensor(dx, y.shape())?))
    }
}
