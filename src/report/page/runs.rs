//! Runs that are under way, and runs that have failed.

use std::collections::HashMap;

use super::super::load::{Loaded, Run};
use super::super::strategy_names;
use super::model::{Failure, Running};
use super::strategies::short;
use crate::doing;
use crate::error::Error;
use store::Reader;

/// The runs under way, with their curves so far.
///
/// # Errors
/// The database.
pub async fn running(reader: &mut Reader, loaded: &Loaded) -> Result<Vec<Running>, Error> {
    let attempts = reader.running(loaded.sweep.id).await?;
    if attempts.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = attempts.iter().map(|attempt| attempt.run.clone()).collect();
    let points = reader.curves(loaded.sweep.id, &names).await?;
    let all: Vec<_> = loaded.runs.iter().chain(&loaded.passed_over).collect();
    let mut doing = doing::of_all(reader.path());
    let running = |attempt: store::RunningAttempt| {
        let own: Vec<_> = points.iter().filter(|point| point.run == attempt.run).collect();
        let run = all.iter().find(|run| run.row.run == attempt.run);
        Running {
            key: short(&attempt.run),
            name: run.map_or_else(String::new, |run| run_name(run)),
            seed: run.map_or(0, |run| run.row.seed),
            device: attempt.device,
            started_at: attempt.started_at,
            evaluations: attempt.epochs_done,
            of: attempt.epochs,
            steps: own.last().and_then(|point| point.steps),
            images_per_s: attempt.images_per_s,
            doing: doing.remove(&attempt.run),
            ap: own.iter().map(|point| point.macro_ap).collect(),
        }
    };
    Ok(attempts.into_iter().map(running).collect())
}

fn run_name(run: &Run) -> String {
    strategy_names::strategy(&run.row.loss, &run.row.pos_weight, run.row.gamma, &run.row.sampler, &run.params)
}

/// The runs that failed for good.
///
/// # Errors
/// The database.
pub async fn failures(reader: &mut Reader, loaded: &Loaded) -> Result<Vec<Failure>, Error> {
    let failed = reader.failures(loaded.sweep.id).await?.into_iter();
    let params: HashMap<&str, &Run> = loaded.runs.iter().map(|run| (run.row.run.as_str(), run)).collect();
    let failure = |failed: store::FailedRun| Failure {
        key: short(&failed.run),
        name: params.get(failed.run.as_str()).map_or_else(|| failed.loss.clone(), |run| run_name(run)),
        seed: failed.seed,
        attempts: failed.attempts,
        outcome: failed.outcome,
        why: failed.why,
    };
    Ok(failed.map(failure).collect())
}
