//! The device of the tests of CUDA.

use candle_core::Device;

/// The first CUDA device, or the host emulation of tests/cuda_on_host; `None`, and said so, where there is neither. Fails there where
/// `SWEEP_NEED_GPU` is set, so that nothing is skipped in silence.
#[expect(clippy::print_stdout, reason = "a test says what it leaves out")]
pub fn device() -> Option<Device> {
    match Device::new_cuda(0) {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("SWEEP_NEED_GPU").is_none() => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("SWEEP_NEED_GPU is set: {error}"),
    }
}
