//! What many small networks side by side need around their matrix products: values are `[runs, outputs, batch]`, so that the
//! layers of a run lie together, and those of all runs, one below the other, are one matrix.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::cpu::{slice, values};

/// `z [runs, outputs, batch]` with `bias [runs, outputs]`; with `rectified` behind a rectifier, and then multiplied with `mask`
/// (`[outputs, batch]`) if there is one.
///
/// # Errors
/// Candle errors; shapes that differ.
pub fn activate(z: &Tensor, bias: &Tensor, rectified: bool, mask: Option<&Tensor>) -> Result<Tensor> {
    let (runs, outputs, _) = z.dims3()?;
    if bias.elem_count() != runs * outputs {
        bail!("a bias {:?} for outputs {:?}", bias.shape(), z.shape());
    }
    z.apply_op2_no_bwd(bias, &Activate { rectified, mask: fitting(z, mask)? })
}

/// The gradient by what [`activate`] rectified, from `dy` and what it gave (both `[runs, outputs, batch]`): no gradient passes
/// where the rectifier was off.
///
/// # Errors
/// Candle errors; shapes that differ.
pub fn deactivate(dy: &Tensor, y: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    if dy.dims3()? != y.dims3()? {
        bail!("a gradient {:?} of {:?}", dy.shape(), y.shape());
    }
    dy.apply_op2_no_bwd(y, &Deactivate { mask: fitting(dy, mask)? })
}

fn fitting(values: &Tensor, mask: Option<&Tensor>) -> Result<Option<Tensor>> {
    let (_, outputs, batch) = values.dims3()?;
    match mask {
        Some(mask) if mask.dims() != [outputs, batch] => bail!("a mask {:?} for {:?}", mask.shape(), values.shape()),
        mask => mask.map(Tensor::contiguous).transpose(),
    }
}

/// The operation of [`activate`].
pub(super) struct Activate {
    pub rectified: bool,
    pub mask: Option<Tensor>,
}

/// The operation of [`deactivate`].
pub(super) struct Deactivate {
    pub mask: Option<Tensor>,
}

impl CustomOp2 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    /// What the kernel is compared with.
    fn cpu_fwd(&self, z: &CpuStorage, shape: &Layout, bias: &CpuStorage, one: &Layout) -> Result<(CpuStorage, Shape)> {
        let (z, bias, batch) = (slice(z, shape)?, slice(bias, one)?, shape.dims()[2]);
        let mask = self.mask.as_ref().map(values).transpose()?;
        let value = |(at, z): (usize, &f32)| {
            let y = z + bias[at / batch];
            // Not `max`: NaN stays NaN.
            let y = if self.rectified && y <= 0.0 { 0.0 } else { y };
            mask.as_ref().map_or(y, |mask| y * mask[at % mask.len()])
        };
        Ok((CpuStorage::F32(z.iter().enumerate().map(value).collect()), shape.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        z: &candle_core::CudaStorage,
        shape: &Layout,
        bias: &candle_core::CudaStorage,
        one: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cuda::heads::activate(self, (z, shape), (bias, one))
    }
}

impl CustomOp2 for Deactivate {
    fn name(&self) -> &'static str {
        "deactivate"
    }

    /// What the kernel is compared with.
    fn cpu_fwd(&self, dy: &CpuStorage, shape: &Layout, y: &CpuStorage, other: &Layout) -> Result<(CpuStorage, Shape)> {
        let (dy, y) = (slice(dy, shape)?, slice(y, other)?);
        let mask = self.mask.as_ref().map(values).transpose()?;
        let value = |(at, (dy, y)): (usize, (&f32, &f32))| {
            let dy = mask.as_ref().map_or(*dy, |mask| dy * mask[at % mask.len()]);
            if *y > 0.0 { dy } else { 0.0 }
        };
        Ok((CpuStorage::F32(dy.iter().zip(y).enumerate().map(value).collect()), shape.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        dy: &candle_core::CudaStorage,
        shape: &Layout,
        y: &candle_core::CudaStorage,
        other: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cuda::heads::deactivate(self, (dy, shape), (y, other))
    }
}
