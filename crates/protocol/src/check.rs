//! Whether a record can be true: its numbers against each other and against the data set. Pure.

use super::{Event, Outcome, SplitName};
use imbalance::LabelCounts;
use imbalance::metric::Counts;

/// What the records of a run have to fit.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub epochs: usize,
    pub labels: usize,
    /// Rows, positives and unknown cells of each split; `None` where the data set does not say.
    pub val: Option<&'a LabelCounts>,
    pub test: Option<&'a LabelCounts>,
}

/// Sums of probabilities in another order than ours may end above 1 by rounding.
const ROUNDING: f64 = 1e-9;
/// Attempts are numbered from 1; no run is tried this often.
const MOST_ATTEMPTS: u32 = 1_000_000;
/// The largest whole number that f64 holds exactly; it fits SQLite's integers, too.
const LARGEST: usize = 1 << 53;

/// Checks that `event` has no NaN or infinity, which JSON cannot hold. A heartbeat's loss may be one (it becomes `null`).
///
/// # Errors
/// The first such number by its key: `train_loss is NaN`.
pub fn finite(event: &Event) -> Result<(), String> {
    fn all(name: &str, mut values: impl Iterator<Item = f64>) -> Result<(), String> {
        values.find(|value| !value.is_finite()).map_or(Ok(()), |value| Err(format!("{name} is {value}")))
    }
    let one = |name: &str, value: f64| all(name, std::iter::once(value));
    match event {
        Event::Epoch { train_loss, val_loss, learning_rate, seconds, images_per_s, .. } => {
            one("train_loss", *train_loss)?;
            one("val_loss", *val_loss)?;
            one("learning_rate", *learning_rate)?;
            one("seconds", *seconds)?;
            one("images_per_s", *images_per_s)
        }
        Event::Drawn { drawn, .. } => {
            all("prevalence", drawn.prevalence.iter().copied())?;
            one("shift", drawn.shift)?;
            one("duplicates", drawn.duplicates)?;
            one("never_drawn", drawn.never_drawn)?;
            one("made_up", drawn.made_up)
        }
        Event::Rank { ranking, .. } => {
            all("ap", ranking.ap.iter().copied().flatten())?;
            all("auc", ranking.auc.iter().copied().flatten())?;
            all("mean_score", ranking.mean_score.iter().copied())
        }
        Event::Eval { thresholds, samples_f1, subset_accuracy, .. } => {
            all("thresholds", thresholds.iter().copied().map(f64::from))?;
            one("samples_f1", *samples_f1)?;
            one("subset_accuracy", *subset_accuracy)
        }
        Event::HeldOut { held_out, .. } => {
            one("samples_f1", held_out.samples_f1)?;
            one("subset_accuracy", held_out.subset_accuracy)
        }
        Event::Predicted { logits, .. } => all("logits", logits.iter().copied().map(f64::from)),
        Event::Open { .. } | Event::Begin { .. } | Event::Hb { .. } | Event::End { .. } | Event::Close { .. } => Ok(()),
    }
}

/// Checks whether `event` can be true of a run as `expected`.
///
/// # Errors
/// One sentence for the first number that cannot be true: what is wrong, and what would be right.
pub fn fits(event: &Event, expected: &Expected<'_>) -> Result<(), String> {
    finite(event)?;
    match event {
        Event::Begin { a, from, .. } => {
            attempt(*a)?;
            match from {
                Some(from) if *from > expected.epochs => {
                    Err(format!("it continues after {from} epochs, but the run has {}", expected.epochs))
                }
                _ => Ok(()),
            }
        }
        Event::Epoch { a, epoch, learning_rate, seconds, images_per_s, .. } => {
            attempt(*a)?;
            expected.epoch(*epoch)?;
            not_negative("learning_rate", *learning_rate)?;
            not_negative("seconds", *seconds)?;
            not_negative("images_per_s", *images_per_s)
        }
        Event::Drawn { a, drawn, .. } => {
            attempt(*a)?;
            expected.one_per_label("prevalence", drawn.prevalence.len())?;
            if drawn.draws > LARGEST {
                return Err(format!("draws is {}: more rows than there can be", drawn.draws));
            }
            for &prevalence in &drawn.prevalence {
                share("prevalence", prevalence)?;
            }
            share("shift", drawn.shift)?;
            share("duplicates", drawn.duplicates)?;
            share("never_drawn", drawn.never_drawn)?;
            share("made_up", drawn.made_up)
        }
        Event::Rank { a, epoch, split, ranking, .. } => {
            attempt(*a)?;
            expected.epoch(*epoch)?;
            let truth = expected.truth(*split)?;
            expected.one_per_label("ap", ranking.ap.len())?;
            expected.one_per_label("auc", ranking.auc.len())?;
            expected.one_per_label("mean_score", ranking.mean_score.len())?;
            for label in 0..expected.labels {
                let truth = truth.filter(|truth| label < truth.positives.len());
                let some = truth.map(|truth| truth.positives[label] > 0);
                let both = truth.map(|truth| truth.has_both(label));
                ranked("ap", label, ranking.ap[label], some, "positives")?;
                ranked("auc", label, ranking.auc[label], both, "both positives and negatives")?;
                share("mean_score", ranking.mean_score[label])?;
            }
            Ok(())
        }
        Event::Eval { a, epoch, split, thresholds, counts, samples_f1, subset_accuracy, .. } => {
            attempt(*a)?;
            expected.epoch(*epoch)?;
            let truth = expected.truth(*split)?;
            expected.one_per_label("thresholds", thresholds.len())?;
            expected.counted(counts, truth)?;
            share("samples_f1", *samples_f1)?;
            share("subset_accuracy", *subset_accuracy)
        }
        Event::HeldOut { a, epoch, held_out, .. } => {
            attempt(*a)?;
            expected.epoch(*epoch)?;
            expected.counted(&held_out.counts, expected.val)?;
            share("samples_f1", held_out.samples_f1)?;
            share("subset_accuracy", held_out.subset_accuracy)
        }
        Event::End { a, st, .. } => {
            attempt(*a)?;
            if matches!(st, Outcome::Killed | Outcome::Hung | Outcome::Timeout | Outcome::Lost) {
                return Err("its `st` is a verdict of the controller, which no worker gives".to_owned());
            }
            Ok(())
        }
        Event::Predicted { .. } => Err("its worker was ordered to train, not to predict".to_owned()),
        Event::Open { .. } | Event::Hb { .. } | Event::Close { .. } => Ok(()),
    }
}

