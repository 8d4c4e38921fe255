//! All parameters of a network, or of many side by side, in one launch: the addresses of their numbers are copied as a table.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};

use super::{Arg, Grid, Module, address, empty, int, launch, module, whole};
use crate::updates::{MINI, Moved, NUMBERS, Update, neuron_means};

const KERNELS: Module = module!("updates");

/// As in updates.cu: words of a row of the table, values of a chunk, threads of a block.
const WORDS: usize = 8;
const CHUNK: usize = 4096;
const THREADS: u32 = 256;

/// The device that all of `tensors` lie on, where they are f32.
pub(crate) fn device_of_all<'a>(mut tensors: impl Iterator<Item = &'a Tensor>) -> Option<CudaDevice> {
    let mut device = None;
    let ours = tensors.all(|tensor| match tensor.device() {
        Device::Cuda(found) if tensor.dtype() == DType::F32 => {
            device.get_or_insert_with(|| found.clone());
            true
        }
        _ => false,
    });
    device.filter(|_| ours)
}

/// The device of a step's tensors, where the kernel can take them.
pub(crate) fn device_of(moved: &[Moved<'_>]) -> Option<CudaDevice> {
    device_of_all(moved.iter().flat_map(|moved| [moved.parameter.as_tensor(), moved.gradient]))
}

/// Rows of `[parameter, first, second, gradient]`, their length and place, and the means of their neurons, 0 where there is none, as the kernels want them.
#[derive(Default)]
struct Table {
    rows: Vec<u64>,
    chunks: usize,
}

impl Table {
    /// `means`: the mean squares of the neurons' gradients, where the row is of weights and they are asked for.
    fn add(&mut self, tensors: [Option<&Tensor>; 4], means: Option<&Tensor>) -> Result<()> {
        let count = tensors.iter().flatten().next().map_or(0, |tensor| tensor.elem_count());
        for tensor in tensors {
            if tensor.is_some_and(|tensor| tensor.elem_count() != count) {
                bail!("an update of tensors of different sizes");
            }
            self.rows.push(tensor.map_or(Ok(0), address)?);
        }
        self.rows.extend([count as u64, self.chunks as u64]);
        let inputs = means.map_or(1, |means| count / means.elem_count().max(1));
        self.rows.extend([means.map_or(Ok(0), address)?, inputs as u64]);
        self.chunks += count.div_ceil(CHUNK);
        Ok(())
    }

    /// The table on the device, and the first two arguments of a kernel that reads it.
    fn upload(&self, device: &CudaDevice) -> Result<(CudaSlice<u64>, [Arg; 2])> {
        let rows = device.clone_htod(&self.rows)?;
        let address = rows.device_ptr(&device.cuda_stream()).0;
        Ok((rows, [address.into(), int(self.rows.len() / WORDS)?.into()]))
    }

    fn grid(&self) -> Grid {
        Grid { blocks: (whole(self.chunks), 1, 1), threads: (THREADS, 1) }
    }
}

fn contiguous<'a>(gradients: impl Iterator<Item = &'a Tensor>) -> Result<Vec<Tensor>> {
    gradients.map(Tensor::contiguous).collect()
}

/// The mean squares of the neurons of each gradient, where they are `wanted` and the gradient is one of weights.
fn means(gradients: &[Tensor], outer: usize, wanted: bool) -> Result<Vec<Option<Tensor>>> {
    gradients.iter().map(|gradient| if wanted { neuron_means(gradient, outer) } else { Ok(None) }).collect()
}

