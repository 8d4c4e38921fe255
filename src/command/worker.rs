//! `sweep worker`, which launchers start. Without the feature `worker` the workers are the program `sweep-worker`.

use crate::cli::WorkerArgs;
use crate::error::Error;

/// Serves orders until the last one.
///
/// # Errors
/// The errors of [`train::worker::run`].
#[cfg(feature = "worker")]
pub fn run(args: WorkerArgs) -> Result<(), Error> {
    let WorkerArgs { device, threads, journal, name } = args;
    Ok(train::worker::run(&train::worker::Options { device, threads, journal, name })?)
}

/// Says which program trains instead.
///
/// # Errors
/// Always.
#[cfg(not(feature = "worker"))]
pub fn run(args: WorkerArgs) -> Result<(), Error> {
    let device = args.device;
    Err(Error::Usage(format!(
        "this sweep was built without workers: the one for `{device}` is the program `sweep-worker` beside it"
    )))
}
