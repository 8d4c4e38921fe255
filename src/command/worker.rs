//! `sweep worker`, which launchers start. In a CUDA build the workers are the program `sweep-worker`: this one must not refer to
//! Candle, or it would need the CUDA libraries to start (docs/decisions/0003-two-binaries-with-cuda.md).

use crate::cli::Worker;
use crate::error::Error;

/// Serves orders until the last one.
///
/// # Errors
/// As [`crate::worker::run`].
#[cfg(not(feature = "cuda"))]
pub fn run(args: &Worker) -> Result<(), Error> {
    let Worker { device, threads, journal, name } = args.clone();
    crate::worker::run(&crate::worker::Options { device, threads, journal, name })
}

/// Says which program trains instead.
///
/// # Errors
/// Always.
#[cfg(feature = "cuda")]
pub fn run(args: &Worker) -> Result<(), Error> {
    let device = &args.device;
    Err(Error::Usage(format!("in a CUDA build the worker for `{device}` is the program `sweep-worker` beside this one")))
}
