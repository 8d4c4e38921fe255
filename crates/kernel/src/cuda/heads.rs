//! Biases, rectifiers and dropout of many small networks on the device, one launch per layer of all of them.

use candle_core::{CudaStorage, Layout, Result, Shape, Tensor};

use super::{Arg, Grid, Module, address, launch, module, storage_address};
use crate::heads::{Activate, Deactivate};

const KERNELS: Module = module!("heads");

/// Storage and where the values lie in it.
type Stored<'a> = (&'a CudaStorage, &'a Layout);

/// [`crate::heads::activate`] on the device of its arguments.
pub(crate) fn activate(op: &Activate, z: Stored<'_>, bias: Stored<'_>) -> Result<(CudaStorage, Shape)> {
    map("activate", z, bias, op.mask.as_ref(), &[Arg::Int(i32::from(op.rectified))])
}

/// [`crate::heads::deactivate`] on the device of its arguments.
pub(crate) fn deactivate(op: &Deactivate, dy: Stored<'_>, y: Stored<'_>) -> Result<(CudaStorage, Shape)> {
    map("deactivate", dy, y, op.mask.as_ref(), &[])
}

/// A value for each of `a [runs, outputs, batch]`.
fn map(name: &str, a: Stored<'_>, b: Stored<'_>, mask: Option<&Tensor>, more: &[Arg]) -> Result<(CudaStorage, Shape)> {
    let (device, shape) = (a.0.device.clone(), a.1.shape().clone());
    let (_, outputs, batch) = shape.dims3()?;
    // SAFETY: the kernel writes all of it.
    let out = CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<f32>(shape.elem_count()) }?, device.clone());
    if shape.elem_count() > 0 {
        let args = [
            storage_address(a.0, a.1)?.into(),
            storage_address(b.0, b.1)?.into(),
            Arg::Address(mask.map_or(Ok(0), address)?),
            Arg::Long(shape.elem_count() as i64),
            Arg::Long(outputs as i64),
            Arg::Long(batch as i64),
            storage_address(&out, &Layout::contiguous(&shape))?.into(),
        ];
        let args: Vec<Arg> = args.into_iter().chain(more.iter().copied()).collect();
        launch(&device, &KERNELS, name, Grid::each(shape.elem_count()), &args)?;
    }
    Ok((out, shape))
}
