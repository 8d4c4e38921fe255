//! Where a device's time goes.

use candle_core::{Device, Result};

/// Launches of one kind.
#[derive(Clone, Debug)]
pub struct Class {
    /// The kernel, or the library and what it was asked for.
    pub name: String,
    pub launches: usize,
    /// From the begin to the end of each, on the device.
    pub milliseconds: f64,
}

/// Does `work` on this thread and returns the milliseconds it took on the device, and the part of each class of this crate's launches,
/// by name. What is left is that of Candle's own operations, and of waiting for the host. Each launch takes longer to ask for than
/// usual. `None` on the CPU.
///
/// # Errors
/// Errors of `work` and of the driver.
pub fn traced(device: &Device, work: impl FnOnce() -> Result<()>) -> Result<Option<(f64, Vec<Class>)>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::trace::traced(device, work).map(Some),
        _ => work().map(|()| None),
    }
}
