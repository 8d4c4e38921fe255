//! Runs as TensorBoard's event files: scalars, hyperparameters, curves of precision and recall.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Told;
use super::events::{EventFile, Message, of_plugin, scalar, tensor};
use super::mlflow;
use super::names::{Distinct, folder, part};
use super::runs::{Clock, LabelNames, Measured, NamedRun, best, measured, text};
use super::staging::Staging;
use super::tables;
use crate::error::Error;
use archive::{Kept, runs_folder};
use imbalance::UNKNOWN;
use store::{Points, Reader, SweepRow};

/// Thresholds of a curve of precision and recall, evenly spaced from 0 to 1.
const THRESHOLDS: usize = 101;
/// In the dashboard of hyperparameters.
const HPARAMS: &str = "hparams";
/// Of sessions there; it has no word for one that was stopped.
const NO_STATUS: u64 = 0;
const SUCCESS: u64 = 1;
const FAILURE: u64 = 2;

/// The folders of the sweeps.
pub fn folders(sweeps: &[SweepRow]) -> Vec<String> {
    let files = tables::files(true, true).chain([mlflow::FILE.to_owned(), "artifacts".to_owned()]);
    let mut names = Distinct::beside(files);
    sweeps.iter().map(|sweep| names.give(folder(&sweep.title))).collect()
}

/// Writes the sweeps; returns how many runs with a result have no kept scores.
///
/// # Errors
/// The database; files that cannot be written.
pub async fn write(
    reader: &mut Reader,
    staging: &mut Staging,
    sweeps: &[SweepRow],
    folders: &[String],
    told: Told<'_>,
) -> Result<usize, Error> {
    let kept = runs_folder(reader.path());
    let mut without_scores = 0;
    for (sweep, root) in sweeps.iter().zip(folders) {
        let runs: Vec<NamedRun> = reader.listed_runs(sweep.id).await?.into_iter().map(NamedRun::new).collect();
        let kinds = kinds(&runs);
        let mut labels: HashMap<i64, LabelNames> = HashMap::new();
        let mut places = Places::default();
        for (at, run) in runs.iter().enumerate() {
            told("writing runs for TensorBoard", at, runs.len());
            if run.row.state == "queued" {
                continue;
            }
            let labels = match labels.entry(run.row.data) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(LabelNames::new(reader.label_names(run.row.data).await?)),
            };
            let points = reader.points(run.row.id).await?;
            let curves = run.best_epoch().map(|epoch| curves(&kept.join(&run.row.fingerprint), epoch, labels));
            without_scores += usize::from(matches!(curves, Some(Err(_))));
            let curves = curves.and_then(Result::ok).unwrap_or_default();
            let name = format!("{root}/{}/events.out.tfevents.{:010}.sweep", places.of(run), run.started() as u64);
            let path = staging.file(&name)?;
            let filled = fill(&path, &sweep.title, run, &points, labels, &kinds, &curves);
            filled.map_err(|error| staging.error(&name, error))?;
        }
    }
    Ok(without_scores)
}

