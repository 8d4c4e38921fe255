//! Convolutions by cuDNN on packed NHWC maps, with algorithms that give equal bits in every run: implicit GEMM forward, `ALGO_1` for
//! both gradients. Descriptors and workspace sizes are made once for a shape; `false` is the answer where cuDNN does not know a case.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::{CudaDevice, DType, Error, Result, Tensor, bail};

use super::{address, empty, int, trace};
use crate::conv::Geometry;

const FORWARD: sys::cudnnConvolutionFwdAlgo_t = sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
const DATA: sys::cudnnConvolutionBwdDataAlgo_t = sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
const FILTER: sys::cudnnConvolutionBwdFilterAlgo_t = sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;

/// A device's handle and what was made for it. Never destroyed: it serves until the process ends.
struct Library {
    handle: sys::cudnnHandle_t,
    plans: HashMap<(Geometry, DType), Plan>,
    /// One buffer for all: what a device does, it does in order.
    workspace: Option<Tensor>,
}

// SAFETY: cuDNN's handles and descriptors may move between threads; the lock around all of them lets one use them at a time.
unsafe impl Send for Library {}

static LIBRARIES: LazyLock<Mutex<HashMap<DeviceId, Library>>> = LazyLock::new(Mutex::default);

/// Descriptors of one convolution, and the bytes each direction works in; `None` where cuDNN does not know it.
#[derive(Clone, Copy)]
struct Plan {
    x: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    conv: sys::cudnnConvolutionDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    bytes: [Option<usize>; 3],
}

/// What is computed.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Forward,
    Data,
    Filter,
}

fn failed(error: CudnnError) -> Error {
    Error::wrap(error)
}

/// `NOT_SUPPORTED`, or one of its reasons (3001, 3002, ...).
fn is_unknown(status: sys::cudnnStatus_t) -> bool {
    status == sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED || status as u32 / 1000 == 3
}

/// The bytes a direction asks for; `None` where cuDNN does not know the case, which it also calls a bad parameter. Any other error is
/// one of the device.
fn known(asked: std::result::Result<usize, CudnnError>) -> std::result::Result<Option<usize>, CudnnError> {
    match asked {
        Ok(bytes) => Ok(Some(bytes)),
        Err(CudnnError(status)) if is_unknown(status) || status == sys::cudnnStatus_t::CUDNN_STATUS_BAD_PARAM => Ok(None),
        Err(error) => Err(error),
    }
}

/// One line a plan: which way a convolution takes is seen nowhere else.
fn tell(s: &Geometry, dtype: DType, asked: [std::result::Result<usize, CudnnError>; 3]) {
    let [forward, data, filter] = asked.map(|asked| match asked {
        Ok(bytes) => format!("{bytes} bytes"),
        Err(CudnnError(status)) => format!("{status:?}"),
    });
    tracing::debug!("cuDNN, {dtype:?}, {s:?}: forward {forward}; data {data}; filter {filter}");
}

impl Plan {
    fn new(handle: sys::cudnnHandle_t, s: &Geometry, dtype: DType) -> Result<Self> {
        let (kind, math) = match dtype {
            // Without this, f32 is rounded to 10 bits on the way into tensor cores.
            DType::F32 => (sys::cudnnDataType_t::CUDNN_DATA_FLOAT, sys::cudnnMathType_t::CUDNN_FMA_MATH),
            DType::BF16 => (sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16, sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH),
            other => bail!("cuDNN: no convolution of {other:?}"),
        };
        let nhwc = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let maps = |channels: usize, (h, w): (usize, usize)| Ok::<_, Error>([int(s.batch)?, int(channels)?, int(h)?, int(w)?]);
        let (of_x, of_y) = (maps(s.inputs, s.size)?, maps(s.outputs, s.out)?);
        let kernel = int(s.kernel)?;
        let of_weight = [int(s.outputs)?, int(s.inputs)?, kernel, kernel];
        let (stride, padding) = (int(s.stride)?, int(s.padding)?);
        let cross = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let single = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        let make = || {
            let (x, y) = (result::create_tensor_descriptor()?, result::create_tensor_descriptor()?);
            let (weight, conv) = (result::create_filter_descriptor()?, result::create_convolution_descriptor()?);
            // SAFETY: the descriptors were made a moment ago and are never destroyed; the handle is alive.
            unsafe {
                result::set_tensor4d_descriptor(x, nhwc, kind, of_x)?;
                result::set_tensor4d_descriptor(y, nhwc, kind, of_y)?;
                result::set_filter4d_descriptor(weight, kind, nhwc, of_weight)?;
                result::set_convolution2d_descriptor(conv, padding, padding, stride, stride, 1, 1, cross, single)?;
                result::set_convolution_math_type(conv, math)?;
                let asked = [
                    result::get_convolution_forward_workspace_size(handle, x, weight, conv, y, FORWARD),
                    result::get_convolution_backward_data_workspace_size(handle, weight, y, conv, x, DATA),
                    result::get_convolution_backward_filter_workspace_size(handle, x, y, conv, weight, FILTER),
                ];
                tell(s, dtype, asked);
                let [forward, data, filter] = asked;
                Ok(Self { x, weight, conv, y, bytes: [known(forward)?, known(data)?, known(filter)?] })
            }
        };
        make().map_err(failed)
    }
}

