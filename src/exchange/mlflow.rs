//! Runs as an MLflow database: a sweep is an experiment, a run is a run. The seeds of a strategy have a tag in common, by which MLflow groups
//! runs and averages their metrics; a parent run above them would be one that nobody has trained.

use std::path::{Path, PathBuf};

use super::Told;
use super::names::{Distinct, part};
use super::runs::{Clock, LabelNames, Measured, NamedRun, best, measured, text};
use super::staging::Staging;
use crate::error::Error;
use archive::runs_folder;
use store::mlflow::{Experiment, Metric, Mlflow, Run};
use store::{Points, Reader, SweepRow};

/// The file that `mlflow ui` looks for in the current folder.
pub const FILE: &str = "mlflow.db";
/// Of MLflow's first experiment, which is for runs that name none.
const DEFAULT: &str = "Default";
/// Characters that MLflow takes.
const VALUE: usize = 500;
const TAG: usize = 5000;
const RUN_NAME: usize = 250;
const EXPERIMENT: usize = 256;

/// Writes the sweeps.
///
/// # Errors
/// The database; a file that cannot be written.
pub async fn write(reader: &mut Reader, staging: &mut Staging, sweeps: &[SweepRow], told: Told<'_>) -> Result<(), Error> {
    let folder = absolute(staging.to())?;
    let runs_folder = absolute(&runs_folder(reader.path()))?;
    let artifacts = |id: i64| folder.join("artifacts").join(id.to_string()).display().to_string();
    let mut file = Mlflow::create(&staging.file(FILE)?).await?;
    let oldest = sweeps.iter().map(|sweep| milliseconds(sweep.created_at)).min().unwrap_or(0);
    let default = Experiment {
        id: 0,
        name: DEFAULT.to_owned(),
        artifact_location: artifacts(0),
        created: oldest,
        updated: oldest,
        tags: Vec::new(),
    };
    file.experiment(&default).await?;
    let mut names = Distinct::beside([default.name]);
    for sweep in sweeps {
        let experiment = Experiment {
            id: sweep.id,
            name: names.give(clean(&sweep.title, EXPERIMENT - 10)),
            artifact_location: artifacts(sweep.id),
            created: milliseconds(sweep.created_at),
            updated: milliseconds(sweep.finished_at.unwrap_or(sweep.begun_at)),
            tags: vec![
                ("mlflow.experimentKind".to_owned(), "custom_model_development".to_owned()),
                ("sweep.state".to_owned(), sweep.state.clone()),
                ("sweep.host".to_owned(), clean(&sweep.host, TAG)),
                ("sweep.title".to_owned(), first(&sweep.title, TAG)),
            ],
        };
        file.experiment(&experiment).await?;
        let (mut labels, mut policies) = (None, Policies::default());
        let runs = reader.listed_runs(sweep.id).await?;
        let total = runs.len();
        for (at, row) in runs.into_iter().enumerate() {
            told("writing runs for MLflow", at, total);
            let data = row.data;
            if labels.as_ref().is_none_or(|(of, _)| *of != data) {
                labels = Some((data, LabelNames::new(reader.label_names(data).await?)));
            }
            let Some((_, labels)) = &labels else { continue };
            let points = reader.points(row.id).await?;
            let run = run(sweep, &NamedRun::new(row), &points, labels, &mut policies, &runs_folder);
            file.run(&run).await?;
        }
    }
    Ok(file.close().await?)
}

/// Policies and their names as parts of those of metrics.
#[derive(Default)]
struct Policies {
    known: Vec<(String, String)>,
    names: Distinct,
}

impl Policies {
    fn name(&mut self, policy: &str) -> &str {
        let at = self.known.iter().position(|(known, _)| known == policy).unwrap_or_else(|| {
            self.known.push((policy.to_owned(), self.names.give(part(policy))));
            self.known.len() - 1
        });
        &self.known[at].1
    }
}

