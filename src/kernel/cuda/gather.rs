//! Batches from a data set on the device: gather, random change, blend and normalisation in one launch.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
use candle_core::{CudaStorage, Layout, Result, Shape, bail};

use super::super::gather::{Gather, WORDS};
use crate::data::InputShape;

const THREADS: u32 = 256;

type Part<'a> = (&'a CudaStorage, &'a Layout);

/// [`super::super::gather::gather`] on the device of its arguments.
pub fn run(gather: &Gather, data: Part<'_>, items: Part<'_>, numbers: Part<'_>) -> Result<(CudaStorage, Shape)> {
    let device = data.0.device.clone();
    let (data, items, numbers) =
        (super::view::<u8>(data.0, data.1)?, super::view::<u32>(items.0, items.1)?, super::view::<f32>(numbers.0, numbers.1)?);
    let batch = gather.batch(items.len() / WORDS);
    let total = batch.elem_count();
    let half = numbers.len() / 2;
    let (first, second) = (numbers.slice(..half), numbers.slice(half..));
    // SAFETY: the kernel writes all of it.
    let mut out = unsafe { device.alloc::<f32>(total) }?;
    if total == 0 {
        return Ok((CudaStorage::wrap_cuda_slice(out, device), batch));
    }
    let (config, count) = (super::blocks(total.div_ceil(THREADS as usize), THREADS), total as u64);
    match gather.shape {
        InputShape::Image { channels, height, width } => {
            if half != channels {
                bail!("{half} factors for {channels} channels");
            }
            let [channels, height, width] = [channels, height, width].map(|size| size as i32);
            let function = super::function(&device, super::GATHER, "gather_pictures")?;
            let mut launch = function.builder();
            launch.arg(&data).arg(&items).arg(&first).arg(&second).arg(&channels).arg(&height).arg(&width).arg(&count).arg(&mut out);
            // SAFETY: the arguments are those of the kernel; items name rows of the data set, which `data` holds whole.
            unsafe { launch.launch(config) }.w()?;
        }
        InputShape::Features { width } => {
            if half != width {
                bail!("{half} factors for {width} columns");
            }
            let width = width as i32;
            let function = super::function(&device, super::GATHER, "gather_features")?;
            let mut launch = function.builder();
            launch.arg(&data).arg(&items).arg(&first).arg(&second).arg(&width).arg(&count).arg(&mut out);
            // SAFETY: as above; an allocation begins at an address that f32 may have, and the data set is all of it.
            unsafe { launch.launch(config) }.w()?;
        }
    }
    Ok((CudaStorage::wrap_cuda_slice(out, device), batch))
}
