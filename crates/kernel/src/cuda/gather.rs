//! Batches from a data set on the device: gather, random change, blend and normalisation in one launch.

use candle_core::{CudaStorage, Layout, Result, Shape, bail};

use super::{Arg, Grid, Module, int, launch, module, storage_address};
use crate::gather::Row;
use crate::gather::{Gather, WORDS};

const KERNELS: Module = module!("gather");

/// [`crate::gather::gather`] on the device of its arguments; `items` and `numbers` with their sizes in `layout`.
pub(crate) fn run(
    gather: &Gather,
    data: (&CudaStorage, &Layout),
    items: (&CudaStorage, &Layout),
    numbers: (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let device = data.0.device.clone();
    let batch = gather.batch(items.1.shape().elem_count() / WORDS);
    let total = batch.elem_count();
    let half = numbers.1.shape().elem_count() / 2;
    // SAFETY: the kernel writes all of it.
    let out = CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<f32>(total) }?, device.clone());
    let first = storage_address(numbers.0, numbers.1)?;
    let lists: [Arg; 4] = [
        storage_address(data.0, data.1)?.into(),
        storage_address(items.0, items.1)?.into(),
        first.into(),
        (first + 4 * half as u64).into(),
    ];
    let (name, sizes) = match gather.shape {
        Row::Image { channels, height, width } if half == channels => {
            ("gather_images", vec![int(channels)?.into(), int(height)?.into(), int(width)?.into()])
        }
        Row::Features { width } if half == width => ("gather_features", vec![int(width)?.into()]),
        shape => bail!("{half} factors for {shape:?}"),
    };
    if total > 0 {
        let ends = [Arg::Long(total as i64), storage_address(&out, &Layout::contiguous(&batch))?.into()];
        let args: Vec<Arg> = lists.into_iter().chain(sizes).chain(ends).collect();
        launch(&device, &KERNELS, name, Grid::each(total), &args)?;
    }
    Ok((out, batch))
}