/// Removes event files of earlier exports of these sweeps that this one has not `written` again. Other files stay.
///
/// # Errors
/// A file that cannot be removed.
pub fn remove_stale(to: &Path, folders: &[String], written: &BTreeSet<PathBuf>) -> Result<(), Error> {
    let mut todo: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(to.join(&folder)).into_iter().flatten().flatten() {
            let (name, relative) = (entry.file_name(), folder.join(entry.file_name()));
            let name = name.to_string_lossy();
            let ours = name.starts_with("events.out.tfevents.") && name.ends_with(".sweep");
            match entry.file_type() {
                // Links are not followed.
                Ok(kind) if kind.is_dir() => todo.push(relative),
                Ok(kind) if kind.is_file() && ours && !written.contains(&relative) => {
                    fs::remove_file(entry.path()).map_err(|error| Error::file((entry.path(), error)))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The folders of the runs of a sweep.
#[derive(Default)]
struct Places {
    strategies: HashMap<String, String>,
    names: Distinct,
    runs: Distinct,
}

impl Places {
    /// `bce+sqrt/seed0`.
    fn of(&mut self, run: &NamedRun) -> String {
        let names = &mut self.names;
        let strategy = self.strategies.entry(run.strategy.clone()).or_insert_with(|| names.give(folder(&run.strategy)));
        self.runs.give(format!("{strategy}/seed{}", run.row.seed))
    }
}

/// The type of a hyperparameter: the same in all runs of a sweep, or TensorBoard shows none of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Truth,
    Text,
}

fn kinds(runs: &[NamedRun]) -> BTreeMap<&str, Kind> {
    let mut kinds = BTreeMap::new();
    for (key, value) in runs.iter().flat_map(|run| &run.axes) {
        let kind = match value {
            Value::Number(_) => Kind::Number,
            Value::Bool(_) => Kind::Truth,
            _ => Kind::Text,
        };
        let known = kinds.entry(key.as_str()).or_insert(kind);
        if *known != kind {
            *known = Kind::Text;
        }
    }
    kinds
}

fn fill(
    path: &Path,
    sweep: &str,
    run: &NamedRun,
    points: &Points,
    labels: &LabelNames,
    kinds: &BTreeMap<&str, Kind>,
    curves: &[Message],
) -> io::Result<()> {
    let clock = Clock::of(run, &points.epochs);
    let started = run.started();
    let mut file = EventFile::create(path, started)?;
    file.add(started, 0, &[start(sweep, run, kinds)])?;
    let mut scalars: BTreeMap<i64, Vec<Message>> = BTreeMap::new();
    for point in &points.epochs {
        let at = scalars.entry(point.epoch).or_default();
        at.push(scalar("train/loss", point.train_loss.map_or(f32::NAN, |loss| loss as f32)));
        at.push(scalar("val/loss", point.val_loss.map_or(f32::NAN, |loss| loss as f32)));
        at.extend(point.learning_rate.map(|rate| scalar("train/learning_rate", rate as f32)));
    }
    for one in measured(points) {
        let Some((group, name)) = tag(&one, labels) else { continue };
        let at = scalars.entry(one.epoch).or_default();
        if one.label.is_none() && Some(one.epoch) == run.best_epoch() {
            at.push(scalar(&best(one.split, &name), one.value as f32));
        }
        at.push(scalar(&format!("{group}/{name}"), one.value as f32));
    }
    for (epoch, values) in &scalars {
        file.add(clock.at(*epoch), *epoch, values)?;
    }
    if let Some(epoch) = run.best_epoch() {
        file.add(clock.at(epoch), epoch, curves)?;
    }
    let end = match run.row.state.as_str() {
        "succeeded" => Some(SUCCESS),
        "failed" if run.row.stopped => Some(NO_STATUS),
        "failed" => Some(FAILURE),
        _ => None,
    };
    if let Some(status) = end {
        let time = run.row.finished_at.unwrap_or(started);
        let info = Message::default().message(4, &Message::default().integer(1, status).double(2, time));
        file.add(time, 0, &[of_plugin("_hparams_/session_end_info", HPARAMS, &info, &tensor(&[0], &[]))])?;
    }
    file.finish()
}

/// The run's hyperparameters. Seeds of a strategy are one group, whose metrics TensorBoard averages; those of another sweep are another one.
fn start(sweep: &str, run: &NamedRun, kinds: &BTreeMap<&str, Kind>) -> Message {
    let value = |value: &Value, kind: Kind| match (kind, value.as_f64()) {
        (Kind::Number, Some(number)) => Message::default().double(2, number),
        (Kind::Truth, _) => Message::default().integer(4, u64::from(value.as_bool() == Some(true))),
        _ => Message::default().text(3, &text(value)),
    };
    let sweep = imbalance::shown::shown(sweep);
    let (seed, title) = (Value::from(run.row.seed), Value::from(sweep.as_str()));
    let axes = run.axes.iter().map(|(key, value)| (key.as_str(), value)).chain([("seed", &seed), ("sweep", &title)]);
    let pair = |info: Message, (key, one): (&str, &Value)| {
        let kind = kinds.get(key).copied().unwrap_or(if one.is_number() { Kind::Number } else { Kind::Text });
        info.message(1, &Message::default().text(1, key).message(2, &value(one, kind)))
    };
    let info = axes.fold(Message::default(), pair).text(4, &format!("{sweep}: {}", run.strategy)).double(5, run.started());
    of_plugin("_hparams_/session_start_info", HPARAMS, &Message::default().message(3, &info), &tensor(&[0], &[]))
}

/// (`val`, `macro_ap`), (`val`, `macro_f1/max_f1`), (`label f1 max_f1`, `LABEL`), (`label ap`, `LABEL`): TensorBoard groups scalars by what is
/// before the first slash. Nothing for what would fill its pages: labels on test, precision and recall of labels, and other means than the
/// macro ones.
fn tag(one: &Measured<'_>, labels: &LabelNames) -> Option<(String, String)> {
    let metric = format!("{}{}", if one.held_out { "held_out_" } else { "" }, one.metric);
    let Some(label) = one.label else {
        return match one.policy {
            None => Some((one.split.to_owned(), metric)),
            Some(policy) if one.metric == "macro_f1" => Some((one.split.to_owned(), format!("{metric}/{}", part(policy)))),
            Some(_) => None,
        };
    };
    match one.policy {
        _ if one.split != "val" || one.held_out => None,
        None if one.metric == "ap" => Some(("label ap".to_owned(), labels.get(label)?.to_owned())),
        Some(policy) if one.metric == "f1" => Some((format!("label f1 {}", part(policy)), labels.get(label)?.to_owned())),
        _ => None,
    }
}

/// A curve for each label, from the scores that the run has kept of val.
fn curves(folder: &Path, epoch: i64, labels: &LabelNames) -> io::Result<Vec<Message>> {
    let kept = Kept::open(folder)?;
    let scores = kept.val(usize::try_from(epoch).map_err(io::Error::other)?)?.scores;
    let width = kept.val_truth.names.len();
    let of = |label: usize| {
        let column = |values: usize| (label..values).step_by(width);
        let cells = column(scores.len()).map(|cell| (scores[cell], kept.val_truth.values[cell]));
        let tensor = tensor(&[6, THRESHOLDS as u64], &curve(cells));
        let content = Message::default().integer(2, THRESHOLDS as u64);
        Some(of_plugin(&format!("{}/pr_curves", labels.get(label as i64)?), "pr_curves", &content, &tensor))
    };
    Ok((0..width).filter_map(of).collect())
}

/// True positives, false positives, true negatives, false negatives, precision and recall at each threshold. A row is predicted where its score
/// is not below the threshold. Zero division is 0, as TensorBoard's own summaries have it.
fn curve(cells: impl Iterator<Item = (f32, u8)>) -> Vec<f32> {
    let threshold = |at: usize| at as f32 / (THRESHOLDS - 1) as f32;
    // Negatives and positives by the highest threshold that they reach.
    let mut counts = [[0_u32; 2]; THRESHOLDS];
    for (score, truth) in cells.filter(|(score, truth)| *truth != UNKNOWN && *score >= 0.0) {
        let mut at = ((score * (THRESHOLDS - 1) as f32) as usize).min(THRESHOLDS - 1);
        while at > 0 && threshold(at) > score {
            at -= 1;
        }
        while at + 1 < THRESHOLDS && threshold(at + 1) <= score {
            at += 1;
        }
        counts[at][usize::from(truth == 1)] += 1;
    }
    let [negatives, positives] = [0, 1].map(|class| counts.iter().map(|count| count[class]).sum::<u32>());
    let ratio = |of: u32, all: u32| if all == 0 { 0.0 } else { of as f32 / all as f32 };
    let mut rows = vec![0.0; 6 * THRESHOLDS];
    let (mut fp, mut tp) = (0, 0);
    for at in (0..THRESHOLDS).rev() {
        fp += counts[at][0];
        tp += counts[at][1];
        let values =
            [tp as f32, fp as f32, (negatives - fp) as f32, (positives - tp) as f32, ratio(tp, tp + fp), ratio(tp, positives)];
        values.into_iter().enumerate().for_each(|(row, value)| rows[row * THRESHOLDS + at] = value);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_counts_what_is_not_below_each_threshold() {
        let scores: Vec<f32> =
            (0..997).map(|at| (at * 37 % 997) as f32 / 996.0).chain([0.0, 1.0, 0.5, 0.29, 0.57, 0.58]).collect();
        let cells: Vec<(f32, u8)> = scores
            .iter()
            .enumerate()
            .map(|(at, &score)| (score, if at % 7 == 0 { UNKNOWN } else { u8::from(at % 3 == 0) }))
            .collect();
        let found = curve(cells.iter().copied());
        for at in 0..THRESHOLDS {
            let threshold = at as f32 / 100.0;
            let count = |predicted: bool, truth: u8| {
                cells.iter().filter(|(score, class)| (*score >= threshold) == predicted && *class == truth).count() as f32
            };
            let column: Vec<f32> = (0..6).map(|row| found[row * THRESHOLDS + at]).collect();
            let (tp, fp, tn, missed) = (count(true, 1), count(true, 0), count(false, 0), count(false, 1));
            let precision = if tp + fp > 0.0 { tp / (tp + fp) } else { 0.0 };
            assert_eq!(column, [tp, fp, tn, missed, precision, tp / (tp + missed)], "{threshold}");
        }
        assert!(curve([].into_iter()).iter().all(|&value| value == 0.0));
    }
}
