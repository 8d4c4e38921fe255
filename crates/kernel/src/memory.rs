//! The memory of a device: what is free, and what its pool keeps.

use candle_core::{Device, Result, Tensor};

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

/// Whether so little is left on `device` that a library's failure is best explained by it; `false` on the CPU.
///
/// # Errors
/// Errors of the CUDA driver, such as a device that is lost.
pub fn is_exhausted(device: &Device) -> Result<bool> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::memory::is_exhausted(device),
        _ => Ok(false),
    }
}

/// CUDA device `number`, ready for all that this process does on it: everything runs on one stream of its own, in the order in which
/// it is asked for, whichever thread asks. What is freed stays in the device's pool for the next allocation, and no events are
/// recorded for allocations, which would order several streams. Never drop it on the way out of a process: the libraries' destructors
/// panic after an error that the device does not recover from.
///
/// # Errors
/// No such device, one that cannot be used, or a build without CUDA.
pub fn open_cuda(number: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(number)?;
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = &device {
        super::cuda::memory::begin(device)?;
    }
    Ok(device)
}

/// `tensor` on the CPU. A copy from a device may be under way when the driver returns: nothing is looked at before it has arrived.
///
/// # Errors
/// Propagates Candle errors; on a device also those of what was launched before.
pub fn read(tensor: &Tensor) -> Result<Tensor> {
    let host = tensor.to_device(&Device::Cpu)?;
    tensor.device().synchronize()?;
    Ok(host)
}

/// Returns unused memory of the pool, and workspaces, to the driver, so that other workers can have it and the next count of free memory includes
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
