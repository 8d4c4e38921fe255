//! All parameters of a network in one launch: the addresses of their numbers go over as a table.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};

use super::super::updates::{Moved, Update};

/// As in updates.cu: words of a row of the table, numbers of a chunk, threads of a block.
const WORDS: usize = 6;
const CHUNK: usize = 4096;
const THREADS: u32 = 256;

/// The device that all of `tensors` lie on, where they are f32.
pub fn device_of_all(tensors: &[&Tensor]) -> Option<CudaDevice> {
    let Device::Cuda(device) = tensors.first()?.device() else { return None };
    let ours = |tensor: &&Tensor| tensor.dtype() == DType::F32 && tensor.device().is_cuda();
    tensors.iter().all(ours).then(|| device.clone())
}

/// The device of a step's tensors, where the kernel can take them.
pub fn device_of(moved: &[Moved<'_>]) -> Option<CudaDevice> {
    let all: Vec<&Tensor> = moved.iter().flat_map(|moved| [moved.parameter.as_tensor(), moved.gradient]).collect();
    device_of_all(&all)
}

/// Rows of `[parameter, first, second, gradient]`, 0 where there is none, as the kernels want them.
struct Table {
    rows: Vec<u64>,
    chunks: usize,
}

impl Table {
    fn new() -> Self {
        Self { rows: Vec::new(), chunks: 0 }
    }

    fn add(&mut self, tensors: [Option<&Tensor>; 4]) -> Result<()> {
        let count = tensors.iter().flatten().next().map_or(0, |tensor| tensor.elem_count());
        for tensor in tensors {
            if tensor.is_some_and(|tensor| tensor.elem_count() != count) {
                bail!("an update of tensors of different sizes");
            }
            self.rows.push(tensor.map_or(Ok(0), super::address)?);
        }
        self.rows.extend([count as u64, self.chunks as u64]);
        self.chunks += count.div_ceil(CHUNK);
        Ok(())
    }

    fn count(&self) -> i32 {
        (self.rows.len() / WORDS) as i32
    }

    fn launch(&self) -> LaunchConfig {
        super::blocks(self.chunks, THREADS)
    }
}

/// [`Update::apply`] on `device`.
pub fn apply(update: &Update, moved: &[Moved<'_>], scale: Option<&Tensor>, device: &CudaDevice) -> Result<()> {
    let gradients = moved.iter().map(|moved| moved.gradient.contiguous()).collect::<Result<Vec<Tensor>>>()?;
    let mut table = Table::new();
    for (moved, gradient) in moved.iter().zip(&gradients) {
        let second = moved.second.map(|second| second.as_tensor());
        table.add([Some(moved.parameter.as_tensor()), Some(moved.first.as_tensor()), second, Some(gradient)])?;
    }
    if table.chunks == 0 {
        return Ok(());
    }
    let scale = scale.map_or(Ok(0), super::address)?;
    let (rows, count) = (device.clone_htod(&table.rows)?, table.count());
    match *update {
        Update::Adam { mean, square, step } => {
            let function = super::function(device, super::UPDATES, "update_adam")?;
            let numbers = [mean.decay, mean.keep, mean.add, square.keep, square.add, step.rate, step.shrink, step.eps, step.root];
            let numbers = numbers.map(|number| number as f32);
            let mut launch = function.builder();
            launch.arg(&rows).arg(&count).arg(&scale);
            numbers.iter().for_each(|number| drop(launch.arg(number)));
            // SAFETY: the arguments are those of the kernel; each row names as many numbers as its tensors hold, and they live on.
            unsafe { launch.launch(table.launch()) }.w()?;
        }
        Update::Sgd { mean, step } => {
            let function = super::function(device, super::UPDATES, "update_sgd")?;
            let numbers = [mean.decay, mean.keep, mean.add, step.rate, step.momentum].map(|number| number as f32);
            let nesterov = i32::from(step.nesterov);
            let mut launch = function.builder();
            launch.arg(&rows).arg(&count).arg(&scale);
            numbers.iter().for_each(|number| drop(launch.arg(number)));
            launch.arg(&nesterov);
            // SAFETY: as above.
            unsafe { launch.launch(table.launch()) }.w()?;
        }
    }
    Ok(())
}

/// [`super::super::updates::clip_scale`] on `device`.
pub fn clip_scale(gradients: &[&Tensor], limit: f64, device: &CudaDevice) -> Result<Tensor> {
    let gradients = gradients.iter().map(|gradient| gradient.contiguous()).collect::<Result<Vec<Tensor>>>()?;
    let mut table = Table::new();
    gradients.iter().try_for_each(|gradient| table.add([None, None, None, Some(gradient)]))?;
    let (rows, count) = (device.clone_htod(&table.rows)?, table.count());
    let (mut parts, mut result) = (device.alloc_zeros::<f64>(table.chunks.max(1))?, device.alloc_zeros::<f64>(2)?);
    if table.chunks > 0 {
        let function = super::function(device, super::UPDATES, "square_parts")?;
        let mut launch = function.builder();
        launch.arg(&rows).arg(&count).arg(&mut parts);
        // SAFETY: the arguments are those of the kernel; `parts` holds a number for each chunk.
        unsafe { launch.launch(table.launch()) }.w()?;
    }
    let function = super::function(device, super::UPDATES, "clip_scale")?;
    let chunks = table.chunks as i32;
    let mut launch = function.builder();
    launch.arg(&parts).arg(&chunks).arg(&limit).arg(&mut result);
    // SAFETY: the arguments are those of the kernel; it writes two numbers.
    unsafe { launch.launch(super::blocks(1, THREADS)) }.w()?;
    Ok(super::tensor(result, 2, device))
}
