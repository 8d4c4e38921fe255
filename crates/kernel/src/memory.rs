//! The memory of a device: what is free, and what its pool keeps.

use candle_core::{Device, Result};

/// Bytes that are free on `device`; `None` on the CPU, whose memory is managed by the operating system.
///
/// # Errors
/// Errors of the CUDA driver.
pub fn free_memory(device: &Device) -> Result<Option<usize>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::memory::free(device).map(Some),
        _ => Ok(None),
    }
}

/// Lets the device's pool keep what is freed, for the next allocation, instead of returning it at every synchronisation. Once per
/// process.
///
/// # Errors
/// Errors of the CUDA driver.
pub fn keep_freed_memory(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::memory::keep(device),
        _ => Ok(()),
    }
}

/// Turns off the events by which allocations would order several streams: everything on a device uses one stream, and creating and
/// destroying two events takes as long as an allocation. Call it once per process, before the first tensor.
pub fn without_events(device: &Device) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        super::cuda::memory::without_events(device);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = device;
}

/// Returns unused memory of the pool to the driver, so that other workers can have it and the next count of free memory includes
/// it.
///
/// # Errors
/// Errors of the CUDA driver.
pub fn give_freed_memory_back(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::memory::trim(device),
        _ => Ok(()),
    }
}
