//! From a recorded run to what production needs of it: the card, and the bytes of its parameters.

use std::path::PathBuf;

use super::card::{
    Backbone, CARD, Calibration, CalibrationLine, CalibrationSteps, Counts, FORMAT, FittedThresholds, LabelMetrics, Measured,
    Model, ModelCard, Preprocessing, Provenance, Refit, SplitMetrics, Thresholds,
};
use crate::error::Error;
use crate::report::Split;
use crate::report::compare::Judged;
use crate::report::difference::SEED;
use crate::report::kept_scores::{Evidence, RowGroups};
use crate::report::predictions::{FOLDS, Finished, chosen};
use crate::report::probabilities::link_of;
use archive::{MODEL, REFIT, RunFolder, runs_folder};
use data::{DataError, Dataset, mean_and_deviation};
use imbalance::LabelCounts;
use imbalance::evaluation::LeaderboardMetric;
use imbalance::metric::calibration::{Repair, choose};
use imbalance::metric::certainty::{Estimate, Resampler, Resampling, Statistic};
use imbalance::threshold::{Policy, Rule};
use plan::{InputShape, Source};
use protocol::wire::Config;
use store::{Reader, RunRow, time_in_words};

/// Level of the intervals, and the resamples they are made of.
const LEVEL: f64 = 0.95;
const REPLICATES: usize = 1000;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// The policy of the decisions; by default the best of those that the run was evaluated under.
    pub policy: Option<Policy>,
    /// Whether the metrics are computed, with their intervals.
    pub metrics: bool,
    /// Whether it is found out what makes the scores probabilities.
    pub calibrated: bool,
    /// The parameters of the refit, which is there.
    pub refit: bool,
}

/// A run that can be exported.
pub struct Exported {
    pub card: ModelCard,
    /// Its parameters, checked.
    pub model: Vec<u8>,
    /// Where they are.
    pub path: PathBuf,
}

/// The folder in which the refit of `run` is made and kept.
#[must_use]
pub fn refit_folder(reader: &Reader, run: &RunRow) -> RunFolder {
    RunFolder::at(runs_folder(reader.path()).join(&run.fingerprint.0).join(REFIT))
}

/// Reads what `ask` wants of a finished run.
///
/// # Errors
/// Imported scores, which have no model; kept files or prepared data that are gone or damaged; a policy that cannot be fitted.
pub fn export(reader: &Reader, finished: Finished, ask: &Ask) -> Result<Exported, Error> {
    let Finished { run, epoch, evidence, recorded } = finished;
    has_model(&run)?;
    let own = RunFolder::at(runs_folder(reader.path()).join(&run.fingerprint.0));
    let folder = if ask.refit { refit_folder(reader, &run) } else { own.clone() };
    let path = folder.file(MODEL);
    let lost = |error: std::io::Error| {
        let short = run.fingerprint.short();
        let message = match own.removed().parameters.filter(|_| error.kind() == std::io::ErrorKind::NotFound) {
            Some(at) => format!(
                "`sweep gc` has removed the parameters of run {short} ({}): `sweep run FILE --db OTHER.db` trains the same model again; \
                 `sweep export {short} --to DIR --refit` trains one on train and val; its scores are there, so that reports and \
                 `sweep export {short} --predictions FILE.csv` work",
                time_in_words(at)
            ),
            None => format!(
                "the parameters of run {short} cannot be read: {error}; put the run's folder back beside the database, or train it again: \
                 `sweep run FILE --db OTHER.db`"
            ),
        };
        Error::Data(DataError { place: path.display().to_string(), message })
    };
    let model = match folder.seals().map_err(lost)? {
        Some(seals) => folder.read_sealed(MODEL, &seals),
        None => archive::file::read_ours(&path),
    };
    let model = model.map_err(lost)?;
    let (preprocessing, rows) = preprocessing(&run, ask.refit)?;
    let groups = RowGroups::read(&run.folder, &run.config.data, &run.facts.content).ok().flatten();
    let val_groups = groups.as_ref().and_then(|groups| groups.of(Split::Val, evidence.val.truth.rows()));
    let (chosen, held_out_macro_f1) = chosen(ask.policy.clone(), recorded.clone(), &evidence.val, val_groups);
    let mut policies = recorded;
    if !policies.contains(&chosen) {
        policies.push(chosen.clone());
    }
    let fitted = policies.iter().map(|policy| fitted(policy, &evidence)).collect::<Result<Vec<_>, _>>()?;
    let metrics = if ask.metrics { metrics(&run, &evidence, &chosen, groups.as_ref()) } else { Vec::new() };
    let refit = ask.refit.then(|| Refit {
        epochs: epoch + 1,
        rows,
        note: "thresholds, calibration and metrics are those of the model that was trained on train alone".to_owned(),
    });
    let card = ModelCard {
        format: FORMAT,
        model: described(&run, &model),
        labels: run.facts.labels.clone(),
        preprocessing,
        thresholds: Thresholds { chosen: chosen.to_string(), held_out_macro_f1, policies: fitted },
        calibration: if ask.calibrated { calibration(&run, &evidence, val_groups) } else { Calibration::None },
        metrics,
        provenance: provenance(&run, epoch, refit),
    };
    Ok(Exported { card, model, path })
}

