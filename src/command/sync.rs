//! `sweep sync [SWEEP]`: one pass of a sweep on a cluster, as for cron.

use super::resume;
use crate::cli::{ClusterArgs, Global, LivePageArgs, ResumeArgs, WorkersArgs};
use crate::cluster::Stay;
use crate::error::Error;

/// Takes in what the tasks have written, submits what is missing, and returns.
///
/// # Errors
/// The errors of [`resume::run()`].
pub async fn run(global: &Global, args: &ClusterArgs) -> Result<(), Error> {
    let (workers, page) = (WorkersArgs::default(), LivePageArgs::default());
    let args = ResumeArgs { sweep: args.sweep.clone(), failed: false, workers, page, format: args.format };
    resume::run_for(global, &args, Stay::OnePass).await
}
