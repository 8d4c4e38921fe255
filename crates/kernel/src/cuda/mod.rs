//! The operations on CUDA. Maps are `[batch, height, width, channels]` here and contiguous (NHWC, as cuDNN's tensor cores want
//! them), in f32 or bf16; parameters and statistics are f32, sums are f32 or wider.
//!
//! Not even in shape are they channel-major: Candle adds up a gradient in the order of its tensor's shape, so that a permuted
//! view would be copied into another order at every edge of the graph.
//!
//! Kernels are the `.cu` files beside this one, compiled by `build.rs`, one module per file. Everything of a device runs on its
//! one stream, in the order in which it is launched; an address is therefore valid as long as the tensor it comes from lives.

mod batch_norm;
pub(super) mod cells;
mod conv;
#[cfg(feature = "cudnn")]
mod cudnn;
mod dense;
pub(super) mod dropout;
pub(super) mod gather;
mod gemm;
mod graph;
pub(super) mod heads;
pub(super) mod memory;
mod pool;
pub(super) mod trace;
pub(super) mod updates;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaSlice, DevicePtr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::{CudaStorageSlice, DeviceId, WrapErr};
use candle_core::{CudaDevice, CudaStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

pub(super) use batch_norm::{absorb, batch_norm_eval, batch_norm_train};
pub(super) use conv::conv2d;
pub(super) use dense::dense_block_train;
use graph::Fresh;
pub(super) use pool::{MOST_POOLED, avg_pool2d, global_avg_pool, max_pool2d};

/// The kernels of one `.cu` file.
pub(super) struct Module {
    pub name: &'static str,
    pub ptx: &'static str,
}

/// The module of a `.cu` file in this folder.
macro_rules! module {
    ($name:literal) => {
        crate::cuda::Module { name: $name, ptx: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")) }
    };
}
pub(super) use module;

/// An argument of a kernel: a number, or where numbers lie on the device.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    Address(u64),
    Long(i64),
    Int(i32),
    Float(f32),
    Double(f64),
}

impl From<u64> for Arg {
    fn from(address: u64) -> Self {
        Self::Address(address)
    }
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Long(value)
    }
}

impl From<i32> for Arg {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<f32> for Arg {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<f64> for Arg {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

/// Blocks (x, y, z) and threads of a block (x, y); no dynamic shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: (u32, u32),
}

impl Grid {
    /// One thread for each of `count`, 256 per block; kernels stride, so that there may be fewer threads.
    pub(super) fn each(count: usize) -> Self {
        Self { blocks: (whole(count.div_ceil(256).clamp(1, 1 << 16)), 1, 1), threads: (256, 1) }
    }
}

/// A size as CUDA wants it; what does not fit is refused by the launch.
pub(super) fn whole(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// A size as kernels and libraries want it.
///
/// # Errors
/// Too large for 31 bits.
pub(super) fn int(size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| candle_core::Error::Msg(format!("a size of {size} is too large for a CUDA kernel")))
}

/// The kernels of each device and module that have been launched, by name.
type Functions = HashMap<(DeviceId, &'static str), HashMap<String, CudaFunction>>;

/// Finding a kernel in its module takes the driver as long as launching it: it is asked once. Kept until the process ends.
static FUNCTIONS: LazyLock<Mutex<Functions>> = LazyLock::new(Mutex::default);

fn function(device: &CudaDevice, module: &Module, name: &str) -> Result<CudaFunction> {
    let mut functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = functions.entry((device.id(), module.name)).or_default();
    if let Some(function) = known.get(name) {
        return Ok(function.clone());
    }
    let function = device.get_or_load_custom_func(name, module.name, module.ptx)?.into_cuda_function();
    known.insert(name.to_owned(), function.clone());
    Ok(function)
}

/// Launches the kernel `name` of `module` with `args`, which must be those of its C declaration, in order and type; a check that
/// nobody but the caller can make.
pub(super) fn launch(device: &CudaDevice, module: &Module, name: &str, grid: Grid, args: &[Arg]) -> Result<()> {
    let (function, stream) = (function(device, module, name)?, device.cuda_stream());
    let mut builder = stream.launch_builder(&function);
    for arg in args {
        match arg {
            Arg::Address(value) => builder.arg(value),
            Arg::Long(value) => builder.arg(value),
            Arg::Int(value) => builder.arg(value),
            Arg::Float(value) => builder.arg(value),
            Arg::Double(value) => builder.arg(value),
        };
    }
    let config = LaunchConfig { grid_dim: grid.blocks, block_dim: (grid.threads.0, grid.threads.1, 1), shared_mem_bytes: 0 };
    // SAFETY: the callers in this module pass addresses of live buffers of the sizes they also pass, and arguments in the order
    // of the declarations in the `.cu` files, which the tests of every operation execute.
    trace::timed(device, name, || unsafe { builder.launch(config) }.map(drop).w())
}

fn base<T>(slice: &CudaSlice<T>, device: &CudaDevice) -> u64 {
    // Everything runs on the device's one stream: the guard, which would order streams, has nothing to do.
    slice.device_ptr(&device.cuda_stream()).0
}

/// Address of the first number of contiguous storage.
///
/// # Errors
/// Storage that is not contiguous; a type no kernel of ours reads.
pub(super) fn storage_address(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("a kernel needs contiguous tensors, got strides {:?}", layout.stride());
    };
    let (base, size) = match &storage.slice {
        CudaStorageSlice::F32(slice) => (base(slice, &storage.device), 4),
        CudaStorageSlice::BF16(slice) => (base(slice, &storage.device), 2),
        CudaStorageSlice::F64(slice) => (base(slice, &storage.device), 8),
        CudaStorageSlice::U32(slice) => (base(slice, &storage.device), 4),
        CudaStorageSlice::U8(slice) => (base(slice, &storage.device), 1),
        _ => bail!("a CUDA kernel reads f64, f32, bf16, u32 and u8"),
    };
    Ok(base + (start * size) as u64)
}

/// Address of the first number of a contiguous tensor, valid as long as the tensor lives.
///
/// # Errors
/// As [`storage_address`]; a tensor that is not on CUDA.
pub(super) fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a CUDA kernel needs a tensor on CUDA") };
    storage_address(storage, layout)
}

/// A tensor outside any graph whose values are arbitrary: write before you read.
///
/// # Errors
/// The device's memory is full.
pub(super) fn empty(device: &CudaDevice, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
    Ok(Fresh::new(device, shape, dtype)?.tensor())
}

/// The ending of a kernel's name for maps of `dtype`.
///
/// # Errors
/// Maps of another type than f32 and bf16.
pub(super) fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        other => bail!("maps on CUDA are f32 or bf16, not {other:?}"),
    }
}

/// The device of a tensor on CUDA.
///
/// # Errors
/// A tensor elsewhere.
pub(super) fn device(tensor: &Tensor) -> Result<&CudaDevice> {
    match tensor.device() {
        Device::Cuda(device) => Ok(device),
        other => bail!("a CUDA kernel needs a tensor on CUDA, not on {other:?}"),
    }
}
