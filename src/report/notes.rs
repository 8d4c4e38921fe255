//! Notes that a reader needs to understand the numbers. Pure.

use super::convergence::Convergence;
use super::explain::Rope;
use super::load::Loaded;
use super::question::{Question, Split};
use super::references;
use super::score::{is_number, is_of_rankings, place};
use super::searched::SearchView;
use super::splits;
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
        let held_out = if is_held_out(summary) { " on val, held out (see below)" } else { " on val" };
        notes.push(format!("the order and the ranks are those of {}{held_out}: nothing is chosen on test", question.metric));
        if let At::Epoch(epoch) = question.at {
            notes.push(format!(
                "test is scored at each run's best and last epoch only: runs without test rows at epoch {epoch} are missing"
            ));
        }
    }
    notes.extend(loaded.search.iter().flat_map(SearchView::notes));
    notes.extend(held_out(summary, loaded, question));
    if let Some((run, why)) = loaded.lost.first() {
        let run = run.get(..8).unwrap_or(run);
        let (lost, succeeded) = (loaded.lost.len(), runs.recorded);
        notes.push(format!("the kept scores of {lost} of {succeeded} recorded runs cannot be read; the first is {run}: {why}"));
    }
    let recorded = loaded.runs.iter().filter(|run| run.row.state == "succeeded");
    notes.extend(store::mixed_formats(&recorded.map(|run| run.row.format).collect::<Vec<_>>()));
    notes.extend(loaded.rounded.sentence());
    notes.extend(tuned(loaded));
    notes.extend(Convergence::of(loaded.runs.iter().map(|run| &run.row)).sentence());
    notes.extend((0..summary.data.len()).filter_map(|data| outdone(summary, data)));
    notes.extend(unequal_steps(summary));
    notes.extend(divided(loaded, question));
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

/// Whether a row ranks by another value than that on the rows that its thresholds were fitted on.
fn is_held_out(summary: &Summary) -> bool {
    summary.rows.iter().any(|row| row.held_out.is_some() && row.held_out != row.val)
}

/// On which rows of val policies are judged.
fn held_out(summary: &Summary, loaded: &Loaded, question: &Question) -> Vec<String> {
    let mut notes = Vec::new();
    if is_held_out(summary) {
        let column = if question.split == Split::Val { "the column held out" } else { "the column on val" };
        notes.push(format!(
            "policies that are fitted on val flatter themselves there, so rows rank by {} held out ({column}): each tenth of the val rows \
             is decided under thresholds fitted on the other nine",
            question.metric
        ));
    }
    if let Some(why) = &loaded.ungrouped {
        notes.push(format!("rows of one group are dealt apart there, which flatters a little: {why}"));
    }
    let fitted = |policy: usize| !is_number(&loaded.policies[policy]) && !is_of_rankings(question.metric);
    let of = loaded.val.iter().filter(|score| fitted(score.policy) && score.values[place(question.metric)].is_some());
    let (unknown, all) = of.fold((0, 0), |(unknown, all), score| (unknown + usize::from(score.held_out.is_none()), all + 1));
    if unknown > 0 {
        let why = loaded
            .not_held_out
            .first()
            .map_or_else(String::new, |(run, why)| format!(" (run {}: {why})", run.get(..8).unwrap_or(run)));
        notes.push(format!(
            "{unknown} of {all} evaluations of fitted policies are known only on the val rows that they were fitted on{why}: rows without \
             any other rank by these, which flatters them"
        ));
    }
    notes
}

/// What was chosen for each strategy, and what that does to its values on val.
fn tuned(loaded: &Loaded) -> Option<String> {
    let all = loaded.runs.len() + loaded.passed_over.len();
    (!loaded.tuned.is_empty()).then(|| {
        format!(
            "{} tuned: each strategy has the values with the highest val macro AP, mean over its seeds ({} of {all} runs); so its \
             values on val flatter it a little, those on test do not. sweep explain says what the choice costs, and whether the order \
             of strategies survives it; --group-by loss,{} compares the values",
            if loaded.tuned.len() == 1 { format!("{} is", loaded.tuned[0]) } else { format!("{} are", loaded.tuned.join(", ")) },
            loaded.runs.len(),
            loaded.tuned[0]
        )
    })
}

/// Data sets whose division is spoken of.
const DATA_SETS: usize = 3;

/// What the division of the rows does to the numbers that are shown, and to those on val, which rank.
fn divided(loaded: &Loaded, question: &Question) -> Vec<String> {
    let shown = if question.split == Split::Val { &[Split::Val][..] } else { &[Split::Test, Split::Val] };
    let mut said: Vec<String> = Vec::new();
    let (some, more) = loaded.data.split_at(loaded.data.len().min(DATA_SETS));
    for facts in some {
        let absent = shown.iter().filter_map(|&split| splits::undefined(facts, split));
        let unknown = splits::unknown(facts, question.split);
        let shifted = splits::shift(facts, question.split);
        for note in absent.chain(unknown).chain(shifted) {
            if !said.contains(&note) {
                said.push(note);
            }
        }
    }
    let others = more.iter().filter(|facts| shown.iter().any(|&split| !splits::absent(facts, split).is_empty())).count();
    if others > 0 {
        said.push(format!("{others} more data sets have labels without a positive; `sweep data` names them"));
    }
    said
}

/// What it means where no strategy of a data set ranks better on val than a reference run.
fn outdone(summary: &Summary, data: usize) -> Option<String> {
    let rows = || summary.rows.iter().filter(|row| row.data == data);
    let references = rows().filter_map(|row| Some((row.reference?, row.val_ap?)));
    let reference = references.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let best = rows().filter(|row| row.is_strategy()).filter_map(|row| row.val_ap).max_by(f64::total_cmp)?;
    references::outdone(reference, best, Rope::default().ap)
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
