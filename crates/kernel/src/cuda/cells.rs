//! Losses and gradients over the cells of all runs on the device, in one launch.

use candle_core::{CudaStorage, Layout, Result, Shape};

use super::{Arg, Grid, Module, address, int, launch, module, storage_address, whole};
use crate::cells::{Cells, PART};

const KERNELS: Module = module!("cells");

/// As in cells.cu.
const THREADS: u32 = 256;

/// [`Cells::evaluate`]'s numbers on the device of its arguments: slopes, then the parts of the sums, one per block.
pub(crate) fn run(
    cells: &Cells,
    logits: (&CudaStorage, &Layout),
    targets: (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let device = logits.0.device.clone();
    let (runs, count) = (cells.forms.len(), logits.1.shape().elem_count());
    let shape = Shape::from(count + runs * cells.parts * PART);
    // SAFETY: the kernel writes all of it.
    let result = CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<f32>(shape.elem_count()) }?, device.clone());
    let args = [
        address(&cells.table)?.into(),
        storage_address(logits.0, logits.1)?.into(),
        storage_address(targets.0, targets.1)?.into(),
        Arg::Address(cells.rows.as_ref().map_or(Ok(0), address)?),
        Arg::Long((count / runs.max(1)) as i64),
        int(cells.labels())?.into(),
        Arg::Int(i32::from(logits.1.dims().len() == 3)),
        storage_address(&result, &Layout::contiguous(&shape))?.into(),
    ];
    let grid = Grid { blocks: (whole(cells.parts), whole(runs), 1), threads: (THREADS, 1) };
    launch(&device, &KERNELS, "mean_over_cells", grid, &args)?;
    Ok((result, shape))
}
