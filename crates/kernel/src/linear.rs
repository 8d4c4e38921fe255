//! The fully connected layer, `y = x wᵀ + b`, without the gradient of an input that needs none.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::cpu::{slice, tensor, values};
use super::gradients::hand_over;
use super::matrix::{Matrix, product};

/// `x [batch, inputs]`, `weight [outputs, inputs]`, `bias [outputs]` → `[batch, outputs]`.
///
/// # Errors
/// Propagates Candle errors.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((_, inputs), (outputs, expected)) = (x.dims2()?, weight.dims2()?);
    if inputs != expected || bias.dims1()? != outputs {
        candle_core::bail!("linear: {inputs} inputs and bias {:?} for weights {:?}", bias.shape(), weight.shape());
    }
    if super::is_ours(x) { x.contiguous()?.apply_op3(weight, bias, Linear) } else { reference(x, weight, bias) }
}

/// The same from Candle's operations.
pub(super) fn reference(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

/// `x [batch, inputs]`, `weight [outputs, inputs]`, `bias [outputs]` → `[batch, outputs]`, on plain slices.
#[must_use]
pub fn linear_values(x: &[f32], weight: &[f32], bias: &[f32], inputs: usize) -> Vec<f32> {
    let (batch, outputs) = (x.len() / inputs.max(1), bias.len());
    let mut y = product(Matrix::new(x, batch, inputs), Matrix::new(weight, outputs, inputs).t());
    for row in y.chunks_exact_mut(outputs.max(1)) {
        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
    y
}

/// The gradient of [`linear_values`] by `x`, from `dy [batch, outputs]`.
#[must_use]
pub fn linear_input_gradient(dy: &[f32], weight: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = weight.len() / inputs.max(1);
    product(Matrix::new(dy, dy.len() / outputs.max(1), outputs), Matrix::new(weight, outputs, inputs))
}

/// The gradient of [`linear_values`] by `weight`, from `dy [batch, outputs]`.
#[must_use]
pub fn linear_weight_gradient(dy: &[f32], x: &[f32], inputs: usize) -> Vec<f32> {
    let batch = x.len() / inputs.max(1);
    product(Matrix::new(dy, batch, dy.len() / batch.max(1)).t(), Matrix::new(x, batch, inputs))
}

struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((batch, inputs), (outputs, _)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
        let y = linear_values(slice(x, x_layout)?, slice(weight, weight_layout)?, slice(bias, bias_layout)?, inputs);
        Ok((CpuStorage::F32(y), (batch, outputs).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let ((batch, inputs), outputs) = (x.dims2()?, weight.dim(0)?);
        let dy_values = values(&dy)?;
        let dx = x.track_op().then(|| tensor(linear_input_gradient(&dy_values, &values(weight)?, inputs), (batch, inputs)));
        let dweight =
            weight.track_op().then(|| tensor(linear_weight_gradient(&dy_values, &values(x)?, inputs), (outputs, inputs)));
        let mut dbias = vec![0.0; outputs];
        for row in dy_values.chunks_exact(outputs.max(1)) {
            dbias.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
        }
        let dbias = bias.track_op().then(|| tensor(dbias, outputs));
        Ok((dx.transpose()?, hand_over(weight, dweight.transpose()?)?, hand_over(bias, dbias.transpose()?)?))
    }
}
