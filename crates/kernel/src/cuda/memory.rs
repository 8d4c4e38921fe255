//! The device's memory: what is free, and the pool that allocations come from.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::{CudaDevice, Result};

/// Bytes that a library may need for its code or its handle.
const OWN: usize = 64 << 20;

/// Bytes that are free on the device; what this process's pool keeps is returned first.
pub(crate) fn free(device: &CudaDevice) -> Result<usize> {
    // A device without pools keeps nothing.
    let _ = trim(device);
    Ok(device.cuda_stream().context().mem_get_info().w()?.0)
}

fn pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
    // SAFETY: the context exists, so that its device does.
    unsafe { result::device::get_default_mem_pool(device.cuda_stream().context().cu_device()) }.w()
}

/// Whether less is left on the device than its libraries take by themselves, beside the pool. Nothing is returned first.
pub(crate) fn is_exhausted(device: &CudaDevice) -> Result<bool> {
    Ok(device.cuda_stream().context().mem_get_info().w()?.0 < OWN)
}

/// For the work of a process: allocations without events, freed memory stays in the pool, handles are made while there is room.
pub(crate) fn begin(device: &CudaDevice) -> Result<()> {
    // SAFETY: there is one stream, so nothing is used on another stream than the one it was allocated on.
    unsafe { device.disable_event_tracking() };
    if let Err(error) = keep(device) {
        tracing::warn!("the device gives freed memory back to the driver again and again, which is slow: {error}");
    }
    #[cfg(feature = "cudnn")]
    super::cudnn::begin(device)?;
    Ok(())
}

/// Sets the pool's release threshold to its maximum.
fn keep(device: &CudaDevice) -> Result<()> {
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let mut threshold = u64::MAX;
    // SAFETY: the pool is the device's own; the attribute is a cuuint64_t, which is read before the call returns.
    unsafe { result::mem_pool::set_attribute(pool(device)?, attribute, (&raw mut threshold).cast()) }.w()
}

/// Returns unused memory, workspaces too, once everything that was launched is done.
pub(crate) fn trim(device: &CudaDevice) -> Result<()> {
    #[cfg(feature = "cudnn")]
    super::cudnn::free_workspace(device);
    device.cuda_stream().synchronize().w()?;
    // SAFETY: the pool is the device's own.
    unsafe { result::mem_pool::trim_to(pool(device)?, 0) }.w()
}
