//! `sweep data FILE`: the data set before any training.

mod text;

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::load;
use super::output::{self, counted};
use super::preparing::Preparing;
use crate::cli;
use crate::controller::progress::Verbosity;
use crate::error::Error;
use data::{Dataset, Skipped};
use imbalance::diagnosis::{Diagnosis, diagnose};
use imbalance::oracle::{Oracle, limits};
use imbalance::sampler::{self, Realised, Train, realised};
use imbalance::{self, LabelCounts, pos_weight};
use imbalance::{Choice, PosWeight};
use plan::InputShape;
use plan::{DataConfig, DataFacts, Source};

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
    input: InputShape,
    splits: Splits,
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

/// The weights of one formula on the train split.
#[derive(Serialize)]
struct Weights {
    pos_weight: String,
    /// One per label.
    weights: Vec<f64>,
    /// 1 / (1 + weight): the probability that a score of 0.5 stands for once BCE is trained with the weight.
    half: Vec<f64>,
}

/// The draws of one sampler in an epoch (the first one of seed 0).
#[derive(Serialize)]
struct Drawing {
    sampler: String,
    #[serde(flatten)]
    drawn: Realised,
}

/// Shows every data configuration of a sweep file.
///
/// # Errors
/// A bad sweep file; data that cannot be used.
pub fn run(global: &cli::Global, args: &cli::DataArgs) -> Result<(), Error> {
    let load::SweepFile { sweep, base, .. } = load::read(&args.file.file, &args.file.set)?;
    let facts = {
        let preparing = Preparing::new(Verbosity::of(global.quiet));
        load::prepare(&sweep, &base, &global.db, &preparing)?
    };
    let configs = sweep.data_configs();
    let typed = sweep.pos_weights();
    let samplers = (sweep.samplers(), sweep.batch_size());
    let sets = configs.into_iter().zip(facts).map(|(config, facts)| Set::new(config, facts, &typed, &samplers));
    let seen = DataView { name: sweep.name, data: sets.collect::<Result<_, _>>()? };
    match args.format {
        cli::Format::Json => output::print_json(&seen),
        cli::Format::Table => {
            let texts: Vec<String> = seen.data.iter().map(|set| format!("{}: {}", seen.name, text::render(set))).collect();
            output::print(&texts.join("\n\n"))
        }
    }
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
    fn new(
        config: DataConfig,
        facts: DataFacts,
        typed: &[PosWeight],
        (samplers, batch_size): &(Vec<Choice>, usize),
    ) -> Result<Self, Error> {
        let data = Dataset::open(&facts.folder, &config)?;
        let limits = match &config.source {
            Source::Letters { signal, label_rates, .. } => Some(limits(*signal, label_rates)),
            _ => None,
        };
        Ok(Self {
            diagnosis: diagnose(data.labels()),
            weights: weights(&facts.train, typed),
            samplers: drawings(&data, samplers, *batch_size),
            skipped: data.skipped().to_vec(),
            labels: facts.labels,
            input: facts.input,
            splits: Splits { train: facts.train, val: facts.val, test: facts.test },
            config,
            limits,
        })
    }
}

/// Every sampler of the registry that needs labels only, with default parameters, and every sampler of the grid. One that cannot be
/// built for this data is left out; `run` and `plan` refuse it with its place in the file.
fn drawings(data: &Dataset, typed: &[Choice], batch_size: usize) -> Vec<Drawing> {
    let labels = data.labels().select(&data.split().train);
    let plain = sampler::REGISTRY.iter().filter(|entry| !entry.build.needs_features);
    let mut all: Vec<Choice> = plain.filter_map(|entry| imbalance::complete(entry, BTreeMap::new()).ok()).collect();
    for choice in typed {
        if !all.contains(choice) {
            all.push(choice.clone());
        }
    }
    let draw = |choice: &Choice| {
        let train = Train { labels: &labels, batch_size, features: &|| data.train_features(), progress: &|_, _| {} };
        let draws = sampler::build(choice, &train).ok()?.draws(0, 0);
        Some(Drawing { sampler: choice.to_string(), drawn: realised(&draws, &labels) })
    };
    all.par_iter().filter_map(draw).collect()
}

/// Every formula of the registry with its defaults, and every other weight of the grid. One that is undefined on this data is
/// left out; `run` and `plan` say why, with its place in the file.
fn weights(train: &LabelCounts, typed: &[PosWeight]) -> Vec<Weights> {
    let plain = |entry: &'static imbalance::Entry<pos_weight::Formula>| {
        let choice = imbalance::complete(entry, BTreeMap::new()).ok()?;
        Some((entry.kind.to_owned(), PosWeight::Formula(choice)))
    };
    let mut all: Vec<(String, PosWeight)> = pos_weight::REGISTRY.iter().filter_map(plain).collect();
    for weight in typed {
        if !all.iter().any(|(_, known)| known == weight) {
            let name = match weight {
                PosWeight::Formula(choice) => choice.to_string(),
                PosWeight::Explicit(numbers) => format!("{numbers:?}"),
            };
            all.push((name, weight.clone()));
        }
    }
    let resolved = all.into_iter().filter_map(|(name, weight)| Some((name, pos_weight::resolve(&weight, train).ok()?)));
    resolved
        .map(|(pos_weight, weights)| Weights {
            pos_weight,
            half: weights.iter().map(|weight| 1.0 / (1.0 + weight)).collect(),
            weights,
        })
        .collect()
}
