//! A policy that was not in the grid: every recorded run's kept scores under it, in memory. The database is not written.

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;

use super::load::Loaded;
use super::question::{Question, Split};
use super::score::{self, Labels, Score};
use crate::error::Error;
use archive::{Kept, runs_folder};
use imbalance::LabelMatrix;
use imbalance::metric;
use imbalance::metric::average::mean_defined;
use imbalance::threshold::{Policy, Rule};
use store::At;

/// Adds to `loaded` the evaluations under its one policy that the database lacks.
///
/// # Errors
/// [`Error::Unexpected`] where not one evaluation is left; single runs without kept scores are listed in [`Loaded::lost`].
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
        Some((_, why)) if loaded.val.is_empty() => Err(Error::Unexpected(format!(
            "policy {policy} was not in the grid, and no run's kept scores could be read: {why}; put it into the grid and `sweep run` again"
        ))),
        _ => Ok(()),
    }
}

/// Thresholds fitted on val; decisions on val and, if that is shown and was kept, on test.
fn one(run: usize, folder: &Path, epoch: usize, policy: &Policy, split: Split) -> std::io::Result<(Score, Option<Score>)> {
    let kept = Kept::open(folder)?;
    let val = kept.val(epoch)?;
    let thresholds = policy.fit(&val, &kept.val_truth);
    let test = if split == Split::Test && kept.has_test(epoch)? {
        Some(evaluation(run, &kept.test(epoch)?, &kept.test_truth, &thresholds))
    } else {
        None
    };
    Ok((evaluation(run, &val, &kept.val_truth, &thresholds), test))
}

fn evaluation(run: usize, scores: &[f32], truth: &LabelMatrix, thresholds: &Rule) -> Score {
    let ranking = metric::rank(scores, truth);
    let decisions = metric::decide(scores, truth, thresholds);
    let (ap, auc) = (mean_defined(&ranking.ap), mean_defined(&ranking.auc));
    let values = score::values(&decisions.counts, |name| match name {
        "samples_f1" => Some(decisions.samples_f1),
        "subset_accuracy" => Some(decisions.subset_accuracy),
        "macro_ap" => ap.map(|ap| ap.mean),
        "macro_auc" => auc.map(|auc| auc.mean),
        _ => None,
    });
    let labels = Labels::Made(score::label_scores(&decisions.counts, &ranking.ap, &decisions.thresholds));
    Score { run, policy: 0, values, predicted_rate: Some(score::predicted_rate(&decisions.counts)), labels }
}
