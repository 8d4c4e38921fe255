//! Notes that a reader needs to understand the numbers. Pure.

use super::convergence::Convergence;
use super::load::Loaded;
use super::question::{Question, Split};
use super::references;
use super::summary::Summary;
use store::At;

/// The notes of a report, most important first.
#[must_use]
pub fn notes(summary: &Summary, loaded: &Loaded, question: &Question) -> Vec<String> {
    let mut notes = Vec::new();
    let runs = summary.runs;
    if summary.rows.is_empty() {
        notes.push(if runs.recorded == 0 {
            "no results yet: not one run is recorded".to_owned()
        } else {
            format!("no results on {} at epoch {} under these policies", question.split.name(), question.at)
        });
    }
    if question.split == Split::Test {
        notes.push(format!("the order and the ranks are those of {} on val: nothing is chosen on test", question.metric));
        if let At::Epoch(epoch) = question.at {
            notes.push(format!(
                "test is scored at each run's best and last epoch only: runs without test rows at epoch {epoch} are missing"
            ));
        }
    }
    if let Some((run, why)) = loaded.lost.first() {
        let run = run.get(..8).unwrap_or(run);
        let (lost, succeeded) = (loaded.lost.len(), runs.recorded);
        notes.push(format!("the kept scores of {lost} of {succeeded} recorded runs cannot be read; the first is {run}: {why}"));
    }
    let recorded = loaded.runs.iter().filter(|run| run.row.state == "succeeded");
    notes.extend(store::mixed_formats(&recorded.map(|run| run.row.format).collect::<Vec<_>>()));
    notes.extend(Convergence::of(loaded.runs.iter().map(|run| &run.row)).sentence());
    notes.extend((0..summary.data.len()).filter_map(|data| outdone(summary, data)));
    notes.extend(unequal_steps(summary));
    if summary.data.len() > 1 {
        notes.push(format!("{} data sets: compare within one, not across", summary.data.len()));
    }
    if runs.failed > 0 {
        notes.push(format!(
            "{} of {} runs failed; `sweep status` lists them, `sweep show RUN` has their logs",
            runs.failed, runs.total
        ));
    }
    if runs.left > 0 && summary.state != "running" {
        notes.push(format!("{} of {} runs are not done; `sweep resume` continues", runs.left, runs.total));
    }
    notes
}

/// What it means where no strategy of a data set ranks better on val than a reference run.
fn outdone(summary: &Summary, data: usize) -> Option<String> {
    let rows = || summary.rows.iter().filter(|row| row.data == data);
    let references = rows().filter_map(|row| Some((row.reference?, row.val_ap?)));
    let reference = references.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let best = rows().filter(|row| row.is_strategy()).filter_map(|row| row.val_ap).max_by(f64::total_cmp)?;
    references::outdone(reference, best)
}

/// Medians of steps that differ by more are said.
const UNEQUAL: f64 = 1.5;

/// Strategies that have trained for unequal times: where they were free to end, or where a budget in epochs made them.
fn unequal_steps(summary: &Summary) -> Option<String> {
    let steps = summary.rows.iter().filter(|row| row.is_strategy()).filter_map(|row| row.steps);
    let (least, most) = (steps.clone().min()?, steps.max()?);
    (most as f64 > UNEQUAL * least as f64).then(|| {
        format!(
            "strategies have trained for {least} to {most} gradient steps (medians): compare those that are far apart with an equal \
             number, train.epochs = N"
        )
    })
}
