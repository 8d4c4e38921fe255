//! The device of the tests of CUDA.

use std::mem::ManuallyDrop;

use candle_core::Device;

thread_local! {
    /// One for each test: threads do not share a stream, and a device takes long to make. Never destroyed, as in a worker.
    static DEVICE: ManuallyDrop<Option<Device>> = ManuallyDrop::new(open());
}

/// The first CUDA device as a worker opens it, or the host emulation of tests/cuda_on_host; `None`, and said so, where there is neither.
/// Fails there where `SWEEP_NEED_GPU` is set, so that nothing is skipped in silence. `RUST_LOG=kernel=debug` shows cuDNN's plans.
pub fn device() -> Option<Device> {
    DEVICE.with(|device| device.as_ref().cloned())
}

#[expect(clippy::print_stdout, reason = "a test says what it leaves out")]
fn open() -> Option<Device> {
    train::worker::log_to_stderr();
    match train::worker::device("cuda:0") {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("SWEEP_NEED_GPU").is_none() => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("SWEEP_NEED_GPU is set: {error}"),
    }
}
