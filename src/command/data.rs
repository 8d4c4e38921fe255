//! `sweep data FILE`: the data set before any training.

mod text;

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::load;
use super::output::{self, counted};
use super::preparing::Preparing;
use super::weights;
use crate::cli;
use crate::controller::progress::Verbosity;
use crate::error::Error;
use crate::report::lint::{Lint, of_data};
use crate::report::{LabelChoice, WithoutPositives, check_labels, without_positives};
use data::{Dataset, Layout, Prepared, Skipped, Untrainable};
use imbalance::diagnosis::{Diagnosis, diagnose};
use imbalance::oracle::{Oracle, limits};
use imbalance::sampler::{self, Realised, Train, realised};
use imbalance::shift::{Shift, shifts};
use imbalance::{self, LabelCounts, pos_weight};
use imbalance::{Choice, PosWeight};
use plan::InputShape;
use plan::{DataConfig, Source};

/// The one JSON value of `data`.
#[derive(Serialize)]
struct DataView {
    name: String,
    /// One per data configuration of the grid.
    data: Vec<Set>,
}

/// The view of one data set.
#[derive(Serialize)]
struct Set {
    config: DataConfig,
    labels: Vec<String>,
    /// What the columns of the CSV were taken for; `None` without one.
    layout: Option<Layout>,
    input: InputShape,
    splits: Splits,
    /// Why `run` would refuse the data; `None` if it would not.
    refused: Option<Untrainable>,
    /// What the division of the rows will do to thresholds and metrics.
    warnings: Vec<Lint>,
    /// Labels that are more or less frequent in val or test than in train.
    shifts: Shifts,
    /// Labels that the means of a split count as 0 (macro F1, precision, recall) or leave out (macro AP, AUC).
    without_positives: WithoutPositives,
    /// Imbalance over all rows.
    diagnosis: Diagnosis,
    weights: Vec<Weights>,
    samplers: Vec<Drawing>,
    skipped: Vec<Skipped>,
    /// For `letters`: the metrics of the best possible scores.
    limits: Option<Vec<Oracle>>,
}

#[derive(Serialize)]
struct Splits {
    train: LabelCounts,
    val: LabelCounts,
    test: LabelCounts,
}

#[derive(Serialize)]
struct Shifts {
    val: Vec<Shift>,
    test: Vec<Shift>,
}

/// The weights of one formula on the train split.
#[derive(Serialize)]
struct Weights {
    pos_weight: String,
    /// Whether the grid has it.
    in_grid: bool,
    /// One per label; `None` where the train rows have one class of the label, and the others as if it were left out.
    weights: Vec<Option<f64>>,
    /// 1 / (1 + weight): the probability that a score of 0.5 stands for once BCE is trained with the weight.
    half: Vec<Option<f64>>,
}

/// The draws of one sampler in an epoch (the first one of seed 0).
#[derive(Serialize)]
struct Drawing {
    sampler: String,
    /// Whether the grid has it.
    in_grid: bool,
    #[serde(flatten)]
    drawn: Realised,
}

/// Shows every data configuration of a sweep file, also those that nothing can be trained on.
///
/// # Errors
/// A bad sweep file; data that cannot be read; a label that it does not have.
pub fn run(global: &cli::Global, args: &cli::DataArgs) -> Result<(), Error> {
    let load::SweepFile { sweep, base, .. } = load::read(&args.file.file, &args.file.set)?;
    // They are nothing to show here, but to know of before `run`.
    weights::faults(&sweep, &base).iter().for_each(|fault| tracing::warn!("`run` will refuse this: {fault}"));
    let prepared = {
        let preparing = Preparing::new(Verbosity::of(global.quiet));
        load::prepare(&sweep, &base, &global.db, &preparing)?
    };
    let strategies = Strategies {
        weights: sweep.pos_weights(),
        samplers: sweep.samplers(),
        batch_size: sweep.batch_size(),
        // JSON is for programs: it keeps everything.
        all: args.all || args.format == cli::Format::Json,
    };
    let sets = sweep.data_configs().into_iter().zip(prepared).map(|(config, data)| Set::new(config, data, &strategies));
    let choice = if args.all && args.labels == "rare" { LabelChoice::All } else { LabelChoice::read(&args.labels) };
    let seen = DataView { name: sweep.name, data: sets.collect::<Result<_, _>>()? };
    match args.format {
        cli::Format::Json => output::print_json(&seen),
        cli::Format::Table => {
            check_labels(&choice, seen.data.iter().map(|set| &set.labels[..]))?;
            let text = |set| format!("{}: {}", seen.name, text::render(set, args.all, &choice));
            output::print(&seen.data.iter().map(text).collect::<Vec<_>>().join("\n\n"))
        }
    }
}

/// Whose weights and draws are shown.
struct Strategies {
    weights: Vec<PosWeight>,
    samplers: Vec<Choice>,
    batch_size: usize,
    /// Those of the registries too, not only those of the grid.
    all: bool,
}