/// Whether the program has the parameters of `run`.
///
/// # Errors
/// Imported scores.
pub fn has_model(run: &RunRow) -> Result<(), Error> {
    if matches!(run.config.data.source, Source::Imported { .. }) {
        let run = run.fingerprint.short();
        return Err(Error::Usage(format!(
            "run {run} was imported: sweep knows its scores and not its model; `sweep export {run} --predictions FILE.csv` has the \
             decisions, `sweep recipe {run}` the thresholds"
        )));
    }
    Ok(())
}

fn described(run: &RunRow, parameters: &[u8]) -> Model {
    let config = &run.config.model;
    let (arch, backbone) = match config.head() {
        Some((backbone, head)) => {
            let found = Backbone {
                arch: backbone.name.to_owned(),
                weights: config.weights.clone().unwrap_or_default(),
                blake3: config.weights_hash.clone(),
                features: backbone.width,
                precision: config.precision.clone(),
            };
            (head.arch, Some(found))
        }
        None => (config.arch.clone(), None),
    };
    Model {
        file: MODEL.to_owned(),
        blake3: blake3::hash(parameters).to_hex().to_string(),
        arch,
        hidden: config.hidden.clone(),
        backbone,
        precision: run.config.train.precision.clone(),
    }
}

/// How inputs become numbers, and the rows that a refit was trained on. The prepared data is opened where the run's configuration does
/// not say it.
fn preprocessing(run: &RunRow, refit: bool) -> Result<(Preprocessing, usize), Error> {
    let config = &run.config.data;
    let open = || -> Result<Dataset, Error> {
        let data = if refit { Dataset::open_joined } else { Dataset::open }(&run.folder, config)?;
        if !refit && data.content() != run.facts.content {
            let place = run.folder.display().to_string();
            let message =
                "is not the data that the run was trained on: `sweep run FILE` with the sweep file of then prepares it again";
            return Err(DataError { place, message: message.to_owned() }.into());
        }
        Ok(data)
    };
    let rows = run.facts.train.rows + if refit { run.facts.val.rows } else { 0 };
    let pictures = |size: u32, channels: u32, resize: &str, transparency: &str, white: u16| {
        let (mean, std) = mean_and_deviation(&config.source, run.config.model.freeze.is_some()).unwrap_or_default();
        let (size, channels) = (size as usize, channels as usize);
        let (resize, transparency) = (resize.to_owned(), transparency.to_owned());
        Preprocessing::Pictures { size, channels, resize, transparency, white, mean, std }
    };
    let found = match &config.source {
        Source::Letters { image_size, .. } => pictures(*image_size, 1, "stretch", "drop", data::decode::FULL),
        Source::Images { image, .. } => {
            let white = match image.pixel_range.as_str() {
                "used" => open()?.white().ok_or_else(|| DataError {
                    place: run.folder.display().to_string(),
                    message: "was prepared by a version of sweep that did not keep what `pixel_range = \"used\"` made white: remove this \
                              folder, and `sweep run FILE` prepares it again"
                        .to_owned(),
                })?,
                _ => data::decode::FULL,
            };
            pictures(image.size, image.channels, &image.resize, &image.transparency, white)
        }
        Source::Features { standardize, .. } => {
            let InputShape::Features { width } = run.facts.input else {
                return Err(Error::Unexpected("features without a width".to_owned()));
            };
            let (mean, scale) = if *standardize { open()?.normalizing() } else { Default::default() };
            let some = |values: Vec<f32>| standardize.then_some(values);
            Preprocessing::Features { width, mean: some(mean), scale: some(scale) }
        }
        Source::Imported { .. } => return Err(Error::Unexpected("imported scores have no inputs".to_owned())),
    };
    Ok((found, rows))
}

fn fitted(policy: &Policy, evidence: &Evidence) -> Result<FittedThresholds, Error> {
    let policy = policy.admitted().map_err(|error| Error::Usage(format!("--threshold: {error}")))?;
    let (thresholds, top) = match policy.fit(&evidence.val.scores, &evidence.val.truth) {
        Rule::Thresholds(thresholds) => (Some(thresholds), None),
        Rule::Top(count) => (None, Some(count)),
    };
    Ok(FittedThresholds { policy: policy.to_string(), thresholds, top })
}