impl Library {
    fn new(device: &CudaDevice) -> Result<Self> {
        let handle = result::create_handle().map_err(failed)?;
        // SAFETY: both are alive, and the stream is the device's own, which outlives its work.
        unsafe { result::set_stream(handle, device.cuda_stream().cu_stream().cast()) }.map_err(failed)?;
        Ok(Self { handle, plans: HashMap::new(), workspace: None })
    }

    fn plan(&mut self, s: &Geometry, dtype: DType) -> Result<Plan> {
        if let Some(plan) = self.plans.get(&(*s, dtype)) {
            return Ok(*plan);
        }
        let plan = Plan::new(self.handle, s, dtype)?;
        self.plans.insert((*s, dtype), plan);
        Ok(plan)
    }

    fn workspace(&mut self, device: &CudaDevice, bytes: usize) -> Result<u64> {
        if bytes == 0 {
            return Ok(0);
        }
        if self.workspace.as_ref().is_none_or(|workspace| workspace.elem_count() < bytes) {
            // The old one goes first, so that both need not fit; the device frees it after the work that uses it.
            self.workspace = None;
            self.workspace = Some(empty(device, bytes, DType::U8)?);
        }
        self.workspace.as_ref().map_or(Ok(0), address)
    }

    /// Runs one direction; `false` where cuDNN does not know the case.
    fn run(
        &mut self,
        device: &CudaDevice,
        s: &Geometry,
        dtype: DType,
        direction: Direction,
        [a, b, to]: [u64; 3],
    ) -> Result<bool> {
        let plan = self.plan(s, dtype)?;
        let Some(bytes) = plan.bytes[direction as usize] else { return Ok(false) };
        let workspace = self.workspace(device, bytes)? as *mut c_void;
        let (alpha, beta) = (1f32, 0f32);
        let (alpha, beta): (*const c_void, *const c_void) = ((&raw const alpha).cast(), (&raw const beta).cast());
        let (from_a, from_b, to) = (a as *const c_void, b as *const c_void, to as *mut c_void);
        let (handle, Plan { x, weight, conv, y, .. }) = (self.handle, plan);
        let class = match direction {
            Direction::Forward => "cuDNN forward",
            Direction::Data => "cuDNN input's gradient",
            Direction::Filter => "cuDNN weight's gradient",
        };
        // SAFETY: handle and descriptors are alive; the addresses are those of live packed maps and weights of the described sizes, which
        // the callers see to; the workspace has as many bytes as cuDNN asked for.
        let asked = || unsafe {
            match direction {
                Direction::Forward => result::convolution_forward(
                    handle, alpha, x, from_a, weight, from_b, conv, FORWARD, workspace, bytes, beta, y, to,
                ),
                Direction::Data => result::convolution_backward_data(
                    handle, alpha, weight, from_a, y, from_b, conv, DATA, workspace, bytes, beta, x, to,
                ),
                Direction::Filter => result::convolution_backward_filter(
                    handle, alpha, x, from_a, y, from_b, conv, FILTER, workspace, bytes, beta, weight, to,
                ),
            }
        };
        match trace::timed(device, class, || Ok(asked()))? {
            Ok(()) => Ok(true),
            Err(CudnnError(status)) if is_unknown(status) => {
                tracing::debug!("cuDNN, {dtype:?}, {s:?}: {direction:?} refused when run: {status:?}");
                if let Some(plan) = self.plans.get_mut(&(*s, dtype)) {
                    plan.bytes[direction as usize] = None;
                }
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }
}

fn with_library<T>(device: &CudaDevice, work: impl FnOnce(&mut Library) -> Result<T>) -> Result<T> {
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    work(match libraries.entry(device.id()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Library::new(device)?),
    })
}

/// Makes the device's handle while there is memory for it.
pub(super) fn begin(device: &CudaDevice) -> Result<()> {
    with_library(device, |_| Ok(()))
}

/// Frees the workspace; the next convolution makes another.
pub(super) fn free_workspace(device: &CudaDevice) {
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(workspace) = libraries.get_mut(&device.id()).and_then(|library| library.workspace.take()) {
        tracing::debug!("cuDNN: a workspace of {} MiB is freed", workspace.elem_count() >> 20);
    }
}

fn run(device: &CudaDevice, s: &Geometry, dtype: DType, direction: Direction, [a, b, to]: [u64; 3]) -> Result<bool> {
    with_library(device, |library| library.run(device, s, dtype, direction, [a, b, to]))
}

/// Addresses of x, weight and y.
pub(super) fn forward(device: &CudaDevice, s: &Geometry, dtype: DType, at: [u64; 3]) -> Result<bool> {
    run(device, s, dtype, Direction::Forward, at)
}

/// Addresses of weight, dy and dx.
pub(super) fn input_gradient(device: &CudaDevice, s: &Geometry, dtype: DType, at: [u64; 3]) -> Result<bool> {
    run(device, s, dtype, Direction::Data, at)
}

/// Addresses of x, dy and dweight (of the maps' type).
pub(super) fn weight_gradient(device: &CudaDevice, s: &Geometry, dtype: DType, at: [u64; 3]) -> Result<bool> {
    run(device, s, dtype, Direction::Filter, at)
}
