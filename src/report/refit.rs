//! A policy that was not in the grid: every recorded run's kept scores under it, in memory. The database is not written.

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;

use super::load::Loaded;
use super::question::{Question, Split};
use super::score::{Labels, Score, label_scores};
use crate::error::Error;
use archive::{Kept, runs_folder};
use imbalance::LabelMatrix;
use imbalance::evaluation::{Evaluation, FittedPolicy, predicted_rate};
use imbalance::threshold::{Policy, Rule};
use store::{At, COLUMNS};

/// Adds to `loaded` the evaluations that the database lacks under its one policy.
///
/// # Errors
/// [`Error::NotEvaluated`] where no run can be evaluated; single runs without kept scores are listed in [`Loaded::lost`].
pub fn evaluate(loaded: &mut Loaded, db: &Path, policy: &Policy, question: &Question) -> Result<(), Error> {
    let folder = runs_folder(db);
    let mut recorded = vec![false; loaded.runs.len()];
    for score in loaded.shown(question.split) {
        recorded[score.run] = true;
    }
    let missing: Vec<(usize, usize)> = loaded
        .runs
        .iter()
        .enumerate()
        .filter(|(at, run)| run.row.state == "succeeded" && !recorded[*at])
        .filter_map(|(at, run)| {
            let epoch = match question.at {
                _ if run.row.reference().is_some() => run.row.best_epoch?,
                At::Best => run.row.best_epoch?,
                At::Last => run.row.epochs - 1,
                At::Epoch(epoch) => i64::from(epoch),
            };
            (epoch < run.row.epochs).then_some((at, usize::try_from(epoch).ok()?))
        })
        .collect();
    let made: Vec<_> = missing
        .par_iter()
        .map(|&(run, epoch)| (run, one(run, &folder.join(&loaded.runs[run].row.run), epoch, policy, question.split)))
        .collect();
    let again: HashSet<usize> = made.iter().filter(|(_, result)| result.is_ok()).map(|(run, _)| *run).collect();
    loaded.val.retain(|score| !again.contains(&score.run));
    for (run, result) in made {
        match result {
            Ok((val, test)) => {
                loaded.val.push(val);
                loaded.test.extend(test);
            }
            Err(error) => loaded.lost.push((loaded.runs[run].row.run.clone(), error.to_string())),
        }
    }
    loaded.val.sort_by_key(|score| score.run);
    loaded.test.sort_by_key(|score| score.run);
    match loaded.lost.first() {
        Some((_, why)) if loaded.val.is_empty() => Err(Error::NotEvaluated { policy: policy.to_string(), why: why.clone() }),
        _ => Ok(()),
    }
}

/// Thresholds fitted on val; decisions on val and, if that is shown and was kept, on test.
fn one(run: usize, folder: &Path, epoch: usize, policy: &Policy, split: Split) -> std::io::Result<(Score, Option<Score>)> {
    let kept = Kept::open(folder)?;
    let val = kept.val(epoch)?;
    let rule = FittedPolicy::new(policy, &val, &kept.val_truth).map_err(std::io::Error::other)?.rule;
    let test = if split == Split::Test && kept.has_test(epoch)? {
        Some(score(run, &kept.test(epoch)?, &kept.test_truth, &rule))
    } else {
        None
    };
    Ok((score(run, &val, &kept.val_truth, &rule), test))
}

fn score(run: usize, scores: &[f32], truth: &LabelMatrix, rule: &Rule) -> Score {
    let evaluation = Evaluation::new(scores, truth, rule);
    let Evaluation { ranking, decisions, .. } = &evaluation;
    Score {
        run,
        policy: 0,
        values: COLUMNS.map(|column| evaluation.value(column.metric)),
        predicted_rate: Some(predicted_rate(&decisions.counts)),
        labels: Labels::Made(label_scores(&decisions.counts, &ranking.ap, &decisions.thresholds)),
    }
}