fn calibration(run: &RunRow, evidence: &Evidence, groups: Option<&[u32]>) -> Calibration {
    let loss = link_of(&run.config, &run.pos_weight, &run.facts.train);
    let link = |label: usize, z: f64| loss.as_ref().and_then(|loss| loss.implied_probability(label, z));
    let found = choose(&evidence.val.scores, &evidence.val.truth, groups, FOLDS, SEED, link);
    let labels = 0..run.facts.labels.len();
    match found.repair {
        Repair::None => Calibration::None,
        Repair::Link => Calibration::Link { loss: run.config.loss.to_string() },
        Repair::Platt => {
            let line =
                |label| found.platt(label).map(|platt| CalibrationLine { slope: platt.0.slope, intercept: platt.0.intercept });
            Calibration::Platt { lines: labels.map(line).collect() }
        }
        Repair::Isotonic => {
            let steps =
                |label| found.steps(label).map(|(steps, low, high)| CalibrationSteps { knots: steps.knots.clone(), low, high });
            Calibration::Isotonic { steps: labels.map(steps).collect() }
        }
    }
}

fn metrics(run: &RunRow, evidence: &Evidence, policy: &Policy, groups: Option<&RowGroups>) -> Vec<SplitMetrics> {
    let of_split = |split: Split| -> Option<SplitMetrics> {
        let rows = evidence.on(split)?.truth.rows();
        let groups = groups.and_then(|groups| groups.of(split, rows));
        let resampler = Resampler::new(&Resampling { rows, groups, replicates: REPLICATES, seed: SEED, jackknife: 0 });
        let (ranked, decided) = (Judged::new(evidence, split, None)?, Judged::new(evidence, split, Some(policy))?);
        let wanted = [
            ranked.statistic(LeaderboardMetric::MacroAp)?,
            decided.statistic(LeaderboardMetric::MacroPrecision)?,
            decided.statistic(LeaderboardMetric::MacroRecall)?,
            decided.statistic(LeaderboardMetric::MacroF1)?,
        ];
        let statistics: Vec<&dyn Statistic> = wanted.iter().map(|statistic| &**statistic).collect();
        let found = resampler.bootstrap(&statistics);
        let [ap, precision, recall, f1] = &found[..] else { return None };
        let counts = if split == Split::Val { &run.facts.val } else { &run.facts.test };
        let label = |(at, label): (usize, &String)| LabelMetrics {
            label: label.clone(),
            rows: counts.known(at),
            positives: counts.positives[at],
            ap: measured(&ap.labels[at]),
            precision: measured(&precision.labels[at]),
            recall: measured(&recall.labels[at]),
            f1: measured(&f1.labels[at]),
        };
        Some(SplitMetrics {
            split: split.name().to_owned(),
            rows,
            macro_ap: measured(&ap.mean),
            macro_f1: measured(&f1.mean),
            macro_precision: measured(&precision.mean),
            macro_recall: measured(&recall.mean),
            labels: run.facts.labels.iter().enumerate().map(label).collect(),
        })
    };
    [Split::Val, Split::Test].into_iter().filter_map(of_split).collect()
}

fn measured(estimate: &Estimate) -> Measured {
    let interval = estimate.percentile(LEVEL);
    let number = |value: f64| value.is_finite().then_some(value);
    Measured {
        value: number(estimate.point),
        low: interval.as_ref().and_then(|interval| number(interval.low)),
        high: interval.as_ref().and_then(|interval| number(interval.high)),
    }
}

fn provenance(run: &RunRow, epoch: usize, refit: Option<Refit>) -> Provenance {
    let counts = |counts: &LabelCounts| {
        let LabelCounts { rows, positives, unknown } = counts.clone();
        Counts { rows, positives, unknown }
    };
    Provenance {
        run: run.fingerprint.0.clone(),
        sweeps: run.sweeps.clone(),
        version: run.version.clone(),
        exported_by: env!("CARGO_PKG_VERSION").to_owned(),
        trained_at: run.finished_at,
        epoch,
        data: run.facts.content.clone(),
        train: counts(&run.facts.train),
        val: counts(&run.facts.val),
        test: counts(&run.facts.test),
        pos_weight: run.pos_weight.clone(),
        refit,
        config: Config::from(&run.config),
    }
}

impl Exported {
    /// Writes both files into `folder`, the card last: where it is, the export is complete.
    ///
    /// # Errors
    /// A folder or file that cannot be written.
    pub fn write(&self, folder: &std::path::Path) -> Result<(), Error> {
        let failed = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let (model, card) = (folder.join(MODEL), folder.join(CARD));
        archive::file::write_for_others(&model, |file| file.write_all(&self.model)).map_err(failed(&model))?;
        let text = serde_json::to_string_pretty(&self.card).map_err(|error| Error::Unexpected(error.to_string()))? + "\n";
        archive::file::write_for_others(&card, |file| file.write_all(text.as_bytes())).map_err(failed(&card))?;
        archive::file::settle(&[folder]).map_err(Error::file)
    }
}
