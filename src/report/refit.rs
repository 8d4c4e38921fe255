//! A policy that was not in the grid: every recorded run's kept scores under it, in memory. The database is not written.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rayon::prelude::*;

use super::kept_scores::SweepGroups;
use super::load::{Loaded, Run};
use super::question::{Question, Split};
use super::score::{Labels, Score, is_number, is_of_rankings, label_scores, place};
use crate::error::Error;
use archive::{Kept, Scores, runs_folder};
use imbalance::LabelMatrix;
use imbalance::evaluation::{Evaluation, FittedPolicy, held_out, predicted_rate};
use imbalance::threshold::{self, Policy, Rule};
use store::{At, COLUMNS, MetricColumn};

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
        .filter_map(|(at, run)| Some((at, epoch(run, question)?)))
        .collect();
    let made: Vec<_> = missing
        .par_iter()
        .map(|&(run, epoch)| (run, one(run, &folder.join(&loaded.runs[run].row.run), epoch, policy, question.split)))
        .collect();
    let again: HashSet<usize> = made.iter().filter(|(_, result)| result.is_ok()).map(|(run, _)| *run).collect();
    loaded.val.retain(|score| !again.contains(&score.run));
    for (run, result) in made {
        match result {
            Ok((mut val, test)) => {
                if is_number(&loaded.policies[0]) || is_of_rankings(question.metric) {
                    val.held_out = val.values[place(question.metric)];
                }
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

/// The epoch at which `question` asks for this run; `None` where the run does not have it.
pub(super) fn epoch(run: &Run, question: &Question) -> Option<usize> {
    let epoch = match question.at {
        _ if run.row.reference().is_some() => run.row.best_epoch?,
        At::Best => run.row.best_epoch?,
        At::Last => run.row.epochs - 1,
        At::Epoch(epoch) => i64::from(epoch),
    };
    usize::try_from(epoch).ok().filter(|_| epoch < run.row.epochs)
}

/// The runs with evaluations on val that the database does not judge on rows that they were not fitted on, each with the places of these
/// in [`Loaded::val`]: at epochs but the best and the last, under a policy that is new to the runs, and of runs that an older program has
/// recorded.
#[must_use]
pub fn unjudged(loaded: &Loaded, question: &Question) -> Vec<(usize, Vec<usize>)> {
    let at = place(question.metric);
    let mut missing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, score) in loaded.val.iter().enumerate() {
        if score.held_out.is_none() && score.values[at].is_some() {
            missing.entry(score.run).or_default().push(place);
        }
    }
    missing.into_iter().collect()
}

/// What kept scores say of a run's fitted policies.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Policy → the metric on rows that its thresholds were not fitted on.
    pub values: Vec<(usize, f64)>,
    /// Why rows of one group were dealt apart.
    pub ungrouped: Option<String>,
}

/// Judges the fitted policies of these runs on rows of val that they were not fitted on, from kept scores; or says why it cannot.
pub fn judge(
    loaded: &Loaded,
    db: &Path,
    groups: &SweepGroups,
    question: &Question,
    runs: &[(usize, Vec<usize>)],
) -> Vec<Result<Judgement, String>> {
    let Some(column) = MetricColumn::named(question.metric) else { return vec![Err("no such metric".to_owned()); runs.len()] };
    let folder = runs_folder(db);
    let one = |(run, places): &(usize, Vec<usize>)| -> std::io::Result<Judgement> {
        let name = &loaded.runs[*run].row.run;
        let epoch = epoch(&loaded.runs[*run], question).ok_or_else(|| std::io::Error::other("it does not have the epoch"))?;
        let kept = Kept::open(&folder.join(name))?;
        let val = kept.val(epoch)?;
        let judged: Vec<usize> = places.iter().map(|&place| loaded.val[place].policy).collect();
        let policies = judged.iter().map(|&policy| threshold::parse(&loaded.policies[policy]));
        let policies = policies.collect::<Result<Vec<_>, _>>().map_err(std::io::Error::other)?;
        let known = groups.of(name);
        let of_val = known.ok().flatten().and_then(|groups| groups.of(Split::Val, kept.val_truth.rows()));
        let found = held_out(&policies, &val.scores, &kept.val_truth, of_val).map_err(std::io::Error::other)?;
        let found = found.ok_or_else(|| std::io::Error::other("its val rows cannot be divided"))?;
        let values = judged.into_iter().zip(found).filter_map(|(policy, found)| Some((policy, found.value(column.metric)?)));
        Ok(Judgement { values: values.collect(), ungrouped: known.err().map(str::to_owned) })
    };
    runs.par_iter().map(|run| one(run).map_err(|why| why.to_string())).collect()
}

/// Thresholds fitted on val; decisions on val and, if that is shown and was kept, on test.
fn one(run: usize, folder: &Path, epoch: usize, policy: &Policy, split: Split) -> std::io::Result<(Score, Option<Score>)> {
    let kept = Kept::open(folder)?;
    let val = kept.val(epoch)?;
    let rule = FittedPolicy::new(policy, &val.scores, &kept.val_truth).map_err(std::io::Error::other)?.rule;
    let test = if split == Split::Test && kept.has_test(epoch)? {
        Some(score(run, &kept.test(epoch)?, &kept.test_truth, &rule))
    } else {
        None
    };
    Ok((score(run, &val, &kept.val_truth, &rule), test))
}

fn score(run: usize, kept: &Scores, truth: &LabelMatrix, rule: &Rule) -> Score {
    let evaluation = Evaluation::of_logits(kept.ranked(), &kept.scores, truth, rule);
    let Evaluation { ranking, decisions, .. } = &evaluation;
    Score {
        run,
        policy: 0,
        values: COLUMNS.map(|column| evaluation.value(column.metric)),
        held_out: None,
        predicted_rate: Some(predicted_rate(&decisions.counts)),
        labels: Labels::Made(label_scores(&decisions.counts, &ranking.ap, &decisions.thresholds)),
    }
}
