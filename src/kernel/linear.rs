//! The fully connected layer, `y = x wᵀ + b`, without the gradient of an input that needs none.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::cpu::{slice, tensor, values};
use super::matrix::{Matrix, product};

/// `x [batch, inputs]`, `weight [outputs, inputs]`, `bias [outputs]` → `[batch, outputs]`.
///
/// # Errors
/// Candle's.
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
        let weight = Matrix::new(slice(weight, weight_layout)?, outputs, inputs);
        let mut y = product(Matrix::new(slice(x, x_layout)?, batch, inputs), weight.t());
        for row in y.chunks_exact_mut(outputs.max(1)) {
            row.iter_mut().zip(slice(bias, bias_layout)?).for_each(|(y, b)| *y += b);
        }
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
        let dy_matrix = Matrix::new(&dy_values, batch, outputs);
        let dx = x
            .track_op()
            .then(|| tensor(product(dy_matrix, Matrix::new(&values(weight)?, outputs, inputs)), (batch, inputs)))
            .transpose()?;
        let dweight = weight
            .track_op()
            .then(|| tensor(product(dy_matrix.t(), Matrix::new(&values(x)?, batch, inputs)), (outputs, inputs)))
            .transpose()?;
        let mut dbias = vec![0.0; outputs];
        for row in dy_values.chunks_exact(outputs.max(1)) {
            dbias.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
        }
        Ok((dx, dweight, bias.track_op().then(|| tensor(dbias, outputs)).transpose()?))
    }
}