/// Checks whether `event`, a `predicted` record, is the next one of a request: its inputs follow the `done` ones, of `inputs` in all, with
/// one logit per label and usable input.
///
/// # Errors
/// One sentence for what cannot be true.
pub fn predicts(event: &Event, done: usize, inputs: Option<usize>, labels: usize) -> Result<(), String> {
    finite(event)?;
    let Event::Predicted { first, rows, logits, bad, .. } = event else { return Ok(()) };
    if *first != done {
        return Err(format!("first is {first}, but {done} inputs are done"));
    }
    if *rows == 0 || *rows > LARGEST || inputs.is_some_and(|inputs| *rows > inputs - done.min(inputs)) {
        return Err(format!("rows is {rows}: more or fewer inputs than were asked for"));
    }
    let inside = bad.iter().all(|(input, _)| (done..done + rows).contains(input)) && bad.is_sorted_by(|a, b| a.0 < b.0);
    if !inside {
        return Err("bad names inputs that the record is not about, or not in their order".to_owned());
    }
    let wanted = (rows - bad.len()).checked_mul(labels);
    if wanted != Some(logits.len()) {
        return Err(format!("logits has {} numbers, should have {labels} for each of {} inputs", logits.len(), rows - bad.len()));
    }
    Ok(())
}

impl<'a> Expected<'a> {
    fn epoch(&self, epoch: usize) -> Result<(), String> {
        if epoch < self.epochs {
            return Ok(());
        }
        Err(format!("epoch is {epoch}, but the run has {} (counted from 0)", self.epochs))
    }

    fn truth(&self, split: SplitName) -> Result<Option<&'a LabelCounts>, String> {
        match split {
            SplitName::Val => Ok(self.val),
            SplitName::Test => Ok(self.test),
            SplitName::Train => Err("train is not evaluated: split is val or test".to_owned()),
        }
    }

    /// Counts of each label of a split.
    fn counted(&self, counts: &[Counts], truth: Option<&LabelCounts>) -> Result<(), String> {
        self.one_per_label("counts", counts.len())?;
        let Some(truth) = truth else { return Ok(()) };
        let labels = counts.iter().zip(&truth.positives).enumerate();
        labels.into_iter().try_for_each(|(label, (counts, &positives))| counted(label, counts, positives, truth.known(label)))
    }

    fn one_per_label(&self, name: &str, found: usize) -> Result<(), String> {
        if found == self.labels {
            return Ok(());
        }
        Err(format!("{name} has {found} values, but there are {} labels: one value per label", self.labels))
    }
}

fn attempt(number: u32) -> Result<(), String> {
    if (1..=MOST_ATTEMPTS).contains(&number) { Ok(()) } else { Err(format!("there is no attempt {number}")) }
}

fn not_negative(name: &str, value: f64) -> Result<(), String> {
    if value >= 0.0 { Ok(()) } else { Err(format!("{name} is {value}, should not be negative")) }
}

fn share(name: &str, value: f64) -> Result<(), String> {
    if (0.0..=1.0 + ROUNDING).contains(&value) { Ok(()) } else { Err(format!("{name} is {value}, should be from 0 to 1")) }
}

/// A ranking metric: a number exactly where it is defined (`None`: unknown whether it is).
fn ranked(name: &str, label: usize, value: Option<f64>, defined: Option<bool>, needs: &str) -> Result<(), String> {
    match (value, defined) {
        (Some(value), Some(true) | None) => share(name, value),
        (Some(value), Some(false)) => {
            Err(format!("{name} of label {label} (from 0) is {value}, should be null: the label does not have {needs} there"))
        }
        (None, Some(true)) => Err(format!("{name} of label {label} (from 0) is null, but the label has {needs} there")),
        (None, _) => Ok(()),
    }
}

/// The four cells are those of the `rows` rows that know the label, with `positives` positives.
fn counted(label: usize, counts: &Counts, positives: usize, rows: usize) -> Result<(), String> {
    let Counts { tp, fp, fn_, tn } = *counts;
    let sum = |parts: &[u64]| parts.iter().try_fold(0u64, |sum, &part| sum.checked_add(part));
    let wrong = |what: &str, found: Option<u64>, right: usize| {
        let found = found.map_or_else(|| "too large to add up".to_owned(), |found| found.to_string());
        Err(format!("{what} of label {label} (from 0) is {found}, but the split has {right}"))
    };
    let (all, true_) = (sum(&[tp, fp, fn_, tn]), sum(&[tp, fn_]));
    if true_ != Some(positives as u64) {
        return wrong("tp + fn", true_, positives);
    }
    if all != Some(rows as u64) { wrong("tp + fp + fn + tn", all, rows) } else { Ok(()) }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