fn run(
    sweep: &SweepRow,
    named: &NamedRun,
    points: &Points,
    labels: &LabelNames,
    policies: &mut Policies,
    runs_folder: &Path,
) -> Run {
    let row = &named.row;
    let name = clean(&format!("{}, seed {}", named.strategy, row.seed), RUN_NAME);
    let source = clean(&sweep.file, VALUE);
    let mut keys = Distinct::default();
    let mut params: Vec<(String, String)> =
        named.axes.iter().map(|(key, value)| (keys.give(part(key)), clean(&text(value), VALUE))).collect();
    for (key, value) in [("seed", row.seed.to_string()), ("arch", row.arch.clone()), ("strategy", named.strategy.clone())] {
        params.push((keys.give(key.to_owned()), clean(&value, VALUE)));
    }
    let user = "sweep".to_owned();
    let mut tags = vec![
        ("mlflow.runName".to_owned(), name.clone()),
        ("mlflow.user".to_owned(), user.clone()),
        ("mlflow.source.name".to_owned(), source.clone()),
        ("mlflow.source.type".to_owned(), "LOCAL".to_owned()),
        ("sweep.fingerprint".to_owned(), row.fingerprint.clone()),
        // By a tag MLflow's table groups runs, with the means of their metrics.
        ("strategy".to_owned(), clean(&named.strategy, TAG)),
    ];
    tags.extend(named.best_epoch().map(|epoch| ("sweep.best_epoch".to_owned(), epoch.to_string())));
    tags.extend(row.why.as_ref().map(|why| ("sweep.why".to_owned(), clean(why, TAG))));
    tags.extend(labels.changed().iter().map(|(name, label)| (format!("sweep.label.{name}"), first(label, TAG))));
    Run {
        id: blake3::hash(format!("{}\0{}", sweep.title, row.fingerprint).as_bytes()).to_hex()[..32].to_owned(),
        experiment: sweep.id,
        name,
        source,
        version: clean(&sweep.version, 50),
        user,
        status: match row.state.as_str() {
            "succeeded" => "FINISHED",
            _ if row.stopped => "KILLED",
            "failed" => "FAILED",
            "running" => "RUNNING",
            _ => "SCHEDULED",
        },
        started: milliseconds(named.started()),
        ended: row.finished_at.map(milliseconds),
        artifact_uri: runs_folder.join(&row.fingerprint).display().to_string(),
        params,
        tags,
        metrics: metrics(named, points, labels, policies),
    }
}

fn metrics(named: &NamedRun, points: &Points, labels: &LabelNames, policies: &mut Policies) -> Vec<Metric> {
    let clock = Clock::of(named, &points.epochs);
    let metric = |key: String, value: f64, epoch: i64| Metric { key, value, time: milliseconds(clock.at(epoch)), step: epoch };
    let mut metrics = Vec::new();
    for point in &points.epochs {
        for (key, loss) in [("train/loss", point.train_loss), ("val/loss", point.val_loss)] {
            // The database keeps what is not a number as NULL.
            metrics.push(metric(key.to_owned(), loss.unwrap_or(f64::NAN), point.epoch));
        }
        metrics.extend(point.learning_rate.map(|rate| metric("train/learning_rate".to_owned(), rate, point.epoch)));
    }
    for one in measured(points) {
        let Some(key) = key(&one, labels, policies) else { continue };
        if one.label.is_none() && Some(one.epoch) == named.best_epoch() {
            metrics.push(metric(best(one.split, &key), one.value, one.epoch));
        }
        metrics.push(metric(format!("{}/{key}", one.split), one.value, one.epoch));
    }
    metrics
}

/// `macro_ap`, `max_f1/held_out_macro_f1`, `0.5/f1/LABEL`: what comes after the split.
fn key(one: &Measured<'_>, labels: &LabelNames, policies: &mut Policies) -> Option<String> {
    let mut key = one.policy.map_or_else(String::new, |policy| format!("{}/", policies.name(policy)));
    key = key + if one.held_out { "held_out_" } else { "" } + one.metric;
    if let Some(label) = one.label {
        key = key + "/" + labels.get(label)?;
    }
    Some(key)
}

fn milliseconds(unix: f64) -> i64 {
    (unix * 1000.0).round() as i64
}

/// The first characters, without those that a screen would obey.
fn clean(text: &str, most: usize) -> String {
    imbalance::shown::cut(text, most)
}

/// The first characters, as they are.
fn first(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::file((path.to_owned(), error)))
}
