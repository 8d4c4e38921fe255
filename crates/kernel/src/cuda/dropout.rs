//! Dropout masks that are drawn on the device.

use candle_core::{CudaDevice, DType, Result, Shape, Tensor};

use super::graph::Fresh;
use super::{Arg, Grid, Module, launch, module};

const KERNELS: Module = module!("dropout");

/// [`crate::dropout_mask`] on `device`.
pub(crate) fn mask(words: [u32; 4], probability: f64, keep: f32, shape: Shape, device: &CudaDevice) -> Result<Tensor> {
    let total = shape.elem_count();
    let mask = Fresh::new(device, shape, DType::F32)?;
    if total > 0 {
        let numbers = [probability.into(), keep.into(), Arg::Long(total as i64), mask.address()?.into()];
        let args: Vec<Arg> = words.map(|word| Arg::Int(word as i32)).into_iter().chain(numbers).collect();
        launch(device, &KERNELS, "dropout_mask", Grid::each(total), &args)?;
    }
    Ok(mask.tensor())
}