impl Table {
    /// All of `moved`, whose gradients are `gradients` and lie without gaps, and the `means` of their neurons.
    fn of(moved: &[Moved<'_>], gradients: &[Tensor], means: &[Option<Tensor>]) -> Result<Self> {
        let mut table = Self::default();
        for ((Moved { parameter, first, second, .. }, gradient), means) in moved.iter().zip(gradients).zip(means) {
            let second = second.map(|second| second.as_tensor());
            table.add([Some(parameter.as_tensor()), Some(first.as_tensor()), second, Some(gradient)], means.as_ref())?;
        }
        Ok(table)
    }
}

/// [`Update::apply`] on `device`.
pub(crate) fn apply(update: &Update, moved: &[Moved<'_>], scale: Option<&Tensor>, device: &CudaDevice) -> Result<()> {
    if matches!(update, Update::Adam { .. }) && moved.iter().any(|moved| moved.second.is_none()) {
        bail!("Adam needs the mean of the squares");
    }
    let gradients = contiguous(moved.iter().map(|moved| moved.gradient))?;
    let means = means(&gradients, 1, matches!(update, Update::Adam { neuron: true, .. }))?;
    let table = Table::of(moved, &gradients, &means)?;
    if table.chunks == 0 {
        return Ok(());
    }
    let (_rows, [rows, count]) = table.upload(device)?;
    let scale = Arg::Address(scale.map_or(Ok(0), address)?);
    let number = |number: f64| Arg::Float(number as f32);
    match *update {
        Update::Adam { mean, square, step, .. } => {
            let numbers = [mean.decay, mean.keep, mean.add, square.keep, square.add, step.rate, step.shrink, step.eps, step.root];
            let args: Vec<Arg> = [rows, count, scale].into_iter().chain(numbers.map(number)).collect();
            launch(device, &KERNELS, "update_adam", table.grid(), &args)
        }
        Update::Sgd { mean, step } => {
            let numbers = [mean.decay, mean.keep, mean.add, step.rate, step.momentum];
            let nesterov = Arg::Int(i32::from(step.nesterov));
            let args: Vec<Arg> = [rows, count, scale].into_iter().chain(numbers.map(number)).chain([nesterov]).collect();
            launch(device, &KERNELS, "update_sgd", table.grid(), &args)
        }
    }
}

/// [`crate::clip_scale`] on `device`.
pub(crate) fn clip_scale(gradients: &[&Tensor], limit: f64, device: &CudaDevice) -> Result<Tensor> {
    let gradients = contiguous(gradients.iter().copied())?;
    let mut table = Table::default();
    gradients.iter().try_for_each(|gradient| table.add([None, None, None, Some(gradient)], None))?;
    let (parts, result) = (empty(device, table.chunks.max(1), DType::F64)?, empty(device, 2, DType::F64)?);
    if table.chunks > 0 {
        let (_rows, [rows, count]) = table.upload(device)?;
        launch(device, &KERNELS, "square_parts", table.grid(), &[rows, count, address(&parts)?.into()])?;
    }
    let grid = Grid { blocks: (1, 1, 1), threads: (THREADS, 1) };
    let args = [address(&parts)?.into(), int(table.chunks)?.into(), limit.into(), address(&result)?.into()];
    launch(device, &KERNELS, "clip_scale", grid, &args)?;
    Ok(result)
}

/// Blocks that share the sum of one run's squares, and the gradients that make one worth while.
const MOST_BLOCKS: usize = 32;
const SQUARES: usize = 16 * THREADS as usize;

/// [`crate::update_runs`] on `device`; `columns` are the numbers of each run.
pub(crate) fn update_runs(
    moved: &[Moved<'_>],
    columns: &[[f32; NUMBERS]],
    scales: Option<&Tensor>,
    device: &CudaDevice,
) -> Result<()> {
    let gradients = contiguous(moved.iter().map(|moved| moved.gradient))?;
    let means = means(&gradients, 2, columns.iter().any(|column| column[0].to_bits() == MINI.to_bits()))?;
    let table = Table::of(moved, &gradients, &means)?;
    if table.chunks == 0 {
        return Ok(());
    }
    let (_rows, [rows, count]) = table.upload(device)?;
    let numbers = device.clone_htod(columns.as_flattened())?;
    let scales = Arg::Address(scales.map_or(Ok(0), address)?);
    let args = [rows, count, scales, Arg::Address(numbers.device_ptr(&device.cuda_stream()).0), int(columns.len())?.into()];
    launch(device, &KERNELS, "update_runs", table.grid(), &args)
}

/// [`crate::clip_runs`] on `device`.
pub(crate) fn clip_runs(gradients: &[&Tensor], limits: &Tensor, device: &CudaDevice) -> Result<Tensor> {
    let (gradients, runs) = (contiguous(gradients.iter().copied())?, limits.elem_count());
    let mut table = Table::default();
    gradients.iter().try_for_each(|gradient| table.add([None, None, None, Some(gradient)], None))?;
    let largest = gradients.iter().map(Tensor::elem_count).max().unwrap_or(0) / runs.max(1);
    let blocks = largest.div_ceil(SQUARES).clamp(1, MOST_BLOCKS);
    let (parts, result) = (empty(device, (runs, blocks), DType::F64)?, empty(device, (2, runs), DType::F64)?);
    let (_rows, [rows, count]) = table.upload(device)?;
    let grid = Grid { blocks: (whole(blocks), whole(runs), 1), threads: (THREADS, 1) };
    launch(device, &KERNELS, "square_parts_of_runs", grid, &[rows, count, address(&parts)?.into()])?;
    let args =
        [address(&parts)?.into(), int(blocks)?.into(), address(limits)?.into(), int(runs)?.into(), address(&result)?.into()];
    launch(device, &KERNELS, "clip_runs", Grid::each(runs), &args)?;
    Ok(result)
}
