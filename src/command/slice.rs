//! `sweep slice`: a task on a cluster.

use crate::cli::SliceArgs;
use crate::cluster::slice::{self, Options};
use crate::error::Error;

/// Makes the runs of a slice.
///
/// # Errors
/// The errors of [`slice::run`].
pub async fn run(args: SliceArgs) -> Result<(), Error> {
    let SliceArgs { root, submission, index, restart, cpus } = args;
    slice::run(Options { root, submission, slice: index, restart, cpus }).await
}
