//! What there is to know and to say about a device's memory.

use candle_core::{Device, Result};

/// Bytes that are free on `device`; `None` on the CPU, whose memory is the operating system's affair.
///
/// # Errors
/// The driver's.
pub fn free_memory(device: &Device) -> Result<Option<usize>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::memory::free(device).map(Some),
        _ => Ok(None),
    }
}

/// Lets the device's pool keep what is freed, for the next allocation, instead of giving it back at every synchronisation. Once a
/// process.
///
/// # Errors
/// The driver's.
pub fn keep_freed_memory(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::memory::keep(device),
        _ => Ok(()),
    }
}

/// Gives what the pool keeps and nobody uses back to the driver: to other workers, and to the next count of what is free.
///
/// # Errors
/// The driver's.
pub fn give_freed_memory_back(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::memory::trim(device),
        _ => Ok(()),
    }
}