/// `built-in letters (signal 2, seed 0)`, `images below photos`, `features x.npy`.
pub fn source(config: &DataConfig) -> String {
    match &config.source {
        Source::Letters { signal, seed, .. } => format!("built-in letters (signal {signal}, seed {seed})"),
        Source::Images { root, .. } => format!("images below {}", root.display()),
        Source::Features { features, .. } => format!("features {}", features.display()),
        Source::Imported { scores, .. } => format!("imported scores {}", scores.display()),
    }
}

/// `images 1 x 32 x 32`, `271 features`.
pub fn input(shape: InputShape) -> String {
    match shape {
        InputShape::Image { channels, height, width } => format!("images {channels} x {height} x {width}"),
        InputShape::Features { width } => counted(width, "feature"),
    }
}

impl Set {
    fn new(config: DataConfig, prepared: Prepared, strategies: &Strategies) -> Result<Self, Error> {
        let groups = prepared.groups();
        let Prepared { facts, layout } = prepared;
        let data = Dataset::open(&facts.folder, &config)?;
        let limits = match &config.source {
            Source::Letters { signal, label_rates, .. } => Some(limits(*signal, label_rates)),
            _ => None,
        };
        Ok(Self {
            refused: data::trainable(&config, &facts.labels, [&facts.train, &facts.val, &facts.test], groups).err(),
            warnings: of_data(&facts, true),
            shifts: Shifts { val: shifts(&facts.train, &facts.val), test: shifts(&facts.train, &facts.test) },
            without_positives: without_positives(&facts),
            diagnosis: diagnose(data.labels()),
            weights: weights(&facts.train, strategies),
            samplers: drawings(&data, strategies),
            skipped: data.skipped().to_vec(),
            labels: facts.labels,
            layout,
            input: facts.input,
            splits: Splits { train: facts.train, val: facts.val, test: facts.test },
            config,
            limits,
        })
    }
}

/// Samplers of the grid and, if all are asked for, every sampler of the registry that needs labels only, with default parameters. One
/// that cannot be built for this data is left out; `run` and `plan` refuse it with its place in the file.
fn drawings(data: &Dataset, strategies: &Strategies) -> Vec<Drawing> {
    let labels = data.labels().select(&data.split().train);
    let plain = sampler::REGISTRY.iter().filter(|entry| strategies.all && !entry.build.needs_features);
    let mut all: Vec<Choice> = plain.filter_map(|entry| imbalance::complete(entry, BTreeMap::new()).ok()).collect();
    all.extend(strategies.samplers.iter().filter(|choice| !all.contains(choice)).cloned().collect::<Vec<_>>());
    let draw = |choice: &Choice| {
        let features = || data.train_features();
        let train = Train { labels: &labels, batch_size: strategies.batch_size, features: &features, progress: &|_, _| {} };
        let draws = sampler::build(choice, &train).ok()?.draws(0, 0);
        let in_grid = strategies.samplers.contains(choice);
        Some(Drawing { sampler: choice.to_string(), in_grid, drawn: realised(&draws, &labels) })
    };
    if labels.rows() == 0 { Vec::new() } else { all.par_iter().filter_map(draw).collect() }
}

/// Weights of the grid and, if all are asked for, every formula of the registry with its defaults.
fn weights(train: &LabelCounts, strategies: &Strategies) -> Vec<Weights> {
    let plain = |entry: &'static imbalance::Entry<pos_weight::Formula>| {
        let choice = imbalance::complete(entry, BTreeMap::new()).ok()?;
        Some((entry.kind.to_owned(), PosWeight::Formula(choice)))
    };
    let mut all: Vec<(String, PosWeight)> = Vec::new();
    if strategies.all {
        all.extend(pos_weight::REGISTRY.iter().filter_map(plain));
    }
    for weight in &strategies.weights {
        if !all.iter().any(|(_, known)| known == weight) {
            let name = match weight {
                PosWeight::Formula(choice) => choice.to_string(),
                PosWeight::Explicit(numbers) => format!("{numbers:?}"),
            };
            all.push((name, weight.clone()));
        }
    }
    let resolved = |(pos_weight, weight): (String, PosWeight)| {
        let weights = defined(&weight, train)?;
        let half = weights.iter().map(|weight| weight.map(|weight| 1.0 / (1.0 + weight))).collect();
        Some(Weights { pos_weight, in_grid: strategies.weights.contains(&weight), weights, half })
    };
    all.into_iter().filter_map(resolved).collect()
}

/// The weights of the labels that have both classes in train; `None` if they are undefined even so.
fn defined(weight: &PosWeight, train: &LabelCounts) -> Option<Vec<Option<f64>>> {
    let both: Vec<usize> = (0..train.positives.len()).filter(|&label| train.has_both(label)).collect();
    let counts = train.of_labels(&both);
    let weight = match weight {
        PosWeight::Explicit(numbers) if numbers.len() == train.positives.len() => {
            PosWeight::Explicit(both.iter().map(|&label| numbers[label]).collect())
        }
        other => other.clone(),
    };
    let mut weights = vec![None; train.positives.len()];
    for (label, weight) in both.into_iter().zip(pos_weight::resolve(&weight, &counts).ok()?) {
        weights[label] = Some(weight);
    }
    Some(weights)
}
